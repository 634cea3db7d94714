//  XTRIM, XDEL, XSETID: entries go, and what a stream remembers of its entries.

import MartletBase

extension CommandGroup {
    static let streamTrimming: CommandGroup = [
        Command(
            "XTRIM", since: "5.0.0", group: .stream,
            syntax: "key <MAXLEN | MINID> [= | ~] threshold [LIMIT count] "
                + "[KEEPREF | DELREF | ACKED]",
            summary: "Deletes messages from the beginning of a stream.",
            complexity: "O(N), with N being the number of evicted entries. Constant times are very "
                + "small however, since entries are organized in macro nodes containing multiple "
                + "entries that can be released with a single deallocation.",
            arity: .atLeast(4), keys: [.one(at: 1, [.readWrite, .delete])], access: .write,
            acl: [.stream], tips: ["nondeterministic_output"], run: xtrim),
        Command(
            "XDEL", since: "5.0.0", group: .stream, syntax: "key id [id ...]",
            summary: "Returns the number of messages after removing them from a stream.",
            complexity: "O(1) for each single item to delete in the stream, regardless of the "
                + "stream size.",
            arity: .atLeast(3), keys: [.one(at: 1, [.readWrite, .delete])], access: .write,
            traits: .fast, acl: [.stream], run: xdel),
        Command(
            "XSETID", since: "5.0.0", group: .stream,
            syntax: "key last-id [ENTRIESADDED entries-added] [MAXDELETEDID max-deleted-id]",
            summary: "An internal command for replicating stream values.",
            arity: .atLeast(3), keys: [.one(at: 1, [.readWrite, .update])], access: .write,
            traits: [.fast, .growsMemory], acl: [.stream], run: xsetid),
    ]
}

/// The options of XTRIM, which XADD has too.
struct TrimOptions {
    private var bound: StreamTrim.Bound?
    private var isApproximate = false
    private var entriesMax: Int64?
    private var policy: ReferencePolicy?

    /// Unless LIMIT says otherwise, approximate trimming drops so many nodes at most.
    private static let nodesMax = 100

    /// Reads one of them, if the next argument is one.
    ///
    /// - Returns: whether it was.
    mutating func read(_ arguments: inout Arguments) throws(CommandError) -> Bool {
        let hasOperand = arguments.remaining > 1
        if hasOperand && arguments.skip("maxlen") {
            try begin(&arguments)
            let length = try arguments.integer()
            if length < 0 { throw .invalid("The MAXLEN argument must be >= 0.") }
            bound = .length(Int(length))
        } else if hasOperand && arguments.skip("minid") {
            try begin(&arguments)
            bound = .id(try arguments.streamID())
        } else if hasOperand && arguments.skip("limit") {
            let limit = try arguments.integer()
            if limit < 0 { throw .invalid("The LIMIT argument must be >= 0.") }
            entriesMax = limit
        } else if policy == nil && arguments.skip("keepref") {
            policy = .keep
        } else if policy == nil && arguments.skip("delref") {
            policy = .remove
        } else if policy == nil && arguments.skip("acked") {
            policy = .acknowledged
        } else {
            return false
        }
        return true
    }

    private mutating func begin(_ arguments: inout Arguments) throws(CommandError) {
        if bound != nil {
            throw .invalid(
                "syntax error, MAXLEN and MINID options at the same time are not compatible")
        }
        isApproximate = false
        guard arguments.remaining > 1 else { return }
        let sign = arguments[arguments.position]
        guard sign.count == 1, sign[0] == UInt8(ascii: "~") || sign[0] == UInt8(ascii: "=") else {
            return
        }
        isApproximate = sign[0] == UInt8(ascii: "~")
        arguments.position += 1
    }

    /// What the options say together; nil when they ask for no trimming, which is an error of a command
    /// that `isForTrimming` alone.
    @inline(__always)
    func trim(
        _ limits: StreamNodeLimits, isForTrimming: Bool = false
    ) throws(CommandError) -> StreamTrim? {
        if bound == nil && entriesMax == nil && !isForTrimming { return nil }
        return try checked(limits, isForTrimming)
    }

