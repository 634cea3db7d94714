//  The reply scanner, fed in every way the network may cut its bytes.

import Testing

@testable import LoadGenerator

@Suite struct ReplyScannerTests {
    private struct Outcome: Equatable {
        var replies = 0
        var errors = 0
        var nulls = 0
        var isMalformed = false
        var isBetweenReplies = true
        var texts: [String] = []
    }

    private func scan(_ pieces: [ArraySlice<UInt8>]) -> Outcome {
        var scanner = ReplyScanner()
        var texts = ErrorTexts()
        var outcome = Outcome()
        for piece in pieces {
            let bytes = Array(piece)
            unsafe bytes.withUnsafeBytes { raw in
                guard let base = raw.baseAddress else { return }
                unsafe outcome.replies += scanner.scan(base, count: raw.count, errorTexts: &texts)
            }
        }
        outcome.errors = scanner.errors
        outcome.nulls = scanner.nulls
        outcome.isMalformed = scanner.isMalformed
        outcome.isBetweenReplies = scanner.isBetweenReplies
        outcome.texts = texts.texts
        return outcome
    }

    /// A stream, its replies, errors and nulls.
    private static let streams: [(String, replies: Int, errors: Int, nulls: Int)] = [
        ("+OK\r\n", 1, 0, 0),
        (":12\r\n:-3\r\n", 2, 0, 0),
        ("$3\r\nfoo\r\n$0\r\n\r\n", 2, 0, 0),
        ("$-1\r\n*-1\r\n_\r\n", 3, 0, 3),
        ("$13\r\n+OK\r\n$3\r\n-E\r\n\r\n+OK\r\n", 2, 0, 0),
        ("*0\r\n*2\r\n$1\r\na\r\n:1\r\n", 2, 0, 0),
        ("*2\r\n*2\r\n:1\r\n*0\r\n*1\r\n$-1\r\n+x\r\n", 2, 0, 1),
        ("*3\r\n*-1\r\n$-1\r\n-ERR inner\r\n", 1, 1, 2),
        ("-ERR no\r\n+OK\r\n-WRONGTYPE x\r\n", 3, 2, 0),
        ("%2\r\n+a\r\n:1\r\n+b\r\n*1\r\n:2\r\n", 1, 0, 0),
        ("~2\r\n+a\r\n#t\r\n,3.5\r\n(123456789012345678901234567890\r\n", 3, 0, 0),
        ("=7\r\ntxt:foo\r\n!7\r\nERR bad\r\n", 2, 1, 0),
        (">2\r\n+message\r\n+x\r\n+OK\r\n", 1, 0, 0),
        ("|1\r\n+ttl\r\n:3\r\n$3\r\nfoo\r\n", 1, 0, 0),
        ("*1\r\n|1\r\n+ttl\r\n:3\r\n$3\r\nfoo\r\n:1\r\n", 2, 0, 0),
        ("*1\r\n%1\r\n+a\r\n~1\r\n=5\r\nmkd:x\r\n+OK\r\n", 2, 0, 0),
    ]

    @Test(arguments: 0..<16)
    func `a stream gives the same replies wherever it is split`(index: Int) {
        let stream = ReplyScannerTests.streams[index]
        let bytes = Array(stream.0.utf8)
        let whole = scan([bytes[...]])
        #expect(whole.replies == stream.replies)
        #expect(whole.errors == stream.errors)
        #expect(whole.nulls == stream.nulls)
        #expect(!whole.isMalformed)
        #expect(whole.isBetweenReplies)
        for first in 0...bytes.count {
            for second in first...bytes.count {
                #expect(scan([bytes[..<first], bytes[first..<second], bytes[second...]]) == whole)
            }
        }
        #expect(scan(bytes.indices.map { bytes[$0...$0] }) == whole)
    }

    @Test func `all streams in a row, at random splits`() {
        let joined = ReplyScannerTests.streams.map(\.0).joined()
        let bytes = Array(joined.utf8)
        let whole = scan([bytes[...]])
        #expect(whole.replies == ReplyScannerTests.streams.reduce(0) { $0 + $1.replies })
        var random = RandomBits(seed: 5)
        for _ in 0..<500 {
            var pieces: [ArraySlice<UInt8>] = []
            var at = 0
            while at < bytes.count {
                let end = min(bytes.count, at + 1 + Int(random.below(40)))
                pieces.append(bytes[at..<end])
                at = end
            }
            #expect(scan(pieces) == whole)
        }
    }

    @Test func `an incomplete reply is no reply`() {
        let bytes = Array("*2\r\n$3\r\nfoo\r\n:1\r\n".utf8)
        for end in 1..<bytes.count {
            let outcome = scan([bytes[..<end]])
            #expect(outcome.replies == 0)
            #expect(!outcome.isBetweenReplies)
        }
    }

    @Test(arguments: [
        "HTTP/1.1\r\n", "$x\r\n", "$\r\n", "*1x\r\n", "$99999999999999999999\r\n", "$--1\r\n",
    ])
    func `what is not RESP is told`(text: String) {
        #expect(scan([Array(text.utf8)[...]]).isMalformed)
    }

    @Test func `the first different error texts are kept`() {
        let stream = "-ERR a\r\n-ERR a\r\n-ERR b\r\n-ERR c\r\n-ERR d\r\n"
        let outcome = scan([Array(stream.utf8)[...]])
        #expect(outcome.errors == 5)
        #expect(outcome.texts == ["ERR a", "ERR b", "ERR c"])
    }
}
