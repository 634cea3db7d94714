//  XINFO: what there is to know of a stream, its groups and their consumers.

import MartletBase

extension CommandGroup {
    static let streamInfo: CommandGroup = [
        Command(
            "XINFO", since: "5.0.0", group: .stream,
            summary: "A container for stream introspection commands.",
            subcommands: [
                Command(
                    "STREAM", since: "5.0.0", group: .stream, syntax: "key [FULL [COUNT count]]",
                    summary: "Returns information about a stream.",
                    arity: .atLeast(3), keys: [.one(at: 2, [.readOnly, .access])], access: .read,
                    acl: [.stream], run: xinfoStream),
                .infoOfGroups,
                .infoOfConsumers,
                Command(
                    "HELP", since: "5.0.0", group: .stream,
                    summary: "Returns helpful text about the different subcommands.",
                    arity: .exactly(2), traits: [.loading, .stale], acl: [.stream]
                ) { (call) throws(CommandError) in
                    call.reply.help("XINFO", help)
                    return .none
                },
            ])
    ]

    private static let help: [StaticString] = [
        "CONSUMERS <key> <groupname>",
        "    Show consumers of <groupname>.",
        "GROUPS <key>",
        "    Show the stream consumer groups.",
        "STREAM <key> [FULL [COUNT <count>]",
        "    Show information about the stream.",
    ]
}

/// Entries, and pending ones of each group and consumer, that FULL shows unless COUNT says otherwise.
private let entriesInFull = 10

private func xinfoStream(_ call: inout Call) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    let stream = try call.keyspace.readStream(key)
    if stream.isMissing { throw .noSuchKey }
    var limit: Int?
    let isFull = !call.arguments.isAtEnd
    if isFull {
        let options = call.arguments.remaining
        guard options == 1 || options == 3, call.arguments.skip("full"),
            options == 1 || call.arguments.skip("count")
        else {
            throw call.error(
                "ERR unknown subcommand or wrong number of arguments for '",
                naming:
                    call.arguments[1], "'. Try XINFO HELP.")
        }
        limit = entriesInFull
        if options == 3 {
            let given = try call.arguments.integer()
            if given >= 0 { limit = given == 0 ? nil : Int(given) }
        }
    }

    call.reply.map(isFull ? 15 : 16)
    let (count, blocks) = stream.read { ($0.count, $0.blockCount) }
    call.reply.bulk("length")
    call.reply.integer(count)
    // There is no radix tree: its keys would be the blocks, and it has one node more at least.
    call.reply.bulk("radix-tree-keys")
    call.reply.integer(blocks)
    call.reply.bulk("radix-tree-nodes")
    call.reply.integer(blocks + 1)
    call.reply.bulk("last-generated-id")
    call.reply.bulk(stream.read { $0.lastID })
    call.reply.bulk("max-deleted-entry-id")
    call.reply.bulk(stream.read { $0.maxDeletedID })
    call.reply.bulk("entries-added")
    call.reply.integer(Int64(clamping: stream.read { $0.entriesAdded }))
    call.reply.bulk("recorded-first-entry-id")
    call.reply.bulk(stream.read { $0.firstID })
    call.writeProducers(of: stream)
    if isFull {
        call.reply.bulk("entries")
        call.writeEntries(of: stream, from: .zero, through: .max, limit ?? Int.max)
        call.reply.bulk("groups")
        call.writeGroupsInFull(stream, limit: limit)
    } else {
        call.reply.bulk("groups")
        call.reply.integer(stream.groupCount)
        call.reply.bulk("first-entry")
        call.writeEdge(of: stream, reversed: false)
        call.reply.bulk("last-entry")
        call.writeEdge(of: stream, reversed: true)
    }
    return .none
}

extension Call {
    /// What the stream remembers of producers.
    fileprivate mutating func writeProducers(of stream: StreamValue) {
        let settings = producerLimits
        let now = keyspace.nowMilliseconds
        let producers = stream.change { stream in
            // Whom it would not know any more.
            stream.producers.forget(at: now, settings)
            return stream.producers
        }
        let limits = producers.ownLimits ?? settings
        reply.bulk("idmp-duration")
        reply.integer(limits.secondsMax)
        reply.bulk("idmp-maxsize")
        reply.integer(limits.countMax)
        reply.bulk("pids-tracked")
        reply.integer(producers.producerCount)
        reply.bulk("iids-tracked")
        reply.integer(producers.count)
        reply.bulk("iids-added")
        reply.integer(Int64(clamping: producers.addedCount))
        reply.bulk("iids-duplicates")
        reply.integer(Int64(clamping: producers.duplicateCount))
    }

    /// Replies with the first entry, or the last, or null.
    fileprivate mutating func writeEdge(of stream: StreamValue, reversed: Bool) {
        var isThere = false
        stream.read { stream in
            stream.walk(from: .zero, through: .max, reversed: reversed) { entry in
                reply.entry(entry)
                isThere = true
                return false
            }
        }
        if !isThere { reply.null() }
    }
}
