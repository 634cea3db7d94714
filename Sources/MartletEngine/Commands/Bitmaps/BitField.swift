//  BITFIELD and BITFIELD_RO: integers of any width inside a string.

import MartletBase

extension CommandGroup {
    static let bitField: CommandGroup = [
        Command(
            "BITFIELD", since: "3.2.0", group: .bitmap,
            syntax: "key [<GET encoding offset | [OVERFLOW <WRAP | SAT | FAIL>] "
                + "<SET encoding offset value | INCRBY encoding offset increment>> ...]",
            summary: "Performs arbitrary bitfield integer operations on strings.",
            complexity: "O(1) for each subcommand specified",
            arity: .atLeast(2),
            keys: [
                .one(at: 1, [.readWrite, .access, .update, .variable])
                    .noting("This command allows both access and modification of the key")
            ],
            access: .write, traits: .growsMemory, acl: [.bitmap], keyFlags: bitFieldKeyFlags
        ) { (call) throws(CommandError) in try runBitField(&call, isReadOnly: false) },
        Command(
            "BITFIELD_RO", since: "6.0.0", group: .bitmap,
            syntax: "key [GET encoding offset [GET encoding offset ...]]",
            summary: "Performs arbitrary read-only bitfield integer operations on strings.",
            complexity: "O(1) for each subcommand specified",
            arity: .atLeast(2), keys: [.one(at: 1, [.readOnly, .access])], access: .read,
            traits: .fast, acl: [.bitmap]
        ) { (call) throws(CommandError) in try runBitField(&call, isReadOnly: true) },
    ]
}

/// BITFIELD with GET alone writes nothing. What cannot be read as a subcommand counts as a write.
private func bitFieldKeyFlags(_ arguments: Arguments) -> KeyFlags {
    var index = 2
    while index < arguments.count {
        let word = arguments[index]
        if word.equalsIgnoringCase("get") && index + 2 < arguments.count {
            index += 3
        } else if word.equalsIgnoringCase("overflow") && index + 1 < arguments.count {
            index += 2
        } else {
            return [.readWrite, .access, .update]
        }
    }
    return [.readOnly, .access]
}

private enum Overflow {
    case wrap, saturate, fail
}

/// One subcommand: what is done to the field of `width` bits at bit `offset`.
private struct FieldOperation {
    enum Kind {
        case get
        case set(Int64)
        case increment(Int64)
    }

    let kind: Kind
    let isSigned: Bool
    let width: Int
    let offset: Int
    let overflow: Overflow

    /// The field's bits as a number.
    func number(_ bits: UInt64) -> Int64 {
        guard isSigned, width < 64, bits >> UInt64(width - 1) & 1 == 1 else {
            return Int64(bitPattern: bits)
        }
        return Int64(bitPattern: bits | UInt64.max << UInt64(width))
    }

    /// Whether the distance from `value` up to the field's maximum does not fit 64 bits.
    func isBeyondReach(_ value: Int64) -> Bool {
        guard isSigned, width < 64 else { return false }
        let high = Int64(bitPattern: UInt64.max >> UInt64(65 - width))
        return high.subtractingReportingOverflow(value).overflow
    }

    /// `value` brought into the field's range, or nil when that is refused; `overflowed` tells whether
    /// the true value, beyond 64 bits, was above (true) or below.
    func fitted(_ value: Int64, overflowed: Bool?) -> Int64? {
        // All ones of the width, the sign bit left out: 63 bits at most.
        let ones = UInt64.max >> UInt64(64 - width + (isSigned ? 1 : 0))
        let high = Int64(bitPattern: ones)
        let low = isSigned ? -high - 1 : 0
        let isAbove = overflowed ?? (value > high)
        if overflowed == nil && value >= low && value <= high { return value }
        switch overflow {
        case .fail: return nil
        case .saturate: return isAbove ? high : low
        case .wrap:
            let mask = width == 64 ? UInt64.max : (UInt64(1) << UInt64(width)) - 1
            return number(UInt64(bitPattern: value) & mask)
        }
    }
}

