//  The allocator of entries: no two objects overlap, every byte is counted, empty slabs go back.

import Glibc
import MartletBase
import Testing

@testable import MartletEngine

/// Live objects filled with a pattern of their own.
private struct SlabsModel: ~Copyable {
    private struct Object {
        let address: UInt
        let bytes: Int
        let mark: UInt8
        let handle: UInt32
    }

    var slabs = Slabs()
    private var objects: [Object] = []
    private var mark: UInt8 = 0

    var count: Int { objects.count }

    mutating func allocate(_ bytes: Int) {
        guard let memory = unsafe slabs.allocate(bytes) else {
            Issue.record("\(bytes) bytes were refused")
            return
        }
        mark &+= 1
        unsafe memset(memory, Int32(mark), bytes)
        #expect(UInt(bitPattern: memory) & 7 == 0, "entries are aligned to words")
        objects.append(
            Object(
                address: UInt(bitPattern: memory), bytes: bytes, mark: mark,
                handle: unsafe slabs.handle(memory, bytes: bytes)))
    }

    /// Frees an object, whose bytes must be as they were written.
    mutating func free(at index: Int) {
        let object = objects[index]
        objects[index] = objects[objects.count - 1]
        objects.removeLast()
        let memory = unsafe slabs.object(object.handle)
        #expect(UInt(bitPattern: memory) == object.address, "a handle leads back to its object")
        for offset in 0..<object.bytes
        where unsafe memory.load(fromByteOffset: offset, as: UInt8.self) != object.mark {
            Issue.record("byte \(offset) of \(object.bytes) was overwritten")
            break
        }
        unsafe slabs.free(memory, bytes: object.bytes)
    }

    func check() {
        slabs.checkInvariants()
        #expect(slabs.usedBytes == objects.reduce(0) { $0 + Slabs.allocationBytes($1.bytes) })
        #expect(slabs.slackBytes >= 0)
        #expect(Set(objects.map(\.handle)).count == objects.count, "handles are distinct")
    }
}

@Suite struct SlabsTests {
    @Test func `a class has room for every size it serves, and wastes little`() {
        for bytes in 1...SlabClass.objectBytesMax {
            let index = SlabClass.index(bytes: bytes)
            #expect(index < SlabClass.count)
            #expect(SlabClass.bytes(index: index) >= bytes)
            #expect(index == 0 || SlabClass.bytes(index: index - 1) < bytes)
            #expect(SlabClass.bytes(index: index) - bytes < max(8, bytes / 8))
        }
    }

    @Test func `random allocations never overlap, and every byte is counted`() {
        let seed = testSeed()
        var random = Random(seed: seed)
        var model = SlabsModel()
        for wave in 0..<12 {
            // Few sizes fill slabs; many sizes leave them partly filled.
            let sizes = (0..<(wave % 3 == 0 ? 2 : 30)).map { _ in
                8 + random.index(below: [60, 300, 1_100][wave % 3])
            }
            let allocations = wave % 2 == 0 ? 75 : 20
            for step in 0..<1_500 {
                if model.count == 0 || random.index(below: 100) < allocations {
                    model.allocate(sizes[random.index(below: sizes.count)])
                } else {
                    model.free(at: random.index(below: model.count))
                }
                if step % 250 == 0 { model.check() }
            }
            model.check()
        }
        while model.count > 0 { model.free(at: random.index(below: model.count)) }
        model.check()
        #expect(model.slabs.usedBytes == 0, "seed \(seed)")
        #expect(model.slabs.slabCount <= SlabClass.count, "at most one slab a class is kept")
    }

    @Test func `empty slabs go back at once`() {
        var model = SlabsModel()
        for _ in 0..<20_000 { model.allocate(40) }
        let slabs = model.slabs.slabCount
        #expect(slabs >= 20_000 * 40 / SlabClass.slabBytes)
        // Half of the objects, but whole slabs: the last ones.
        while model.count > 10_000 { model.free(at: model.count - 1) }
        #expect(model.slabs.slabCount <= slabs / 2 + 2)
        model.check()
        while model.count > 0 { model.free(at: 0) }
        #expect(model.slabs.slabCount == 1)
        model.check()
    }

    @Test func `what is freed is used again before new slabs`() {
        var model = SlabsModel()
        var random = Random(seed: 9)
        for _ in 0..<8_000 { model.allocate(64) }
        let slabs = model.slabs.slabCount
        for _ in 0..<4_000 { model.free(at: random.index(below: model.count)) }
        for _ in 0..<4_000 { model.allocate(64) }
        #expect(model.slabs.slabCount <= slabs)
        model.check()
        while model.count > 0 { model.free(at: 0) }
    }

    @Test func `large objects have handles too, and their numbers are used again`() {
        var model = SlabsModel()
        for bytes in [1_025, 4_096, 70_000, 1 << 20] { model.allocate(bytes) }
        model.check()
        model.free(at: 1)
        model.allocate(2_000)
        model.check()
        while model.count > 0 { model.free(at: 0) }
        #expect(model.slabs.usedBytes == 0)
        Reclaimer.shared.drain()
    }

    @Test func `a size that an entry cannot describe is refused`() {
        var slabs = Slabs()
        #expect(unsafe slabs.allocate(Int(UInt32.max) + 1) == nil)
        #expect(slabs.usedBytes == 0)
    }
}
