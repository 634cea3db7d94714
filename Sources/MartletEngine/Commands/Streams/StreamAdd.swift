//  XADD: puts an entry at the end of a stream, and takes old ones away at its front.

import MartletBase

extension CommandGroup {
    static let streamAdd: CommandGroup = [
        Command(
            "XADD", since: "5.0.0", group: .stream,
            syntax: "key [NOMKSTREAM] [KEEPREF | DELREF | ACKED] "
                + "[IDMPAUTO producer-id | IDMP producer-id idempotent-id] "
                + "[<MAXLEN | MINID> [= | ~] threshold [LIMIT count]] <* | id> "
                + "field value [field value ...]",
            summary: "Appends a new message to a stream. Creates the key if it doesn't exist.",
            complexity: "O(1) when adding a new entry, O(N) when trimming where N being the number "
                + "of entries evicted.",
            arity: .atLeast(5),
            keys: [
                .one(at: 1, [.readWrite, .update])
                    .noting("UPDATE instead of INSERT because of the optional trimming feature")
            ], access: .write,
            traits: [.fast, .growsMemory], acl: [.stream], tips: ["nondeterministic_output"],
            run: xadd)
    ]
}

/// Which ID an entry is to get.
private enum WantedID {
    /// `*`
    case any
    /// `milliseconds-*`
    case at(UInt64)
    case exactly(StreamID)

    /// The next argument.
    init(_ arguments: inout Arguments) throws(CommandError) {
        let text = try arguments.next()
        if text.count == 1 && text[0] == UInt8(ascii: "*") {
            self = .any
        } else if let milliseconds = text.parseOpenStreamID() {
            self = .at(milliseconds)
        } else {
            self = .exactly(try text.streamID())
        }
    }

    /// The ID behind the latest one.
    ///
    /// - Throws: when there is none.
    @inline(__always)
    func following(_ last: StreamID, at milliseconds: Int64) throws(CommandError) -> StreamID {
        if last == .max {
            throw .invalid(
                "The stream has exhausted the last possible ID, unable to add more items")
        }
        var id: StreamID?
        switch self {
        case .any: id = last.following(at: UInt64(clamping: milliseconds))
        case .at(let milliseconds):
            // A number that runs over would be of the next millisecond.
            id =
                milliseconds != last.milliseconds
                ? StreamID(milliseconds, 0)
                : last.sequence < UInt64.max
                    ? StreamID(milliseconds, last.sequence + 1) : nil
        case .exactly(let given): id = given
        }
        guard let id, id > last else {
            throw .invalid(
                "The ID specified in XADD is equal or smaller than the target stream top item")
        }
        return id
    }
}

/// What stands between key and ID.
private struct AddOptions {
    var onlyExisting = false
    var trimming = TrimOptions()
    var producing = ProducerOptions()
    let id: WantedID

    init(_ call: inout Call) throws(CommandError) {
        while !call.arguments.isAtEnd {
            if call.arguments.isNextAnyID { break }
            if call.arguments.skip("nomkstream") {
                onlyExisting = true
                continue
            }
            if try trimming.read(&call.arguments) { continue }
            if try !producing.read(&call.arguments) { break }
        }
        if call.arguments.isAtEnd {
            // What is wrong with the trimming comes before what is missing behind it.
            _ = try trimming.trim(call.streamNodeLimits)
            throw call.arityError()
        }
        id = try WantedID(&call.arguments)
        if producing.producer == nil { return }
        // The log has the ID that was chosen then.
        if call.keyspace.isReplaying { return }
        guard case .any = id else {
            throw .invalid("IDMP/IDMPAUTO can be used only with auto-generated IDs")
        }
    }
}

extension Arguments {
    /// Whether the next argument is `*`.
    @inline(__always)
    fileprivate var isNextAnyID: Bool {
        let argument = self[position]
        return argument.count == 1 && argument[0] == UInt8(ascii: "*")
    }
}

extension Call {
    /// When blocks of a stream are full.
    @inline(__always)
    var streamNodeLimits: StreamNodeLimits {
        let settings = unsafe state.settings
        return StreamNodeLimits(
            entriesMax: settings.streamNodeEntriesMax.load(ordering: .relaxed),
            bytesMax: settings.streamNodeBytesMax.load(ordering: .relaxed))
    }
}

