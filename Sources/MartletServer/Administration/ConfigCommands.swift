//  CONFIG: what is set, and changing it while the server runs.

import MartletBase
import MartletEngine

extension CommandGroup {
    private static let traits: Traits = [.admin, .noScript, .loading, .stale]

    static func config(_ context: ServerContext) -> CommandGroup {
        [
            Command(
                "CONFIG", since: "2.0.0", group: .server,
                summary: "A container for server configuration commands.",
                subcommands: configSubcommands(context))
        ]
    }

    private static func configSubcommands(_ context: ServerContext) -> CommandGroup {
        [
            Command(
                "GET", since: "2.0.0", group: .server, syntax: "parameter [parameter ...]",
                summary: "Returns the effective values of configuration parameters.",
                complexity: "O(N) when N is the number of configuration parameters provided",
                arity: .atLeast(3), traits: traits
            ) { (call) throws(CommandError) in
                get(&call, context.configuration)
            },
            Command(
                "HELP", since: "5.0.0", group: .server,
                summary: "Returns helpful text about the different subcommands.",
                arity: .exactly(2), traits: [.loading, .stale], run: help),
            Command(
                "RESETSTAT", since: "2.0.0", group: .server,
                summary: "Resets the server's statistics.", arity: .exactly(2),
                traits: traits.union(.walksShards),
                tips: ["request_policy:all_nodes", "response_policy:all_succeeded"]
            ) { (call) throws(CommandError) in
                context.resetStatistics(isHeld: call.isNested)
                call.reply.ok()
                return .none
            },
            Command(
                "REWRITE", since: "2.8.0", group: .server,
                summary: "Persists the effective configuration to file.", arity: .exactly(2),
                traits: traits,
                tips: ["request_policy:all_nodes", "response_policy:all_succeeded"]
            ) { (call) throws(CommandError) in
                try rewrite(&call, context)
            },
            Command(
                "SET", since: "2.0.0", group: .server,
                syntax: "parameter value [parameter value ...]",
                summary: "Sets configuration parameters in-flight.",
                complexity: "O(N) when N is the number of configuration parameters provided",
                arity: .atLeast(4), traits: traits,
                tips: ["request_policy:all_nodes", "response_policy:all_succeeded"],
                secrets: secretValues
            ) { (call) throws(CommandError) in
                try set(&call, context.configuration)
            },
        ]
    }
}

private func get(_ call: inout Call, _ configuration: Configuration) -> Effect {
    let patterns = (2..<call.arguments.count).map { call.arguments[$0].bytes }
    let found = configuration.get(matching: patterns)
    call.reply.map(found.count)
    for parameter in found {
        call.reply.bulk(parameter.name)
        parameter.value.withView { call.reply.bulk($0) }
    }
    return .none
}

private func set(
    _ call: inout Call, _ configuration: Configuration
) throws(CommandError) -> Effect {
    let addresses = call.record.addresses
    do throws(ConfigurationRejection) {
        try configuration.set(
            (2..<call.arguments.count).map { call.arguments[$0].bytes },
            isLocal: addresses.isLoopback || addresses.isUnixSocket)
    } catch {
        throw call.error(error.text)
    }
    call.reply.ok()
    return .none
}

private func rewrite(_ call: inout Call, _ context: ServerContext) throws(CommandError) -> Effect {
    do throws(ConfigurationRejection) {
        try context.configuration.rewrite()
    } catch {
        context.log.write(.warning, "CONFIG REWRITE failed: \(error.text)")
        throw call.error(error.text)
    }
    context.log.write(.notice, "CONFIG REWRITE executed with success.")
    call.reply.ok()
    return .none
}

/// The values of parameters that are secrets, by the number of their argument.
@Sendable
private func secretValues(_ arguments: Arguments) -> [Int] {
    stride(from: 2, to: arguments.count - 1, by: 2).compactMap { index in
        let directive = Directive.named(arguments[index].string)
        return directive?.traits.contains(.secret) == true ? index + 1 : nil
    }
}

private func help(_ call: inout Call) throws(CommandError) -> Effect {
    call.reply.help(
        "CONFIG",
        [
            "GET <pattern>",
            "    Return parameters matching the glob-like <pattern> and their values.",
            "SET <directive> <value>",
            "    Set the configuration <directive> to <value>.",
            "RESETSTAT",
            "    Reset statistics reported by the INFO command.",
            "REWRITE",
            "    Rewrite the configuration file.",
        ])
    return .none
}