private func readOperations(
    _ call: inout Call, isReadOnly: Bool
) throws(CommandError) -> [FieldOperation] {
    var operations: [FieldOperation] = []
    var overflow = Overflow.wrap
    var writes = false
    while !call.arguments.isAtEnd {
        if call.arguments.skip("overflow") {
            if call.arguments.skip("wrap") {
                overflow = .wrap
            } else if call.arguments.skip("sat") {
                overflow = .saturate
            } else if call.arguments.skip("fail") {
                overflow = .fail
            } else if call.arguments.isAtEnd {
                throw .syntax
            } else {
                throw .invalid("Invalid OVERFLOW type specified")
            }
            continue
        }
        let name = try call.arguments.next()
        let isGet = name.equalsIgnoringCase("get")
        let isSet = name.equalsIgnoringCase("set")
        guard isGet || isSet || name.equalsIgnoringCase("incrby"),
            call.arguments.remaining >= (isGet ? 2 : 3)
        else { throw .syntax }
        let (isSigned, width) = try readType(try call.arguments.next())
        let offset = try readOffset(try call.arguments.next(), width, call)
        var kind = FieldOperation.Kind.get
        if !isGet {
            let value = try call.arguments.integer()
            kind = isSet ? .set(value) : .increment(value)
            writes = true
        }
        operations.append(
            FieldOperation(
                kind: kind, isSigned: isSigned, width: width, offset: offset, overflow: overflow))
    }
    if writes && isReadOnly { throw .invalid("BITFIELD_RO only supports the GET subcommand") }
    return operations
}

/// `u8`, `i64`: signed up to 64 bits, unsigned up to 63.
private func readType(_ text: ByteView) throws(CommandError) -> (Bool, Int) {
    if text.count >= 2, text[0] == UInt8(ascii: "u") || text[0] == UInt8(ascii: "i") {
        let isSigned = text[0] == UInt8(ascii: "i")
        if let width = text.slice(1, text.count).parseInteger(), width >= 1,
            width <= (isSigned ? 64 : 63)
        {
            return (isSigned, Int(width))
        }
    }
    throw .invalid(
        "Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is."
    )
}

/// A bit offset, or with `#` a number of fields.
private func readOffset(
    _ text: ByteView, _ width: Int, _ call: borrowing Call
) throws(CommandError) -> Int {
    let isInFields = !text.isEmpty && text[0] == UInt8(ascii: "#")
    let digits = isInFields ? text.slice(1, text.count) : text
    let bytesMax = unsafe call.state.settings.bulkBytesMax.load(ordering: .relaxed)
    guard let number = digits.parseInteger(), number >= 0 else {
        throw .invalid("bit offset is not an integer or out of range")
    }
    let (offset, isTooBig) = number.multipliedReportingOverflow(by: isInFields ? Int64(width) : 1)
    if isTooBig || offset >> 3 >= Int64(bytesMax) {
        throw .invalid("bit offset is not an integer or out of range")
    }
    return Int(offset)
}

private func runBitField(_ call: inout Call, isReadOnly: Bool) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    let operations = try readOperations(&call, isReadOnly: isReadOnly)
    var writeEnd = 0
    for operation in operations {
        if case .get = operation.kind { continue }
        writeEnd = max(writeEnd, (operation.offset + operation.width - 1) / 8 + 1)
    }
    try checkStringLength(writeEnd, call)

    if writeEnd == 0 {
        let value = try call.keyspace.readString(key) ?? ByteView()
        call.reply.array(operations.count)
        for operation in operations {
            let bits = Bitmap.field(value, at: operation.offset, width: operation.width)
            call.reply.integer(operation.number(bits))
        }
        return .none
    }
    var replies: [Int64?] = []
    var changes = 0
    let length = call.keyspace.find(key).map { $0.kind == .string ? $0.stringLength : 0 } ?? 0
    try call.keyspace.changeString(key, length: writeEnd) { bytes in
        for operation in operations {
            let bits = Bitmap.field(bytes.view, at: operation.offset, width: operation.width)
            let old = operation.number(bits)
            var new: Int64?
            var reply: Int64?
            switch operation.kind {
            case .get:
                replies.append(old)
                continue
            case .set(let value):
                // To an unsigned field a negative number is one far too large; to a signed one, in
                // Redis, so is one whose distance to the field's maximum exceeds 64 bits.
                let isHuge = operation.isSigned ? operation.isBeyondReach(value) : value < 0
                new = operation.fitted(value, overflowed: isHuge ? true : nil)
                reply = old
            case .increment(let amount):
                let (sum, overflows) = old.addingReportingOverflow(amount)
                new = operation.fitted(sum, overflowed: overflows ? amount > 0 : nil)
                reply = new
            }
            guard let new else {
                replies.append(nil)
                continue
            }
            Bitmap.setField(
                bytes, at: operation.offset, width: operation.width, UInt64(bitPattern: new))
            // A value that stood there already is no change, unless the string grew for it.
            if new != old || writeEnd > length { changes += 1 }
            replies.append(reply)
        }
    }
    call.reply.array(replies.count)
    for reply in replies {
        if let reply { call.reply.integer(reply) } else { call.reply.null() }
    }
    return changes > 0 ? .changed(.setbit, count: changes) : .none
}
