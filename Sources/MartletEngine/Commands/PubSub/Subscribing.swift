//  SUBSCRIBE, PSUBSCRIBE, SSUBSCRIBE and their ends: what a connection listens to.
//
//  Each channel is answered by a frame of its own, which RESP3 knows as a push: they are sent even if
//  the client wants no replies.

import MartletBase

extension CommandGroup {
    private static let traits: Traits = [
        .pubsub, .noScript, .loading, .stale, .evenWhileSubscribed, .repliesByPush,
    ]

    static let subscribing: CommandGroup = [
        Command(
            "SUBSCRIBE", since: "2.0.0", group: .pubsub, syntax: "channel [channel ...]",
            summary: "Listens for messages published to channels.",
            complexity: "O(N) where N is the number of channels to subscribe to.",
            arity: .atLeast(2), traits: traits
        ) { (call) throws(CommandError) in try call.subscribe(to: .channel) },
        Command(
            "PSUBSCRIBE", since: "2.0.0", group: .pubsub, syntax: "pattern [pattern ...]",
            summary: "Listens for messages published to channels that match one or more patterns.",
            complexity: "O(N) where N is the number of patterns to subscribe to.",
            arity: .atLeast(2), traits: traits
        ) { (call) throws(CommandError) in try call.subscribe(to: .pattern) },
        Command(
            "SSUBSCRIBE", since: "7.0.0", group: .pubsub,
            syntax: "shardchannel [shardchannel ...]",
            summary: "Listens for messages published to shard channels.",
            complexity: "O(N) where N is the number of shard channels to subscribe to.",
            arity: .atLeast(2), keys: [.rest(from: 1, .notKey)], traits: traits
        ) { (call) throws(CommandError) in
            if call.isNested {
                throw .invalid("SSUBSCRIBE isn't allowed for a DENY BLOCKING client")
            }
            return try call.subscribe(to: .shardChannel)
        },
        Command(
            "UNSUBSCRIBE", since: "2.0.0", group: .pubsub, syntax: "[channel [channel ...]]",
            summary: "Stops listening to messages posted to channels.",
            complexity: "O(N) where N is the number of channels to unsubscribe.",
            arity: .atLeast(1), traits: traits
        ) { (call) throws(CommandError) in try call.unsubscribe(from: .channel) },
        Command(
            "PUNSUBSCRIBE", since: "2.0.0", group: .pubsub, syntax: "[pattern [pattern ...]]",
            summary: "Stops listening to messages published to channels that match one or more "
                + "patterns.",
            complexity: "O(N) where N is the number of patterns to unsubscribe.",
            arity: .atLeast(1), traits: traits
        ) { (call) throws(CommandError) in try call.unsubscribe(from: .pattern) },
        Command(
            "SUNSUBSCRIBE", since: "7.0.0", group: .pubsub,
            syntax: "[shardchannel [shardchannel ...]]",
            summary: "Stops listening to messages posted to shard channels.",
            complexity: "O(N) where N is the number of shard channels to unsubscribe.",
            arity: .atLeast(1), keys: [.rest(from: 1, .notKey)], traits: traits
        ) { (call) throws(CommandError) in try call.unsubscribe(from: .shardChannel) },
    ]
}

extension Call {
    fileprivate mutating func subscribe(
        to kind: Topic.Kind
    ) throws(CommandError) -> Effect {
        let before = subscriptionCount
        while !arguments.isAtEnd {
            let name = try arguments.key()
            withMissed { (call, missed) in
                unsafe call.state.pubSub.subscribe(
                    call.session, to: kind, name, missed: &missed)
            }
            replySubscription(kind.subscribedWord, name.bytes, kind)
        }
        noteSubscriptions(before: before)
        return .none
    }

    fileprivate mutating func unsubscribe(
        from kind: Topic.Kind
    ) throws(CommandError) -> Effect {
        let before = subscriptionCount
        if arguments.isAtEnd {
            let names = unsafe session.pointee.subscriptions?.names(kind) ?? []
            for (name, hash) in names {
                name.withView { unsubscribe(from: kind, Key($0, hash: hash)) }
            }
            if names.isEmpty { replySubscription(kind.unsubscribedWord, nil, kind) }
        }
        while !arguments.isAtEnd { unsubscribe(from: kind, try arguments.key()) }
        noteSubscriptions(before: before)
        return .none
    }

    private mutating func unsubscribe(from kind: Topic.Kind, _ name: Key) {
        withMissed { (call, missed) in
            unsafe call.state.pubSub.unsubscribe(
                call.session, from: kind, name, missed: &missed)
        }
        replySubscription(kind.unsubscribedWord, name.bytes, kind)
    }

    /// Ends all subscriptions without a reply.
    mutating func unsubscribeFromAll() {
        let before = subscriptionCount
        if before == 0 { return }
        withMissed { (call, missed) in
            unsafe call.state.pubSub.unsubscribe(call.session, missed: &missed)
        }
        noteSubscriptions(before: before)
    }

    /// Messages that were published before a subscription changes stand before the reply to that;
    /// within a transaction, whose reply they must not tear, behind it.
    private mutating func withMissed(_ body: (inout Call, inout ByteBuffer) -> Void) {
        var missed = ByteBuffer()
        if isNested { swap(&missed, &pushes) } else { swap(&missed, &reply.buffer) }
        body(&self, &missed)
        if isNested { swap(&missed, &pushes) } else { swap(&missed, &reply.buffer) }
    }

    private mutating func replySubscription(
        _ word: StaticString, _ name: ByteView?, _ kind: Topic.Kind
    ) {
        reply.push(3)
        reply.bulk(word)
        if let name { reply.bulk(name) } else { reply.null() }
        let subscriptions = unsafe session.pointee.subscriptions
        // Channels and patterns are counted together, shard channels apart.
        if kind == .shardChannel {
            reply.integer(subscriptions?.count(.shardChannel) ?? 0)
        } else {
            reply.integer(
                (subscriptions?.count(.channel) ?? 0) + (subscriptions?.count(.pattern) ?? 0))
        }
    }

    private var subscriptionCount: Int { unsafe session.pointee.subscriptions?.count ?? 0 }

    /// The subscriptions have changed; there were `before` of them.
    private mutating func noteSubscriptions(before: Int) {
        updateSubscriberMode()
        if (before == 0) != (subscriptionCount == 0) {
            unsafe state.subscriberChanged.call(record)
        }
    }

    /// A RESP2 client cannot tell messages from replies, so while it is subscribed it may ask for
    /// little else.
    mutating func updateSubscriberMode() {
        if subscriptionCount > 0 && !reply.isRESP3 {
            unsafe session.pointee.gate.insert(.subscriberMode)
        } else if unsafe session.pointee.gate.contains(.subscriberMode) {
            unsafe session.pointee.gate.remove(.subscriberMode)
        }
    }
}
