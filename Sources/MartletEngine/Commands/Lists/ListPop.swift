//  LPOP, RPOP, LMPOP: take elements from an end; the last one takes the key along.

import MartletBase

extension CommandGroup {
    static let listPop: CommandGroup = [
        pop("LPOP", "first") { (call) throws(CommandError) in try popOne(&call, atFront: true) },
        pop("RPOP", "last") { (call) throws(CommandError) in try popOne(&call, atFront: false) },
        Command(
            "LMPOP", since: "7.0.0", group: .list,
            syntax: "numkeys key [key ...] <LEFT | RIGHT> [COUNT count]",
            summary: "Returns multiple elements from a list after removing them. Deletes the list "
                + "if the last element was popped.",
            complexity: "O(N+M) where N is the number of provided keys and M is the number of "
                + "elements returned.",
            arity: .atLeast(4), keys: [.counted(at: 1, [.readWrite, .access, .delete])],
            access: .write, traits: .movableKeys, acl: [.list], run: lmpop),
    ]

    private static func pop(_ name: String, _ which: String, run: @escaping Handler) -> Command {
        Command(
            name, since: "1.0.0", group: .list, syntax: "key [count]",
            summary: which == "first"
                ? "Returns the first elements in a list after removing it. Deletes the list if the "
                    + "last element was popped."
                : "Returns and removes the last elements of a list. Deletes the list if the last "
                    + "element was popped.",
            complexity: "O(N) where N is the number of elements returned",
            arity: .atLeast(2), keys: [.one(at: 1, [.readWrite, .access, .delete])],
            access: .write, traits: .fast, acl: [.list], run: run)
    }
}

extension ReplyWriter {
    /// An element as a bulk string.
    @inline(__always)
    mutating func element(_ element: ListElement) {
        switch element {
        case .bytes(let bytes): bulk(bytes)
        case .integer(let integer): bulk(decimal: integer)
        }
    }
}

/// Replies with `count` elements from an end of the list, and removes them. The effect names the
/// first argument unless the key went too.
@inline(__always)
private func pop(
    _ count: Int, atFront: Bool, _ key: Key, _ list: inout ListValue, _ call: inout Call
) -> Effect {
    let event: KeyEvent = atFront ? .lpop : .rpop
    if count == 1 {
        list.pop(atFront: atFront, call.listLimit) { call.reply.element($0) }
        return taken(1, event, key, list, &call)
    }
    let total = list.count
    let range = atFront ? 0..<count : (total - count)..<total
    list.forEach(in: range, reversed: !atFront) { call.reply.element($0) }
    list.remove(range, call.listLimit)
    return taken(count, event, key, list, &call)
}

/// The effect of taking `count` elements out of a list, whose key may have gone with them.
@inline(__always)
private func taken(
    _ count: Int, _ event: KeyEvent, _ key: Key, _ list: ListValue, _ call: inout Call
) -> Effect {
    if !list.isEmpty { return .changed(event, count: count) }
    call.keyspace.record(event, key, count: count)
    call.keyspace.record(.del, key, count: 0)
    return .recorded
}

private func popOne(_ call: inout Call, atFront: Bool) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    if call.arguments.remaining > 1 { throw call.arityError() }
    var wanted: Int64?
    if !call.arguments.isAtEnd {
        let count = try call.arguments.integer(.invalid("value is out of range, must be positive"))
        if count < 0 { throw .invalid("value is out of range, must be positive") }
        wanted = count
    }

    var list = try call.keyspace.list(key)
    guard let wanted else {
        if list.isEmpty {
            call.reply.null()
            return .none
        }
        return pop(1, atFront: atFront, key, &list, &call)
    }
    if list.isEmpty {
        call.reply.nullArray()
        return .none
    }
    let count = Int(min(wanted, Int64(list.count)))
    call.reply.array(count)
    return count == 0 ? .none : pop(count, atFront: atFront, key, &list, &call)
}

private func lmpop(_ call: inout Call) throws(CommandError) -> Effect {
    let keys = try call.arguments.countedKeys()
    let atFront = try call.arguments.isFront()
    let wanted = try call.arguments.popCount()
    for key in keys {
        if try call.keyspace.list(key).isEmpty { continue }
        return try popSeveral(wanted, atFront: atFront, key, &call)
    }
    call.reply.nullArray()
    return .none
}

/// Replies with a list's key and up to `wanted` of its elements, and removes them.
///
/// - Precondition: the list is there.
func popSeveral(
    _ wanted: Int64, atFront: Bool, _ key: Key, _ call: inout Call
) throws(CommandError) -> Effect {
    var list = try call.keyspace.list(key)
    let count = Int(min(wanted, Int64(list.count)))
    call.reply.array(2)
    call.reply.bulk(key.bytes)
    call.reply.array(count)
    call.keyspace.log(atFront ? "LPOP" : "RPOP", key, Int64(count))
    return recorded(
        pop(count, atFront: atFront, key, &list, &call), atFront ? .lpop : .rpop, key, &call)
}

/// Replies with a list's key and the element at an end, and removes that.
///
/// - Precondition: the list is there.
func popWithKey(atFront: Bool, _ key: Key, _ call: inout Call) throws(CommandError) -> Effect {
    var list = try call.keyspace.list(key)
    call.reply.array(2)
    call.reply.bulk(key.bytes)
    call.keyspace.log(atFront ? "LPOP" : "RPOP", key)
    return recorded(
        pop(1, atFront: atFront, key, &list, &call), atFront ? .lpop : .rpop, key, &call)
}

/// An effect of a command whose key may be any of its arguments, or none: it names the key itself.
func recorded(_ effect: Effect, _ event: KeyEvent, _ key: Key, _ call: inout Call) -> Effect {
    if effect.isRecorded || effect.count == 0 { return effect }
    call.keyspace.record(event, key, count: Int(effect.count))
    return .recorded
}

extension Arguments {
    /// Keys behind their number, with at least one more argument behind them.
    mutating func countedKeys() throws(CommandError) -> [Key] {
        let count = try keyCount()
        guard count < Int64(remaining) else { throw .syntax }
        var keys: [Key] = []
        keys.reserveCapacity(Int(count))
        for _ in 0..<count { keys.append(try key()) }
        return keys
    }

    /// The option COUNT at the end of a command that pops from one of several keys.
    mutating func popCount() throws(CommandError) -> Int64 {
        if isAtEnd { return 1 }
        guard remaining >= 2, skip("count") else { throw .syntax }
        let count = try integer(.invalid("count should be greater than 0"))
        if count < 1 { throw .invalid("count should be greater than 0") }
        if !isAtEnd { throw .syntax }
        return count
    }

    /// LEFT or RIGHT.
    mutating func isFront() throws(CommandError) -> Bool {
        if skip("left") { return true }
        if skip("right") { return false }
        throw .syntax
    }
}
