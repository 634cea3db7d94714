//  The reply writer: every type in both protocols, to the byte.

import MartletBase
import Testing

@testable import MartletEngine

/// What `body` writes in RESP2 and in RESP3.
private func written(_ body: (inout ReplyWriter) -> Void) -> [String] {
    [false, true].map { isRESP3 in
        var writer = ReplyWriter()
        writer.isRESP3 = isRESP3
        body(&writer)
        return writer.buffer.view.string
    }
}

/// The same bytes in both protocols.
private func both(_ text: String) -> [String] { [text, text] }

@Suite struct ReplyWriterTests {
    @Test func `strings and errors are the same in both protocols`() {
        #expect(written { $0.ok() } == both("+OK\r\n"))
        #expect(written { $0.simple("PONG") } == both("+PONG\r\n"))
        #expect(written { $0.bulk("" as StaticString) } == both("$0\r\n\r\n"))
        #expect(written { $0.bulk("a\r\nb" as StaticString) } == both("$4\r\na\r\nb\r\n"))
        #expect(
            written { $0.bulk(String(repeating: "x", count: 9)) } == both("$9\r\nxxxxxxxxx\r\n"))
        #expect(written { $0.bulk("0123456789") } == both("$10\r\n0123456789\r\n"))
        #expect(written { $0.error("ERR no") } == both("-ERR no\r\n"))
    }

    @Test func `every length of a bulk string is framed right`() {
        for length in [0, 1, 9, 10, 11, 99, 100, 101, 999, 1000, 65_535, 65_536, 1_000_000] {
            let text = String(repeating: "v", count: length)
            #expect(written { $0.bulk(text) } == both("$\(length)\r\n\(text)\r\n"))
        }
    }

    @Test func `line ends in foreign text become blanks`() {
        let text = "ERR a\r\nb\nc\rd\r\n+OK"
        #expect(written { $0.error(text) } == both("-ERR a  b c d  +OK\r\n"))
        #expect(written { $0.error(text + "\r\n\n") } == both("-ERR a  b c d  +OK\r\n"))
        #expect(
            written { writer in text.withView { writer.simple($0) } }
                == both("+ERR a  b c d  +OK\r\n"))
        #expect(
            written { writer in "1\r\n2".withView { writer.bigNumber($0) } }
                == ["$4\r\n1  2\r\n", "(1  2\r\n"])
    }

    @Test func `integers of every length`() {
        for value: Int64 in [
            0, 1, -1, 9, 10, 99, 100, 12_345, -12_345, .max, .min, 1_000_000_000, 999_999_999,
        ] {
            #expect(written { $0.integer(value) } == both(":\(value)\r\n"))
            let digits = "\(value)"
            #expect(
                written { $0.bulk(decimal: value) }
                    == both("$\(digits.utf8.count)\r\n\(digits)\r\n"))
        }
    }

    @Test func `null is one type in RESP3 and two in RESP2`() {
        #expect(written { $0.null() } == ["$-1\r\n", "_\r\n"])
        #expect(written { $0.nullArray() } == ["*-1\r\n", "_\r\n"])
    }

    @Test func `types that RESP2 lacks fall back as Redis' do`() {
        #expect(written { $0.boolean(true) } == [":1\r\n", "#t\r\n"])
        #expect(written { $0.boolean(false) } == [":0\r\n", "#f\r\n"])
        #expect(written { $0.double(1.5) } == ["$3\r\n1.5\r\n", ",1.5\r\n"])
        #expect(written { $0.double(3) } == ["$1\r\n3\r\n", ",3\r\n"])
        #expect(written { $0.double(.infinity) } == ["$3\r\ninf\r\n", ",inf\r\n"])
        #expect(written { $0.double(-.infinity) } == ["$4\r\n-inf\r\n", ",-inf\r\n"])
        #expect(written { $0.map(3) } == ["*6\r\n", "%3\r\n"])
        #expect(written { $0.set(12) } == ["*12\r\n", "~12\r\n"])
        #expect(written { $0.push(2) } == ["*2\r\n", ">2\r\n"])
        #expect(
            written { writer in "123456789012345678901".withView { writer.bigNumber($0) } }
                == ["$21\r\n123456789012345678901\r\n", "(123456789012345678901\r\n"])
        #expect(
            written { $0.verbatim("Some text") }
                == ["$9\r\nSome text\r\n", "=13\r\ntxt:Some text\r\n"])
        #expect(
            written { $0.verbatim("", format: "mkd") } == ["$0\r\n\r\n", "=4\r\nmkd:\r\n"])
    }

    @Test func `headers of every size`() {
        for count in [0, 1, 9, 10, 11, 99, 100, 65_536, Int(Int32.max)] {
            #expect(written { $0.array(count) } == both("*\(count)\r\n"))
        }
        var writer = ReplyWriter()
        writer.isRESP3 = true
        writer.attribute(1)
        #expect(writer.buffer.view.string == "|1\r\n")
    }

    @Test func `whatever is written, a reader gets it back`() {
        var random = Random(seed: 7)
        for isRESP3 in [false, true] {
            var writer = ReplyWriter()
            writer.isRESP3 = isRESP3
            var expected: [Reply] = []
            for _ in 0..<500 {
                switch random.index(below: 6) {
                case 0:
                    let bytes = random.bytes(random.index(below: 40))
                    bytes.withView { writer.bulk($0) }
                    expected.append(.bulk(bytes))
                case 1:
                    let value = Int64(bitPattern: random.next())
                    writer.integer(value)
                    expected.append(.integer(value))
                case 2:
                    let bytes = random.bytes(random.index(below: 40))
                    bytes.withView { writer.error($0) }
                    var text = bytes
                    while let last = text.last, last == 13 || last == 10 { text.removeLast() }
                    let scrubbed = text.map { $0 == 13 || $0 == 10 ? 32 : $0 }
                    expected.append(.error(String(decoding: scrubbed, as: UTF8.self)))
                case 3:
                    writer.null()
                    expected.append(.null)
                case 4:
                    writer.array(2)
                    writer.ok()
                    writer.nullArray()
                    expected.append(.array([.simple("OK"), .null]))
                default:
                    writer.map(1)
                    writer.bulk("key")
                    writer.boolean(true)
                    expected.append(
                        isRESP3
                            ? .map([.bulk("key"), .boolean(true)])
                            : .array([.bulk("key"), .integer(1)]))
                }
            }
            var reader = ReplyReader(writer.buffer.view.bytes)
            for reply in expected { #expect(reader.next() == reply) }
            #expect(reader.isAtEnd)
        }
    }
}

