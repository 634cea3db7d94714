//  CLIENT and its subcommands.

import MartletBase
import Testing

@testable import MartletEngine

@Suite struct ClientTests {
    @Test func `a name is printable ASCII without blanks`() {
        expectTranscript(
            """
            > CLIENT GETNAME              < (nil)
            > CLIENT SETNAME me           < OK
            > CLIENT GETNAME              < "me"
            > CLIENT SETNAME "a b"
            < (error) ERR Client names cannot contain spaces, newlines or special characters.
            > CLIENT SETNAME "\\n"
            < (error) ERR Client names cannot contain spaces, newlines or special characters.
            > CLIENT SETNAME "\\xff"
            < (error) ERR Client names cannot contain spaces, newlines or special characters.
            > CLIENT GETNAME              < "me"
            > CLIENT SETNAME ""           < OK
            > CLIENT GETNAME              < (nil)
            """)
    }

    @Test func `library name and version appear in the line`() {
        expectTranscript(
            """
            > CLIENT SETINFO lib-name redis-py  < OK
            > CLIENT SETINFO LIB-VER 5.0        < OK
            > CLIENT INFO                 <~ * lib-name=redis-py lib-ver=5.0 *
            > CLIENT SETINFO x 1          < (error) ERR Unrecognized option 'x'
            > CLIENT SETINFO LIB-name "a b"
            < (error) ERR LIB-name cannot contain spaces, newlines or special characters.
            > CLIENT SETINFO lib-name ""  < OK
            > CLIENT INFO                 <~ * lib-name= lib-ver=5.0 *
            > CLIENT SETINFO lib-name
            < (error) ERR wrong number of arguments for 'client|setinfo' command
            """)
    }

    @Test func `unknown subcommands are refused, unknown capabilities are not`() {
        expectTranscript(
            """
            > CLIENT                      < (error) ERR wrong number of arguments for 'client' command
            > CLIENT FOO                  < (error) ERR unknown subcommand 'FOO'. Try CLIENT HELP.
            > CLIENT ID x
            < (error) ERR wrong number of arguments for 'client|id' command
            > CLIENT CAPA
            < (error) ERR wrong number of arguments for 'client|capa' command
            > CLIENT CAPA redirect later  < OK
            > CLIENT INFO                 <~ * flags=N capa=r db=0 *
            """)
    }

    @Test func `CLIENT INFO is the line that CLIENT LIST shows`() {
        let server = CommandHarness()
        let client = server.client()
        server.time.advance(milliseconds: 2_500)
        let expected =
            "id=1 addr=127.0.0.1:50001 laddr=127.0.0.1:6379 fd=8 name= age=2 idle=0 flags=N db=0 "
            + "sub=0 psub=0 ssub=0 multi=-1 watch=0 qbuf=0 qbuf-free=0 argv-mem=10 multi-mem=0 "
            + "rbs=0 rbp=0 obl=0 oll=0 omem=0 tot-mem=1034 events=r cmd=client|info user=default "
            + "redir=-1 resp=2 lib-name= lib-ver= io-thread=0 tot-net-in="
        let info = client.run("CLIENT", "INFO")?.text
        #expect(info?.hasPrefix(expected) == true)
        #expect(info?.hasSuffix("\n") == true)
        let list = client.run("CLIENT", "LIST")?.text
        let line = expected.split(separator: " ").map {
            $0 == "cmd=client|info" ? "cmd=client|list" : String($0)
        }.joined(separator: " ")
        #expect(list?.hasPrefix(line) == true)
        #expect(list?.hasSuffix("\n") == true)
        client.run("HELLO", "3")
        guard case .verbatim(let format, _)? = client.run("CLIENT", "INFO") else {
            Issue.record("RESP3 sends text as text")
            return
        }
        #expect(format == "txt")
    }

