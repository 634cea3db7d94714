//  PFADD, PFCOUNT, PFMERGE, PFDEBUG, PFSELFTEST: how many different elements there were, about.

import MartletBase

extension CommandGroup {
    static let hyperLogLog: CommandGroup = [
        Command(
            "PFADD", since: "2.8.9", group: .hyperloglog, syntax: "key [element [element ...]]",
            summary: "Adds elements to a HyperLogLog key. Creates the key if it doesn't exist.",
            complexity: "O(1) to add every element.", arity: .atLeast(2),
            keys: [.one(at: 1, [.readWrite, .insert])], access: .write,
            traits: [.fast, .growsMemory], acl: [.hyperloglog], run: pfadd),
        Command(
            "PFCOUNT", since: "2.8.9", group: .hyperloglog, syntax: "key [key ...]",
            summary: "Returns the approximated cardinality of the set(s) observed by the "
                + "HyperLogLog key(s).",
            complexity: "O(1) with a very small average constant time when called with a single "
                + "key. O(N) with N being the number of keys, and much bigger constant times, "
                + "when called with multiple keys.",
            arity: .atLeast(2),
            keys: [
                .rest(from: 1, [.readWrite, .access]).noting(
                    "RW because it may change the internal representation of the key, and "
                        + "propagate to replicas")
            ],
            access: .read, traits: .mayReplicate, acl: [.hyperloglog], run: pfcount),
        Command(
            "PFMERGE", since: "2.8.9", group: .hyperloglog,
            syntax: "destkey [sourcekey [sourcekey ...]]",
            summary: "Merges one or more HyperLogLog values into a single key.",
            complexity: "O(N) to merge N HyperLogLogs, but with high constant times.",
            arity: .atLeast(2),
            keys: [
                .one(at: 1, [.readWrite, .access, .insert]),
                .rest(from: 2, [.readOnly, .access]),
            ],
            access: .write, traits: .growsMemory, acl: [.hyperloglog], run: pfmerge),
        Command(
            "PFDEBUG", since: "2.8.9", group: .hyperloglog, syntax: "subcommand key",
            summary: "Internal commands for debugging HyperLogLog values.", complexity: "N/A",
            arity: .exactly(3), keys: [.one(at: 2, [.readWrite, .access])], access: .write,
            traits: [.growsMemory, .admin], acl: [.hyperloglog, .admin, .dangerous],
            run: pfdebug),
        Command(
            "PFSELFTEST", since: "2.8.9", group: .hyperloglog,
            summary: "An internal command for testing HyperLogLog values.", complexity: "N/A",
            arity: .exactly(1), traits: .admin, acl: [.hyperloglog, .admin, .dangerous],
            run: pfselftest),
    ]
}

extension CommandError {
    fileprivate static let notHyperLogLog = CommandError.coded(
        "WRONGTYPE Key is not a valid HyperLogLog string value.")
    fileprivate static let corrupted = CommandError.coded(
        "INVALIDOBJ Corrupted HLL object detected")
}

extension Call {
    /// The bytes of a key's HyperLogLog; nil when there is none.
    fileprivate mutating func hyperLogLog(
        of entry: Entry?, toChange: Bool = false
    ) throws(CommandError) -> ByteView? {
        guard let entry else { return nil }
        let bytes = try keyspace.string(of: entry)
        if !HyperLogLog.isOne(bytes) { throw .notHyperLogLog }
        if toChange { keyspace.markComputed(entry) }
        return bytes
    }

    fileprivate func setHyperLogLog(_ key: Key, _ new: NewHyperLogLog) throws(CommandError) {
        try new.bytes.withView { (bytes) throws(CommandError) in
            try keyspace.setComputed(key, bytes, expiry: .keep)
        }
    }

    /// Up to here values stay sparse.
    fileprivate var sparseBytesMax: Int {
        unsafe state.settings.hyperLogLogSparseBytesMax.load(ordering: .relaxed)
    }
}

private func pfadd(_ call: inout Call) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    let arguments = call.arguments
    let elements = arguments.position..<arguments.count
    let bytes = try call.hyperLogLog(of: call.keyspace.find(key), toChange: true)
    var updates = 0
    if let bytes, HyperLogLog.isDense(bytes) {
        try call.keyspace.changeString(key, length: bytes.count) { bytes in
            for index in elements {
                let (register, rank) = HyperLogLog.place(of: arguments[index])
                if HyperLogLog.raiseDense(bytes, register, rank) { updates += 1 }
            }
            if updates > 0 { HyperLogLog.outdate(bytes) }
        }
    } else if try isChanged(bytes, by: arguments) {
        var new = bytes.map { NewHyperLogLog($0) } ?? NewHyperLogLog()
        // Making the key counts, with or without elements.
        updates = bytes == nil ? 1 : 0
        for index in elements {
            let (register, rank) = HyperLogLog.place(of: arguments[index])
            guard let isHigher = new.raise(register, rank, sparseBytesMax: call.sparseBytesMax)
            else { throw .corrupted }
            if isHigher { updates += 1 }
        }
        new.outdate()
        try call.setHyperLogLog(key, new)
    }
    call.reply.integer(updates > 0 ? 1 : 0)
    return .changed(.pfadd, count: updates)
}

/// Whether the elements that follow change a sparse value, or make it: most often none does, and no
/// copy is made.
private func isChanged(_ bytes: ByteView?, by elements: Arguments) throws(CommandError) -> Bool {
    guard let bytes else { return true }
    for index in elements.position..<elements.count {
        let (register, rank) = HyperLogLog.place(of: elements[index])
        guard let isHigher = HyperLogLog.changes(bytes, register, rank) else { throw .corrupted }
        if isHigher { return true }
    }
    return false
}