@Suite struct ErrorReplyTests {
    @Test func `every error has its text, and a code before it`() {
        let errors: [(CommandError, String)] = [
            (.wrongType, "WRONGTYPE Operation against a key holding the wrong kind of value"),
            (.syntax, "ERR syntax error"),
            (.notInteger, "ERR value is not an integer or out of range"),
            (.notFloat, "ERR value is not a valid float"),
            (.noSuchKey, "ERR no such key"),
            (.outOfRange, "ERR index out of range"),
            (.overflow, "ERR increment or decrement would overflow"),
            (
                .stringTooLong,
                "ERR string exceeds maximum allowed size (proto-max-bulk-len)"
            ),
            (.outOfMemory, "OOM command not allowed when used memory > 'maxmemory'."),
            (.sameObject, "ERR source and destination objects are the same"),
            (.invalidCursor, "ERR invalid cursor"),
            (.databaseOutOfRange, "ERR DB index is out of range"),
            (.invalid("why"), "ERR why"),
            (.coded("CODE why"), "CODE why"),
            (.detailed, "ERR made at run time"),
        ]
        for (error, text) in errors {
            var writer = ReplyWriter()
            error.write(to: &writer, detail: ByteView("ERR made at run time"))
            #expect(writer.buffer.view.string == "-\(text)\r\n")
        }
    }

    @Test func `an unknown command is quoted as Redis quotes it`() {
        let client = CommandHarness().client()
        func text(_ arguments: [[UInt8]]) -> [UInt8] {
            client.send(HarnessClient.request(arguments))
            return client.rawReplies()
        }
        func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }
        let long = String(repeating: "x", count: 200)
        // Recorded from redis-server 7.0.15 and 8.2.3: text ends at a zero byte, and other bytes
        // are not looked at.
        let quoted: [UInt8] =
            bytes("-ERR unknown command 'FOO', with args beginning with: 'a' 'c  d' '") + [
                0xFF, 0xFE,
            ]
            + bytes("' '" + String(repeating: "x", count: 112) + "' \r\n")
        #expect(
            text([
                bytes("FOO"), bytes("a\0b"), bytes("c\r\nd"), [0xFF, 0xFE], bytes(long), bytes("y"),
            ]) == quoted)
        #expect(
            text([bytes(long)])
                == bytes(
                    "-ERR unknown command '\(long.prefix(128))', with args beginning with: \r\n"))
        #expect(
            text([bytes("GET\0"), bytes("a")])
                == bytes("-ERR unknown command 'GET', with args beginning with: 'a' \r\n"))
    }
}
