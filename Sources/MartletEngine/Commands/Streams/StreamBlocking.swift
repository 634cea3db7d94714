//  XREAD: entries of several streams behind given IDs, there now or later.
//
//  It takes nothing away, so that whoever adds an entry need not serve those who wait: they are told,
//  and read for themselves on their own loops, all their streams at once.

import MartletBase

extension CommandGroup {
    static let streamBlocking: CommandGroup = [
        Command(
            "XREAD", since: "5.0.0", group: .stream,
            syntax: "[COUNT count] [BLOCK milliseconds] STREAMS key [key ...] id [id ...]",
            summary: "Returns messages from multiple streams with IDs greater than the ones "
                + "requested. Blocks until a message is available otherwise.",
            complexity: "For each stream mentioned: O(M) with M being the number of elements "
                + "returned. If M is constant (e.g. always asking for the first 10 elements with "
                + "COUNT), you can consider it O(1). On the other side when XREAD blocks, XADD will "
                + "pay the O(N) time in order to serve the N clients blocked on the stream getting "
                + "new data.",
            arity: .atLeast(4), keys: [.streams(from: 1, [.readOnly, .access])], access: .read,
            traits: [.blocking, .movableKeys], acl: [.stream], run: xread)
    ]
}

/// The options of XREAD.
private struct ReadOptions {
    /// Entries of each stream at most.
    var count = Int.max
    /// How long to wait, 0 for ever; nil for not at all.
    var milliseconds: Int64?
    /// The arguments that are keys; as many behind them are IDs.
    var keys = 0..<0

    init(_ call: inout Call) throws(CommandError) {
        while !call.arguments.isAtEnd && keys.isEmpty {
            let left = call.arguments.remaining
            if left > 1 && call.arguments.skip("block") {
                milliseconds = try call.millisecondsToWait()
            } else if left > 1 && call.arguments.skip("count") {
                let given = try call.arguments.integer()
                count = given <= 0 ? Int.max : Int(given)
            } else if left > 1 && call.arguments.skip("streams") {
                guard (left - 1) % 2 == 0 else {
                    throw .invalid(
                        """
                        Unbalanced 'xread' list of streams: for each stream key an ID, '+', or '$' \
                        must be specified.
                        """)
                }
                let first = call.arguments.position
                keys = first..<(first + (left - 1) / 2)
            } else if left > 2 && call.arguments.skip("group") {
                throw .invalid(
                    "The GROUP option is only supported by XREADGROUP. You called XREAD instead.")
            } else if call.arguments.skip("noack") {
                throw .invalid(
                    "The NOACK option is only supported by XREADGROUP. You called XREAD instead.")
            } else if left > 1 && call.arguments.skip("claim") {
                throw .invalid(
                    "The CLAIM option is only supported by XREADGROUP. You called XREAD instead.")
            } else {
                throw .syntax
            }
        }
        if keys.isEmpty { throw .syntax }
    }
}

/// Streams to be read, each behind an ID.
private struct WantedEntries {
    let keys: [Key]
    let ids: [StreamID]
    /// Entries of each stream at most.
    let count: Int

    /// Replies with the entries there are.
    ///
    /// - Returns: false, and nothing is written, when there are none.
    func reply(_ call: inout Call) throws(CommandError) -> Bool {
        var found: [(index: Int, stream: StreamValue)] = []
        for index in keys.indices {
            let stream = try call.keyspace.readStream(keys[index])
            if !stream.isMissing, stream.read({ $0.hasEntry(after: ids[index]) }) {
                found.append((index, stream))
            }
        }
        if found.isEmpty { return false }
        call.reply.map(ofStreams: found.count)
        for (index, stream) in found {
            if !call.reply.isRESP3 { call.reply.array(2) }
            call.reply.bulk(keys[index].bytes)
            call.writeEntries(
                of: stream, from: ids[index].next ?? .max, through: .max, count)
        }
        return true
    }
}

/// The same, kept for a client that waits.
private final class KeptEntries: Sendable {
    private let keys: [KeyCopy]
    private let ids: [StreamID]
    private let count: Int

    init(_ wanted: WantedEntries) {
        keys = wanted.keys.map(KeyCopy.init)
        ids = wanted.ids
        count = wanted.count
    }

    /// Whether a key has an entry for the client.
    func isReady(_ key: Key, _ keyspace: KeyAccess) -> Bool {
        guard let stream = try? keyspace.stream(key), !stream.isMissing else { return false }
        return keys.indices.contains { index in
            keys[index].key.bytes == key.bytes && stream.read { $0.hasEntry(after: ids[index]) }
        }
    }

    func reply(_ call: inout Call) throws(CommandError) -> Bool {
        try WantedEntries(keys: keys.map(\.key), ids: ids, count: count).reply(&call)
    }
}

private func xread(_ call: inout Call) throws(CommandError) -> Effect {
    let options = try ReadOptions(&call)
    var keys: [Key] = []
    var ids: [StreamID] = []
    for index in options.keys {
        call.arguments.position = index
        let key = try call.arguments.key()
        let stream = try call.keyspace.stream(key)
        keys.append(key)
        ids.append(try start(call.arguments[index + options.keys.count], of: stream))
    }

    let wanted = WantedEntries(keys: keys, ids: ids, count: options.count)
    if try wanted.reply(&call) { return .none }
    guard let milliseconds = options.milliseconds else {
        call.reply.nullArray()
        return .none
    }
    let kept = KeptEntries(wanted)
    return call.wait(
        for: keys, wanted: .stream, milliseconds: milliseconds,
        isReady: { call, key in kept.isReady(key, call.keyspace) },
        read: { (call) throws(CommandError) in try kept.reply(&call) })
}

/// The ID behind which to read a stream, in the words of XREAD.
private func start(
    _ text: ByteView, of stream: StreamValue
) throws(CommandError) -> StreamID {
    if text.count == 1 {
        switch text[0] {
        case UInt8(ascii: "$"): return stream.isMissing ? .zero : stream.read { $0.lastID }
        case UInt8(ascii: "+"):
            // The last entry there is, whose ID may be below the last one.
            return stream.isMissing ? .zero : stream.read { $0.lastEntryID.previous ?? .zero }
        case UInt8(ascii: ">"):
            throw .invalid(
                """
                The > ID can be specified only when calling XREADGROUP using the GROUP <group> \
                <consumer> option.
                """)
        default: break
        }
    }
    return try text.streamID()
}
