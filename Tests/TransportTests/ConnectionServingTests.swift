//  One loop, driven step by step on the test's thread over socket pairs: no step waits on time.

import Glibc
import MartletBase
import Testing

@testable import MartletTransport

@Suite struct ConnectionServingTests {
    @Test func `bytes are handed over and the reply is sent`() throws {
        let bench = try LoopBench()
        let peer = try bench.connect()
        peer.send("hello")
        bench.settle()
        #expect(peer.receiveText() == "hello")
        #expect(bench.handler.receivedCalls == 1)
        #expect(bench.loop.counters.bytesIn.load(ordering: .relaxed) == 5)
        #expect(bench.loop.counters.bytesOut.load(ordering: .relaxed) == 5)
    }

    @Test func `a connection stays small`() {
        #expect(MemoryLayout<Connection>.size <= 192)
    }

    @Test func `an idle connection holds no buffers`() throws {
        let bench = try LoopBench()
        let peer = try bench.connect()
        peer.send(patterned(40_000))
        #expect(bench.read(40_000, from: peer).count == 40_000)
        #expect(bench.handler.last?.bufferCapacityBytes == 0)
        #expect(bench.loop.counters.bufferBytes.load(ordering: .relaxed) == 0)
    }

    @Test func `a request sent byte by byte is kept until it is whole`() throws {
        let bench = try LoopBench()
        bench.handler.onReceived = { _, _, input in
            guard let end = input.firstIndex(of: 10) else { return ([], Outcome(consumed: 0)) }
            return (Array(input[...end]), Outcome(consumed: end + 1))
        }
        let peer = try bench.connect()
        for byte in "a line\nand more".utf8 {
            peer.send([byte])
            bench.settle(iterations: 2)
        }
        #expect(peer.receiveText() == "a line\n")
        #expect(bench.handler.last?.bufferedInputBytes == 8)
        peer.send("\n")
        bench.settle()
        #expect(peer.receiveText() == "and more\n")
        #expect(bench.handler.last?.bufferCapacityBytes == 0)
    }

    @Test(arguments: [1, 100, 4_096, 4_097, 65_536, 65_537, 200_000, 3_000_000])
    func `a request of any size arrives whole and its memory is given back`(size: Int) throws {
        let bench = try LoopBench()
        let request = patterned(size)
        var matched = false
        bench.handler.onReceived = { _, _, input in
            guard input.count >= size else {
                return ([], Outcome(consumed: 0, minimumBytes: size))
            }
            matched = Array(input.prefix(size)) == request
            return ([43], Outcome(consumed: size))
        }
        let peer = try bench.connect()
        var sent = 0
        while sent < size {
            sent += peer.send(request[sent..<min(size, sent + 100_000)])
            bench.settle(iterations: 1)
        }
        bench.settle()
        #expect(peer.receive() == [43])
        #expect(matched)
        #expect(bench.handler.receivedCalls <= 2)
        #expect(bench.handler.last?.bufferCapacityBytes == 0)
    }

    @Test func `the rest behind a large request is kept in a small buffer`() throws {
        let bench = try LoopBench()
        bench.handler.onReceived = { _, _, input in
            input.count < 300_000 && input.count > 10
                ? ([], Outcome(consumed: 0)) : ([], Outcome(consumed: max(0, input.count - 10)))
        }
        let peer = try bench.connect()
        let request = patterned(300_000)
        var sent = 0
        while sent < request.count {
            sent += peer.send(request[sent...].prefix(50_000))
            bench.settle(iterations: 1)
        }
        bench.settle()
        #expect(bench.handler.last?.bufferedInputBytes == 10)
        #expect((bench.handler.last?.bufferCapacityBytes ?? 0) <= 512)
    }

