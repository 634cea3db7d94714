//  MODULE: there are none.

import MartletBase
import MartletEngine

extension CommandGroup {
    static func modules(_ context: ServerContext) -> CommandGroup {
        [
            Command(
                "MODULE", since: "4.0.0", group: .server,
                summary: "A container for module commands.",
                subcommands: [
                    Command(
                        "LIST", since: "4.0.0", group: .server,
                        summary: "Returns all loaded modules.",
                        complexity: "O(N) where N is the number of loaded modules.",
                        arity: .exactly(2), traits: [.admin, .noScript],
                        tips: ["nondeterministic_output_order"]
                    ) { (call) throws(CommandError) in
                        call.reply.array(0)
                        return .none
                    },
                    Command(
                        "HELP", since: "5.0.0", group: .server,
                        summary: "Returns helpful text about the different subcommands.",
                        arity: .exactly(2), traits: [.loading, .stale]
                    ) { (call) throws(CommandError) in
                        call.reply.help("MODULE", ["LIST", "    Return a list of loaded modules."])
                        return .none
                    },
                ],
                awaited: ["LOAD", "LOADEX", "UNLOAD"])
        ]
    }
}
