//  The stream against an array: the same random steps, invariants after them.

import MartletBase
import Testing

@testable import MartletEngine

/// An entry as a client sees it.
private struct Plain: Equatable {
    var id: StreamID
    var texts: [[UInt8]]

    init(_ id: StreamID, _ texts: [[UInt8]]) {
        self.id = id
        self.texts = texts
    }

    init(_ entry: StreamEntry) {
        id = entry.id
        texts = []
        entry.forEachField { field, value in
            texts.append(Self.bytes(field))
            texts.append(Self.bytes(value))
        }
    }

    private static func bytes(_ element: ListElement) -> [UInt8] {
        switch element {
        case .bytes(let bytes): bytes.bytes
        case .integer(let integer): Array(String(integer).utf8)
        }
    }
}

private let standard = StreamNodeLimits(entriesMax: 100, bytesMax: 4096)

@discardableResult
private func append(
    _ stream: inout Stream, _ plain: Plain, _ limits: StreamNodeLimits = standard
) -> Bool {
    // One run of bytes, and views of it.
    let all = plain.texts.flatMap { $0 }
    return all.withView { bytes in
        var views: [ByteView] = []
        var start = 0
        for text in plain.texts {
            views.append(bytes.slice(start, start + text.count))
            start += text.count
        }
        return unsafe views.withUnsafeBufferPointer { views in
            guard let base = views.baseAddress else { return false }
            let entry = unsafe NewStreamEntry(plain.id, base, fieldCount: views.count / 2)
            return stream.append(entry, limits) == .added
        }
    }
}

private func contents(
    _ stream: borrowing Stream, from first: StreamID = .zero, through last: StreamID = .max,
    reversed: Bool = false
) -> [Plain] {
    var found: [Plain] = []
    stream.walk(from: first, through: last, reversed: reversed) {
        found.append(Plain($0))
        return true
    }
    return found
}

private func randomText(_ random: inout Random) -> [UInt8] {
    switch random.index(below: 24) {
    case 0..<8: return Array(String(random.index(below: 300)).utf8)
    case 8..<12:
        let bits = Int64(bitPattern: random.next()) >> Int64(random.index(below: 64))
        return Array(String(bits).utf8)
    case 12: return []
    case 13: return random.bytes(random.index(below: 300))
    case 14 where random.index(below: 30) == 0: return random.bytes(random.index(below: 9_000))
    default: return Array("value \(random.index(below: 300))".utf8)
    }
}

private func randomEntry(_ random: inout Random, after id: StreamID) -> Plain? {
    var next: StreamID
    switch random.index(below: 40) {
    case 0: next = StreamID(id.milliseconds &+ 1 &+ random.next() >> 20, random.next())
    case 1..<10: next = StreamID(id.milliseconds &+ UInt64(random.index(below: 5_000)), 7)
    default: next = id.next ?? .zero
    }
    if next <= id { next = id.next ?? .zero }
    if next <= id { return nil }
    var texts: [[UInt8]] = []
    let shared = random.index(below: 10) < 8
    for index in 0..<(shared ? 2 : 1 + random.index(below: 5)) {
        texts.append(shared ? Array("field\(index)".utf8) : randomText(&random))
        texts.append(randomText(&random))
    }
    return Plain(next, texts)
}

struct StreamTests {
    @Test func `IDs are read as clients write them`() {
        let cases: [(String, StreamID?)] = [
            ("1-2", StreamID(1, 2)), ("5", StreamID(5, 9)), ("", nil), ("-", nil), ("1-", nil),
            ("-1", nil), ("a-1", nil), ("1-a", nil), ("1-2-3", nil), ("00-01", StreamID(0, 1)),
            ("18446744073709551615-18446744073709551615", .max),
            ("18446744073709551616-0", nil), ("0-18446744073709551616", nil),
            ("1-*", nil), (String(repeating: "0", count: 130), nil),
        ]
        for (text, id) in cases {
            #expect(text.withView { $0.parseStreamID(sequence: 9) } == id, "\(text)")
        }
        #expect("12-*".withView { $0.parseOpenStreamID() } == 12)
        for text in ["*", "-*", "1-2*", "1*", "1-1-*"] {
            #expect(text.withView { $0.parseOpenStreamID() } == nil, "\(text)")
        }
    }

    @Test func `IDs never go back, and end`() {
        #expect(StreamID(5, 3).following(at: 6) == StreamID(6, 0))
        #expect(StreamID(5, 3).following(at: 5) == StreamID(5, 4))
        #expect(StreamID(5, 3).following(at: 1) == StreamID(5, 4))
        #expect(StreamID(5, .max).following(at: 1) == StreamID(6, 0))
        #expect(StreamID.max.following(at: .max) == nil)
        #expect(StreamID.zero.previous == nil)
        #expect(StreamID(6, 0).previous == StreamID(5, .max))
    }

