//  The X commands without groups through the executor: replies of both protocols, memory, events.

import MartletBase
import Testing

@testable import MartletEngine

struct StreamCommandTests {
    @Test func `entries are added, counted and read by range`() {
        expectTranscript(
            """
            > XADD s 1-1 f v                  < "1-1"
            > XADD s 1-2 f w g 12             < "1-2"
            > XADD s 1-* f x                  < "1-3"
            > XADD s 2-* f x                  < "2-0"
            > XADD s 5 f x                    < "5-0"
            > XLEN s                          < (integer) 5
            > XLEN nosuch                     < (integer) 0
            > TYPE s                          < stream
            > OBJECT ENCODING s               < "stream"
            > XRANGE s - + COUNT 2
                < [["1-1", ["f", "v"]], ["1-2", ["f", "w", "g", "12"]]]
            > XRANGE s (1-2 2                 < [["1-3", ["f", "x"]], ["2-0", ["f", "x"]]]
            > XRANGE s 1 (1-2                 < [["1-1", ["f", "v"]]]
            > XREVRANGE s + - COUNT 1         < [["5-0", ["f", "x"]]]
            > XREVRANGE s 2 2                 < [["2-0", ["f", "x"]]]
            > XRANGE s 5-1 +                  < []
            > XRANGE nosuch - +               < []
            > XRANGE s - + COUNT -1           < (nil)
            > XRANGE s - + COUNT x
                < (error) ERR value is not an integer or out of range
            > XRANGE s - + COUNT              < (error) ERR syntax error
            > XRANGE s a +
                < (error) ERR Invalid stream ID specified as stream command argument
            > XRANGE s (18446744073709551615-18446744073709551615 +
                < (error) ERR invalid start ID for the interval
            > XRANGE s - (0-0
                < (error) ERR invalid end ID for the interval
            """)
    }

    @Test func `XADD says what is wrong`() {
        expectTranscript(
            """
            > XADD s 0-0 f v
                < (error) ERR The ID specified in XADD must be greater than 0-0
            > EXISTS s                        < (integer) 0
            > XADD s 5-5 f v                  < "5-5"
            > XADD s 5-5 f v
                < (error) ERR The ID specified in XADD is equal or smaller than the target stream top item
            > XADD s 4-* f v
                < (error) ERR The ID specified in XADD is equal or smaller than the target stream top item
            > XADD s 6-1 f                    < (error) ERR wrong number of arguments for 'xadd' command
            > XADD s 6-1 f v g                < (error) ERR wrong number of arguments for 'xadd' command
            > XADD s MAXLEN 5 NOMKSTREAM f v
                < (error) ERR Invalid stream ID specified as stream command argument
            > XADD s MAXLEN 5 MINID 5 * f v
                < (error) ERR syntax error, MAXLEN and MINID options at the same time are not compatible
            > XADD s MAXLEN -1 * f v          < (error) ERR The MAXLEN argument must be >= 0.
            > XADD s MAXLEN 5 LIMIT 3 * f v
                < (error) ERR syntax error, LIMIT cannot be used without the special ~ option
            > XADD s LIMIT 3 * f v
                < (error) ERR syntax error, LIMIT cannot be used without specifying a trimming strategy
            > XADD nosuch NOMKSTREAM 1-1 f v  < (nil)
            > XADD t 0-* f v                  < "0-1"
            > XADD t 18446744073709551615-18446744073709551615 f v
                < "18446744073709551615-18446744073709551615"
            > XADD t * f v
                < (error) ERR The stream has exhausted the last possible ID, unable to add more items
            > XADD u 7-18446744073709551615 f v   < "7-18446744073709551615"
            > XADD u 7-* f v
                < (error) ERR The ID specified in XADD is equal or smaller than the target stream top item
            > SET string v                    < OK
            > XADD string * f v
                < (error) WRONGTYPE Operation against a key holding the wrong kind of value
            """)
    }