    @Test func `a slow reader of a large reply loses no byte and blocks nobody`() throws {
        let bench = try LoopBench()
        let reply = patterned(5_000_000)
        bench.handler.onReceived = { _, index, input in
            index == 1
                ? (reply, Outcome(consumed: input.count)) : (input, Outcome(consumed: input.count))
        }
        let slow = try bench.connect()
        let other = try bench.connect()
        slow.send("x")
        bench.settle()
        #expect((bench.handler.connections[1]?.pendingOutputBytes ?? 0) > 4_000_000)
        other.send("ping")
        bench.settle()
        #expect(other.receiveText() == "ping")
        #expect(bench.read(reply.count, from: slow) == reply)
        bench.settle()
        #expect(bench.handler.connections[1]?.bufferCapacityBytes == 0)
    }

    @Test func `replies keep their order when the socket is full`() throws {
        let bench = try LoopBench()
        // One request per call: the rest stays and is asked for again by pause and resume.
        bench.handler.onReceived = { handler, index, input in
            handler.connections[index]?.resume()
            let reply = [UInt8](repeating: input[0], count: 100_000)
            return (reply, Outcome(consumed: 1, next: .pause))
        }
        let peer = try bench.connect()
        peer.send("abcdefgh")
        let expected = "abcdefgh".utf8.flatMap { [UInt8](repeating: $0, count: 100_000) }
        #expect(bench.read(expected.count, from: peer) == expected)
        #expect(bench.handler.receivedCalls == 8)
    }

    @Test func `a paused connection is not read and continues where it stopped`() throws {
        let bench = try LoopBench()
        bench.handler.onReceived = { _, _, input in
            ([input[0]], Outcome(consumed: 1, next: input[0] == 98 ? .pause : .readOn))
        }
        let peer = try bench.connect()
        peer.send("bcd")
        bench.settle()
        peer.send("e")
        bench.settle()
        #expect(peer.receiveText() == "b")
        #expect(bench.handler.receivedCalls == 1)
        bench.handler.onReceived = { _, _, input in (input, Outcome(consumed: input.count)) }
        bench.handler.last?.resume()
        bench.settle()
        #expect(peer.receiveText() == "cde")
    }

    @Test func `a paused connection whose peer leaves is closed when the handler says so`() throws {
        let bench = try LoopBench()
        bench.handler.onReceived = { _, _, _ in ([], Outcome(consumed: 1, next: .pause)) }
        let peer = try bench.connect()
        peer.send("x")
        bench.settle()
        peer.close()
        bench.settle()
        #expect(bench.handler.events == ["hung up"])
        #expect(bench.handler.closed == [1])
    }

    @Test func `what a peer sent before it left is served after the pause`() throws {
        let bench = try LoopBench()
        bench.handler.closesOnHangUp = false
        bench.handler.onReceived = { _, _, input in
            ([input[0]], Outcome(consumed: 1, next: .pause))
        }
        let peer = try bench.connect()
        peer.send("ab")
        bench.settle()
        peer.send("cd")
        peer.endSending()
        bench.settle(iterations: 20)
        #expect(bench.handler.events == ["hung up"])
        bench.handler.onReceived = { _, _, input in (input, Outcome(consumed: input.count)) }
        bench.handler.last?.resume()
        bench.settle(iterations: 8)
        #expect(peer.receiveText() == "abcd")
        #expect(bench.handler.closed == [1])
    }

    @Test func `a half-closed peer gets its reply before the close`() throws {
        let bench = try LoopBench()
        bench.handler.onReceived = { _, _, input in
            (patterned(2_000_000), Outcome(consumed: input.count))
        }
        let peer = try bench.connect()
        peer.send("x")
        peer.endSending()
        #expect(bench.read(2_000_000, from: peer) == patterned(2_000_000))
        bench.settle()
        #expect(bench.handler.closed == [1])
    }

