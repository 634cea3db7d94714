//  MIGRATE's conversation with the target, on a thread that may wait.
//
//      AUTH, SELECT            pipelined; an error ends it: nothing is restored in a wrong database
//      RESTORE, one per key    pipelined; each reply says of one key whether it is there
//
//  Replies are read while requests are still being sent, line by line; nothing else is an answer of
//  RESTORE's. The timeout is for each step forward, as in Redis: some bytes sent, a whole line received.

import MartletBase
import MartletTransport

/// The requests of one MIGRATE and what became of them.
final class Migration: @unchecked Sendable {
    // Unchecked: the loop fills it in and hands it to the thread, which hands it back when it has ended.

    let host: String
    let port: UInt16
    let timeoutMilliseconds: Int64
    /// AUTH and SELECT.
    var greeting = Requests()
    /// RESTORE for each of the keys.
    var transfer = Requests()
    private(set) var keys: [[UInt8]] = []
    /// The keys whose RESTORE was acknowledged, by number.
    private(set) var arrived: [Int] = []
    /// The error to reply, with its code; nil when all keys arrived.
    private(set) var failure: [UInt8]?

    /// Requests in the order in which they are sent.
    struct Requests: ~Copyable {
        private(set) var bytes = ByteBuffer()
        private(set) var count = 0

        /// Begins a request of so many arguments.
        mutating func begin(arguments: Int) {
            bytes.append("*\(arguments)\r\n")
            count += 1
        }

        mutating func add(_ argument: ByteView) {
            bytes.append("$\(argument.count)\r\n")
            bytes.append(argument)
            bytes.append("\r\n")
        }

        mutating func add(_ argument: StaticString) { add(ByteView(argument)) }

        mutating func add(_ number: Int64) { "\(number)".withView { add($0) } }
    }

    /// Where a transfer came to an end.
    private enum Stage {
        case connecting
        case writing
        case reading

        /// Redis' words for it.
        var text: StaticString {
            switch self {
            case .connecting: "IOERR error or timeout connecting to the client"
            case .writing: "IOERR error or timeout writing to target instance"
            case .reading: "IOERR error or timeout reading to target instance"
            }
        }
    }

    /// A line of a reply that is longer is none of a server's.
    private static let lineBytesMax = 1024
    private static let chunkBytes = 64 * 1024

    init(host: String, port: UInt16, timeoutMilliseconds: Int64) {
        self.host = host
        self.port = port
        self.timeoutMilliseconds = timeoutMilliseconds
    }

    /// Adds a key to the transfer.
    ///
    /// - Parameters:
    ///   - key: its name.
    ///   - milliseconds: what is left of its time; 0 for ever.
    ///   - payload: its value.
    ///   - replaces: whether the target's may be replaced.
    func add(_ key: ByteView, milliseconds: Int64, payload: ByteView, replaces: Bool) {
        keys.append(key.bytes)
        transfer.begin(arguments: replaces ? 5 : 4)
        transfer.add("RESTORE")
        transfer.add(key)
        transfer.add(milliseconds)
        transfer.add(payload)
        if replaces { transfer.add("REPLACE") }
    }

    /// The transfer did not even begin.
    func giveUp() { fail(.connecting) }

    /// Connects and talks. Blocks for as long as the target keeps answering.
    func run(_ clock: Clock) {
        let socket: OutgoingSocket
        do throws(OutgoingSocket.Failure) {
            let deadline = self.deadline(clock)
            socket = try OutgoingSocket(host: host, port: port, until: deadline, clock)
        } catch {
            // In Redis, who is refused learns of it when it writes.
            fail(error == .refused ? .writing : .connecting)
            return
        }
        var received = ByteBuffer()
        if let stage = exchange(greeting, socket, &received, clock, { _ in }) {
            fail(stage)
            return
        }
        if failure != nil { return }
        if let stage = exchange(transfer, socket, &received, clock, { arrived.append($0) }) {
            fail(stage)
        }
    }

    /// Sends requests and reads a reply to each of them.
    ///
    /// - Parameters:
    ///   - requests: sent as they stand.
    ///   - socket: to the target.
    ///   - received: bytes that came and were not taken yet.
    ///   - clock: for the deadlines.
    ///   - acknowledged: called with the number of each request whose reply is OK.
    /// - Returns: where it came to an end, or nil when all were answered.
    private func exchange(
        _ requests: borrowing Requests, _ socket: borrowing OutgoingSocket,
        _ received: inout ByteBuffer, _ clock: Clock, _ acknowledged: (Int) -> Void
    ) -> Stage? {
        let bytes = requests.bytes.view
        var sent = 0
        var answered = 0
        var deadline = self.deadline(clock)
        while answered < requests.count {
            do throws(OutgoingSocket.Failure) {
                let ready = try socket.wait(sends: sent < bytes.count, until: deadline)
                if ready.canSend && sent < bytes.count {
                    let end = min(bytes.count, sent + Self.chunkBytes)
                    let count = try socket.send(bytes.slice(sent, end))
                    sent += count
                    if count > 0 { deadline = self.deadline(clock) }
                }
                if ready.canReceive {
                    try socket.receive(into: &received, bytesMax: Self.lineBytesMax)
                }
            } catch {
                return sent < bytes.count ? .writing : .reading
            }
            while answered < requests.count, let end = received.view.firstIndex(of: 0x0A) {
                guard take(received.view.slice(0, end), answered, acknowledged) else {
                    return .reading
                }
                received.consume(end + 1)
                answered += 1
                deadline = self.deadline(clock)
            }
            if answered < requests.count && received.count > Self.lineBytesMax { return .reading }
        }
        return nil
    }

    /// Takes a reply's line, without its line feed; false when it is no reply.
    private func take(_ line: ByteView, _ number: Int, _ acknowledged: (Int) -> Void) -> Bool {
        let isEnded = line.count > 0 && line[line.count - 1] == 0x0D
        let text = isEnded ? line.slice(0, line.count - 1) : line
        if text == ByteView("+OK") {
            acknowledged(number)
            return true
        }
        guard text.count > 0, text[0] == UInt8(ascii: "-") else { return false }
        if failure == nil {
            let before = ByteView("ERR Target instance replied with error: ")
            failure = before.bytes + text.slice(1, text.count).bytes
        }
        return true
    }

    /// What the target itself has said comes first.
    private func fail(_ stage: Stage) {
        if failure == nil { failure = ByteView(stage.text).bytes }
    }

    private func deadline(_ clock: Clock) -> Int64 {
        let (length, isTooLong) = timeoutMilliseconds.multipliedReportingOverflow(by: 1_000_000)
        let (end, isTooLate) = length.addingReportingOverflow(clock.monotonicNanoseconds())
        return isTooLong || isTooLate ? .max : end
    }
}
