//  LSET, LINSERT, LREM, LTRIM: change a list by index or by element.

import MartletBase

extension CommandGroup {
    static let listWrite: CommandGroup = [
        Command(
            "LSET", since: "1.0.0", group: .list, syntax: "key index element",
            summary: "Sets the value of an element in a list by its index.",
            complexity: "O(N) where N is the length of the list. Setting either the first or the "
                + "last element of the list is O(1).",
            arity: .exactly(4), keys: [.one(at: 1, [.readWrite, .update])], access: .write,
            traits: .growsMemory, acl: [.list], run: lset),
        Command(
            "LINSERT", since: "2.2.0", group: .list,
            syntax: "key <BEFORE | AFTER> pivot element",
            summary: "Inserts an element before or after another element in a list.",
            complexity: "O(N) where N is the number of elements to traverse before seeing the "
                + "value pivot. This means that inserting somewhere on the left end on the list "
                + "(head) can be considered O(1) and inserting somewhere on the right end (tail) "
                + "is O(N).",
            arity: .exactly(5), keys: [.one(at: 1, [.readWrite, .insert])], access: .write,
            traits: .growsMemory, acl: [.list], run: linsert),
        Command(
            "LREM", since: "1.0.0", group: .list, syntax: "key count element",
            summary: "Removes elements from a list. Deletes the list if the last element was "
                + "removed.",
            complexity: "O(N+M) where N is the length of the list and M is the number of elements "
                + "removed.",
            arity: .exactly(4), keys: [.one(at: 1, [.readWrite, .delete])], access: .write,
            acl: [.list], run: lrem),
        Command(
            "LTRIM", since: "1.0.0", group: .list, syntax: "key start stop",
            summary: "Removes elements from both ends a list. Deletes the list if all elements "
                + "were trimmed.",
            complexity: "O(N) where N is the number of elements to be removed by the operation.",
            arity: .exactly(4), keys: [.one(at: 1, [.readWrite, .delete])], access: .write,
            acl: [.list], run: ltrim),
    ]
}

private func lset(_ call: inout Call) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    var list = try call.keyspace.list(key)
    if list.isEmpty { throw .noSuchKey }
    let index = try call.arguments.integer()
    let element = try call.arguments.next()
    let limit = call.listLimit
    list.willGrow(by: 1, bytes: element.count, limit)
    guard let place = list.position(index) else { throw .outOfRange }

    try list.replace(at: place, with: ListElement(element), limit)
    call.reply.ok()
    return .changed(.lset)
}

private func linsert(_ call: inout Call) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    var isAfter = false
    if call.arguments.skip("after") {
        isAfter = true
    } else if !call.arguments.skip("before") {
        throw .syntax
    }
    let pivot = ListElement(try call.arguments.next())
    let element = try call.arguments.next()
    var list = try call.keyspace.list(key)
    if list.isEmpty {
        call.reply.integer(0)
        return .none
    }

    // Before the pivot is found, as in Redis: its answer to OBJECT ENCODING depends on it.
    list.willGrow(by: 1, bytes: element.count, call.listLimit)
    var index = 0
    var isFound = false
    list.walk(from: 0, reversed: false) { other in
        isFound = other == pivot
        if !isFound { index += 1 }
        return !isFound
    }
    if !isFound {
        call.reply.integer(-1)
        return .none
    }
    try list.insert(ListElement(element), at: isAfter ? index + 1 : index)
    call.reply.integer(list.count)
    return .changed(.linsert)
}

/// The effect of taking `count` elements out of a list, whose key may have gone with them.
private func removed(
    _ count: Int, _ event: KeyEvent, _ key: Key, _ list: ListValue, _ call: inout Call
) -> Effect {
    call.keyspace.record(event, key, count: count)
    if list.isEmpty { call.keyspace.record(.del, key, count: 0) }
    return .recorded
}

private func lrem(_ call: inout Call) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    let wanted = try call.arguments.symmetricInteger()
    let element = ListElement(try call.arguments.next())
    var list = try call.keyspace.list(key)
    if list.isEmpty {
        call.reply.integer(0)
        return .none
    }

    let count = list.remove(
        element, most: wanted == 0 ? Int.max : Int(abs(wanted)), reversed: wanted < 0,
        call.listLimit)
    call.reply.integer(count)
    return count == 0 ? .none : removed(count, .lrem, key, list, &call)
}

private func ltrim(_ call: inout Call) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    let start = try call.arguments.integer()
    let stop = try call.arguments.integer()
    var list = try call.keyspace.list(key)
    call.reply.ok()
    if list.isEmpty { return .none }

    let total = list.count
    let kept = indexRange(start, through: stop, count: total)
    if kept.isEmpty {
        list.remove(0..<total, call.listLimit)
    } else {
        list.remove(kept.upperBound..<total, call.listLimit)
        list.remove(0..<kept.lowerBound, call.listLimit)
    }
    // An event even if nothing was cut off, as in Redis.
    return removed(total - kept.count, .ltrim, key, list, &call)
}