    @Test func `closing after the flush delivers everything`() throws {
        let bench = try LoopBench()
        bench.handler.onReceived = { _, _, input in
            (patterned(2_000_000), Outcome(consumed: input.count, next: .closeAfterFlush))
        }
        let peer = try bench.connect()
        peer.send("x")
        bench.settle()
        #expect(bench.handler.closed.isEmpty)
        peer.send("ignored")
        #expect(bench.read(2_000_000, from: peer) == patterned(2_000_000))
        bench.settle()
        _ = peer.receive()
        #expect(peer.sawEnd)
        #expect(bench.handler.closed == [1])
        #expect(bench.handler.receivedCalls == 1)
    }

    @Test func `closing at once drops the reply`() throws {
        let bench = try LoopBench()
        bench.handler.onReceived = { _, _, input in
            (input, Outcome(consumed: input.count, next: .closeNow))
        }
        let peer = try bench.connect()
        peer.send("x")
        bench.settle()
        #expect(peer.receive().isEmpty)
        #expect(peer.sawEnd)
        #expect(bench.handler.closed == [1])
    }

    @Test func `a peer that is gone before the reply does no harm`() throws {
        let bench = try LoopBench()
        let peer = try bench.connect()
        peer.send("x")
        peer.close()
        bench.settle()
        #expect(bench.handler.closed == [1])
    }

    @Test func `a refused connection gets its refusal`() throws {
        let bench = try LoopBench()
        bench.handler.refuses = true
        bench.handler.greeting = Array("-ERR full\r\n".utf8)
        let peer = try bench.connect()
        bench.settle()
        #expect(peer.receiveText() == "-ERR full\r\n")
        _ = peer.receive()
        #expect(peer.sawEnd)
        #expect(bench.handler.closed.isEmpty)
        #expect(bench.loop.counters.connections.load(ordering: .relaxed) == 0)
        #expect(bench.loop.counters.refused.load(ordering: .relaxed) == 1)
    }

    @Test func `bytes appended for another connection follow its earlier replies`() throws {
        let bench = try LoopBench()
        bench.handler.onReceived = { handler, index, input in
            if index == 2 { [33, 33].withView { handler.connections[1]?.append($0) } }
            return (input, Outcome(consumed: input.count))
        }
        let first = try bench.connect()
        let second = try bench.connect()
        first.send("one")
        bench.settle()
        second.send("two")
        bench.settle()
        #expect(first.receiveText() == "one!!")
        #expect(second.receiveText() == "two")
    }

    @Test func `a stale reference does nothing, even when its slot is used again`() throws {
        let bench = try LoopBench()
        let first = try bench.connect()
        let stale = try #require(bench.handler.last)
        first.close()
        bench.settle()
        let second = try bench.connect()
        stale.close(afterFlush: false)
        [88].withView { stale.append($0) }
        #expect(!stale.isOpen)
        #expect(stale.descriptor == -1)
        second.send("y")
        bench.settle()
        #expect(second.receiveText() == "y")
    }

    @Test func `a handler may close another connection that has an event pending`() throws {
        let bench = try LoopBench()
        bench.handler.onReceived = { handler, index, input in
            for (other, connection) in handler.connections where other != index {
                connection.close(afterFlush: false)
            }
            return (input, Outcome(consumed: input.count))
        }
        let peers = [try bench.connect(), try bench.connect(), try bench.connect()]
        for peer in peers { peer.send("z") }
        bench.settle()
        #expect(bench.handler.closed.count == 2)
        #expect(bench.handler.receivedCalls == 1)
    }
}

@Suite struct LimitTests {
    @Test func `more unread replies than the hard limit close the connection`() throws {
        let bench = try LoopBench()
        bench.handler.onReceived = { _, _, input in
            (patterned(1_000_000), Outcome(consumed: input.count))
        }
        let peer = try bench.connect()
        bench.handler.last?.setOutputLimits(hardBytes: 100_000, softBytes: 0, softSeconds: 0)
        peer.send("x")
        bench.settle()
        #expect(bench.handler.events == ["output"])
        #expect(bench.handler.closed == [1])
        #expect(bench.loop.counters.outputLimitCloses.load(ordering: .relaxed) == 1)
    }

