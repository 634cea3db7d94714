//  MIGRATE: keys go to another server, and are deleted here once they are there.

import MartletBase
import MartletEngine
import MartletPersistence

extension CommandGroup {
    static func migrate(_ context: ServerContext) -> CommandGroup {
        let flags: KeyFlags = [.readWrite, .access, .delete]
        return [
            Command(
                "MIGRATE", since: "2.6.0", group: .generic,
                syntax: "host port <key | \"\"> destination-db timeout [COPY] [REPLACE] "
                    + "[AUTH password | AUTH2 username password] [KEYS key [key ...]]",
                summary: "Atomically transfers a key from one Redis instance to another.",
                complexity: "This command actually executes a DUMP+DEL in the source instance, and "
                    + "a RESTORE in the target instance. See the pages of these commands for time "
                    + "complexity. Also an O(N) data transfer between the two instances is "
                    + "performed.",
                arity: .atLeast(6),
                keys: [
                    KeySpec(
                        first: 3,
                        find: .listed(keyword: nil) { arguments in
                            let keys = keysToMove(arguments)
                            return keys?.lowerBound == 3 ? keys : keys.map { _ in 3..<3 }
                        }, flags: flags),
                    KeySpec(
                        first: -2,
                        find: .listed(keyword: "keys") { arguments in
                            let keys = keysToMove(arguments)
                            return keys?.lowerBound == 3 ? 3..<3 : keys
                        }, flags: flags.union(.incomplete)),
                ],
                access: .write, traits: [.goesOut, .movableKeys, .noMulti],
                acl: [.keyspace, .dangerous], tips: ["nondeterministic_output"],
                secrets: secretsOfMigrate
            ) { (call) throws(CommandError) in
                try moveKeys(&call, context)
            }
        ]
    }
}

/// Where the options begin.
private let firstOption = 6

/// The words behind an option, by the option; nil for what is no option.
private func operandCount(_ word: ByteView) -> Int? {
    if word.equalsIgnoringCase("copy") || word.equalsIgnoringCase("replace") { return 0 }
    if word.equalsIgnoringCase("auth") { return 1 }
    return word.equalsIgnoringCase("auth2") ? 2 : nil
}

/// The numbers of the arguments that are keys; nil when KEYS stands beside a key.
@Sendable
private func keysToMove(_ arguments: Arguments) -> Range<Int>? {
    var index = firstOption
    while index < arguments.count {
        if arguments[index].equalsIgnoringCase("keys") {
            return arguments[3].isEmpty ? index + 1..<arguments.count : nil
        }
        index += 1 + (operandCount(arguments[index]) ?? 0)
    }
    return arguments.count > 3 ? 3..<4 : 3..<3
}

/// The numbers of user names and passwords, in requests that are refused too.
@Sendable
private func secretsOfMigrate(_ arguments: Arguments) -> [Int] {
    var secrets: [Int] = []
    var index = firstOption
    while index < arguments.count, !arguments[index].equalsIgnoringCase("keys") {
        let operands = operandCount(arguments[index]) ?? 0
        secrets += index + 1..<min(index + 1 + operands, arguments.count)
        index += 1 + operands
    }
    return secrets.filter { $0 < arguments.count }
}

/// What MIGRATE is told beside host and keys.
private struct MigrateOptions {
    var copies = false
    var replaces = false
    var user: ByteView?
    var password: ByteView?
    let database: Int64
    let timeoutMilliseconds: Int64

    /// Arguments from the third to the last before the keys; in Redis' order of complaints.
    init(reading arguments: inout Arguments) throws(CommandError) {
        let key = try arguments.next()
        let database = try arguments.next()
        let timeout = try arguments.next()
        while !arguments.isAtEnd {
            if arguments.skip("copy") {
                copies = true
            } else if arguments.skip("replace") {
                replaces = true
            } else if arguments.skip("auth") {
                password = try arguments.next()
            } else if arguments.skip("auth2") {
                user = try arguments.next()
                password = try arguments.next()
            } else if arguments.skip("keys") {
                if !key.isEmpty {
                    throw .invalid(
                        """
                        When using MIGRATE KEYS option, the key argument must be set to the empty \
                        string
                        """)
                }
                break
            } else {
                throw .syntax
            }
        }
        guard let milliseconds = timeout.parseInteger() else { throw .notInteger }
        guard let number = database.parseInteger() else { throw .notInteger }
        timeoutMilliseconds = milliseconds > 0 ? milliseconds : 1000
        self.database = number
    }
}

private func moveKeys(
    _ call: inout Call, _ context: ServerContext
) throws(CommandError) -> Effect {
    let host = try call.arguments.next()
    let port = try call.arguments.next()
    let options = try MigrateOptions(reading: &call.arguments)
    let migration = Migration(
        host: host.string, port: portNumber(port),
        timeoutMilliseconds: options.timeoutMilliseconds)

    let now = call.keyspace.nowMilliseconds
    var output = RDBOutput()
    for index in keysToMove(call.arguments) ?? 3..<3 {
        let key = call.keyspace.key(call.arguments[index])
        guard let entry = call.keyspace.read(key) else { continue }
        let left = entry.expiryMilliseconds.map { max(1, $0 - now) } ?? 0
        migration.add(
            key.bytes, milliseconds: left,
            payload: RDBPayload.write(entry, at: now, to: &output), replaces: options.replaces)
    }
    if migration.keys.isEmpty {
        call.reply.simple("NOKEY")
        return .none
    }
    migration.greet(options)
    let clock = unsafe call.state.clock
    let copies = options.copies
    return call.goOut { errand in
        let thread = WorkerThread(name: "migrate") {
            migration.run(clock)
            context.errandEnded(errand)
        }
        if thread != nil { return }
        migration.giveUp()
        context.errandEnded(errand)
    } end: { call in
        conclude(migration, copies: copies, &call)
    }
}

/// The number that a port begins with, as C's `atoi` reads it; 0, at which nobody listens, for none.
private func portNumber(_ text: ByteView) -> UInt16 {
    var end = 0
    while end < text.count, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(text[end]) { end += 1 }
    return UInt16(exactly: text.slice(0, end).parseInteger() ?? 0) ?? 0
}

extension Migration {
    fileprivate func greet(_ options: MigrateOptions) {
        if let password = options.password {
            greeting.begin(arguments: options.user == nil ? 2 : 3)
            greeting.add("AUTH")
            if let user = options.user { greeting.add(user) }
            greeting.add(password)
        }
        greeting.begin(arguments: 2)
        greeting.add("SELECT")
        greeting.add(options.database)
    }
}

/// The keys that arrived are deleted. Nobody has touched them meanwhile.
private func conclude(_ migration: Migration, copies: Bool, _ call: inout Call) {
    var gone: [[UInt8]] = []
    for number in migration.arrived where !copies {
        let name = migration.keys[number]
        name.withView { bytes in
            let key = call.keyspace.key(bytes)
            guard call.keyspace.remove(key) else { return }
            call.keyspace.record(.del, key)
            gone.append(name)
        }
    }
    if call.keyspace.isLogging && !gone.isEmpty {
        call.keyspace.begin("DEL", arguments: gone.count + 1)
        for name in gone { name.withView { call.keyspace.logged($0) } }
    }
    if let failure = migration.failure {
        failure.withView { call.reply.error($0) }
    } else {
        call.reply.ok()
    }
}
