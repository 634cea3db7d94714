//  The request parser: every split, every limit, every malformed form.
//
//  Where a test compares with Redis, the replies were recorded from redis-server 7.0.15 and 8.2.3;
//  line ends are checked as Valkey 9.1 does.

import MartletBase
import Testing

@testable import MartletEngine

/// What a parser made of some bytes.
private struct Parsed {
    var requests: [[[UInt8]]] = []
    var failure: ProtocolError?
    /// Bytes of whole requests.
    var consumed = 0
    /// What the parser asked for, from the first byte that was not consumed; 0 for "any more".
    var bytesNeeded = 0
}

/// Parses `bytes` from `start` on until they end or fail.
private func parse(
    _ bytes: [UInt8], from start: Int = 0, _ limits: RequestLimits = RequestLimits()
) -> Parsed {
    bytes.withView { view in
        var parsed = Parsed(consumed: start)
        var store = ArgumentStore()
        var parser = RequestParser(from: start, limits)
        while parser.position < view.count {
            store.removeAll()
            let count = parser.next(view, into: &store)
            if count == RequestParser.stopped { break }
            if count > 0 {
                #expect(store.count == count)
                parsed.requests.append((0..<count).map { unsafe store.views[$0].bytes })
            }
        }
        parsed.consumed = parser.position
        parsed.failure = parser.failure
        if parser.bytesNeeded > 0 && parser.bytesNeeded != Int.max {
            parsed.bytesNeeded = parser.bytesNeeded - parser.position
        }
        return parsed
    }
}

private func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

/// The replies to bytes that arrive in one piece, and whether the connection was closed.
private func answer(_ input: [UInt8], gate: SessionGate = []) -> String {
    let client = CommandHarness().client()
    client.gate = gate
    client.send(input)
    return String(decoding: client.rawReplies(), as: UTF8.self) + (client.isClosed ? "closed" : "")
}

@Suite struct RequestParserTests {
    // MARK: Splits

    /// Pipelines with all that a request may look like.
    private static let pipelines: [[UInt8]] = [
        bytes("*1\r\n$4\r\nPING\r\n"),
        bytes("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$0\r\n\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"),
        bytes("PING\r\nECHO \"a b\" 'c\\'d'\n\r\n*1\r\n$4\r\nPING\r\n\n  \r\nGET k\r\n"),
        bytes("*0\r\n*-1\r\n*1\r\n$4\r\nPING\r\n*-10\r\n"),
        bytes("*2\r\n$4\r\nECHO\r\n$12\r\n*1\r\n$4\r\nPING\r\n*1\r\n$0\r\n\r\n"),
        bytes("*2\r\n$4\r\nECHO\r\n$4\r\n\r\n\r\n\r\n"),
        bytes("*12\r\n$1\r\na\r\n") + (0..<11).flatMap { bytes("$2\r\n1\($0 % 10)\r\n") },
        bytes("*2\r\n$4\r\nECHO\r\n$100\r\n") + [UInt8](repeating: 0, count: 100) + [13, 10],
    ]

    @Test(arguments: pipelines)
    func `a pipeline cut anywhere gives the same requests`(_ pipeline: [UInt8]) {
        let whole = parse(pipeline)
        #expect(whole.failure == nil)
        #expect(whole.consumed == pipeline.count)
        #expect(!whole.requests.isEmpty)
        for cut in 0...pipeline.count {
            let first = parse(Array(pipeline[..<cut]))
            #expect(first.failure == nil, "cut at \(cut)")
            let second = parse(pipeline, from: first.consumed)
            #expect(first.requests + second.requests == whole.requests, "cut at \(cut)")
        }
    }