private func pfcount(_ call: inout Call) throws(CommandError) -> Effect {
    if call.arguments.remaining > 1 { return try countUnion(&call) }
    let key = try call.arguments.key()
    guard let bytes = try call.hyperLogLog(of: call.keyspace.read(key), toChange: true) else {
        call.reply.integer(0)
        return .none
    }
    if let count = HyperLogLog.cachedCount(bytes) {
        call.reply.integer(Int64(bitPattern: count))
        return .none
    }
    guard let count = HyperLogLog.count(bytes) else { throw .corrupted }
    try call.keyspace.changeString(key, length: bytes.count) { bytes in
        HyperLogLog.setCachedCount(bytes, count)
    }
    call.reply.integer(Int64(bitPattern: count))
    // The value has other bytes now, which is no event of its own.
    return .changed(.none)
}

private func countUnion(_ call: inout Call) throws(CommandError) -> Effect {
    var union = HyperLogLogUnion()
    while !call.arguments.isAtEnd {
        let entry = call.keyspace.read(try call.arguments.key())
        guard let bytes = try call.hyperLogLog(of: entry) else { continue }
        if !union.include(bytes) { throw .corrupted }
    }
    call.reply.integer(Int64(bitPattern: union.count))
    return .none
}

private func pfmerge(_ call: inout Call) throws(CommandError) -> Effect {
    let destination = call.arguments
    var union = HyperLogLogUnion()
    var isDense = false
    var target: NewHyperLogLog?
    while !call.arguments.isAtEnd {
        let isDestination = call.arguments.position == destination.position
        let entry = call.keyspace.read(try call.arguments.key())
        guard let bytes = try call.hyperLogLog(of: entry) else { continue }
        if HyperLogLog.isDense(bytes) { isDense = true }
        if !union.include(bytes) { throw .corrupted }
        if isDestination { target = NewHyperLogLog(bytes) }
    }

    var result = target ?? NewHyperLogLog()
    if isDense && !result.makeDense() { throw .corrupted }
    if result.isDense {
        result.setDense(union)
    } else {
        // It may turn dense on the way.
        for (register, rank) in union.ranks.enumerated() where rank > 0 {
            _ = result.raise(register, rank, sparseBytesMax: call.sparseBytesMax)
        }
    }
    result.outdate()
    call.arguments = destination
    try call.setHyperLogLog(try call.arguments.key(), result)
    call.reply.ok()
    return .changed(.pfadd)
}

private func pfdebug(_ call: inout Call) throws(CommandError) -> Effect {
    let word = try call.arguments.next()
    let key = try call.arguments.key()
    guard let bytes = try call.hyperLogLog(of: call.keyspace.find(key), toChange: true) else {
        throw .invalid("The specified key does not exist")
    }
    let isDense = HyperLogLog.isDense(bytes)
    if word.equalsIgnoringCase("encoding") {
        call.reply.simple(isDense ? "dense" : "sparse")
        return .none
    }
    if word.equalsIgnoringCase("decode") {
        if isDense { throw .invalid("HLL encoding is not sparse") }
        guard let text = HyperLogLog.describe(bytes) else { throw .corrupted }
        call.reply.bulk(text)
        return .none
    }
    let listsRegisters = word.equalsIgnoringCase("getreg")
    if !listsRegisters && !word.equalsIgnoringCase("todense") {
        throw call.error("ERR Unknown PFDEBUG subcommand '", naming: word, "'")
    }
    var union = HyperLogLogUnion()
    if !union.include(bytes) { throw .corrupted }
    if !isDense {
        var new = NewHyperLogLog(bytes)
        if !new.makeDense() { throw .corrupted }
        try call.setHyperLogLog(key, new)
    }
    if listsRegisters {
        call.reply.array(HyperLogLog.registerCount)
        for rank in union.ranks { call.reply.integer(Int64(rank)) }
    } else {
        call.reply.integer(isDense ? 0 : 1)
    }
    return isDense ? .none : .unannounced
}

private func pfselftest(_ call: inout Call) throws(CommandError) -> Effect {
    // Redis takes seconds for a hundred times as many elements; nobody is to wait that long.
    var random = Random.seededFromSystem()
    let seed = random.next()
    var value = NewHyperLogLog()
    var exact = NewHyperLogLog()
    _ = exact.makeDense()
    for element in 1...100_000 {
        let (register, rank) = Int64(bitPattern: seed &+ UInt64(element))
            .withDecimal { HyperLogLog.place(of: $0) }
        let one = value.raise(register, rank, sparseBytesMax: 3_000)
        let other = exact.raise(register, rank, sparseBytesMax: 0)
        if one != other { throw .coded("TESTFAILED sparse and dense registers differ") }
        guard element.nonzeroBitCount == 1 || element == 100_000 else { continue }
        let count = value.bytes.withView { HyperLogLog.count($0) } ?? 0
        if count != exact.bytes.withView({ HyperLogLog.count($0) }) {
            throw .coded("TESTFAILED dense/sparse disagree")
        }
        // Six times the standard error of the method, 1.04 / 128; few elements are counted exactly
        // but for those that fall together.
        let error = (Double(count) - Double(element)).magnitude
        if error > max(6 * 0.008125 * Double(element), 10) {
            throw .coded("TESTFAILED Too big error")
        }
    }
    call.reply.ok()
    return .none
}
