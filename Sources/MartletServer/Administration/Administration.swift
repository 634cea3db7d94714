//  The server's own command groups, one line each.

import MartletEngine

/// Commands that administer the server.
enum Administration {
    static func groups(_ context: ServerContext) -> [CommandGroup] {
        []
    }
}