    @Test(arguments: pipelines)
    func `the parser never asks for more than the request has`(_ pipeline: [UInt8]) {
        // Where each request ends: the shortest prefixes of which more is consumed.
        var ends: [Int] = []
        for length in 0...pipeline.count {
            let consumed = parse(Array(pipeline[..<length])).consumed
            if consumed > (ends.last ?? 0) { ends.append(consumed) }
        }
        for length in 1...pipeline.count {
            let parsed = parse(Array(pipeline[..<length]))
            guard parsed.bytesNeeded > 0, let end = ends.first(where: { $0 > parsed.consumed })
            else { continue }
            #expect(parsed.consumed + parsed.bytesNeeded <= end, "after \(length) bytes")
            #expect(parsed.bytesNeeded > length - parsed.consumed, "after \(length) bytes")
        }
    }

    @Test(arguments: pipelines)
    func `one byte more or less at the end changes no earlier request`(_ pipeline: [UInt8]) {
        let whole = parse(pipeline)
        let shorter = parse(Array(pipeline.dropLast()))
        #expect(Array(whole.requests.prefix(shorter.requests.count)) == shorter.requests)
        let longer = parse(pipeline + bytes("*"))
        #expect(longer.requests == whole.requests)
        #expect(longer.consumed == pipeline.count)
    }

    @Test func `random pipelines survive random cuts`() {
        let seed = testSeed()
        var random = Random(seed: seed)
        for _ in 0..<300 {
            var expected: [[[UInt8]]] = []
            var pipeline: [UInt8] = []
            for _ in 0..<(1 + random.index(below: 6)) {
                let count = 1 + random.index(below: 5)
                let request = (0..<count).map { _ in
                    random.bytes(random.index(below: random.index(below: 10) == 0 ? 5000 : 12))
                }
                expected.append(request)
                pipeline += HarnessClient.request(request)
            }
            var seen: [[[UInt8]]] = []
            var consumed = 0
            var length = 0
            while length < pipeline.count {
                length = min(pipeline.count, length + 1 + random.index(below: 4000))
                let parsed = parse(Array(pipeline[..<length]), from: consumed)
                #expect(parsed.failure == nil, "seed \(seed)")
                seen += parsed.requests
                consumed = parsed.consumed
            }
            #expect(seen == expected, "seed \(seed)")
        }
    }

    // MARK: Large requests

    @Test func `a request of many arguments that comes in pieces is looked at once`() {
        let request = HarnessClient.request(
            [bytes("ECHO")] + (0..<20_000).map { bytes("argument \($0)") })
        var partial = PartialRequest()
        var looks = 0
        for length in stride(from: 1000, to: request.count, by: 777) {
            request.withView { all in
                let view = all.slice(0, length)
                var parser = RequestParser(from: 0, RequestLimits())
                if partial.argumentsLeft > 0 {
                    let isWhole = parser.isWhole(view, partial)
                    #expect(!isWhole)
                    #expect(parser.partial.offset >= partial.offset)
                } else {
                    var store = ArgumentStore()
                    let count = parser.next(view, into: &store)
                    #expect(count == RequestParser.stopped)
                    looks += 1
                }
                #expect(parser.failure == nil)
                #expect(parser.bytesNeeded > length && parser.bytesNeeded <= request.count)
                partial = parser.partial
            }
        }
        // Only while the request was small.
        #expect(looks * 777 <= RequestParser.partialBytesMin)
        request.withView { view in
            var parser = RequestParser(from: 0, RequestLimits())
            let isWhole = parser.isWhole(view, partial)
            #expect(isWhole)
            var store = ArgumentStore()
            let count = parser.next(view, into: &store)
            #expect(count == 20_001)
        }
    }

