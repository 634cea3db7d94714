//  The declaration of a command: all that the server knows about it, beside the code that runs it.
//
//  COMMAND INFO, DOCS and GETKEYS, arity errors, locking and the README's table are derived from it.

import MartletBase

/// How many arguments a command takes, its name included.
package enum Arity: Sendable {
    case exactly(Int)
    case atLeast(Int)

    @inline(__always)
    func admits(_ count: Int) -> Bool {
        switch self {
        case .exactly(let wanted): count == wanted
        case .atLeast(let wanted): count >= wanted
        }
    }

    /// COMMAND's spelling: negative for a minimum.
    package var number: Int {
        switch self {
        case .exactly(let wanted): wanted
        case .atLeast(let wanted): -wanted
        }
    }
}

/// What a command does to a key, in Redis' key specification terms.
package struct KeyFlags: OptionSet, Sendable {
    package let rawValue: UInt16
    package init(rawValue: UInt16) { self.rawValue = rawValue }

    package static let readOnly = KeyFlags(rawValue: 1 << 0)
    package static let readWrite = KeyFlags(rawValue: 1 << 1)
    package static let overwrite = KeyFlags(rawValue: 1 << 2)
    package static let remove = KeyFlags(rawValue: 1 << 3)
    package static let access = KeyFlags(rawValue: 1 << 4)
    package static let update = KeyFlags(rawValue: 1 << 5)
    package static let insert = KeyFlags(rawValue: 1 << 6)
    package static let delete = KeyFlags(rawValue: 1 << 7)
    package static let variable = KeyFlags(rawValue: 1 << 8)
    package static let notKey = KeyFlags(rawValue: 1 << 9)
    package static let incomplete = KeyFlags(rawValue: 1 << 10)
}

/// Where keys stand among the arguments: one of Redis' key specifications.
package struct KeySpec: Sendable {
    package enum Find: Sendable {
        /// From the first key every `step` arguments to `last`, which counts from the first key, or
        /// from the end when negative (-1 is the last argument).
        case range(last: Int, step: Int)
        /// A count stands at `countAt` and the keys behind it, both counted from the begin.
        case counted(countAt: Int, firstKey: Int, step: Int)
        /// A key behind each argument that is this word (lower case) in any case.
        case behind(StaticString)
        /// Keys behind the argument that is this word (lower case) in any case: the first half of what
        /// follows it.
        case halfBehind(StaticString)
        /// One key, which a function finds: it may stand behind any of the options. `unknown` for
        /// COMMAND INFO.
        case found(@Sendable (Arguments) -> Int?)
        /// The arguments that a function names, nil for a request that contradicts itself. COMMAND INFO
        /// tells of those behind `keyword` to the end; without one, of the first.
        case listed(keyword: StaticString?, @Sendable (Arguments) -> Range<Int>?)
        /// Keys that the arguments do not name: see `Command.reachesUnnamedKeys`.
        case unknown
    }

    package var first: Int
    package var find: Find
    package var flags: KeyFlags
    /// What COMMAND INFO adds in words.
    package var notes: String?

    package init(first: Int, find: Find, flags: KeyFlags, notes: String? = nil) {
        self.first = first
        self.find = find
        self.flags = flags
        self.notes = notes
    }

    /// The same specification with a note.
    package func noting(_ text: String) -> KeySpec {
        KeySpec(first: first, find: find, flags: flags, notes: text)
    }

    /// One key at argument `index`.
    package static func one(at index: Int = 1, _ flags: KeyFlags) -> KeySpec {
        KeySpec(first: index, find: .range(last: 0, step: 1), flags: flags)
    }

    /// Two keys, at argument `index` and the next.
    package static func pair(at index: Int, _ flags: KeyFlags) -> KeySpec {
        KeySpec(first: index, find: .range(last: 1, step: 1), flags: flags)
    }

    /// Keys from argument `first` to the end, every `step` arguments; `but` last ones are no keys.
    package static func rest(
        from first: Int = 1, step: Int = 1, but: Int = 0, _ flags: KeyFlags
    ) -> KeySpec {
        KeySpec(first: first, find: .range(last: -1 - but, step: step), flags: flags)
    }

    /// One key behind `word`, which stands at argument `first` or later, if it is there.
    package static func behind(
        _ word: StaticString, from first: Int, _ flags: KeyFlags
    ) -> KeySpec {
        KeySpec(first: first, find: .behind(word), flags: flags)
    }

    /// As many keys as other arguments behind STREAMS, which stands at argument `first` or later.
    package static func streams(from first: Int, _ flags: KeyFlags) -> KeySpec {
        KeySpec(first: first, find: .halfBehind("streams"), flags: flags)
    }

    /// A count at argument `index`, followed by that many keys, every `step` arguments.
    package static func counted(at index: Int, step: Int = 1, _ flags: KeyFlags) -> KeySpec {
        KeySpec(first: index, find: .counted(countAt: 0, firstKey: 1, step: step), flags: flags)
    }
}

