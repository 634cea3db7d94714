//  The text of every error that is not made up of parts, in one table.
//
//  Clients match these texts, so they are Redis' to the letter. Errors that quote the request are
//  written by whoever throws `.detailed`, into the call's `errorDetail`.

import MartletBase

extension CommandError {
    /// Code and message; nil for `.detailed`. `invalid` has no code in its text: see `write`.
    private var text: StaticString? {
        switch self {
        case .wrongType:
            "WRONGTYPE Operation against a key holding the wrong kind of value"
        case .syntax: "ERR syntax error"
        case .notInteger: "ERR value is not an integer or out of range"
        case .notFloat: "ERR value is not a valid float"
        case .noSuchKey: "ERR no such key"
        case .outOfRange: "ERR index out of range"
        case .overflow: "ERR increment or decrement would overflow"
        case .stringTooLong: "ERR string exceeds maximum allowed size (proto-max-bulk-len)"
        case .outOfMemory: "OOM command not allowed when used memory > 'maxmemory'."
        case .sameObject: "ERR source and destination objects are the same"
        case .invalidCursor: "ERR invalid cursor"
        case .databaseOutOfRange: "ERR DB index is out of range"
        case .invalid(let text), .coded(let text): text
        case .detailed: nil
        }
    }

    /// Writes the error as a reply; `detail` is the text of a `.detailed` one.
    func write(to reply: inout ReplyWriter, detail: ByteView) {
        guard let text else {
            reply.error(detail)
            return
        }
        guard case .invalid = self else {
            reply.error(ByteView(text))
            return
        }
        reply.buffer.append("-ERR ")
        reply.buffer.append(text)
        reply.buffer.append("\r\n")
    }
}

extension ProtocolError {
    /// Writes the error as a reply; a cross-protocol request gets none.
    func write(to reply: inout ReplyWriter) {
        switch self {
        case .tooBigInlineRequest: reply.error("ERR Protocol error: too big inline request")
        case .unbalancedQuotes: reply.error("ERR Protocol error: unbalanced quotes in request")
        case .tooBigMultibulkCount: reply.error("ERR Protocol error: too big mbulk count string")
        case .invalidMultibulkLength: reply.error("ERR Protocol error: invalid multibulk length")
        case .tooBigBulkCount: reply.error("ERR Protocol error: too big bulk count string")
        case .expectedBulk(let byte):
            reply.buffer.append("-ERR Protocol error: expected '$', got '")
            reply.buffer.append(byte == 0x0D || byte == 0x0A ? UInt8(ascii: " ") : byte)
            reply.buffer.append("'\r\n")
        case .invalidBulkLength: reply.error("ERR Protocol error: invalid bulk length")
        case .missingLineEnd:
            reply.error("ERR Protocol error: invalid CRLF in request")
        case .unauthenticatedMultibulkLength:
            reply.error("ERR Protocol error: unauthenticated multibulk length")
        case .unauthenticatedBulkLength:
            reply.error("ERR Protocol error: unauthenticated bulk length")
        case .crossProtocol: break
        }
    }
}