    @Test func `a large request in pieces is executed whole, and a wrong one refused`() {
        let arguments = (0..<9000).flatMap { [bytes("key \($0)"), bytes("value \($0)")] }
        for isWrong in [false, true] {
            var request = HarnessClient.request([bytes("ECHO")] + arguments)
            if isWrong { request[request.count - 2] = UInt8(ascii: "?") }
            request += HarnessClient.request([bytes("PING")])
            let client = CommandHarness().client()
            for start in stride(from: 0, to: request.count, by: 1000) {
                if client.isClosed { break }
                client.send(Array(request[start..<min(start + 1000, request.count)]))
            }
            let replies = client.replies()
            if isWrong {
                #expect(replies.count == 1 && client.isClosed)
                #expect(replies[0].text?.hasPrefix("ERR Protocol error") == true)
            } else {
                #expect(
                    replies == [
                        .error("ERR wrong number of arguments for 'echo' command"),
                        .simple("PONG"),
                    ])
            }
        }
    }

    @Test func `a wrong argument of a partial request ends the wait`() {
        for wrong in ["$x\r\n", "!1\r\n", "$-2\r\n", "$1\r\nabc", "$1\rx", "$600000000\r\n"] {
            let good = bytes("*5000\r\n") + (0..<3000).flatMap { _ in bytes("$1\r\na\r\n") }
            let partial = good.withView { view in
                var parser = RequestParser(from: 0, RequestLimits())
                var store = ArgumentStore()
                _ = parser.next(view, into: &store)
                return parser.partial
            }
            #expect(partial.argumentsLeft == 2000)
            (good + bytes(wrong)).withView { view in
                var parser = RequestParser(from: 0, RequestLimits())
                let isWhole = parser.isWhole(view, partial)
                #expect(isWhole, "\(wrong)")
                var store = ArgumentStore()
                let count = parser.next(view, into: &store)
                #expect(count == RequestParser.stopped)
                #expect(parser.failure != nil, "\(wrong)")
            }
        }
    }

    @Test func `the greatest lengths do not overflow`() {
        var limits = RequestLimits()
        limits.bulkBytesMax = Int.max
        for length in [Int.max, Int.max - 1, Int.max - 2, Int.max - 3, Int.max - 100] {
            let parsed = parse(bytes("*2147483647\r\n$\(length)\r\nabc\r\n"), limits)
            #expect(parsed.requests.isEmpty && parsed.failure == nil)
            #expect(parsed.bytesNeeded > 0)
        }
    }

    // MARK: Limits

    @Test func `limits hold to the byte`() {
        var limits = RequestLimits()
        limits.bulkBytesMax = 10
        #expect(parse(bytes("*1\r\n$10\r\n0123456789\r\n"), limits).requests.count == 1)
        #expect(
            parse(bytes("*1\r\n$11\r\n0123456789a\r\n"), limits).failure == .invalidBulkLength)
        limits.argumentsMax = 3
        #expect(parse(bytes("*3\r\n"), limits).failure == nil)
        #expect(parse(bytes("*4\r\n"), limits).failure == .invalidMultibulkLength)
        #expect(parse(bytes("*2147483647\r\n")).failure == nil)
        #expect(parse(bytes("*2147483648\r\n")).failure == .invalidMultibulkLength)
        #expect(parse(bytes("*1\r\n$536870912\r\n")).failure == nil)
        #expect(parse(bytes("*1\r\n$536870913\r\n")).failure == .invalidBulkLength)
    }

    @Test func `a line without an end is given up at 64 kilobytes`() {
        let line = [UInt8](repeating: UInt8(ascii: "1"), count: Limits.inlineBytesMax)
        #expect(parse(line).failure == nil)
        #expect(parse(line + [0x31]).failure == .tooBigInlineRequest)
        #expect(parse(bytes("*") + line).failure == nil)
        #expect(parse(bytes("*") + line + [0x31]).failure == .tooBigMultibulkCount)
        #expect(parse(bytes("*1\r\n$") + line).failure == nil)
        #expect(parse(bytes("*1\r\n$") + line + [0x31]).failure == .tooBigBulkCount)
        // One that is there whole was read already, and is executed.
        #expect(parse(line + line + bytes("\r\n")).requests.count == 1)
    }

    @Test func `before a password little is accepted`() {
        var limits = RequestLimits()
        limits.isAuthenticated = false
        let ten = HarnessClient.request((0..<10).map { bytes("\($0)") })
        #expect(parse(ten, limits).requests.count == 1)
        #expect(parse(bytes("*11\r\n"), limits).failure == .unauthenticatedMultibulkLength)
        #expect(parse(bytes("*2147483648\r\n"), limits).failure == .invalidMultibulkLength)
        let longest = HarnessClient.request([[UInt8](repeating: 0x61, count: 16_384)])
        #expect(parse(longest, limits).requests.count == 1)
        #expect(
            parse(bytes("*2\r\n$1\r\na\r\n$16385\r\n"), limits).failure
                == .unauthenticatedBulkLength)
        #expect(parse(bytes("*1\r\n$536870913\r\n"), limits).failure == .invalidBulkLength)
        #expect(parse(bytes("*1\r\n$-1\r\n"), limits).failure == .invalidBulkLength)
        #expect(parse(bytes("*1\r\nx"), limits).failure == .expectedBulk(UInt8(ascii: "x")))
    }

    @Test func `a command behind AUTH has the limits of its time`() {
        let client = CommandHarness().client()
        client.gate = .unauthenticated
        client.send(bytes("*1\r\n$4\r\nPING\r\n*11\r\n") + bytes("$1\r\na\r\n"))
        #expect(
            String(decoding: client.rawReplies(), as: UTF8.self)
                == "-NOAUTH Authentication required.\r\n"
                + "-ERR Protocol error: unauthenticated multibulk length\r\n")
        #expect(client.isClosed)
    }

    // MARK: Malformed

    @Test func `each malformed request gets Redis' words and the end`() {
        let long = String(repeating: "1", count: 70_000)
        let cases: [(String, String)] = [
            ("*x\r\n", "invalid multibulk length"),
            ("*3x\r\n", "invalid multibulk length"),
            ("*\r\n", "invalid multibulk length"),
            ("*+3\r\n", "invalid multibulk length"),
            ("*03\r\n", "invalid multibulk length"),
            ("*-0\r\n", "invalid multibulk length"),
            ("* 3\r\n", "invalid multibulk length"),
            ("*9223372036854775808\r\n", "invalid multibulk length"),
            ("*2147483648\r\n", "invalid multibulk length"),
            ("*" + long, "too big mbulk count string"),
            ("*1\r\n$-1\r\n", "invalid bulk length"),
            ("*1\r\n$-9223372036854775808\r\n", "invalid bulk length"),
            ("*1\r\n$x\r\n", "invalid bulk length"),
            ("*1\r\n$\r\n", "invalid bulk length"),
            ("*1\r\n$04\r\nPING\r\n", "invalid bulk length"),
            ("*1\r\n$536870913\r\n", "invalid bulk length"),
            ("*1\r\n$" + long, "too big bulk count string"),
            ("*1\r\nPING\r\n", "expected '$', got 'P'"),
            ("*1\r\n\r\n", "expected '$', got ' '"),
            ("*1\r\n\n", "expected '$', got ' '"),
            ("*2\r\n$1\r\nA\r\n:1\r\n", "expected '$', got ':'"),
            ("*1\r\n$4\r\nPINGxx", "invalid CRLF in request"),
            ("*1\r\n$4\r\nPING\n\r", "invalid CRLF in request"),
            ("*1\rx$4\r\nPING\r\n", "invalid CRLF in request"),
            ("*1\r\n$4\rxPING\r\n", "invalid CRLF in request"),
            ("ECHO \"abc\r\n", "unbalanced quotes in request"),
            ("ECHO 'abc\r\n", "unbalanced quotes in request"),
            ("ECHO \"a\"b\r\n", "unbalanced quotes in request"),
            ("ECHO 'a\\\r\n", "unbalanced quotes in request"),
            ("ECHO \"a\\\r\n", "unbalanced quotes in request"),
            ("A" + long, "too big inline request"),
        ]
        for (input, words) in cases {
            let shown = String(input.prefix(40)).debugDescription
            #expect(
                answer(bytes(input)) == "-ERR Protocol error: \(words)\r\nclosed", "\(shown)")
            // The error follows the replies to what came before it, and nothing follows the error.
            #expect(
                answer(bytes("PING\r\n*1\r\n$4\r\nPING\r\n" + input))
                    == "+PONG\r\n+PONG\r\n-ERR Protocol error: \(words)\r\nclosed", "\(shown)")
            if !input.hasPrefix("A") && !input.contains(long) {
                #expect(
                    answer(bytes(input + "PING\r\n")).components("PONG") == 0, "\(shown)")
            }
        }
    }

    @Test func `what is incomplete is waited for`() {
        for input in [
            "*", "*1", "*1\r", "*1\r\n", "*1\r\n$", "*1\r\n$4", "*1\r\n$4\r", "*1\r\n$4\r\n",
            "*1\r\n$4\r\nPIN", "*1\r\n$4\r\nPING", "*1\r\n$4\r\nPING\r", "PING", "PING\r", "\"a",
            "*1\n$4\nPING\n",
        ] {
            #expect(answer(bytes(input)) == "", "\(input.debugDescription)")
        }
    }

    @Test func `a browser is turned away without a word`() {
        #expect(answer(bytes("POST / HTTP/1.1\r\nPING\r\n")) == "closed")
        #expect(answer(bytes("host: example\r\n")) == "closed")
        #expect(answer(bytes("*2\r\n$4\r\nPOST\r\n$1\r\n/\r\n")) == "closed")
        #expect(answer(bytes("*1\r\n$5\r\nhost:\r\n")) == "closed")
        #expect(answer(bytes("POST / HTTP/1.1\r\n"), gate: .unauthenticated) == "closed")
        #expect(answer(bytes("POSTS\r\n")).hasPrefix("-ERR unknown command 'POSTS'"))
    }

    // MARK: Inline requests

    @Test func `inline arguments are split as redis-server splits them`() {
        let cases: [(String, [String])] = [
            ("a b  c\td\u{B}e\u{C}f", ["a", "b", "c", "d", "e", "f"]),
            ("  a  ", ["a"]),
            ("\"a b\" 'c d'", ["a b", "c d"]),
            ("a\"b\" a'b'", ["ab", "ab"]),
            ("\"\" ''", ["", ""]),
            (#""a\x41\n\r\t\b\a\q\xZZ\\\"""#, ["aA\n\r\t\u{8}\u{7}qxZZ\\\""]),
            (#"'a\'b\n\x41'"#, [#"a'b\n\x41"#]),
            (#"a\n "\x4" "\xaF""#, [#"a\n"#, "x4"]),
            ("a\0b c", ["a"]),
            ("\"a\"\0b", ["a"]),
            ("\0", []),
        ]
        for (line, expected) in cases {
            let parsed = parse(bytes(line + "\r\n"))
            #expect(parsed.failure == nil, "\(line)")
            // The last word of the eighth line is not text.
            let words = parsed.requests.first?.prefix(expected.count) ?? []
            #expect(words.map { String(decoding: $0, as: UTF8.self) } == expected, "\(line)")
        }
        #expect(parse(bytes("\"\\xaF\\xff\"\n")).requests == [[[0xAF, 0xFF]]])
        #expect(parse(bytes("\"a\0b\"\n")).failure == .unbalancedQuotes)
    }

    @Test func `empty lines are skipped, and a lone line feed ends one`() {
        #expect(answer(bytes("\r\n\n  \r\n\t\nPING\nPING\r\n")) == "+PONG\r\n+PONG\r\n")
        #expect(
            answer(bytes("\"\" a\r\n"))
                == "-ERR unknown command '', with args beginning with: 'a' \r\n")
    }

    @Test func `inline and framed requests mix in one pipeline`() {
        let ping = "*1\r\n$4\r\nPING\r\n"
        let input = "ECHO 1\r\n" + ping + "ECHO 2\r\nECHO \"3 4\"\r\n" + ping + ping + "PING 5\r\n"
        #expect(
            answer(bytes(input))
                == "$1\r\n1\r\n+PONG\r\n$1\r\n2\r\n$3\r\n3 4\r\n+PONG\r\n+PONG\r\n$1\r\n5\r\n")
    }
}

extension String {
    /// How often `part` occurs.
    fileprivate func components(_ part: String) -> Int {
        var count = 0
        var rest = Substring(self)
        while let range = rest.firstRange(of: part) {
            count += 1
            rest = rest[range.upperBound...]
        }
        return count
    }
}
