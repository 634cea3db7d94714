//  GETBIT, BITCOUNT, BITPOS.

import MartletBase

extension CommandGroup {
    static let bitRead: CommandGroup = [
        Command(
            "GETBIT", since: "2.2.0", group: .bitmap, syntax: "key offset",
            summary: "Returns a bit value by offset.", arity: .exactly(3),
            keys: [.one(at: 1, [.readOnly, .access])], access: .read, traits: .fast,
            acl: [.bitmap], run: getBit),
        Command(
            "BITCOUNT", since: "2.6.0", group: .bitmap, syntax: "key [start end [BYTE | BIT]]",
            summary: "Counts the number of set bits (population counting) in a string.",
            complexity: "O(N)", arity: .atLeast(2), keys: [.one(at: 1, [.readOnly, .access])],
            access: .read, acl: [.bitmap], run: bitCount),
        Command(
            "BITPOS", since: "2.8.7", group: .bitmap,
            syntax: "key bit [start [end [BYTE | BIT]]]",
            summary: "Finds the first set (1) or clear (0) bit in a string.", complexity: "O(N)",
            arity: .atLeast(3), keys: [.one(at: 1, [.readOnly, .access])], access: .read,
            acl: [.bitmap], run: bitPosition),
    ]
}

/// A bit offset: not negative, and inside the longest string allowed.
func bitOffset(_ text: ByteView, _ call: borrowing Call) throws(CommandError) -> Int {
    let bytesMax = unsafe call.state.settings.bulkBytesMax.load(ordering: .relaxed)
    guard let offset = text.parseInteger(), offset >= 0, offset >> 3 < Int64(bytesMax) else {
        throw .invalid("bit offset is not an integer or out of range")
    }
    return Int(offset)
}

private func getBit(_ call: inout Call) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    let offset = try bitOffset(try call.arguments.next(), call)
    let value = try call.keyspace.readString(key) ?? ByteView()
    call.reply.integer(Bitmap.isSet(value, offset) ? 1 : 0)
    return .none
}

/// Brings a range as clients give it, negative from the end, inside `0 ..< length`; nil when empty.
private func clamped(_ start: Int64, _ end: Int64, _ length: Int64) -> (Int, Int)? {
    var start = start
    var end = end
    if start < 0 { start = max(0, start &+ length) }
    if end < 0 { end = max(0, end &+ length) }
    end = min(end, length - 1)
    return start > end ? nil : (Int(start), Int(end))
}

/// Reads BYTE or BIT; true for BIT.
private func readUnit(_ arguments: inout Arguments) throws(CommandError) -> Bool {
    if arguments.isAtEnd { return false }
    if arguments.skip("bit") { return true }
    if arguments.skip("byte") { return false }
    throw .syntax
}

private func bitCount(_ call: inout Call) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    var start: Int64 = 0
    var end: Int64 = -1
    var isInBits = false
    if !call.arguments.isAtEnd {
        if call.arguments.remaining < 2 { throw .syntax }
        start = try call.arguments.integer()
        end = try call.arguments.integer()
        isInBits = try readUnit(&call.arguments)
        if !call.arguments.isAtEnd { throw .syntax }
    }
    // BITPOS has no such rule: there both ends are brought to the first bit.
    let isReversed = start < 0 && end < 0 && start > end
    guard let value = try call.keyspace.readString(key), !isReversed,
        let (first, last) = clamped(start, end, Int64(value.count) * (isInBits ? 8 : 1))
    else {
        call.reply.integer(0)
        return .none
    }
    call.reply.integer(
        isInBits
            ? Bitmap.count(value, bits: first, through: last)
            : Bitmap.count(value, first, last + 1))
    return .none
}

private func bitPosition(_ call: inout Call) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    let bit = try call.arguments.integer()
    guard bit == 0 || bit == 1 else { throw .invalid("The bit argument must be 1 or 0.") }
    var start: Int64 = 0
    var end: Int64 = -1
    var hasEnd = false
    var isInBits = false
    if !call.arguments.isAtEnd { start = try call.arguments.integer() }
    if !call.arguments.isAtEnd {
        end = try call.arguments.integer()
        hasEnd = true
        isInBits = try readUnit(&call.arguments)
        if !call.arguments.isAtEnd { throw .syntax }
    }
    guard let value = try call.keyspace.readString(key) else {
        // A missing key is zeros without an end.
        call.reply.integer(bit == 1 ? -1 : 0)
        return .none
    }
    guard let (first, last) = clamped(start, end, Int64(value.count) * (isInBits ? 8 : 1)) else {
        call.reply.integer(-1)
        return .none
    }
    let from = isInBits ? first : first * 8
    let through = isInBits ? last : last * 8 + 7
    if let found = Bitmap.firstIndex(of: bit == 1, value, bits: from, through: through) {
        call.reply.integer(found)
    } else {
        // Zeros follow the string, unless the client said where to end.
        call.reply.integer(bit == 0 && !hasEnd ? value.count * 8 : -1)
    }
    return .none
}