    @Test func `entries are deleted and trimmed`() {
        expectTranscript(
            """
            > XADD s 1-1 f v                  < "1-1"
            > XADD s 2-1 f v                  < "2-1"
            > XADD s 3-1 f v                  < "3-1"
            > XADD s 4-1 f v                  < "4-1"
            > XDEL s 2-1 2-1 9-9              < (integer) 1
            > XDEL s 1-1 x
                < (error) ERR Invalid stream ID specified as stream command argument
            > XDEL nosuch x                   < (integer) 0
            > XLEN s                          < (integer) 3
            > XTRIM s MAXLEN = 2              < (integer) 1
            > XTRIM s MINID 4                 < (integer) 1
            > XTRIM s MAXLEN ~ 0              < (integer) 1
            > XTRIM nosuch MAXLEN 0           < (integer) 0
            > EXISTS s                        < (integer) 1
            > XLEN s                          < (integer) 0
            > XADD s 3-3 f v
                < (error) ERR The ID specified in XADD is equal or smaller than the target stream top item
            > XTRIM s MAXLEN 0 x              < (error) ERR syntax error
            > XTRIM s KEEPREF LIMIT 0
                < (error) ERR syntax error, XTRIM must be called with a trimming strategy
            > XTRIM s KEEPREF KEEPREF         < (error) ERR syntax error
            > XADD s MAXLEN 1 5-1 f v         < "5-1"
            > XADD s MAXLEN 1 6-1 f v         < "6-1"
            > XRANGE s - +                    < [["6-1", ["f", "v"]]]
            """)
    }

    @Test func `XSETID moves what the next ID follows upon`() {
        expectTranscript(
            """
            > XSETID s 1-1                    < (error) ERR no such key
            > XADD s 1-1 f v                  < "1-1"
            > XADD s 5-1 f v                  < "5-1"
            > XDEL s 5-1                      < (integer) 1
            > XSETID s 4-1
                < (error) ERR The ID specified in XSETID is smaller than current max_deleted_entry_id
            > XSETID s 7-1 ENTRIESADDED 9 MAXDELETEDID 6-1   < OK
            > XADD s 7-* f v                  < "7-2"
            > XSETID s 7-1
                < (error) ERR The ID specified in XSETID is smaller than the target stream top item
            > XSETID s 8-1 ENTRIESADDED 1
                < (error) ERR The entries_added specified in XSETID is smaller than the target stream length
            > XSETID s 8-1 ENTRIESADDED -1    < (error) ERR entries_added must be positive
            > XSETID s 8-1 MAXDELETEDID 9-1
                < (error) ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id
            > XSETID s 8-1 x                  < (error) ERR syntax error
            """)
    }

    @Test func `XREAD says what is wrong`() {
        expectTranscript(
            """
            > XADD s 1-1 f v                  < "1-1"
            > XADD s 2-1 f w                  < "2-1"
            > XADD t 1-1 g v                  < "1-1"
            > XREAD STREAMS s 2-1             < (nil)
            > XREAD STREAMS s $               < (nil)
            > XREAD STREAMS nosuch 0          < (nil)
            > XREAD STREAMS s
                < (error) ERR wrong number of arguments for 'xread' command
            > XREAD STREAMS s t 0
                < (error) ERR Unbalanced 'xread' list of streams: for each stream key an ID, '+', or '$' must be specified.
            > XREAD STREAMS s >
                < (error) ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> option.
            > XREAD NOACK STREAMS s 0
                < (error) ERR The NOACK option is only supported by XREADGROUP. You called XREAD instead.
            > XREAD GROUP g c STREAMS s 0
                < (error) ERR The GROUP option is only supported by XREADGROUP. You called XREAD instead.
            > XREAD BLOCK -1 STREAMS s 0      < (error) ERR timeout is negative
            > XREAD BLOCK x STREAMS s 0
                < (error) ERR timeout is not an integer or out of range
            > XREAD COUNT 1 BLOCK 0           < (error) ERR syntax error
            """)
    }