    private func checked(
        _ limits: StreamNodeLimits, _ isForTrimming: Bool
    ) throws(CommandError) -> StreamTrim? {
        if bound == nil, let entriesMax, entriesMax > 0 {
            throw .invalid(
                "syntax error, LIMIT cannot be used without specifying a trimming strategy")
        }
        if bound == nil && isForTrimming {
            throw .invalid("syntax error, XTRIM must be called with a trimming strategy")
        }
        if entriesMax != nil && !isApproximate {
            throw .invalid(
                "syntax error, LIMIT cannot be used without the special ~ option")
        }
        guard let bound else { return nil }
        var most = 0
        if let entriesMax {
            most = Int(entriesMax)
        } else if isApproximate {
            // No such limit for a node is Redis' own default then.
            most =
                limits.entriesMax == Int.max
                ? 10_000 : min(limits.entriesMax, 1_000_000 / Self.nodesMax) * Self.nodesMax
        }
        return StreamTrim(
            bound, isApproximate: isApproximate, entriesMax: most, policy: policy ?? .keep)
    }
}

private func xtrim(_ call: inout Call) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    var options = TrimOptions()
    while !call.arguments.isAtEnd {
        if try !options.read(&call.arguments) { throw .syntax }
    }
    let trim = try options.trim(call.streamNodeLimits, isForTrimming: true)

    let value = try call.keyspace.stream(key)
    var removed = 0
    if let trim, !value.isMissing { removed = value.change { $0.trim(trim) } }

    call.reply.integer(removed)
    if removed > 0, call.keyspace.isLogging, let trim {
        call.keyspace.begin("XTRIM", arguments: 2 + call.keyspace.argumentCount(trim))
        call.keyspace.logged(key.bytes)
        call.keyspace.logTrimming(trim, of: value)
    }
    return .changed(.xtrim, count: removed)
}

private func xdel(_ call: inout Call) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    let value = try call.keyspace.stream(key)
    if value.isMissing {
        // The IDs are not looked at then.
        call.reply.integer(0)
        return .none
    }
    let first = call.arguments.position
    while !call.arguments.isAtEnd { _ = try call.arguments.streamID() }

    var removed = 0
    try value.change { (stream) throws(CommandError) in
        for index in first..<call.arguments.count {
            if stream.remove(try call.arguments[index].streamID()) { removed += 1 }
        }
    }

    call.reply.integer(removed)
    return .changed(.xdel, count: removed)
}

private func xsetid(_ call: inout Call) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    let id = try call.arguments.streamID()
    var added: Int64?
    var maxDeletedID = StreamID.zero
    while !call.arguments.isAtEnd {
        let hasOperand = call.arguments.remaining > 1
        if hasOperand && call.arguments.skip("entriesadded") {
            let count = try call.arguments.integer()
            if count < 0 { throw .invalid("entries_added must be positive") }
            added = count
        } else if hasOperand && call.arguments.skip("maxdeletedid") {
            maxDeletedID = try call.arguments.streamID()
            if id < maxDeletedID {
                throw .invalid(
                    "The ID specified in XSETID is smaller than the provided max_deleted_entry_id")
            }
        } else {
            throw .syntax
        }
    }

    let value = try call.keyspace.stream(key)
    if value.isMissing { throw .noSuchKey }
    try value.change { (stream) throws(CommandError) in
        if id < stream.maxDeletedID {
            throw .invalid(
                "The ID specified in XSETID is smaller than current max_deleted_entry_id")
        }
        if id < stream.lastEntryID {
            throw .invalid(
                "The ID specified in XSETID is smaller than the target stream top item")
        }
        if let added, stream.count > 0, Int64(stream.count) > added {
            throw .invalid(
                "The entries_added specified in XSETID is smaller than the target stream length")
        }
        stream.setLastID(
            id, entriesAdded: added.map { UInt64($0) },
            maxDeletedID: maxDeletedID == .zero ? nil : maxDeletedID)
    }

    call.reply.ok()
    return .changed(.xsetid)
}

extension ReferencePolicy {
    /// The option that chooses it; nil for the one that needs none, which Redis before 8.2 does not know.
    fileprivate var word: StaticString? {
        switch self {
        case .keep: nil
        case .remove: "DELREF"
        case .acknowledged: "ACKED"
        }
    }
}

extension KeyAccess {
    /// How many arguments `logTrimming` adds.
    func argumentCount(_ trim: StreamTrim) -> Int { trim.policy.word == nil ? 3 : 4 }

    /// Adds what a trimming has come to: as many entries as are left, whatever blocks there are when the
    /// log is read.
    func logTrimming(_ trim: StreamTrim, of stream: StreamValue) {
        logged("MAXLEN")
        logged("=")
        logged(Int64(stream.read { $0.count }))
        if let word = trim.policy.word { logged(word) }
    }
}
