//  INCR, DECR, INCRBY, DECRBY, INCRBYFLOAT.

import MartletBase

extension CommandGroup {
    static let stringCounters: CommandGroup = [
        counter(
            "INCR", since: "1.0.0",
            "Increments the integer value of a key by one. Uses 0 as initial value if the key doesn't exist."
        ) {
            (call) throws(CommandError) in try add(&call, 1)
        },
        counter(
            "DECR", since: "1.0.0",
            "Decrements the integer value of a key by one. Uses 0 as initial value if the key doesn't exist."
        ) {
            (call) throws(CommandError) in try add(&call, -1)
        },
        counter(
            "INCRBY", "increment", since: "1.0.0",
            "Increments the integer value of a key by a number. Uses 0 as initial value if the key doesn't exist."
        ) {
            (call) throws(CommandError) in
            try add(&call, try amount(&call))
        },
        counter(
            "DECRBY", "decrement", since: "1.0.0",
            "Decrements a number from the integer value of a key. Uses 0 as initial value if the key doesn't exist."
        ) {
            (call) throws(CommandError) in
            let decrement = try amount(&call)
            if decrement == .min { throw .invalid("decrement would overflow") }
            return try add(&call, -decrement)
        },
        counter(
            "INCRBYFLOAT", "increment", since: "2.6.0",
            "Increment the floating point value of a key by a number. Uses 0 as initial value if the key doesn't exist.",
            run: addFloat),
    ]

    private static func counter(
        _ name: String, _ argument: String? = nil, since: String, _ summary: String,
        run: @escaping Handler
    ) -> Command {
        Command(
            name, since: since, group: .string, syntax: argument.map { "key \($0)" } ?? "key",
            summary: summary, arity: .exactly(argument == nil ? 2 : 3),
            keys: [.one(at: 1, [.readWrite, .access, .update])], access: .write,
            traits: [.fast, .growsMemory], acl: [.string], run: run)
    }
}

/// The number behind the key; the key is read again afterwards.
private func amount(_ call: inout Call) throws(CommandError) -> Int64 {
    call.arguments.position = 2
    let amount = try call.arguments.integer()
    call.arguments.position = 1
    return amount
}

@inline(__always)
private func add(_ call: inout Call, _ amount: Int64) throws(CommandError) -> Effect {
    let sum = try call.keyspace.increment(try call.arguments.key(), by: amount)
    call.reply.integer(sum)
    return .changed(.incrby)
}

private func addFloat(_ call: inout Call) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    let argument = try call.arguments.next()
    let old = try call.keyspace.readString(key)
    guard let value = old == nil ? LongDouble(Int64(0)) : old.flatMap({ LongDouble(parsing: $0) })
    else { throw .notFloat }
    guard let increment = LongDouble(parsing: argument) else { throw .notFloat }
    guard let sum = value.adding(increment) else {
        throw .invalid("increment would produce NaN or Infinity")
    }
    var text = ByteBuffer()
    text.append(longDouble: sum)
    try call.keyspace.setString(key, text.view, expiry: .keep, asText: true)
    call.keyspace.logSet(key, text.view, .keep)
    call.reply.bulk(text.view)
    return .changed(.incrbyfloat)
}
