//  The server's own command groups, one line each.

import MartletEngine

/// Commands that administer the server.
enum Administration {
    static func groups(_ context: ServerContext) -> [CommandGroup] {
        [
            .cluster(context),
            .commandLog(context),
            .config(context),
            .debug(context),
            .functions,
            .hotKeys(context),
            .info(context),
            .latency(context),
            .lolwut(context),
            .memory(context),
            .migrate(context),
            .modules(context),
            .role(context),
            .saving(context),
            .shutdown(context),
            .slowLog(context),
            .time(context),
            .valueTransfer,
            .waiting(context),
        ]
    }
}