extension Call {
    /// The entry that the producer has added before.
    @inline(never)
    fileprivate func duplicate(
        _ idempotentID: [UInt8], _ options: AddOptions, _ value: StreamValue
    ) -> StreamID? {
        guard let producer = options.producing.producer?.bytes else { return nil }
        let (now, limits) = (keyspace.nowMilliseconds, producerLimits)
        return value.change {
            $0.producers.duplicate(idempotentID, of: producer, at: now, limits)
        }
    }

    /// Remembers what the producer has added.
    @inline(never)
    fileprivate func note(
        _ id: StreamID, as idempotentID: [UInt8], _ options: AddOptions, _ value: StreamValue
    ) {
        guard let producer = options.producing.producer?.bytes else { return }
        let limits = producerLimits
        value.change { $0.producers.note(id, as: idempotentID, of: producer, limits) }
    }
}

private func xadd(_ call: inout Call) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    let options = try AddOptions(&call)
    let trim = try options.trimming.trim(call.streamNodeLimits)
    let texts = call.arguments.remaining
    guard texts >= 2, texts % 2 == 0 else { throw call.arityError() }
    if case .exactly(.zero) = options.id {
        throw .invalid("The ID specified in XADD must be greater than 0-0")
    }

    var value = try call.keyspace.stream(key)
    let isNew = value.isMissing
    if isNew && options.onlyExisting {
        call.reply.null()
        return .none
    }
    let idempotentID = unsafe options.producing.idempotentID(call.arguments.rest, texts / 2)
    if let idempotentID, !isNew, let earlier = call.duplicate(idempotentID, options, value) {
        call.reply.bulk(earlier)
        return .none
    }
    let id = try options.id.following(
        isNew ? .zero : value.read { $0.lastID }, at: call.keyspace.nowMilliseconds)
    if isNew { try value.create() }
    let entry = unsafe NewStreamEntry(id, call.arguments.rest, fieldCount: texts / 2)
    let limits = call.streamNodeLimits
    let addition = value.change { $0.append(entry, limits) }
    if addition != .added {
        if isNew { value.remove() }
        throw addition == .tooLarge
            ? .invalid("Elements are too large to be stored") : .outOfMemory
    }

    if let idempotentID { call.note(id, as: idempotentID, options, value) }
    call.reply.bulk(id)
    guard let trim else {
        if call.keyspace.isLogging {
            logAddition(&call, key, id, idempotentID, options, nil, value)
        }
        return .changed(.xadd)
    }
    call.keyspace.record(.xadd, key)
    let trimmed = value.change { $0.trim(trim) }
    if trimmed > 0 { call.keyspace.record(.xtrim, key, count: 0) }
    if call.keyspace.isLogging {
        logAddition(&call, key, id, idempotentID, options, trimmed > 0 ? trim : nil, value)
    }
    return .recorded
}

/// Logs an entry with the ID that it got, and as exact trimming what was trimmed. What a producer is
/// remembered by goes with it: with an ID, only whoever reads the log may say so.
@inline(never)
private func logAddition(
    _ call: inout Call, _ key: Key, _ id: StreamID, _ idempotentID: [UInt8]?,
    _ options: AddOptions, _ trim: StreamTrim?, _ stream: StreamValue
) {
    let keyspace = call.keyspace
    let texts = call.arguments.remaining
    keyspace.begin(
        "XADD",
        arguments: 3 + (idempotentID == nil ? 0 : 3) + (trim.map(keyspace.argumentCount) ?? 0)
            + texts)
    keyspace.logged(key.bytes)
    if let trim { keyspace.logTrimming(trim, of: stream) }
    if let idempotentID, let producer = options.producing.producer {
        keyspace.logged("IDMP")
        keyspace.logged(producer)
        idempotentID.withView { keyspace.logged($0) }
    }
    keyspace.logged(id)
    for index in call.arguments.position..<call.arguments.count {
        keyspace.logged(call.arguments[index])
    }
}
