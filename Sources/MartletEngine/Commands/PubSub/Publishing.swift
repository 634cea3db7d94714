//  PUBLISH and SPUBLISH: a message to all who listen.

import MartletBase

extension CommandGroup {
    private static let traits: Traits = [.pubsub, .loading, .stale, .fast, .mayReplicate]

    static let publishing: CommandGroup = [
        Command(
            "PUBLISH", since: "2.0.0", group: .pubsub, syntax: "channel message",
            summary: "Posts a message to a channel.",
            complexity: "O(N+M) where N is the number of clients subscribed to the receiving "
                + "channel and M is the total number of subscribed patterns (by any client).",
            arity: .exactly(3), traits: traits
        ) { (call) throws(CommandError) in try call.publish(isSharded: false) },
        Command(
            "SPUBLISH", since: "7.0.0", group: .pubsub, syntax: "shardchannel message",
            summary: "Post a message to a shard channel",
            complexity: "O(N) where N is the number of clients subscribed to the receiving shard "
                + "channel.",
            arity: .exactly(3), keys: [.one(at: 1, .notKey)], traits: traits
        ) { (call) throws(CommandError) in try call.publish(isSharded: true) },
    ]
}

extension Call {
    fileprivate mutating func publish(isSharded: Bool) throws(CommandError) -> Effect {
        if unsafe state.pubSub.isIdle {
            reply.integer(0)
            return .none
        }
        let channel = try arguments.key()
        let receivers = unsafe state.pubSub.publish(
            try arguments.next(), to: channel, isSharded: isSharded, fromLoop: loop)
        reply.integer(receivers)
        // Who listens to itself gets the message right behind the reply, before those that follow.
        if unsafe session.pointee.subscriptions != nil && !isNested && !isSilenced {
            unsafe state.pubSub.catchUp(ofClient: session, into: &reply.buffer)
        }
        return .none
    }

    /// The reply of this command is dropped.
    private var isSilenced: Bool {
        unsafe !session.pointee.gate.isDisjoint(with: [.repliesOff, .skipNextReply])
    }
}
