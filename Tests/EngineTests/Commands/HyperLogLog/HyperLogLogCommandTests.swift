//  The PF commands through the executor.

import MartletBase
import Testing

@testable import MartletEngine

struct HyperLogLogCommandTests {
    @Test func `elements are counted, values merged`() {
        expectTranscript(
            """
            > PFADD h a b c                   < (integer) 1
            > PFADD h a b c                   < (integer) 0
            > PFADD h                         < (integer) 0
            > PFADD empty                     < (integer) 1
            > PFCOUNT h                       < (integer) 3
            > PFCOUNT empty                   < (integer) 0
            > PFCOUNT nosuch                  < (integer) 0
            > PFADD other c d                 < (integer) 1
            > PFCOUNT h other nosuch          < (integer) 4
            > PFMERGE h other nosuch          < OK
            > PFCOUNT h                       < (integer) 4
            > PFMERGE new                     < OK
            > PFCOUNT new                     < (integer) 0
            > TYPE h                          < string
            > PFDEBUG ENCODING h              < sparse
            > PFDEBUG TODENSE h               < (integer) 1
            > PFDEBUG TODENSE h               < (integer) 0
            > PFDEBUG ENCODING h              < dense
            > STRLEN h                        < (integer) 12304
            > PFCOUNT h                       < (integer) 4
            > PFADD h e                       < (integer) 1
            > PFCOUNT h                       < (integer) 5
            > PFDEBUG DECODE empty            < "Z:16384"
            > PFDEBUG DECODE h                < (error) ERR HLL encoding is not sparse
            > PFDEBUG DECODE nosuch           < (error) ERR The specified key does not exist
            > PFDEBUG FOO h                   < (error) ERR Unknown PFDEBUG subcommand 'FOO'
            > PFSELFTEST                      < OK
            """)
    }

    @Test func `what is no HyperLogLog is refused`() {
        expectTranscript(
            """
            > SET s text                      < OK
            > PFADD s a
                < (error) WRONGTYPE Key is not a valid HyperLogLog string value.
            > PFCOUNT s
                < (error) WRONGTYPE Key is not a valid HyperLogLog string value.
            > SET s 12                        < OK
            > PFMERGE d s
                < (error) WRONGTYPE Key is not a valid HyperLogLog string value.
            > RPUSH l a                       < (integer) 1
            > PFADD l a
                < (error) WRONGTYPE Operation against a key holding the wrong kind of value
            > PFADD h a                       < (integer) 1
            > APPEND h xx                     < (integer) 23
            > PFCOUNT h
                < (error) INVALIDOBJ Corrupted HLL object detected
            > PFMERGE d h
                < (error) INVALIDOBJ Corrupted HLL object detected
            > EXISTS d                        < (integer) 0
            """)
    }

    @Test func `deadlines stay, values turn dense, and counting touches watchers`() {
        let server = CommandHarness()
        let client = server.client()
        client.run("PFADD", "h", "a")
        client.run("EXPIRE", "h", "100")
        for number in 0..<3_000 { client.run("PFADD", "h", "e\(number)") }
        #expect(client.run("TTL", "h") == .integer(100))
        #expect(client.run("PFDEBUG", "ENCODING", "h") == .simple("dense"))
        let other = server.client()
        other.run("WATCH", "h")
        other.run("MULTI")
        other.run("PING")
        client.run("PFCOUNT", "h")
        #expect(other.run("EXEC") == .null)
        server.checkPartitions()
    }
}
