//  SETBIT, BITOP.

import MartletBase

extension CommandGroup {
    static let bitWrite: CommandGroup = [
        Command(
            "SETBIT", since: "2.2.0", group: .bitmap, syntax: "key offset value",
            summary: "Sets or clears the bit at offset of the string value. Creates the key if "
                + "it doesn't exist.",
            arity: .exactly(4), keys: [.one(at: 1, [.readWrite, .access, .update])],
            access: .write, traits: .growsMemory, acl: [.bitmap], run: setBit),
        Command(
            "BITOP", since: "2.6.0", group: .bitmap,
            syntax: "<AND | OR | XOR | NOT | DIFF | DIFF1 | ANDOR | ONE> destkey key [key ...]",
            summary: "Performs bitwise operations on multiple strings, and stores the result.",
            complexity: "O(N)", arity: .atLeast(4),
            keys: [.one(at: 2, [.overwrite, .update]), .rest(from: 3, [.readOnly, .access])],
            access: .write, traits: .growsMemory, acl: [.bitmap], run: bitOperation),
    ]
}

private func setBit(_ call: inout Call) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    let offset = try bitOffset(try call.arguments.next(), call)
    let bit = try call.arguments.integer(.invalid("bit is not an integer or out of range"))
    guard bit == 0 || bit == 1 else { throw .invalid("bit is not an integer or out of range") }
    var old = false
    let length = call.keyspace.find(key).map { $0.kind == .string ? $0.stringLength : 0 } ?? 0
    try call.keyspace.changeString(key, length: offset / 8 + 1) { bytes in
        old = Bitmap.isSet(bytes.view, offset)
        Bitmap.setField(bytes, at: offset, width: 1, UInt64(bit))
    }
    call.reply.integer(old ? 1 : 0)
    // A bit that had its value already is no change, unless the string grew for it.
    return old == (bit == 1) && offset / 8 < length ? .none : .changed(.setbit)
}

private enum BitOperation {
    case and, or, xor, not, difference, differenceOfFirst, andOr, one

    init(reading arguments: inout Arguments) throws(CommandError) {
        if arguments.skip("and") {
            self = .and
        } else if arguments.skip("or") {
            self = .or
        } else if arguments.skip("xor") {
            self = .xor
        } else if arguments.skip("not") {
            self = .not
        } else if arguments.skip("diff") {
            self = .difference
        } else if arguments.skip("diff1") {
            self = .differenceOfFirst
        } else if arguments.skip("andor") {
            self = .andOr
        } else if arguments.skip("one") {
            self = .one
        } else {
            throw .syntax
        }
    }

    /// The result for one byte position; `byte(i)` is the byte of the i-th source.
    func combine(_ count: Int, _ byte: (Int) -> UInt8) -> UInt8 {
        let first = byte(0)
        switch self {
        case .not: return ~first
        case .and: return (1..<count).reduce(first) { $0 & byte($1) }
        case .or: return (1..<count).reduce(first) { $0 | byte($1) }
        case .xor: return (1..<count).reduce(first) { $0 ^ byte($1) }
        case .difference: return first & ~(1..<count).reduce(0) { $0 | byte($1) }
        case .differenceOfFirst: return ~first & (1..<count).reduce(0) { $0 | byte($1) }
        case .andOr: return first & (1..<count).reduce(0) { $0 | byte($1) }
        case .one:
            var seen: UInt8 = 0
            var twice: UInt8 = 0
            for index in 0..<count {
                twice |= seen & byte(index)
                seen |= byte(index)
            }
            return seen & ~twice
        }
    }

    var isUnary: Bool { self == .not }

    var needsTwo: Bool {
        self == .difference || self == .differenceOfFirst || self == .andOr
    }

    var name: String {
        switch self {
        case .difference: "DIFF"
        case .differenceOfFirst: "DIFF1"
        case .andOr: "ANDOR"
        default: "NOT"
        }
    }
}

private func bitOperation(_ call: inout Call) throws(CommandError) -> Effect {
    let operation = try BitOperation(reading: &call.arguments)
    let destination = try call.arguments.key()
    let count = call.arguments.remaining
    if operation.isUnary && count != 1 {
        throw .invalid("BITOP NOT must be called with a single source key.")
    }
    if operation.needsTwo && count < 2 {
        throw call.error(
            "ERR BITOP \(operation.name) must be called with at least two source keys.")
    }
    // Copies of integers: their text stands in room that is used again.
    var sources: [ByteView] = []
    var texts = ByteBuffer(capacity: 24 * count)
    var length = 0
    while !call.arguments.isAtEnd {
        var source = try call.keyspace.readString(try call.arguments.key()) ?? ByteView()
        if source.count <= 20 {
            let start = texts.count
            texts.append(source)
            source = texts.view.slice(start, texts.count)
        }
        length = max(length, source.count)
        sources.append(source)
    }

    call.reply.integer(length)
    if length == 0 {
        return call.keyspace.remove(destination) ? recorded(.del, destination, &call) : .none
    }
    var result = ByteBuffer(capacity: length)
    for position in 0..<length {
        result.append(
            operation.combine(count) { index in
                position < sources[index].count ? sources[index][position] : 0
            })
    }
    do {
        let old = call.keyspace.kindReplaced(destination)
        try call.keyspace.setComputed(destination, result.view)
        call.keyspace.noteReplacement(of: old, by: .string, destination)
    } catch {
        call.reply.buffer.truncate(to: call.reply.buffer.count - replyBytes(length))
        throw error
    }
    return recorded(.set, destination, &call)
}

private func recorded(_ event: KeyEvent, _ key: Key, _ call: inout Call) -> Effect {
    call.keyspace.record(event, key)
    return .recorded
}

/// Bytes of an integer reply.
private func replyBytes(_ value: Int) -> Int { decimalDigitCount(UInt64(value)) + 3 }
