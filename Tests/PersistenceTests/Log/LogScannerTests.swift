//  Files without checksums, as Redis and Valkey write them.

import MartletBase
import MartletPersistence
import Testing

struct LogScannerTests {
    private func scan(
        _ bytes: [UInt8], from start: Int = 0, isLast: Bool = true
    ) throws -> (commands: [UInt8], ending: LogEnding?, count: Int) {
        let storage = RecordingStorage(["log": bytes])
        var scanner = LogScanner(try storage.open("log"), from: start, isLast: isLast)
        var commands: [UInt8] = []
        while let run = try scanner.next() {
            #expect(Array(bytes[run.offset..<(run.offset + run.bytes.count)]) == run.bytes.bytes)
            commands += run.bytes.bytes
        }
        return (commands, scanner.ending, scanner.commandCount)
    }

    private let select = LogModel.command("SELECT", "0")

    @Test func `commands and comments are told apart`() throws {
        let bytes =
            Array("#TS:1700000000\r\n".utf8) + select + Array("#TS:1700000001\r\n".utf8)
            + LogModel.unit(1) + LogModel.unit(4)
        let found = try scan(bytes)
        #expect(found.commands == select + LogModel.unit(1) + LogModel.unit(4))
        #expect(found.ending == .clean)
        #expect(found.count == 6)
        #expect(try scan([]).ending == .clean)
        #expect(try scan(Array("REDIS".utf8) + select, from: 5).commands == select)
    }

    @Test func `a torn end is cut where the last whole unit ends`() throws {
        let bytes = select + LogModel.unit(3) + LogModel.unit(4)
        let edges = [0, select.count, select.count + LogModel.unit(3).count, bytes.count]
        for length in 0...bytes.count {
            let found = try scan(Array(bytes.prefix(length)))
            let edge = try #require(edges.last { $0 <= length })
            #expect(found.commands == Array(bytes.prefix(edge)))
            switch found.ending {
            case .clean: #expect(length == edge)
            case .tail(let cut, let torn, _): #expect(cut == edge && torn == length - edge)
            default: Issue.record("length \(length)")
            }
        }
    }

    @Test func `in a file that others follow a torn end is damage`() throws {
        let bytes = Array((select + LogModel.unit(3)).dropLast(5))
        guard case .damaged(let offset, _, _) = try scan(bytes, isLast: false).ending else {
            Issue.record("not damaged")
            return
        }
        #expect(offset == select.count)
    }

    @Test func `zeros to the end are a tail, anything else in the middle is damage`() throws {
        let zeros = [UInt8](repeating: 0, count: 3000)
        guard case .tail(let cut, 3000, _) = try scan(select + zeros).ending else {
            Issue.record("zeros")
            return
        }
        #expect(cut == select.count)
        for middle in ["x", "*0\r\n", "*1\r\n+OK\r\n", "*-1\r\n", "*1\r\n$-1\r\n", "*1\n$1\na\n"] {
            let found = try scan(select + Array(middle.utf8) + select)
            #expect(found.commands == select)
            guard case .damaged(let offset, _, _) = found.ending else {
                Issue.record("\(middle)")
                continue
            }
            #expect(offset == select.count)
        }
    }

    @Test func `a length that the file does not have asks for no memory`() throws {
        let found = try scan(select + Array("*1\r\n$99999999999\r\nabc".utf8))
        guard case .tail(let cut, _, _) = found.ending else {
            Issue.record("not a tail")
            return
        }
        #expect(cut == select.count)
    }

    @Test func `commands and transactions larger than what is read at once are whole`() throws {
        let value = [UInt8](repeating: 7, count: 3 << 20)
        let large = LogModel.command([Array("SET".utf8), [0x6B], value])
        let transaction = LogModel.command("MULTI") + large + large + LogModel.command("exec")
        let bytes = select + transaction + large + select
        let found = try scan(bytes)
        #expect(found.commands == bytes)
        #expect(found.ending == .clean)
        let torn = try scan(Array(bytes.prefix(select.count + transaction.count - 1)))
        #expect(torn.commands == select)
    }

    @Test func `groups without the first line are damage`() throws {
        let bytes = select + Array("#CRC:0:\(select.count):0123456789abcdef:0\r\n".utf8)
        guard case .damaged(0, _, _) = try scan(bytes).ending else {
            Issue.record("not damaged")
            return
        }
    }
}
