//  The harness itself: transcripts that must pass, and the replies it reads.

import Testing

@testable import MartletEngine

@Suite struct HarnessTests {
    @Test func `a transcript runs in both protocols and every delivery`() {
        expectTranscript(
            """
            > SET k v                     < OK
            > GET k                       < "v"
            b> SET "b c" "\\x00\\r\\n"    < OK
            > GET "b c"
            < "\\x00\\r\\n"
            > GET none                    < (nil)
            > GET                         <~ (error) ERR wrong number*
            @ advance 1000
            # a comment
            > PING                        < PONG
            """)
    }

    @Test func `a transcript with a wrong reply fails`() {
        withKnownIssue { expectTranscript("> PING  < PANG") }
        withKnownIssue { expectTranscript("> PING\n> PING") }
        withKnownIssue { expectTranscript("> PING  < ...") }
    }

    @Test func `a reader shows each type of reply`() {
        let bytes = Array(
            "%1\r\n$1\r\nk\r\n,1.5\r\n~1\r\n#t\r\n=5\r\ntxt:a\r\n(12\r\n_\r\n*-1\r\n>1\r\n:1\r\n"
                .utf8)
        var reader = ReplyReader(bytes)
        var shown: [String] = []
        while let reply = reader.isAtEnd ? nil : reader.next() { shown.append(reply.description) }
        #expect(
            shown == [
                "{\"k\": (double) 1.5}", "~[(true)]", "(txt) \"a\"", "(big) 12", "(nil)", "(nil)",
                ">[(integer) 1]",
            ])
    }
}
