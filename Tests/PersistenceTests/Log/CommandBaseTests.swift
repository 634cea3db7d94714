//  A base of commands: it brings the state of its point in time back, and shows every damage.

import MartletBase
import MartletPersistence
import Testing

@testable import MartletEngine

struct CommandBaseTests {
    /// A base of what a store holds, made in steps between which `change` is called.
    private func base(
        of store: Store, pieceBytesMin: Int, _ change: () -> Void = {}
    ) throws -> RecordingStorage {
        let storage = RecordingStorage()
        let encoder = CommandSnapshotEncoder(at: store.time.clock.wallMilliseconds())
        let begun = Snapshot.begin(store.state, encoder, pieceBytesMin: pieceBytesMin)
        let snapshot = try #require(begun)
        var writer = LogBaseWriter(try storage.create("base"), hasChecksums: true)
        while true {
            change()
            let (runs, isOver) = snapshot.step(groups: 3)
            for run in runs { try writer.append(run.bytes.view, database: run.database) }
            if isOver { break }
        }
        try writer.end()
        return storage
    }

    /// What a start finds in it: the commands, or nil when it is refused.
    private func commands(_ storage: RecordingStorage) throws -> [UInt8]? {
        var scanner = LogScanner(try storage.open("base"), isLast: false)
        var bytes: [UInt8] = []
        while let run = try scanner.next() { bytes += run.bytes.bytes }
        let isWhole = scanner.seed == nil || scanner.closingOffset != nil
        return scanner.ending == .clean && isWhole ? bytes : nil
    }

    @Test(arguments: [0, 16 * 1024]) func `values come back as they were at the beginning`(
        pieceBytesMin: Int
    ) throws {
        let store = Store()
        store.fill()
        store.fillLarge()
        store.line("XGROUP CREATE empty group $ MKSTREAM")
        store.line("XADD drained 7-7 a 1")
        store.line("XDEL drained 7-7")
        store.line("PEXPIRE large:l 1000000")
        let expected = described(store)
        var random = Random(seed: 7)
        let storage = try base(of: store, pieceBytesMin: pieceBytesMin) {
            let number = random.index(below: 2_000)
            store.changeLarge(number)
            if number % 61 == 0 { store.line("DEL large:z") }
        }

        let other = Store(shards: 8)
        let replay = LogReplay(
            other.state, CommandTable(groups: EngineCommands.groups), threads: 1,
            nowMilliseconds: other.time.clock.wallMilliseconds())
        let found = try #require(try commands(storage))
        try found.withView { (view) throws(LogReplay.Refusal) in try replay.feed(view) }
        try replay.finish()
        #expect(replay.errors.count == 0, "\(replay.errors.first ?? "")")
        other.checkInvariants()
        #expect(described(other) == expected)
    }

    /// All that is told of a store but how strings are kept: a number that was spelled by APPEND is one
    /// when it comes back.
    private func described(_ store: Store) -> [String] {
        store.readOut.filter { line in
            !["raw", "embstr", "int"].contains { line.hasSuffix("\r\n\($0)\r\n") }
        }
    }

    @Test func `every bit of it counts, and every length`() throws {
        let store = Store()
        store.line("SET a 1")
        store.line("RPUSH list a b c")
        store.line("SELECT 2")
        store.line("SET b 2")
        let storage = try base(of: store, pieceBytesMin: 0)
        let whole = try #require(storage.contents["base"])
        let expected = try #require(try commands(storage))
        for bit in 0..<whole.count * 8 {
            var bytes = whole
            bytes[bit / 8] ^= 1 << (bit % 8)
            if let found = try commands(RecordingStorage(["base": bytes])) {
                // The first line may become one that says nothing.
                #expect(found == expected, "bit \(bit)")
            }
        }
        for length in 1..<whole.count {
            let found = try commands(RecordingStorage(["base": Array(whole[..<length])]))
            #expect(found == nil, "length \(length)")
        }
    }
}