/// Whether a command writes.
package enum Access: Sendable {
    case none
    case read
    case write
}

/// Properties of a command that admission, locking and COMMAND INFO depend on.
package struct Traits: OptionSet, Sendable {
    package let rawValue: UInt32
    package init(rawValue: UInt32) { self.rawValue = rawValue }

    package static let fast = Traits(rawValue: 1 << 0)
    /// May use more memory: refused when there is none (`denyoom`).
    package static let growsMemory = Traits(rawValue: 1 << 1)
    package static let admin = Traits(rawValue: 1 << 2)
    package static let noScript = Traits(rawValue: 1 << 3)
    package static let loading = Traits(rawValue: 1 << 4)
    package static let stale = Traits(rawValue: 1 << 5)
    package static let noAuth = Traits(rawValue: 1 << 6)
    package static let noMulti = Traits(rawValue: 1 << 7)
    package static let skipMonitor = Traits(rawValue: 1 << 8)
    package static let skipSlowlog = Traits(rawValue: 1 << 9)
    package static let allowBusy = Traits(rawValue: 1 << 10)
    package static let pubsub = Traits(rawValue: 1 << 11)
    package static let blocking = Traits(rawValue: 1 << 12)
    package static let mayReplicate = Traits(rawValue: 1 << 13)
    package static let noAsyncLoading = Traits(rawValue: 1 << 14)
    /// Keys cannot be told from the specifications alone.
    package static let movableKeys = Traits(rawValue: 1 << 15)
    package static let onlySentinel = Traits(rawValue: 1 << 16)
    package static let asking = Traits(rawValue: 1 << 17)
    package static let noMandatoryKeys = Traits(rawValue: 1 << 18)

    /// Ours: runs a script, alone or in a transaction: see Execution/ScriptRunner.swift.
    package static let runsScript = Traits(rawValue: 1 << 21)
    /// Ours: runs while nobody uses the interpreter and what is kept with it.
    package static let takesTurn = Traits(rawValue: 1 << 22)
    /// Ours: goes on outside of the process while nobody touches its keys: see `Errand`.
    package static let goesOut = Traits(rawValue: 1 << 23)
    /// Ours: runs with all shards held.
    package static let allShards = Traits(rawValue: 1 << 24)
    /// Ours: walks shard by shard and locks each itself, unless in a transaction.
    package static let walksShards = Traits(rawValue: 1 << 25)
    /// Ours: executed at once inside MULTI, not queued.
    package static let notQueued = Traits(rawValue: 1 << 26)
    /// Ours: its arguments hold secrets; they are not shown in MONITOR or the slow log.
    package static let secret = Traits(rawValue: 1 << 27)
    /// Ours: requests behind it are parsed only after it ran.
    package static let endsBatch = Traits(rawValue: 1 << 28)
    /// Ours: runs while clients are paused.
    package static let evenWhilePaused = Traits(rawValue: 1 << 29)
    /// Ours: a RESP2 client may send it while it is subscribed to something.
    package static let evenWhileSubscribed = Traits(rawValue: 1 << 30)
    /// Ours: replies by pushes, which CLIENT REPLY does not hold back.
    package static let repliesByPush = Traits(rawValue: 1 << 31)
}

/// ACL categories that are not derived from access and traits.
package enum Category: String, Sendable {
    case keyspace, string, bitmap, list, set, sortedset, hash, geo, hyperloglog, stream, pubsub
    case connection, transaction, scripting, dangerous, admin
}

/// The group COMMAND DOCS names.
package enum DocumentationGroup: String, Sendable {
    case generic, string, list, set, hash, pubsub, transactions, connection, server
    case scripting, hyperloglog, cluster, geo, stream, bitmap
    case sortedSet = "sorted_set"
}

/// The end of a command that clients should no longer use.
package struct Deprecation: Sendable {
    package let since: String
    package let replacedBy: String
}

/// Runs a command. Reads its arguments, works, writes the reply, returns what it changed.
package typealias Handler = @Sendable (inout Call) throws(CommandError) -> Effect

