//  MONITOR, and the lines it shows.

import MartletBase
import Synchronization

extension CommandGroup {
    static let monitoring: CommandGroup = [
        Command(
            "MONITOR", since: "1.0.0", group: .server,
            summary: "Listens for all requests received by the server in real-time.",
            complexity: "", arity: .exactly(1),
            traits: [.admin, .noScript, .loading, .stale, .endsBatch], run: monitor)
    ]
}

private func monitor(_ call: inout Call) throws(CommandError) -> Effect {
    if call.isNested { throw .invalid("MONITOR isn't allowed for DENY BLOCKING client") }
    // Said twice, it is not answered: lines are under way.
    if unsafe call.session.pointee.gate.contains(.monitor) { return .none }
    unsafe call.session.pointee.gate.insert(.monitor)
    call.reply.ok()
    unsafe call.state.beganMonitoring.call(call.record)
    return .none
}

extension MonitorLine {
    /// Appends the line as monitors get it:
    ///
    ///     +1700000000.123456 [0 127.0.0.1:1234] "SET" "key" "a\x00value"
    ///
    /// - Parameters:
    ///   - buffer: where it goes, line end included.
    ///   - wallMicroseconds: when the command ran.
    package func append(to buffer: inout ByteBuffer, wallMicroseconds: Int64) {
        buffer.append(UInt8(ascii: "+"))
        buffer.append(decimal: wallMicroseconds / 1_000_000)
        buffer.append(UInt8(ascii: "."))
        let fraction = wallMicroseconds % 1_000_000
        for place in [100_000, 10_000, 1_000, 100, 10, 1] as [Int64] {
            buffer.append(UInt8(ascii: "0") + UInt8(fraction / place % 10))
        }
        buffer.append(" [")
        buffer.append(decimal: Int64(database))
        buffer.append(record.addresses.isUnixSocket ? " unix:" : " ")
        var address = record.addresses.peer[...]
        // A Unix socket's address ends with `:0` in CLIENT LIST, and without it here.
        if record.addresses.isUnixSocket, address.hasSuffix(":0") { address.removeLast(2) }
        buffer.append(String(address))
        buffer.append("]")
        for argument in arguments {
            buffer.append(" ")
            argument.withView { buffer.append(quoted: $0) }
        }
        buffer.append("\r\n")
    }
}

extension ByteBuffer {
    /// Appends bytes in quotes; those that are not printable ASCII are escaped as Redis does it.
    fileprivate mutating func append(quoted bytes: ByteView) {
        append("\"")
        for index in 0..<bytes.count {
            let byte = bytes[index]
            switch byte {
            case UInt8(ascii: "\\"): append("\\\\")
            case UInt8(ascii: "\""): append("\\\"")
            case UInt8(ascii: "\n"): append("\\n")
            case UInt8(ascii: "\r"): append("\\r")
            case UInt8(ascii: "\t"): append("\\t")
            case 0x07: append("\\a")
            case 0x08: append("\\b")
            case 0x20...0x7E: append(byte)
            default:
                append("\\x")
                append(Self.hexadecimalDigit(byte >> 4))
                append(Self.hexadecimalDigit(byte & 15))
            }
        }
        append("\"")
    }

    private static func hexadecimalDigit(_ value: UInt8) -> UInt8 {
        value < 10 ? UInt8(ascii: "0") + value : UInt8(ascii: "a") + value - 10
    }
}
