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
    let total = list.count
    let range = atFront ? 0..<count : (total - count)..<total
    list.forEach(in: range, reversed: !atFront) { call.reply.element($0) }
    list.remove(range, call.listLimit)
    let event: KeyEvent = atFront ? .lpop : .rpop
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
    let keyCount = try call.arguments.keyCount()
    let keys = call.arguments.position
    guard keyCount < Int64(call.arguments.remaining) else { throw .syntax }
    call.arguments.position += Int(keyCount)
    let atFront = try call.arguments.isFront()
    var wanted: Int64 = 1
    if !call.arguments.isAtEnd {
        guard call.arguments.remaining >= 2, call.arguments.skip("count") else { throw .syntax }
        wanted = try call.arguments.integer(.invalid("count should be greater than 0"))
        if wanted < 1 { throw .invalid("count should be greater than 0") }
        if !call.arguments.isAtEnd { throw .syntax }
    }

    call.arguments.position = keys
    for _ in 0..<keyCount {
        let key = try call.arguments.key()
        var list = try call.keyspace.list(key)
        if list.isEmpty { continue }
        let count = Int(min(wanted, Int64(list.count)))
        call.reply.array(2)
        call.reply.bulk(key.bytes)
        call.reply.array(count)
        let effect = pop(count, atFront: atFront, key, &list, &call)
        if effect.isRecorded { return effect }
        // The key may be any of the arguments: the one that the effect names is the first.
        call.keyspace.record(atFront ? .lpop : .rpop, key, count: count)
        return .recorded
    }
    call.reply.nullArray()
    return .none
}

extension Arguments {
    /// LEFT or RIGHT.
    mutating func isFront() throws(CommandError) -> Bool {
        if skip("left") { return true }
        if skip("right") { return false }
        throw .syntax
    }
}
