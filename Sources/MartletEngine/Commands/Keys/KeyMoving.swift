//  RENAME, RENAMENX, COPY, MOVE.

import MartletBase

extension CommandGroup {
    static let keyMoving: CommandGroup = [
        Command(
            "RENAME", since: "1.0.0", group: .generic, syntax: "key newkey",
            summary: "Renames a key and overwrites the destination.", arity: .exactly(3),
            keys: [
                .one(at: 1, [.readWrite, .access, .delete]), .one(at: 2, [.overwrite, .update]),
            ], access: .write, acl: [.keyspace]
        ) { (call) throws(CommandError) in try rename(&call, onlyIfFree: false) },
        Command(
            "RENAMENX", since: "1.0.0", group: .generic, syntax: "key newkey",
            summary: "Renames a key only when the target key name doesn't exist.",
            arity: .exactly(3),
            keys: [
                .one(at: 1, [.readWrite, .access, .delete]), .one(at: 2, [.overwrite, .insert]),
            ], access: .write, traits: .fast, acl: [.keyspace]
        ) { (call) throws(CommandError) in try rename(&call, onlyIfFree: true) },
        Command(
            "COPY", since: "6.2.0", group: .generic,
            syntax: "source destination [DB destination-db] [REPLACE]",
            summary: "Copies the value of a key to a new key.",
            complexity: "O(N) worst case for collections, where N is the number of nested items. "
                + "O(1) for string values.",
            arity: .atLeast(3),
            keys: [.one(at: 1, [.readOnly, .access]), .one(at: 2, [.overwrite, .update])],
            access: .write, traits: .growsMemory, acl: [.keyspace], run: copy),
        Command(
            "MOVE", since: "1.0.0", group: .generic, syntax: "key db",
            summary: "Moves a key to another database.", arity: .exactly(3),
            keys: [.one(at: 1, [.readWrite, .access, .update])], access: .write, traits: .fast,
            acl: [.keyspace], run: move),
    ]
}

private func rename(_ call: inout Call, onlyIfFree: Bool) throws(CommandError) -> Effect {
    let source = try call.arguments.key()
    let destination = try call.arguments.key()
    guard call.keyspace.find(source) != nil else { throw .noSuchKey }
    let isSame = source.bytes == destination.bytes
    if isSame || (onlyIfFree && call.keyspace.find(destination) != nil) {
        if onlyIfFree { call.reply.integer(0) } else { call.reply.ok() }
        return .none
    }
    let database = call.keyspace.database
    let old = call.keyspace.kindReplaced(destination)
    try call.keyspace.move(source, to: destination, inDatabase: database)
    call.keyspace.record(.renameFrom, source, count: 0)
    call.keyspace.record(.renameTo, destination)
    call.keyspace.noteReplacement(of: old, destination, inDatabase: database)
    if onlyIfFree { call.reply.integer(1) } else { call.reply.ok() }
    return .recorded
}

private func copy(_ call: inout Call) throws(CommandError) -> Effect {
    let source = try call.arguments.key()
    let destination = try call.arguments.key()
    var database = call.keyspace.database
    var replaces = false
    while !call.arguments.isAtEnd {
        if call.arguments.skip("replace") {
            replaces = true
        } else if call.arguments.skip("db") {
            database = try databaseIndex(&call)
        } else {
            throw .syntax
        }
    }
    if database == call.keyspace.database && source.bytes == destination.bytes {
        throw .sameObject
    }

    guard call.keyspace.read(source) != nil,
        replaces || call.keyspace.find(destination, inDatabase: database) == nil
    else {
        call.reply.integer(0)
        return .none
    }
    let old = call.keyspace.kindReplaced(destination, inDatabase: database)
    try call.keyspace.copy(source, to: destination, inDatabase: database)
    call.keyspace.record(.copyTo, destination, inDatabase: database)
    call.keyspace.noteReplacement(of: old, destination, inDatabase: database)
    call.reply.integer(1)
    return .recorded
}

private func move(_ call: inout Call) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    let database = try databaseIndex(&call)
    if database == call.keyspace.database { throw .sameObject }
    guard call.keyspace.find(key) != nil, call.keyspace.find(key, inDatabase: database) == nil
    else {
        call.reply.integer(0)
        return .none
    }
    try call.keyspace.move(key, to: key, inDatabase: database)
    call.keyspace.record(.moveFrom, key, count: 0)
    call.keyspace.record(.moveTo, key, inDatabase: database)
    call.reply.integer(1)
    return .recorded
}

private func databaseIndex(_ call: inout Call) throws(CommandError) -> Int {
    let index = try call.arguments.integer()
    guard Int64(Int32.min)...Int64(Int32.max) ~= index else {
        throw .invalid("value is out of range, value must between -2147483648 and 2147483647")
    }
    guard index >= 0 && index < Int64(call.keyspace.databaseCount) else {
        throw .databaseOutOfRange
    }
    return Int(index)
}
