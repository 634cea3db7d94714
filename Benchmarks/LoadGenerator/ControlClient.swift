//  A blocking client for everything off the measuring path: greeting, INFO, filling markers.

import Glibc

/// A reply as a value, for questions asked before and after a measurement.
package enum Reply: Sendable, Equatable {
    case text(String)
    case error(String)
    case integer(Int)
    case null
    case array([Reply])
}

/// One blocking connection. It closes its descriptor when it goes away.
@safe
package struct ControlClient: ~Copyable {
    private var descriptor: Int32
    private let endpoint: Endpoint
    private var input: [UInt8] = []
    private var consumed = 0

    /// Connects and greets.
    ///
    /// - Throws: `.unreachable`, or `.reply` when the greeting is refused.
    package static func connect(
        _ endpoint: Endpoint, greeting: Greeting
    ) throws(BenchmarkError) -> ControlClient {
        var client = ControlClient(try endpoint.connect(), endpoint)
        for command in greeting.commands { _ = try client.command(command) }
        return client
    }

    private init(_ descriptor: Int32, _ endpoint: Endpoint) {
        self.descriptor = descriptor
        self.endpoint = endpoint
        // A server that hangs must fail the run, not hang it too.
        var limit = timeval(tv_sec: 60, tv_usec: 0)
        for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
            unsafe setsockopt(
                descriptor, SOL_SOCKET, option, &limit, socklen_t(MemoryLayout<timeval>.size))
        }
    }

    deinit { if descriptor >= 0 { close(descriptor) } }

    /// Gives the descriptor away; the caller closes it.
    package consuming func releaseDescriptor() -> Int32 {
        let released = descriptor
        descriptor = -1
        return released
    }

    /// Sends one command and waits for its reply.
    ///
    /// - Throws: `.reply` for an error reply, `.unreachable` when the connection ends.
    package mutating func command(_ words: [String]) throws(BenchmarkError) -> Reply {
        let reply = try commandOrError(words)
        if case .error(let text) = reply {
            throw .reply("\(endpoint.text) replied to \(words[0]): \(text)")
        }
        return reply
    }

    /// Like `command`, but an error reply is a value.
    package mutating func commandOrError(_ words: [String]) throws(BenchmarkError) -> Reply {
        var request = Array("*\(words.count)\r\n".utf8)
        for word in words { request += Array("$\(word.utf8.count)\r\n\(word)\r\n".utf8) }
        try write(request)
        return try readReply()
    }

    /// Sends `request` and returns the bytes of the `count` replies to it, as they came.
    package mutating func rawReplies(
        to request: [UInt8], count: Int
    ) throws(BenchmarkError) -> [UInt8] {
        try write(request)
        var scanner = ReplyScanner()
        var errors = ErrorTexts()
        var seen = 0
        var bytes: [UInt8] = []
        while seen < count {
            if consumed == input.count { try fill() }
            let fresh = Array(input[consumed...])
            consumed = input.count
            bytes += fresh
            unsafe fresh.withUnsafeBytes { raw in
                guard let base = raw.baseAddress else { return }
                seen += unsafe scanner.scan(base, count: raw.count, errorTexts: &errors)
            }
            if scanner.isMalformed || scanner.errors > 0 {
                throw .reply(
                    "\(endpoint.text) replied: "
                        + String(decoding: bytes.prefix(200), as: UTF8.self))
            }
        }
        return bytes
    }

    /// The fields of INFO, all sections that the server gives by default.
    package mutating func info(_ section: String? = nil) throws(BenchmarkError) -> [String: String]
    {
        let reply = try command(["INFO"] + (section.map { [$0] } ?? []))
        guard case .text(let text) = reply else {
            throw .reply("\(endpoint.text) replied to INFO with something else than text")
        }
        var fields: [String: String] = [:]
        for line in text.split(whereSeparator: \.isNewline) {
            guard let colon = line.firstIndex(of: ":") else { continue }
            fields[String(line[..<colon])] = String(line[line.index(after: colon)...])
        }
        return fields
    }

    private func write(_ bytes: [UInt8]) throws(BenchmarkError) {
        var sent = 0
        while sent < bytes.count {
            let written = unsafe bytes.withUnsafeBytes { raw in
                unsafe send(
                    descriptor, raw.baseAddress.unsafelyUnwrapped + sent, raw.count - sent,
                    Int32(MSG_NOSIGNAL))
            }
            if written < 0 {
                if errno == EINTR { continue }
                throw .unreachable("\(endpoint.text): \(systemMessage(errno))")
            }
            sent += written
        }
    }

    private mutating func fill() throws(BenchmarkError) {
        var chunk = [UInt8](repeating: 0, count: 16384)
        while true {
            let got = unsafe recv(descriptor, &chunk, chunk.count, 0)
            if got > 0 {
                if consumed == input.count {
                    input.removeAll(keepingCapacity: true)
                    consumed = 0
                }
                input += chunk[..<got]
                return
            }
            if got == 0 { throw .unreachable("\(endpoint.text) closed the connection") }
            if errno == EINTR { continue }
            let reason = errno == EAGAIN ? "no reply within 60 seconds" : systemMessage(errno)
            throw .unreachable("\(endpoint.text): \(reason)")
        }
    }

    private mutating func byte() throws(BenchmarkError) -> UInt8 {
        if consumed == input.count { try fill() }
        consumed += 1
        return input[consumed - 1]
    }

    private mutating func line() throws(BenchmarkError) -> String {
        var bytes: [UInt8] = []
        while true {
            let next = try byte()
            if next == 10 { break }
            if next != 13 { bytes.append(next) }
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    private mutating func readReply(depth: Int = 0) throws(BenchmarkError) -> Reply {
        guard depth < 32 else { throw .reply("\(endpoint.text) nests replies deeper than 32") }
        let kind = try byte()
        let head = try line()
        func length() throws(BenchmarkError) -> Int {
            guard let length = Int(head), length <= 1 << 30 else {
                throw .reply("\(endpoint.text) sent a length of '\(head)'")
            }
            return length
        }
        switch kind {
        case UInt8(ascii: "+"), UInt8(ascii: ","), UInt8(ascii: "("), UInt8(ascii: "#"):
            return .text(head)
        case UInt8(ascii: "-"): return .error(head)
        case UInt8(ascii: ":"):
            guard let number = Int(head) else {
                throw .reply("\(endpoint.text) sent an integer of '\(head)'")
            }
            return .integer(number)
        case UInt8(ascii: "_"): return .null
        case UInt8(ascii: "$"), UInt8(ascii: "="), UInt8(ascii: "!"):
            let count = try length()
            if count < 0 { return .null }
            var bytes: [UInt8] = []
            while bytes.count < count { bytes.append(try byte()) }
            _ = try line()
            let skipped = kind == UInt8(ascii: "=") ? 4 : 0
            let text = String(decoding: bytes.dropFirst(skipped), as: UTF8.self)
            return kind == UInt8(ascii: "!") ? .error(text) : .text(text)
        case UInt8(ascii: "*"), UInt8(ascii: "~"), UInt8(ascii: ">"), UInt8(ascii: "%"):
            let count = try length() * (kind == UInt8(ascii: "%") ? 2 : 1)
            if count < 0 { return .null }
            var values: [Reply] = []
            while values.count < count { values.append(try readReply(depth: depth + 1)) }
            return .array(values)
        default:
            throw .reply("\(endpoint.text) does not speak RESP: it sent '\(head)'")
        }
    }
}