    @Test func `CLIENT LIST shows every client by id, or those asked for`() {
        let server = CommandHarness()
        let first = server.client()
        let second = server.client()
        second.run("CLIENT", "SETNAME", "two")
        second.run("MULTI")
        second.run("PING")
        func ids(_ arguments: String...) -> [String] {
            let text = first.run((["CLIENT", "LIST"] + arguments).map { Array($0.utf8) })?.text
            return (text ?? "?").split(separator: "\n").map {
                String($0.split(separator: " ")[0])
            }
        }
        #expect(ids() == ["id=1", "id=2"])
        #expect(ids("ID", "2", "1", "99") == ["id=2", "id=1"])
        #expect(ids("TYPE", "Normal") == ["id=1", "id=2"])
        #expect(ids("TYPE", "replica") == [])
        #expect(ids("TYPE", "master") == [])
        #expect(ids("TYPE", "pubsub") == [])
        let line = first.run("CLIENT", "LIST", "ID", "2")?.text ?? ""
        #expect(line.contains(" name=two "))
        #expect(line.contains(" flags=x "))
        #expect(line.contains(" multi=1 "))
    }

    @Test func `the line counts commands and bytes and names the last command`() {
        let server = CommandHarness()
        let client = server.client()
        let other = server.client()
        other.send(Array("PING\r\nGET k\r\n*1\r\n$4\r\nPI".utf8))
        let line = client.run("CLIENT", "LIST", "ID", "2")?.text ?? ""
        #expect(line.contains(" cmd=get "))
        #expect(line.contains(" qbuf=10 "))
        #expect(line.hasSuffix(" tot-net-in=13 tot-net-out=12 tot-cmds=2\n"))
        server.time.advance(milliseconds: 3_000)
        #expect(client.run("CLIENT", "LIST", "ID", "2")?.text?.contains(" idle=3 ") == true)
        other.send(Array("NG\r\n".utf8))
        let later = client.run("CLIENT", "LIST", "ID", "2")?.text ?? ""
        #expect(later.contains(" idle=0 "))
        #expect(later.contains(" cmd=ping "))
        #expect(later.hasSuffix(" tot-net-in=27 tot-net-out=19 tot-cmds=3\n"))
    }

    @Test func `CLIENT LIST refuses what Redis refuses`() {
        expectTranscript(
            """
            > CLIENT LIST TYPE foo        < (error) ERR Unknown client type 'foo'
            > CLIENT LIST TYPE            < (error) ERR syntax error
            > CLIENT LIST ID              < (error) ERR syntax error
            > CLIENT LIST ID x            < (error) ERR Invalid client ID
            > CLIENT LIST ID 0            < ""
            > CLIENT LIST FOO             < (error) ERR syntax error
            > CLIENT LIST TYPE pubsub ID 1  < (error) ERR syntax error
            > CLIENT INFO x
            < (error) ERR wrong number of arguments for 'client|info' command
            """)
    }

    @Test func `a touched watch shows in the flags`() {
        expectTranscript(
            """
            > WATCH k                     < OK
            > CLIENT INFO                 <~ * flags=N * watch=1 *
            b> SET k v                    < OK
            > CLIENT INFO                 <~ * flags=d * watch=1 *
            > UNWATCH                     < OK
            > CLIENT INFO                 <~ * flags=N * watch=0 *
            """)
    }

    @Test func `CLIENT NO-TOUCH is a flag`() {
        expectTranscript(
            """
            > CLIENT NO-TOUCH on          < OK
            > CLIENT INFO                 <~ * flags=T *
            > CLIENT NO-TOUCH x           < (error) ERR syntax error
            > CLIENT NO-TOUCH OFF         < OK
            > CLIENT INFO                 <~ * flags=N *
            """)
    }

    // MARK: REPLY

    @Test func `CLIENT REPLY OFF hides everything until ON`() {
        expectTranscript(
            """
            > CLIENT REPLY OFF            < ...
            > PING                        < ...
            > GET                         < ...
            > FOO                         < ...
            > CLIENT REPLY SKIP           < ...
            > CLIENT REPLY FOO            < ...
            > PING                        < ...
            > CLIENT REPLY ON             < OK
            > PING                        < PONG
            > CLIENT REPLY x              < (error) ERR syntax error
            """)
    }

