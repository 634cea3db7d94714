//  What is logged for a request, in which order, and the position that its reply waits for.

import MartletBase
import Testing

@testable import MartletEngine

struct LoggingTests {
    private let server = CommandHarness()

    init() { server.setLog(.on) }

    /// Runs a command, given as words, and answers what it logged.
    private func log(_ client: HarnessClient, _ command: String) -> [String] {
        client.run(command.split(separator: " ").map(String.init))
        return server.logged()
    }

    @Test func `a write is logged as it came`() {
        let client = server.client()
        client.run("SET", "k", "a value")
        #expect(
            String(decoding: server.loggedBytes(), as: UTF8.self)
                == "*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n"
                + "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$7\r\na value\r\n")
        #expect(log(client, "append k longer-than-ten-bytes") == ["append k longer-than-ten-bytes"])
        #expect(log(client, "GET k") == [])
        #expect(log(client, "DEL missing") == [])
        #expect(log(client, "LPUSH k a") == [])
        #expect(log(client, "DEL k missing") == ["DEL k missing"])
    }

    @Test func `the database is named when it changes`() {
        let client = server.client()
        #expect(log(client, "SET k 1") == ["SELECT 0", "SET k 1"])
        client.run("SELECT", "12")
        #expect(log(client, "SET k 1") == ["SELECT 12", "SET k 1"])
        #expect(log(client, "SET k 2") == ["SET k 2"])
        let other = server.client()
        #expect(log(other, "SET k 3") == ["SELECT 0", "SET k 3"])
    }

    @Test func `a transaction is one unit`() {
        let client = server.client()
        client.run("MULTI")
        client.run("SET", "a", "1")
        client.run("GET", "a")
        client.run("SELECT", "3")
        client.run("SET", "b", "2")
        client.run("LPUSH", "b", "wrong")
        #expect(server.logged() == [])
        client.run("EXEC")
        #expect(
            server.logged()
                == ["SELECT 0", "MULTI", "SET a 1", "SELECT 3", "SET b 2", "EXEC"])
        client.run("MULTI")
        client.run("SET", "a", "1")
        client.run("EXEC")
        #expect(server.logged() == ["SET a 1"])
        client.run("MULTI")
        client.run("GET", "a")
        client.run("EXEC")
        #expect(server.logged() == [])
    }

    @Test func `a key met past its deadline is removed in the log first`() {
        let client = server.client()
        client.run("SET", "k", "1", "PX", "10")
        _ = server.logged()
        server.time.advance(milliseconds: 20)
        #expect(log(client, "INCR k") == ["MULTI", "DEL k", "INCR k", "EXEC"])
        client.run("PEXPIRE", "k", "10")
        _ = server.logged()
        server.time.advance(milliseconds: 20)
        #expect(log(client, "GET k") == ["DEL k"])
    }

    @Test func `fields past their deadline are removed in the log first`() {
        let client = server.client()
        client.run("HSET", "h", "a", "1", "b", "2", "c", "3")
        client.run("HPEXPIRE", "h", "10", "FIELDS", "2", "a", "b")
        _ = server.logged()
        server.time.advance(milliseconds: 20)
        #expect(log(client, "HSETNX h a 2") == ["MULTI", "HDEL h a b", "HSETNX h a 2", "EXEC"])
        client.run("HPEXPIRE", "h", "10", "FIELDS", "2", "a", "c")
        _ = server.logged()
        server.time.advance(milliseconds: 20)
        #expect(log(client, "HLEN h") == ["DEL h"])
    }

    /// More fields than a read takes out at a time: a write takes out all, so that none is left that is
    /// hidden here and there when the log is read.
    @Test func `a write finds no field hidden`() {
        let client = server.client()
        let fields = (0..<1000).map { "f\($0)" }
        client.run(["HSET", "h", "stays", "1"] + fields.flatMap { [$0, "1"] })
        client.run(["HPEXPIRE", "h", "10", "FIELDS", "1000"] + fields)
        _ = server.logged()
        server.time.advance(milliseconds: 20)
        client.run("HLEN", "h")
        let first = server.logged()
        #expect(first.count == 1 && first[0].split(separator: " ").count < 1002)
        client.run("HSETNX", "h", "f999", "2")
        let all = server.logged()
        let names = (first + all.dropFirst().dropLast(2)).flatMap {
            $0.split(separator: " ").dropFirst(2)
        }
        #expect(Set(names) == Set(fields.map { Substring($0) }) && names.count == 1000)
        #expect(all.suffix(2) == ["HSETNX h f999 2", "EXEC"])
    }

    @Test func `reclaimed keys are logged without a transaction`() {
        let client = server.client()
        client.run("SET", "a", "1", "PX", "10")
        client.run("SELECT", "2")
        client.run("SET", "b", "1", "PX", "10")
        client.run("HSET", "h", "f", "1", "g", "2")
        client.run("HPEXPIRE", "h", "10", "FIELDS", "1", "f")
        _ = server.logged()
        server.time.advance(milliseconds: 100)
        server.reclaimExpired()
        let commands = server.logged()
        #expect(Set(commands) == ["SELECT 0", "DEL a", "SELECT 2", "DEL b", "HDEL h f"])
    }

    @Test func `the log is turned on and off`() {
        let client = server.client()
        server.setLog(.off)
        client.run("SET", "k", "1")
        #expect(server.logged() == [])
        server.setLog(.on)
        #expect(log(client, "SET k 2") == ["SELECT 0", "SET k 2"])
    }

    @Test func `increments are taken one by one`() {
        let client = server.client()
        client.run("SET", "a", "1")
        let position = server.state.log.end
        #expect(server.state.log.beginIncrement() == position)
        client.run("SET", "b", "1")
        server.state.log.beginIncrement()
        var bytes = ByteBuffer()
        var taken = server.state.log.take(into: &bytes, waitMilliseconds: 0)
        #expect(taken.end == position && !taken.beginsIncrement)
        #expect(UInt64(bytes.count) == position)
        taken = server.state.log.take(into: &bytes, waitMilliseconds: 0)
        #expect(taken.end == server.state.log.end && taken.beginsIncrement)
        #expect(
            String(decoding: bytes.view.bytes, as: UTF8.self)
                == "*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n*3\r\n$3\r\nSET\r\n$1\r\nb\r\n$1\r\n1\r\n")
        taken = server.state.log.take(into: &bytes, waitMilliseconds: 0)
        #expect(bytes.isEmpty && taken.beginsIncrement)
        taken = server.state.log.take(into: &bytes, waitMilliseconds: 1)
        #expect(bytes.isEmpty && !taken.beginsIncrement && taken.end == server.state.log.end)
    }

    // MARK: Refused writes

    @Test func `writes are refused and reads go on`() {
        let client = server.client()
        client.run("SET", "k", "1")
        client.run("SET", "e", "1", "PX", "10")
        client.run("MULTI")
        client.run("SET", "k", "2")
        server.state.refuseWrites("MISCONF Errors writing to the AOF file: No space left on device")
        let refusal = Reply.error(
            "MISCONF Errors writing to the AOF file: No space left on device")
        #expect(
            client.run("EXEC")
                == .error(
                    "EXECABORT Transaction discarded because of: MISCONF Errors writing to the AOF "
                        + "file: No space left on device"))
        #expect(client.run("SET", "k", "2") == refusal)
        #expect(client.run("PING") == refusal)
        #expect(client.run("GET", "k") == .bulk("1"))
        _ = server.logged()
        server.time.advance(milliseconds: 100)
        server.reclaimExpired()
        #expect(client.run("GET", "e") == .null)
        #expect(server.logged() == [])
        server.state.refuseWrites(nil)
        #expect(client.run("GET", "e") == .null)
        #expect(server.logged() == ["DEL e"])
        #expect(client.run("SET", "k", "2") == .simple("OK"))
    }

    // MARK: Positions

    @Test func `a reply waits for the last write to its key`() {
        server.setLog(.synchronous)
        let client = server.client()
        client.run("SET", "a", "1")
        let first = server.state.log.end
        #expect(client.position == first)
        client.run("SET", "b", "1")
        let second = server.state.log.end
        #expect(client.position == second)
        client.run("GET", "a")
        #expect(client.position == first)
        client.run("MGET", "b", "a")
        #expect(client.position == second)
        client.run("GET", "never-written")
        #expect(client.position == 0)
        client.run("PING")
        #expect(client.position == 0)
        client.run("KEYS", "*")
        #expect(client.position == second)
        client.run("SETNX", "a", "2")
        #expect(client.position == first)
        client.run("FLUSHALL")
        client.run("GET", "never-written")
        #expect(client.position == server.state.log.end)
    }

    @Test func `the replies to writes are known`() {
        server.setLog(.synchronous)
        let client = server.client()
        client.send(
            HarnessClient.request([Array("GET".utf8), Array("a".utf8)])
                + HarnessClient.request([Array("SET".utf8), Array("a".utf8), Array("1".utf8)])
                + HarnessClient.request([Array("GET".utf8), Array("a".utf8)])
                + HarnessClient.request([Array("INCR".utf8), Array("a".utf8)]))
        #expect(
            String(decoding: client.rawReplies(), as: UTF8.self)
                == "$-1\r\n+OK\r\n$1\r\n1\r\n:2\r\n")
        #expect(server.writeReplies.map(\.range) == [5..<10, 17..<21])
        #expect(server.writeReplies.last?.logPosition == server.state.log.end)
        client.run("MULTI")
        client.run("SET", "a", "1")
        client.run("SET", "b", "1")
        #expect(server.writeReplies.isEmpty)
        client.run("EXEC")
        #expect(server.writeReplies.map(\.range) == [0..<14])
        client.run("GET", "a")
        #expect(server.writeReplies.isEmpty)
    }

    @Test func `positions are counted from the turn`() {
        let client = server.client()
        client.run("SET", "a", "1")
        server.setLog(.synchronous)
        client.run("GET", "a")
        #expect(client.position == server.state.log.end)
        server.setLog(.on)
        client.run("GET", "a")
        #expect(client.position == 0)
    }

    // MARK: Those who waited

    @Test func `a served client waits for its own unit`() {
        server.setLog(.synchronous)
        let waiter = server.client()
        waiter.run("BLPOP", "l", "0")
        let pusher = server.client()
        pusher.run("RPUSH", "l", "a")
        #expect(server.logged() == ["SELECT 0", "RPUSH l a", "LPOP l"])
        #expect(pusher.position > 0)
        #expect(waiter.wait?.logPosition == server.state.log.end)
    }
}