    @Test(arguments: [
        standard, StreamNodeLimits(entriesMax: 3, bytesMax: 0),
        StreamNodeLimits(entriesMax: 0, bytesMax: 300),
        StreamNodeLimits(entriesMax: 0, bytesMax: 0),
    ])
    func `a stream does what an array does`(limits: StreamNodeLimits) {
        let seed = testSeed()
        var random = Random(seed: seed)
        var stream = Stream()
        var model: [Plain] = []
        var lastID = StreamID.zero
        var added: UInt64 = 0
        for step in 0..<12_000 {
            let grows = step / 2_000 % 3 != 2
            let roll = random.index(below: 100)
            if roll < (grows ? 80 : 30) {
                guard let plain = randomEntry(&random, after: lastID) else {
                    // No greater ID is left.
                    stream = Stream()
                    (model, lastID, added) = ([], .zero, 0)
                    continue
                }
                let isAdded = append(&stream, plain, limits)
                #expect(isAdded)
                model.append(plain)
                lastID = plain.id
                added += 1
            } else if roll < 92 {
                let plain = model.isEmpty ? nil : model[random.index(below: model.count)]
                let id = roll == 91 ? StreamID(random.next(), 0) : plain?.id ?? .zero
                let index = model.firstIndex { $0.id == id }
                #expect(stream.remove(id) == (index != nil), "seed \(seed)")
                if let index { model.remove(at: index) }
            } else if roll < 97 {
                let left = max(0, model.count - random.index(below: 20))
                let trim = StreamTrim(.length(left))
                #expect(stream.trim(trim) == model.count - left, "seed \(seed)")
                model.removeFirst(model.count - left)
            } else if roll == 97 && !model.isEmpty {
                let id = model[random.index(below: min(50, model.count))].id
                let old = model.count
                model.removeAll { $0.id < id }
                #expect(stream.trim(StreamTrim(.id(id))) == old - model.count, "seed \(seed)")
            } else if roll == 98 {
                let left = random.index(below: model.count + 1)
                let removed = stream.trim(StreamTrim(.length(left), isApproximate: true))
                #expect(stream.count >= left, "seed \(seed)")
                model.removeFirst(removed)
            } else {
                lastID = lastID.next ?? lastID
                stream.setLastID(lastID, entriesAdded: nil, maxDeletedID: nil)
            }
            #expect(stream.count == model.count, "seed \(seed)")
            if step % 20 == 0 {
                stream.checkInvariants()
                #expect(stream.firstID == model.first?.id ?? .zero, "seed \(seed)")
                #expect(stream.lastEntryID == model.last?.id ?? .zero, "seed \(seed)")
                #expect(stream.lastID == lastID)
                #expect(stream.entriesAdded == added)
                if !model.isEmpty {
                    let one = model[random.index(below: model.count)].id
                    let other = model[random.index(below: model.count)].id
                    let wanted = model.filter { $0.id >= one && $0.id <= other }
                    #expect(
                        contents(stream, from: one, through: other) == wanted, "seed \(seed)")
                    #expect(
                        contents(stream, from: one, through: other, reversed: true)
                            == wanted.reversed(), "seed \(seed)")
                    #expect(stream.count(after: one) == model.count { $0.id > one })
                    #expect(stream.contains(one) == true)
                    #expect(
                        stream.entry(other).map(Plain.init) == model.first { $0.id == other })
                }
            }
            if step % 500 == 0 {
                #expect(contents(stream) == model, "seed \(seed)")
                #expect(contents(stream, reversed: true) == model.reversed(), "seed \(seed)")
                let copy = stream.copy()
                copy.checkInvariants()
                #expect(contents(copy) == model, "seed \(seed)")
                #expect(copy.lastID == stream.lastID)
            }
        }
    }

    @Test func `a read goes on where the last one stopped, whatever happened between`() {
        let seed = testSeed()
        var random = Random(seed: seed)
        var stream = Stream()
        var model: [Plain] = []
        var readers = [StreamID.zero, .zero, .zero]
        for _ in 0..<20_000 {
            switch random.index(below: 10) {
            case 0..<4:
                if let plain = randomEntry(&random, after: model.last?.id ?? stream.lastID),
                    plain.id > stream.lastID
                {
                    append(&stream, plain)
                    model.append(plain)
                }
            case 4 where !model.isEmpty:
                let id = model[random.index(below: model.count)].id
                _ = stream.remove(id)
                model.removeAll { $0.id == id }
            case 5:
                let left = min(model.count, 500)
                model.removeFirst(stream.trim(StreamTrim(.length(left))))
            default:
                let reader = random.index(below: readers.count)
                guard let from = readers[reader].next else { continue }
                var found: [Plain] = []
                stream.walk(from: from, through: .max) {
                    found.append(Plain($0))
                    return found.count < 2
                }
                #expect(found == Array(model.filter { $0.id >= from }.prefix(2)), "\(seed)")
                readers[reader] = found.last?.id ?? (reader == 0 ? .zero : readers[reader])
            }
        }
    }

    @Test func `IDs may leap as far as there are any`() {
        var stream = Stream()
        let ids = [
            StreamID(0, 1), StreamID(63, 0), StreamID(64, 5), StreamID(127, 1), StreamID(128, .max),
            StreamID(8191, 0), StreamID(8192, 0), StreamID(1 << 62, 9), StreamID(1 << 63, 0),
            StreamID(.max, 0), .max,
        ]
        for id in ids { append(&stream, Plain(id, [[102], [118]])) }
        stream.checkInvariants()
        #expect(stream.blockCount == 1)
        #expect(contents(stream).map(\.id) == ids)
        #expect(contents(stream, reversed: true).map(\.id) == ids.reversed())
    }

    @Test func `blocks end where a node of Redis would`() {
        var stream = Stream()
        let value = Array("0123456789abcdef".utf8)
        for number in 1...250 {
            append(&stream, Plain(StreamID(UInt64(number), 0), [Array("f".utf8), value]))
        }
        #expect(stream.blockCount == 3)
        // What was removed counts.
        for number in 201...240 { _ = stream.remove(StreamID(UInt64(number), 0)) }
        for number in 251...300 {
            append(&stream, Plain(StreamID(UInt64(number), 0), [Array("f".utf8), value]))
        }
        #expect(stream.blockCount == 3)
        append(&stream, Plain(StreamID(301, 0), [Array("f".utf8), value]))
        #expect(stream.blockCount == 4)
        #expect(stream.trim(StreamTrim(.length(10), isApproximate: true)) == 200)
        #expect(stream.count == 61)
        stream.checkInvariants()
    }

    @Test func `a stream that is trimmed as it grows keeps to its size`() {
        var stream = Stream()
        for number in 1...300_000 {
            append(
                &stream,
                Plain(StreamID(UInt64(number), 0), [Array("f".utf8), Array("v\(number)".utf8)]))
            if stream.count > 1_000 { _ = stream.trim(StreamTrim(.length(1_000))) }
        }
        stream.checkInvariants()
        #expect(stream.count == 1_000)
        #expect(stream.bytes < 24_000)
    }

    @Test func `an entry with a value of twelve bytes costs less than seventeen`() {
        var stream = Stream()
        for number in 0..<1_000_000 {
            append(
                &stream,
                Plain(
                    StreamID(1_700_000_000_000 + UInt64(number / 40), UInt64(number % 40)),
                    [Array("f".utf8), Array("value:\(100_000 + number % 100_000)".utf8)]))
        }
        #expect(stream.bytes < 16_500_000)
        #expect(stream.count(after: StreamID(1_700_000_000_000, 9)) == 999_990)
        var pauses = 0
        stream.dismantle { pauses += 1 }
        #expect(pauses == 10_000)
    }

    @Test func `blocks that lose most of their entries give memory back`() {
        var stream = Stream()
        for number in 1...100_000 {
            append(
                &stream,
                Plain(
                    StreamID(UInt64(number), 0), [Array("f".utf8), Array("value \(number)".utf8)])
            )
        }
        let full = stream.bytes
        for number in 1...100_000 where number % 50 != 0 {
            _ = stream.remove(StreamID(UInt64(number), 0))
        }
        stream.checkInvariants()
        #expect(stream.count == 2_000)
        #expect(stream.bytes < full / 6)
    }

    @Test func `a walk in slices gives the stream as it was when the walk began`() {
        let seed = testSeed()
        var random = Random(seed: seed)
        var stream = Stream()
        for round in 0..<8 {
            for _ in 0..<2_000 {
                if let plain = randomEntry(&random, after: stream.lastID) {
                    append(&stream, plain)
                }
            }
            let wanted = contents(stream)
            var found: [(base: StreamID, entries: [Plain])] = []
            let walk = StreamWalk { base, block in
                var entries: [Plain] = []
                _ = block.walk(from: .zero, through: .max) {
                    entries.append(Plain($0))
                    return true
                }
                found.append((base, entries))
            }
            stream.beginWalk(walk)
            var id: StreamID? = .zero
            while let from = id {
                id = stream.walk(behind: from, blocks: 2)
                for _ in 0..<30 {
                    switch random.index(below: 6) {
                    case 0..<3:
                        if let plain = randomEntry(&random, after: stream.lastID) {
                            append(&stream, plain)
                        }
                    case 3:
                        let left = max(0, stream.count - random.index(below: 15))
                        _ = stream.trim(
                            StreamTrim(.length(left), isApproximate: round % 2 == 0))
                    default:
                        let all = wanted[random.index(below: wanted.count)]
                        _ = stream.remove(all.id)
                    }
                }
            }
            stream.endWalk()
            withExtendedLifetime(walk) {}
            found.sort { $0.base < $1.base }
            #expect(found.flatMap(\.entries) == wanted, "seed \(seed)")
            stream.checkInvariants()
        }
    }
}