    @Test func `CLIENT REPLY SKIP hides its own and the next reply`() {
        expectTranscript(
            """
            > CLIENT REPLY SKIP           < ...
            > PING                        < ...
            > PING                        < PONG
            > CLIENT REPLY SKIP           < ...
            > CLIENT REPLY SKIP           < ...
            > PING                        < ...
            > PING                        < PONG
            > CLIENT REPLY SKIP           < ...
            > FOO                         < ...
            > PING                        < PONG
            > CLIENT REPLY SKIP           < ...
            > CLIENT REPLY FOO            < ...
            > PING                        < PONG
            > CLIENT REPLY SKIP           < ...
            > CLIENT REPLY ON             < OK
            > PING                        < PONG
            > CLIENT REPLY SKIP           < ...
            > MULTI                       < ...
            > PING                        < QUEUED
            > EXEC                        < [PONG]
            """)
    }

    /// Redis sends the header of EXEC's array and not all its elements, which breaks the framing.
    @Test func `CLIENT REPLY in a transaction hides the whole reply of EXEC or none of it`() {
        expectTranscript(
            """
            > MULTI                       < OK
            > CLIENT REPLY OFF            < QUEUED
            > PING                        < QUEUED
            > EXEC                        < ...
            > PING                        < ...
            > CLIENT REPLY ON             < OK
            > MULTI                       < OK
            > CLIENT REPLY SKIP           < QUEUED
            > EXEC                        < ...
            > PING                        < ...
            > PING                        < PONG
            """)
    }

    // MARK: KILL

    /// A server that remembers whom it was told to close.
    private final class Closed: @unchecked Sendable {
        // Unchecked: the harness has one thread.
        var ids: [Int64] = []
    }

    private func killing() -> (CommandHarness, Closed) {
        let server = CommandHarness()
        let closed = Closed()
        server.state.closeClient.function = { closed.ids.append($0.id) }
        return (server, closed)
    }

    @Test func `no command of a killed client runs once KILL has replied`() {
        let (server, closed) = killing()
        let killer = server.client()
        let victim = server.client()
        victim.run("SET", "k", "before")
        #expect(killer.run("CLIENT", "KILL", "ID", "2") == .integer(1))
        #expect(closed.ids == [2])
        #expect(victim.run("SET", "k", "after") == nil)
        #expect(victim.isClosed)
        #expect(killer.run("GET", "k") == .bulk("before"))
        #expect(killer.run("CLIENT", "KILL", "ID", "2") == .integer(0))
        #expect(killer.run("CLIENT", "LIST", "ID", "2") == .bulk(""))
    }

