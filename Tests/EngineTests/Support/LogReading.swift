//  The append-only log of a harness, read as commands.

import MartletBase

@testable import MartletEngine

extension CommandHarness {
    /// Turns the log on, off, or lets replies wait for it.
    func setLog(_ mode: LogMode) {
        unsafe state.keyspace.pointee.lockAll()
        state.setLog(mode)
        unsafe state.keyspace.pointee.unlockAll()
    }

    /// The bytes that were logged since the last call.
    func loggedBytes() -> [UInt8] {
        var bytes = ByteBuffer()
        _ = state.log.take(into: &bytes, waitMilliseconds: 0)
        return bytes.view.bytes
    }

    /// The commands that were logged since the last call, one line each.
    func logged() -> [String] {
        Self.commands(loggedBytes()).map { command in
            command.map { String(decoding: $0, as: UTF8.self) }.joined(separator: " ")
        }
    }

    /// The commands in these bytes of a log.
    static func commands(_ bytes: [UInt8]) -> [[[UInt8]]] {
        var reader = ReplyReader(bytes)
        var all: [[[UInt8]]] = []
        while !reader.isAtEnd, let reply = reader.next() {
            guard let elements = reply.elements else {
                preconditionFailure("a log holds commands: \(Reply.quoted(bytes))")
            }
            all.append(
                elements.map { element in
                    guard case .bulk(let argument) = element else {
                        preconditionFailure("an argument is a bulk string")
                    }
                    return argument
                })
        }
        precondition(reader.isAtEnd, "a log is broken: \(Reply.quoted(bytes))")
        return all
    }
}
