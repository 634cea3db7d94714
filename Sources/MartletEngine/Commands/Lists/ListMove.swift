//  LMOVE, RPOPLPUSH: take an element from one list and put it into another, or into the same.

import MartletBase

extension CommandGroup {
    static let listMove: CommandGroup = [
        Command(
            "LMOVE", since: "6.2.0", group: .list,
            syntax: "source destination <LEFT | RIGHT> <LEFT | RIGHT>",
            summary: "Returns an element after popping it from one list and pushing it to another. "
                + "Deletes the list if the last element was moved.",
            arity: .exactly(5), keys: keys, access: .write, traits: .growsMemory, acl: [.list],
            run: lmove),
        Command(
            "RPOPLPUSH", since: "1.2.0", group: .list, syntax: "source destination",
            summary: "Returns the last element of a list after removing and pushing it to another "
                + "list. Deletes the list if the last element was popped.",
            arity: .exactly(3), keys: keys, access: .write, traits: .growsMemory, acl: [.list],
            deprecated: Deprecation(
                since: "6.2.0", replacedBy: "`LMOVE` with the `RIGHT` and `LEFT` arguments")
        ) { (call) throws(CommandError) in
            let source = try call.arguments.key()
            let destination = try call.arguments.key()
            return try move(&call, source, destination, fromFront: false, toFront: true)
        },
    ]

    private static let keys: [KeySpec] = [
        .one(at: 1, [.readWrite, .access, .delete]), .one(at: 2, [.readWrite, .insert]),
    ]
}

private func lmove(_ call: inout Call) throws(CommandError) -> Effect {
    let source = try call.arguments.key()
    let destination = try call.arguments.key()
    let fromFront = try call.arguments.isFront()
    let toFront = try call.arguments.isFront()
    return try move(&call, source, destination, fromFront: fromFront, toFront: toFront)
}

/// Pushes first and pops then: if there is no memory for the push, nothing has changed, and a list
/// of one element that is moved within itself keeps its key and deadline.
func move(
    _ call: inout Call, _ source: Key, _ destination: Key, fromFront: Bool, toFront: Bool
) throws(CommandError) -> Effect {
    if try call.keyspace.list(source).isEmpty {
        call.reply.null()
        return .none
    }
    var target = try call.keyspace.list(destination)
    // Looked up after the other one, whose key may just have expired.
    let isSame = source.bytes == destination.bytes
    guard let element = try call.keyspace.list(source).element(at: fromFront ? 0 : -1) else {
        return .none
    }

    var copy = ByteBuffer()
    if isSame, case .bytes(let bytes) = element {
        copy.append(bytes)
        try put(.bytes(copy.view), into: &target, atFront: toFront, &call)
        call.reply.bulk(copy.view)
    } else {
        try put(element, into: &target, atFront: toFront, &call)
        call.reply.element(element)
    }

    // Pushing may have made a key, which moves others.
    var list = try call.keyspace.list(source)
    var index = fromFront ? 0 : list.count - 1
    if isSame && fromFront == toFront { index += fromFront ? 1 : -1 }
    list.remove(index..<(index + 1), call.listLimit)
    call.keyspace.record(toFront ? .lpush : .rpush, destination, count: 0)
    call.keyspace.record(fromFront ? .lpop : .rpop, source)
    if list.isEmpty { call.keyspace.record(.del, source, count: 0) }
    return .recorded
}

private func put(
    _ element: ListElement, into list: inout ListValue, atFront: Bool, _ call: inout Call
) throws(CommandError) {
    let bytes =
        switch element {
        case .bytes(let view): view.count
        case .integer(let value): decimalDigitCount(value.magnitude) + (value < 0 ? 1 : 0)
        }
    list.willGrow(by: 1, bytes: bytes, call.listLimit)
    try list.push(element, atFront: atFront)
}