    @Test func `the old form kills by address and says so`() {
        let (server, closed) = killing()
        let client = server.client()
        let other = server.client()
        #expect(client.run("CLIENT", "KILL", "127.0.0.1:1") == .error("ERR No such client"))
        #expect(
            client.run("CLIENT", "KILL", other.record.addresses.peer) == .simple("OK"))
        #expect(closed.ids == [2])
        #expect(
            client.run("CLIENT", "KILL", client.record.addresses.peer) == .simple("OK"))
        #expect(client.isClosed)
        #expect(closed.ids == [2])
    }

    @Test func `KILL spares its caller unless told otherwise, and answers before it closes`() {
        let (server, closed) = killing()
        let client = server.client()
        let others = [server.client(), server.client()]
        #expect(client.run("CLIENT", "KILL", "TYPE", "normal") == .integer(2))
        #expect(closed.ids == others.map(\.record.id))
        client.send(Array("CLIENT KILL SKIPME no TYPE normal\r\nPING\r\n".utf8))
        #expect(client.replies() == [.integer(1)])
        #expect(client.isClosed)
    }

    @Test func `KILL in a transaction closes its caller after EXEC`() {
        let (server, closed) = killing()
        let client = server.client()
        let other = server.client()
        client.run("MULTI")
        client.run("CLIENT", "KILL", "SKIPME", "no", "TYPE", "normal")
        client.run("SET", "k", "v")
        #expect(client.run("EXEC") == .array([.integer(2), .simple("OK")]))
        #expect(client.isClosed)
        #expect(closed.ids == [other.record.id])
    }

    @Test func `KILL MAXAGE kills those who are old enough`() {
        let (server, closed) = killing()
        let old = server.client()
        server.time.advance(milliseconds: 5_000)
        let client = server.client()
        #expect(client.run("CLIENT", "KILL", "MAXAGE", "6", "SKIPME", "no") == .integer(0))
        #expect(client.run("CLIENT", "KILL", "MAXAGE", "5", "SKIPME", "no") == .integer(1))
        #expect(closed.ids == [old.record.id])
    }

    @Test func `KILL refuses what Redis refuses`() {
        expectTranscript(
            """
            > CLIENT KILL
            < (error) ERR wrong number of arguments for 'client|kill' command
            > CLIENT KILL ID x            < (error) ERR client-id should be greater than 0
            > CLIENT KILL ID 0            < (error) ERR client-id should be greater than 0
            > CLIENT KILL ID 1 x          < (error) ERR syntax error
            > CLIENT KILL ID              < (error) ERR No such client
            > CLIENT KILL TYPE foo        < (error) ERR Unknown client type 'foo'
            > CLIENT KILL TYPE master     < (integer) 0
            > CLIENT KILL USER foo        < (error) ERR No such user 'foo'
            > CLIENT KILL USER default ID 99  < (integer) 0
            > CLIENT KILL SKIPME foo      < (error) ERR syntax error
            > CLIENT KILL ADDR x LADDR y  < (integer) 0
            > CLIENT KILL MAXAGE 0        < (error) ERR maxage should be greater than 0
            > CLIENT KILL MAXAGE x        < (error) ERR maxage is not an integer or out of range
            > CLIENT KILL FOO 1           < (error) ERR syntax error
            """)
    }

    // MARK: PAUSE

    @Test func `PAUSE WRITE holds writes back and lets reads through`() {
        let server = CommandHarness()
        let client = server.client()
        let other = server.client()
        #expect(client.run("CLIENT", "PAUSE", "100", "write") == .simple("OK"))
        #expect(other.run("GET", "k") == .null)
        #expect(other.run("SET", "k", "v") == nil)
        #expect(other.isParked)
        server.time.advance(milliseconds: 99)
        server.state.endPauseIfDue()
        other.resume()
        #expect(other.isParked)
        server.time.advance(milliseconds: 1)
        server.state.endPauseIfDue()
        other.resume()
        #expect(other.replies() == [.simple("OK")])
    }

    @Test func `PAUSE holds everything back until UNPAUSE`() {
        let server = CommandHarness()
        let client = server.client()
        let other = server.client()
        #expect(client.run("CLIENT", "PAUSE", "100000") == .simple("OK"))
        #expect(other.run("PING") == nil)
        #expect(other.isParked)
        #expect(client.run("CLIENT", "UNPAUSE") == .simple("OK"))
        other.resume()
        #expect(other.replies() == [.simple("PONG")])
    }

    @Test func `a write pause does not loosen a full one`() {
        let server = CommandHarness()
        let client = server.client()
        client.run("MULTI")
        client.run("CLIENT", "PAUSE", "100")
        client.run("CLIENT", "PAUSE", "200", "WRITE")
        #expect(client.run("EXEC") == .array([.simple("OK"), .simple("OK")]))
        #expect(server.state.conditions.contains(.pausedAll))
        server.time.advance(milliseconds: 150)
        server.state.endPauseIfDue()
        #expect(server.state.conditions.contains(.pausedAll))
    }

    @Test func `PAUSE refuses what Redis refuses`() {
        expectTranscript(
            """
            > CLIENT PAUSE x              < (error) ERR timeout is not an integer or out of range
            > CLIENT PAUSE -1             < (error) ERR timeout is negative
            > CLIENT PAUSE 1 foo          < (error) ERR CLIENT PAUSE mode must be WRITE or ALL
            > CLIENT PAUSE 9223372036854775807  < (error) ERR timeout is out of range
            > CLIENT PAUSE 1 all x
            < (error) ERR unknown subcommand or wrong number of arguments for 'PAUSE'. Try CLIENT HELP.
            > PING                        < PONG
            """)
    }
}
