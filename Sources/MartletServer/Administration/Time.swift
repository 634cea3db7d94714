//  TIME: what the server's clock says.

import MartletBase
import MartletEngine

extension CommandGroup {
    static func time(_ context: ServerContext) -> CommandGroup {
        [
            Command(
                "TIME", since: "2.6.0", group: .server, summary: "Returns the server time.",
                arity: .exactly(1), traits: [.fast, .loading, .stale],
                tips: ["nondeterministic_output"]
            ) { (call) throws(CommandError) in
                let microseconds = context.state.clock.wallMicroseconds()
                call.reply.array(2)
                call.reply.bulk(decimal: microseconds / 1_000_000)
                call.reply.bulk(decimal: microseconds % 1_000_000)
                return .none
            }
        ]
    }
}
