//  PUBSUB: what is subscribed to, and by how many.

import MartletBase

extension CommandGroup {
    private static let traits: Traits = [.pubsub, .loading, .stale]

    static let pubSubInspection: CommandGroup = [
        Command(
            "PUBSUB", since: "2.8.0", group: .pubsub,
            summary: "A container for Pub/Sub commands.",
            subcommands: [
                Command(
                    "CHANNELS", since: "2.8.0", group: .pubsub, syntax: "[pattern]",
                    summary: "Returns the active channels.",
                    complexity: "O(N) where N is the number of active channels, and assuming "
                        + "constant time pattern matching (relatively short channels and "
                        + "patterns)",
                    arity: .atLeast(2), traits: traits
                ) { (call) throws(CommandError) in try call.listTopics(.channel) },
                Command(
                    "HELP", since: "6.2.0", group: .pubsub,
                    summary: "Returns helpful text about the different subcommands.",
                    arity: .exactly(2), traits: [.loading, .stale], run: help),
                Command(
                    "NUMPAT", since: "2.8.0", group: .pubsub,
                    summary: "Returns a count of unique pattern subscriptions.",
                    arity: .exactly(2), traits: traits
                ) { (call) throws(CommandError) in
                    call.reply.integer(unsafe call.state.pubSub.topicCount(.patterns))
                    return .none
                },
                Command(
                    "NUMSUB", since: "2.8.0", group: .pubsub, syntax: "[channel [channel ...]]",
                    summary: "Returns a count of subscribers to channels.",
                    complexity: "O(N) for the NUMSUB subcommand, where N is the number of "
                        + "requested channels",
                    arity: .atLeast(2), traits: traits
                ) { (call) throws(CommandError) in try call.countSubscribers(.channel) },
                Command(
                    "SHARDCHANNELS", since: "7.0.0", group: .pubsub, syntax: "[pattern]",
                    summary: "Returns the active shard channels.",
                    complexity: "O(N) where N is the number of active shard channels, and assuming "
                        + "constant time pattern matching (relatively short shard channels).",
                    arity: .atLeast(2), traits: traits
                ) { (call) throws(CommandError) in try call.listTopics(.shardChannel) },
                Command(
                    "SHARDNUMSUB", since: "7.0.0", group: .pubsub,
                    syntax: "[shardchannel [shardchannel ...]]",
                    summary: "Returns the count of subscribers of shard channels.",
                    complexity: "O(N) for the SHARDNUMSUB subcommand, where N is the number of "
                        + "requested shard channels",
                    arity: .atLeast(2), traits: traits
                ) { (call) throws(CommandError) in try call.countSubscribers(.shardChannel) },
            ])
    ]
}

extension Call {
    fileprivate mutating func listTopics(_ kind: Topic.Kind) throws(CommandError) -> Effect {
        if arguments.count > 3 {
            throw error(
                "ERR unknown subcommand or wrong number of arguments for "
                    + "'\(arguments[1].string)'. Try PUBSUB HELP.")
        }
        let pattern = arguments.isAtEnd ? nil : try arguments.next()
        let names = unsafe state.pubSub.names(kind).filter { name in
            name.withView { name in pattern.map { name.matches($0) } ?? true }
        }
        reply.array(names.count)
        for name in names { name.withView { reply.bulk($0) } }
        return .none
    }

    fileprivate mutating func countSubscribers(_ kind: Topic.Kind) throws(CommandError) -> Effect {
        reply.array(arguments.remaining * 2)
        while !arguments.isAtEnd {
            let name = try arguments.key()
            reply.bulk(name.bytes)
            reply.integer(unsafe state.pubSub.subscriberCount(kind, name))
        }
        return .none
    }
}

private func help(_ call: inout Call) throws(CommandError) -> Effect {
    call.reply.help(
        "PUBSUB",
        [
            "CHANNELS [<pattern>]",
            "    Return the currently active channels matching a <pattern> (default: '*').",
            "NUMPAT",
            "    Return number of subscriptions to patterns.",
            "NUMSUB [<channel> ...]",
            "    Return the number of subscribers for the specified channels, excluding",
            "    pattern subscriptions(default: no channels).",
            "SHARDCHANNELS [<pattern>]",
            """
                Return the currently active shard level channels matching a <pattern> (default: '*').
            """,
            "SHARDNUMSUB [<shardchannel> ...]",
            "    Return the number of subscribers for the specified shard level channel(s)",
        ])
    return .none
}