    @Test func `appended bytes count against the hard limit`() throws {
        let bench = try LoopBench()
        _ = try bench.connect()
        bench.handler.last?.setOutputLimits(hardBytes: 1_000, softBytes: 0, softSeconds: 0)
        patterned(1_001).withView { bench.handler.last?.append($0) }
        bench.settle()
        #expect(bench.handler.events == ["output"])
    }

    @Test func `the soft limit closes after its time and not before`() throws {
        let bench = try LoopBench()
        bench.handler.onReceived = { _, _, input in
            (patterned(1_000_000), Outcome(consumed: input.count))
        }
        let peer = try bench.connect()
        bench.handler.last?.setOutputLimits(hardBytes: 0, softBytes: 100_000, softSeconds: 10)
        peer.send("x")
        bench.settle()
        bench.time.advance(milliseconds: 9_000)
        bench.settle()
        #expect(bench.handler.closed.isEmpty)
        bench.time.advance(milliseconds: 2_000)
        bench.settle()
        #expect(bench.handler.events == ["output"])
        #expect(bench.handler.closed == [1])
    }

    @Test func `a reader that catches up escapes the soft limit`() throws {
        let bench = try LoopBench()
        bench.handler.onReceived = { _, _, input in
            (patterned(1_000_000), Outcome(consumed: input.count))
        }
        let peer = try bench.connect()
        bench.handler.last?.setOutputLimits(hardBytes: 0, softBytes: 100_000, softSeconds: 10)
        peer.send("x")
        #expect(bench.read(1_000_000, from: peer).count == 1_000_000)
        bench.time.advance(milliseconds: 20_000)
        bench.settle()
        #expect(bench.handler.closed.isEmpty)
    }

    @Test func `an incomplete request above the input limit closes the connection`() throws {
        let bench = try LoopBench()
        bench.handler.onReceived = { _, _, _ in
            ([], Outcome(consumed: 0, minimumBytes: 1 << 40))
        }
        let peer = try bench.connect()
        bench.handler.last?.setInputLimit(bytes: 10_000)
        peer.send(patterned(10_000))
        bench.settle()
        #expect(bench.handler.closed.isEmpty)
        peer.send("x")
        bench.settle()
        #expect(bench.handler.events == ["input"])
        #expect(bench.handler.closed == [1])
    }

    @Test func `a claimed size allocates nothing`() throws {
        let bench = try LoopBench()
        bench.handler.onReceived = { _, _, _ in
            ([], Outcome(consumed: 0, minimumBytes: 1 << 40))
        }
        let peer = try bench.connect()
        peer.send("$1099511627776\r\n")
        bench.settle()
        #expect((bench.handler.last?.bufferCapacityBytes ?? 0) <= 512)
    }

    @Test func `idle connections are closed unless they may idle`() throws {
        let bench = try LoopBench()
        bench.loop.setIdleTimeout(seconds: 60)
        let peers = try (0..<3).map { _ in try bench.connect() }
        bench.handler.connections[2]?.setMayIdle(true)
        bench.time.advance(milliseconds: 50_000)
        peers[2].send("busy")
        bench.settle()
        bench.time.advance(milliseconds: 11_000)
        bench.settle()
        #expect(bench.handler.closed == [1])
        #expect(bench.handler.events == ["idle"])
        #expect(bench.handler.connections[3]?.idleMilliseconds == 11_000)
    }

    @Test func `the largest connection is found`() throws {
        let bench = try LoopBench()
        bench.handler.onReceived = { _, _, _ in ([], Outcome(consumed: 0)) }
        let peers = try (0..<3).map { _ in try bench.connect() }
        #expect(bench.loop.largestConnection() == nil)
        peers[0].send("a")
        peers[1].send(patterned(20_000))
        bench.settle()
        let largest = bench.loop.largestConnection()
        #expect(largest?.connection.id == bench.handler.connections[2]?.id)
        #expect((largest?.bufferBytes ?? 0) >= 20_000)
    }
}