    @Test func `XREAD replies with what is there, in RESP3 as a map`() {
        let server = CommandHarness()
        let old = server.client()
        let client = server.client(isRESP3: true)
        client.run("XADD", "s", "1-1", "f", "v")
        let entries = Reply.array([.array([.bulk("1-1"), .array([.bulk("f"), .bulk("v")])])])
        #expect(
            old.run("XREAD", "COUNT", "1", "STREAMS", "t", "s", "0", "0")
                == .array([.array([.bulk("s"), entries])]))
        #expect(client.run("XREAD", "STREAMS", "s", "+") == .map([.bulk("s"), entries]))
        #expect(
            client.run("XREAD", "STREAMS", "s", "s", "0", "1")
                == .map([.bulk("s"), entries, .bulk("s"), entries]))
        #expect(client.run("XREAD", "STREAMS", "s", "0") == .map([.bulk("s"), entries]))
        #expect(client.run("XREAD", "STREAMS", "s", "1-1") == .null)
        #expect(client.run("XRANGE", "s", "-", "+") == entries)
    }

    @Test func `IDs of the clock follow each other when the clock goes back`() {
        let server = CommandHarness()
        let client = server.client()
        let start = CommandHarness.startMilliseconds
        #expect(client.run("XADD", "s", "*", "f", "v") == .bulk("\(start)-0"))
        #expect(client.run("XADD", "s", "*", "f", "v") == .bulk("\(start)-1"))
        server.time.advance(milliseconds: 5)
        #expect(client.run("XADD", "s", "*", "f", "v") == .bulk("\(start + 5)-0"))
        #expect(client.run("XADD", "s", "\(start + 9)-7", "f", "v") == .bulk("\(start + 9)-7"))
        #expect(client.run("XADD", "s", "*", "f", "v") == .bulk("\(start + 9)-8"))
    }

    @Test func `a stream is copied, moved, counted and freed like any value`() {
        let server = CommandHarness()
        let client = server.client()
        for number in 1...5_000 {
            client.run("XADD", "s", "\(number)-1", "field", "value \(number)")
        }
        client.run("XDEL", "s", "77-1")
        server.checkPartitions()
        #expect(client.run("COPY", "s", "t") == .integer(1))
        #expect(client.run("RENAME", "s", "u") == .simple("OK"))
        #expect(client.run("XLEN", "t") == .integer(4_999))
        #expect(client.run("XLEN", "u") == .integer(4_999))
        #expect(client.run("XRANGE", "t", "-", "+") == client.run("XRANGE", "u", "-", "+"))
        #expect(client.run("XADD", "t", "77-1", "f", "v")?.text?.hasPrefix("ERR The ID") == true)
        server.checkPartitions()
        #expect(client.run("DEL", "t") == .integer(1))
        #expect(client.run("SET", "u", "v") == .simple("OK"))
        server.checkPartitions()
    }

    @Test func `XINFO STREAM tells what a stream is`() {
        expectTranscript(
            """
            > XADD s 1-1 f v                  < "1-1"
            > XADD s 2-1 f w                  < "2-1"
            > XDEL s 1-1                      < (integer) 1
            > XINFO STREAM s
                < ["length", (integer) 1, "radix-tree-keys", (integer) 1, "radix-tree-nodes", (integer) 2, "last-generated-id", "2-1", "max-deleted-entry-id", "1-1", "entries-added", (integer) 2, "recorded-first-entry-id", "2-1", "idmp-duration", (integer) 100, "idmp-maxsize", (integer) 100, "pids-tracked", (integer) 0, "iids-tracked", (integer) 0, "iids-added", (integer) 0, "iids-duplicates", (integer) 0, "groups", (integer) 0, "first-entry", ["2-1", ["f", "w"]], "last-entry", ["2-1", ["f", "w"]]]
            > XINFO STREAM s FULL COUNT 1
                < ["length", (integer) 1, "radix-tree-keys", (integer) 1, "radix-tree-nodes", (integer) 2, "last-generated-id", "2-1", "max-deleted-entry-id", "1-1", "entries-added", (integer) 2, "recorded-first-entry-id", "2-1", "idmp-duration", (integer) 100, "idmp-maxsize", (integer) 100, "pids-tracked", (integer) 0, "iids-tracked", (integer) 0, "iids-added", (integer) 0, "iids-duplicates", (integer) 0, "entries", [["2-1", ["f", "w"]]], "groups", []]
            > XINFO STREAM nosuch             < (error) ERR no such key
            > XINFO STREAM s FULL 1
                < (error) ERR unknown subcommand or wrong number of arguments for 'STREAM'. Try XINFO HELP.
            """)
    }

    @Test func `a change counts once for each entry`() {
        let server = CommandHarness()
        let client = server.client()
        let before = server.changes
        client.run("XADD", "s", "1-1", "f", "v")
        client.run("XADD", "s", "MAXLEN", "1", "2-1", "f", "v")
        client.run("XADD", "s", "3-1", "f", "v")
        client.run("XTRIM", "s", "MAXLEN", "0")
        client.run("XDEL", "s", "3-1")
        client.run("XSETID", "s", "9-9")
        #expect(server.changes - before == 6)
    }
}
