//  HINCRBY, HINCRBYFLOAT: numbers in the fields of a hash.

import MartletBase

extension CommandGroup {
    static let hashCounters: CommandGroup = [
        Command(
            "HINCRBY", since: "2.0.0", group: .hash, syntax: "key field increment",
            summary: "Increments the integer value of a field in a hash by a number. Uses 0 as "
                + "initial value if the field doesn't exist.",
            arity: .exactly(4), keys: [.one(at: 1, [.readWrite, .access, .update])],
            access: .write, traits: [.fast, .growsMemory], acl: [.hash], run: hincrby),
        Command(
            "HINCRBYFLOAT", since: "2.6.0", group: .hash, syntax: "key field increment",
            summary: "Increments the floating point value of a field by a number. Uses 0 as "
                + "initial value if the field doesn't exist.",
            arity: .exactly(4), keys: [.one(at: 1, [.readWrite, .access, .update])],
            access: .write, traits: [.fast, .growsMemory], acl: [.hash], run: hincrbyfloat),
    ]
}

private func hincrby(_ call: inout Call) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    let field = try call.arguments.next()
    let increment = try call.arguments.integer()
    var hash = try call.keyspace.hash(key)
    var old: Int64 = 0
    if let text = hash.value(of: field) {
        guard let number = text.parseInteger() else {
            throw .invalid("hash value is not an integer")
        }
        old = number
    }
    let (sum, overflows) = old.addingReportingOverflow(increment)
    if overflows { throw .overflow }

    let limits = call.hashLimits
    try sum.withDecimal { (text) throws(CommandError) in
        _ = try hash.set(field, text, keepsDeadline: true, limits: limits)
    }
    call.reply.integer(sum)
    return .changed(.hincrby)
}

private func hincrbyfloat(_ call: inout Call) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    let field = try call.arguments.next()
    guard let increment = LongDouble(parsing: try call.arguments.next()) else { throw .notFloat }
    if LongDouble(Int64(0)).adding(increment) == nil { throw .invalid("value is NaN or Infinity") }
    var hash = try call.keyspace.hash(key)
    var old = LongDouble(Int64(0))
    if let text = hash.value(of: field) {
        guard let number = LongDouble(parsing: text) else {
            throw .invalid("hash value is not a float")
        }
        old = number
    }
    guard let sum = old.adding(increment) else {
        throw .invalid("increment would produce NaN or Infinity")
    }

    var text = ByteBuffer()
    text.append(longDouble: sum)
    _ = try hash.set(field, text.view, keepsDeadline: true, limits: call.hashLimits)
    call.reply.bulk(text.view)
    if call.keyspace.isLogging {
        // HSET would take the deadline away, and Redis before 8 knows neither deadlines nor HSETEX.
        if hash.deadline(of: field) != nil {
            call.keyspace.begin("HSETEX", arguments: 7)
            call.keyspace.logged(key.bytes)
            call.keyspace.logged("KEEPTTL")
            call.keyspace.logged("FIELDS")
            call.keyspace.logged(1)
        } else {
            call.keyspace.begin("HSET", arguments: 4)
            call.keyspace.logged(key.bytes)
        }
        call.keyspace.logged(field)
        call.keyspace.logged(text.view)
    }
    return .changed(.hincrbyfloat)
}