/// A command or subcommand.
package final class Command: @unchecked Sendable {
    // Unchecked: `number` and `parent` are set in a table's own copy while it is built, before loops
    // start.

    package let name: String
    package let since: String
    package let group: DocumentationGroup
    package let syntax: String
    package let summary: String
    package let complexity: String
    package let arity: Arity
    package let keys: [KeySpec]
    package let access: Access
    package let traits: Traits
    package let acl: [Category]
    package let subcommands: [Command]
    /// Subcommands that Redis has and this version does not: they answer a plain refusal.
    package let awaited: [String]
    /// Since when the command is discouraged, and in favour of what.
    package let deprecated: Deprecation?
    /// What this very request does to its keys, if the specifications have `.variable` flags.
    package let keyFlags: (@Sendable (Arguments) -> KeyFlags)?
    /// Whether this very request reaches keys that its arguments do not name: it runs with all
    /// shards held. The command needs more than one key specification.
    package let reachesUnnamedKeys: (@Sendable (Arguments) -> Bool)?
    /// What Redis' COMMAND INFO lists as tips.
    package let tips: [String]
    /// The argument that is a member of the first key, 0 for none: it is fetched ahead when requests
    /// for one key follow each other.
    package let member: Int
    /// Which arguments are secrets, by number; a command whose arguments all are has `.secret`.
    package let secrets: (@Sendable (Arguments) -> [Int])?
    let run: Handler
    /// Its number in the table, given when the table is built.
    package internal(set) var number = 0
    /// The container of a subcommand.
    package internal(set) weak var parent: Command?

    package init(
        _ name: String, since: String, group: DocumentationGroup, syntax: String = "",
        summary: String, complexity: String = "O(1)", arity: Arity, keys: [KeySpec] = [],
        access: Access = .none, traits: Traits = [], acl: [Category] = [], member: Int = 0,
        tips: [String] = [], keyFlags: (@Sendable (Arguments) -> KeyFlags)? = nil,
        reachesUnnamedKeys: (@Sendable (Arguments) -> Bool)? = nil, deprecated: Deprecation? = nil,
        secrets: (@Sendable (Arguments) -> [Int])? = nil,
        subcommands: [Command] = [], awaited: [String] = [],
        run: @escaping Handler
    ) {
        self.name = name
        self.since = since
        self.group = group
        self.syntax = syntax
        self.summary = summary
        self.complexity = complexity
        self.arity = arity
        self.keys = keys
        self.access = access
        self.traits = traits
        self.acl = acl
        self.member = member
        self.tips = tips
        self.keyFlags = keyFlags
        self.reachesUnnamedKeys = reachesUnnamedKeys
        self.deprecated = deprecated
        self.secrets = secrets
        self.subcommands = subcommands
        self.awaited = awaited
        self.run = run
    }

    /// A container, whose subcommands do the work; without one it answers an error.
    package convenience init(
        _ name: String, since: String, group: DocumentationGroup, summary: String,
        acl: [Category] = [], subcommands: [Command], awaited: [String] = []
    ) {
        self.init(
            name, since: since, group: group, syntax: "subcommand", summary: summary,
            complexity: "Depends on subcommand.", arity: .atLeast(2), acl: acl,
            subcommands: subcommands, awaited: awaited
        ) { (call) throws(CommandError) in
            // The table resolves known subcommands and counts arguments before this runs.
            throw .syntax
        }
    }

    /// A copy of a declaration, subcommands included, for one table to number: several servers may
    /// stand in one process, and declarations are shared by all of them.
    convenience init(copying other: Command) {
        self.init(
            other.name, since: other.since, group: other.group, syntax: other.syntax,
            summary: other.summary, complexity: other.complexity, arity: other.arity,
            keys: other.keys, access: other.access, traits: other.traits, acl: other.acl,
            member: other.member, tips: other.tips, keyFlags: other.keyFlags,
            reachesUnnamedKeys: other.reachesUnnamedKeys, deprecated: other.deprecated,
            secrets: other.secrets, subcommands: other.subcommands.map(Command.init(copying:)),
            awaited: other.awaited, run: other.run)
    }

    /// Name as errors and COMMAND give it: lower case, `container|subcommand`.
    package var fullName: String {
        guard let parent else { return name.lowercased() }
        return parent.name.lowercased() + "|" + name.lowercased()
    }
}

/// Commands with one subject, declared in one file.
package typealias CommandGroup = [Command]
