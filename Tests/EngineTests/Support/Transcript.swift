//  Transcripts: commands and the replies they must get, run in both protocols, one by one, as one
//  pipeline, and cut between all bytes.
//
//      > SET k v                     < OK
//      > GET k                       < "v"
//      b> CLIENT GETNAME             < (nil)
//      > HGETALL h
//      < ["field", "value"]
//      @ advance 1500
//
//  A request stands behind `>`, quoted as in redis-cli; a name before `>` tells connections apart. The
//  reply stands behind two blanks and `<`, or on the next line, as `Reply.description` shows it in
//  RESP2's types. `<~` is a pattern instead, `< *` matches all, `< ...` says that there is no reply.
//  `@ advance n` moves time by n milliseconds. Lines that begin with `#` are comments.

import MartletBase
import Testing

@testable import MartletEngine

/// How the requests of a transcript reach the server.
private enum Delivery: CaseIterable {
    case oneByOne
    case pipelined
    case byteByByte
}

/// Runs a transcript in every protocol and delivery, each on a new server.
///
/// - Parameters:
///   - isPipelined: false for commands whose replies depend on what arrives together.
///   - text: the transcript.
///   - sourceLocation: where a failure is shown.
func expectTranscript(
    isPipelined: Bool = true, _ text: String, sourceLocation: SourceLocation = #_sourceLocation
) {
    let steps: [Step]
    do {
        steps = try Step.all(in: text)
    } catch {
        Issue.record("not a transcript: \(error)", sourceLocation: sourceLocation)
        return
    }
    for isRESP3 in [false, true] {
        for delivery in Delivery.allCases where isPipelined || delivery != .pipelined {
            var run = TranscriptRun(isRESP3: isRESP3, delivery: delivery)
            for step in steps { run.take(step) }
            run.flush()
            for failure in run.failures {
                Issue.record(
                    "\(failure) (\(isRESP3 ? "RESP3" : "RESP2"), \(delivery))",
                    sourceLocation: sourceLocation)
            }
            // The same failure six times over helps nobody.
            if !run.failures.isEmpty { return }
        }
    }
}

/// A line of a transcript that means nothing.
private struct TranscriptError: Error {
    let line: String
}

/// One request with its reply, or a jump in time.
private enum Step {
    case request(client: String, [[UInt8]], expected: String, line: String)
    case advance(milliseconds: Int64)

    static func all(in text: String) throws -> [Step] {
        var steps: [Step] = []
        var open: (client: String, arguments: [[UInt8]], line: String)?
        for rawLine in text.split(separator: "\n") {
            let line = String(rawLine.drop { $0 == " " })
            if line.isEmpty || line.hasPrefix("#") { continue }
            if let words = line.hasPrefix("@") ? line.split(separator: " ") : nil {
                guard words.count == 3, words[1] == "advance", let time = Int64(words[2]) else {
                    throw TranscriptError(line: line)
                }
                steps.append(.advance(milliseconds: time))
            } else if line.hasPrefix("<"), let request = open {
                steps.append(
                    .request(
                        client: request.client, request.arguments, expected: line,
                        line: request.line))
                open = nil
            } else if open == nil, let mark = line.firstIndex(of: ">") {
                let client = String(line[..<mark])
                let (arguments, rest) = try arguments(line[line.index(after: mark)...])
                if rest.isEmpty {
                    open = (client, arguments, line)
                } else {
                    steps.append(
                        .request(client: client, arguments, expected: rest, line: line))
                }
            } else {
                throw TranscriptError(line: line)
            }
        }
        if let open { throw TranscriptError(line: open.line) }
        return steps
    }

    /// The arguments of a request, and what follows them from `<` on.
    private static func arguments(_ text: Substring) throws -> ([[UInt8]], String) {
        var arguments: [[UInt8]] = []
        var bytes = Array(text.utf8)[...]
        while true {
            let blanks = bytes.prefix { $0 == UInt8(ascii: " ") }.count
            bytes = bytes.dropFirst(blanks)
            guard let first = bytes.first else { return (arguments, "") }
            if first == UInt8(ascii: "<") && blanks >= 2 {
                return (arguments, String(decoding: bytes, as: UTF8.self))
            }
            arguments.append(try argument(&bytes, text))
        }
    }

    private static func argument(
        _ bytes: inout ArraySlice<UInt8>, _ line: Substring
    ) throws -> [UInt8] {
        var argument: [UInt8] = []
        guard bytes.first == UInt8(ascii: "\"") else {
            while let byte = bytes.first, byte != UInt8(ascii: " ") {
                argument.append(byte)
                bytes = bytes.dropFirst()
            }
            return argument
        }
        bytes = bytes.dropFirst()
        while let byte = bytes.popFirst() {
            if byte == UInt8(ascii: "\"") { return argument }
            guard byte == UInt8(ascii: "\\"), let escape = bytes.popFirst() else {
                argument.append(byte)
                continue
            }
            switch escape {
            case UInt8(ascii: "n"): argument.append(0x0A)
            case UInt8(ascii: "r"): argument.append(0x0D)
            case UInt8(ascii: "t"): argument.append(0x09)
            case UInt8(ascii: "x"):
                let digits = String(decoding: bytes.prefix(2), as: UTF8.self)
                guard let value = UInt8(digits, radix: 16) else {
                    throw TranscriptError(line: String(line))
                }
                bytes = bytes.dropFirst(2)
                argument.append(value)
            default: argument.append(escape)
            }
        }
        throw TranscriptError(line: String(line))
    }
}

/// A transcript on its way through one server.
private struct TranscriptRun {
    let isRESP3: Bool
    let delivery: Delivery
    let server = CommandHarness()
    var clients: [String: HarnessClient] = [:]
    var failures: [String] = []
    /// Requests sent together, of one client.
    var pending: [(arguments: [[UInt8]], expected: String, line: String)] = []
    var pendingClient = ""

    init(isRESP3: Bool, delivery: Delivery) {
        self.isRESP3 = isRESP3
        self.delivery = delivery
    }

    mutating func take(_ step: Step) {
        switch step {
        case .advance(let milliseconds):
            flush()
            server.time.advance(milliseconds: milliseconds)
        case .request(let client, let arguments, let expected, let line):
            if client != pendingClient || delivery != .pipelined { flush() }
            pendingClient = client
            pending.append((arguments, expected, line))
        }
    }

    /// Sends what is pending and compares the replies.
    mutating func flush() {
        if pending.isEmpty { return }
        let client = clients[pendingClient] ?? server.client(isRESP3: isRESP3)
        clients[pendingClient] = client
        let bytes = pending.flatMap { HarnessClient.request($0.arguments) }
        if delivery == .byteByByte {
            for byte in bytes { client.send([byte]) }
        } else {
            client.send(bytes)
        }
        var replies = client.replies()[...]
        for (_, expected, line) in pending {
            if expected == "< ..." { continue }
            guard let reply = replies.popFirst() else {
                failures.append("\(line): no reply")
                continue
            }
            let shown = reply.inRESP2.description
            if !Self.isMatch(shown, expected) { failures.append("\(line): got \(shown)") }
        }
        for reply in replies { failures.append("a reply too many: \(reply)") }
        pending = []
    }

    private static func isMatch(_ shown: String, _ expected: String) -> Bool {
        let isPattern = expected.hasPrefix("<~") || expected == "< *"
        let wanted = String(
            expected.dropFirst(isPattern && expected != "< *" ? 2 : 1)
                .drop { $0 == " " })
        if !isPattern { return shown == wanted }
        return shown.withView { shown in wanted.withView { shown.matches($0) } }
    }
}
