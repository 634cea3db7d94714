//  All commands by name and number.
//
//  Lookup is a perfect hash on the name packed into two words: the table is built with a multiplier
//  under which no two names meet (Fredman, Komlós and Szemerédi 1984, found by trial). The hot rows
//  stand in raw memory, apart from the declarations.
//
//  Raw memory: rows and index are allocated and filled by `init`, read by any thread, bounds known
//  from the number of commands, and freed with the table, after all loops.
//
//  Names are ASCII and compared byte by byte: to fold case as Unicode does would let a Kelvin sign
//  pass for a k.

import MartletBase

/// How the shards of a command are found.
enum KeyShape: UInt8 {
    case none
    /// One key, hashed ahead by the batch.
    case one
    /// Several, or one whose place must be worked out.
    case several
    /// All shards are held.
    case all
    /// The handler locks shard by shard.
    case walks
}

/// What the executor needs of a command, side by side with all others.
struct CommandRow: ~Copyable {
    private let handler: Handler
    let arity: Int32
    /// The first key's argument, 0 when there is none or it must be worked out.
    let firstKey: Int32
    /// The argument that is a member of the first key, 0 when there is none.
    let member: Int32
    let shape: KeyShape
    /// It is a container, goes on outside, or needs the turn: none is run by the short way.
    let isContainer: Bool
    let isReadOnly: Bool
    let endsBatch: Bool
    /// Its key is most likely a collection, of which more than the first lines are worth fetching.
    let isOfCollection: Bool
    let isWrite: Bool
    let traits: Traits

    init(
        run: @escaping Handler, arity: Int32, firstKey: Int32, member: Int32, shape: KeyShape,
        isContainer: Bool, isReadOnly: Bool, isWrite: Bool, endsBatch: Bool,
        isOfCollection: Bool, traits: Traits
    ) {
        handler = run
        self.arity = arity
        self.firstKey = firstKey
        self.member = member
        self.shape = shape
        self.isContainer = isContainer
        self.isReadOnly = isReadOnly
        self.isWrite = isWrite
        self.endsBatch = endsBatch
        self.isOfCollection = isOfCollection
        self.traits = traits
    }

    /// Runs the handler. The row is not copyable, so its function is called where it stands: a copy
    /// would cost a reference count for each command.
    @inline(__always)
    func run(_ call: inout Call) throws(CommandError) -> Effect { try handler(&call) }

    @inline(__always)
    func admits(_ count: Int) -> Bool {
        arity >= 0 ? count == Int(arity) : count >= -Int(arity)
    }
}

/// All commands, fixed once built.
@safe
package final class CommandTable: @unchecked Sendable {
    // Unchecked: nothing changes after `init`.

    /// By number; subcommands included.
    package let all: [Command]
    /// Top-level commands in order of name, without those that were taken away.
    package let topLevel: [Command]
    let rows: UnsafeMutablePointer<CommandRow>
    private let index: UnsafeMutablePointer<CommandLookup.Row>
    /// Names by number, as clients spell them, in lower case: a renamed command goes by its new one.
    private var spelled: [[UInt8]]
    /// EXEC's number, -1 in a table without it.
    let execNumber: Int
    private var multiplier: UInt64 = 0x9E37_79B9_7F4A_7C15
    /// - Parameters:
    ///   - groups: the engine's own and the server's.
    ///   - renames: lower-case name to new name; an empty one removes the command.
    package init(groups: [CommandGroup], renames: [String: String] = [:]) {
        var all: [Command] = []
        var topLevel: [Command] = []
        for declared in groups.joined() {
            let command = Command(copying: declared)
            topLevel.append(command)
            for each in [command] + command.subcommands {
                each.number = all.count
                if each !== command { each.parent = command }
                all.append(each)
            }
        }
        self.all = all
        self.topLevel = topLevel.filter { renames[$0.name.lowercased()] != "" }
            .sorted { $0.name < $1.name }
        execNumber = all.firstIndex { $0.name == "EXEC" } ?? -1
        spelled = all.map { Array($0.name.lowercased().utf8) }
        unsafe rows = .allocate(capacity: all.count)
        for command in all {
            unsafe (rows + command.number).initialize(to: Self.row(command))
        }
        unsafe index = .allocate(capacity: 1 << CommandLookup.indexBits)
        var names: [(String, Int)] = []
        for command in topLevel {
            let name = renames[command.name.lowercased()] ?? command.name
            if !name.isEmpty { names.append((name.lowercased(), command.number)) }
        }
        for (name, number) in names { spelled[number] = Array(name.utf8) }
        build(names.map(\.1))
    }

    deinit {
        unsafe rows.deinitialize(count: all.count)
        unsafe rows.deallocate()
        unsafe index.deallocate()
    }

    private static func row(_ command: Command) -> CommandRow {
        var shape = KeyShape.several
        var firstKey = 0
        if command.traits.contains(.allShards) {
            shape = .all
        } else if command.traits.contains(.walksShards) {
            shape = .walks
        } else if command.keys.allSatisfy({ $0.flags.contains(.notKey) }) {
            shape = .none
        } else if command.keys.count == 1, case .range(let last, _) = command.keys[0].find {
            firstKey = command.keys[0].first
            if last == 0 { shape = .one }
        }
        let collections: [DocumentationGroup] = [.sortedSet, .hash, .list, .set, .geo]
        return CommandRow(
            run: command.run, arity: Int32(command.arity.number), firstKey: Int32(firstKey),
            member: shape == .one ? Int32(command.member) : 0, shape: shape,
            isContainer: !command.subcommands.isEmpty
                || !command.traits.isDisjoint(with: [.goesOut, .takesTurn]),
            isReadOnly: command.access == .read && !command.traits.contains(.mayReplicate),
            isWrite: command.access == .write,
            endsBatch: command.traits.contains(.endsBatch),
            isOfCollection: collections.contains(command.group), traits: command.traits)
    }

    private func build(_ numbers: [Int]) {
        let packed = numbers.map { number in spelled[number].withView { CommandLookup.pack($0) } }
        let distinct = Set(packed.map { [$0.0, $0.1] })
        precondition(distinct.count == packed.count, "no two commands have the same name")
        var taken = [Bool](repeating: false, count: 1 << CommandLookup.indexBits)
        while true {
            let slots = packed.map { Int(lookup.slot($0)) }
            let isPerfect = slots.allSatisfy { slot in
                defer { taken[slot] = true }
                return !taken[slot]
            }
            for slot in slots { taken[slot] = false }
            if isPerfect { break }
            multiplier = multiplier &* 0xD134_2543_DE82_EF95 | 1
        }
        for row in 0..<(1 << CommandLookup.indexBits) {
            unsafe (index + row).initialize(to: CommandLookup.Row())
        }
        for (number, packed) in zip(numbers, packed) {
            let name = spelled[number]
            unsafe index[Int(lookup.slot(packed))] = CommandLookup.Row(
                first: packed.0, second: packed.1, number: Int32(number),
                length: UInt16(name.count),
                needsComparison: name.count > 16
                    || !name.allSatisfy { $0 >= UInt8(ascii: "a") && $0 <= UInt8(ascii: "z") })
        }
    }

    /// The lookup for the hot path, without the object that owns it.
    var lookup: CommandLookup { unsafe CommandLookup(rows: index, multiplier: multiplier) }

    /// The number of a top-level command, or -1.
    func number(_ name: ByteView) -> Int {
        let found = lookup.number(name)
        guard found < -1 else { return found }
        return confirm(name, found)
    }

    /// Settles what the packed words leave open: `found` came from the lookup and is below -1.
    @inline(never)
    func confirm(_ name: ByteView, _ found: Int) -> Int {
        let number = -2 - found
        return isSame(name, number) ? number : -1
    }

    private func isSame(_ name: ByteView, _ number: Int) -> Bool {
        let wanted = spelled[number]
        guard wanted.count == name.count else { return false }
        return (0..<name.count).allSatisfy { lowered(name[$0]) == wanted[$0] }
    }

    /// The number of a container's subcommand, or -1.
    func subcommand(_ container: Int, _ name: ByteView) -> Int {
        for command in all[container].subcommands where isSame(name, command.number) {
            return command.number
        }
        return -1
    }

    /// A command by its name, `container|subcommand` for a subcommand.
    package func command(named name: String) -> Command? {
        let parts = name.split(separator: "|", maxSplits: 1, omittingEmptySubsequences: false)
        let number = String(parts[0]).withView { self.number($0) }
        guard number >= 0 else { return nil }
        if parts.count == 1 { return all[number] }
        let sub = String(parts[1]).withView { subcommand(number, $0) }
        return sub < 0 ? nil : all[sub]
    }
}

/// The perfect hash from names to numbers: raw memory of the table, which outlives every loop.
@safe
struct CommandLookup {
    struct Row {
        var first: UInt64 = 0
        var second: UInt64 = 0
        /// Number, or -1.
        var number: Int32 = -1
        /// Bytes of the name.
        var length: UInt16 = 0
        /// The packed words do not tell it from every other name: compare all bytes.
        var needsComparison = false
    }

    /// Room for 300 names among which no two meet after about a thousand trials: a millisecond.
    static let indexBits = 13
    fileprivate let rows: UnsafeMutablePointer<Row>
    fileprivate let multiplier: UInt64

    @inline(__always)
    func slot(_ packed: (UInt64, UInt64)) -> UInt64 {
        ((packed.0 ^ (packed.1 &* 0xA076_1D64_78BD_642F)) &* multiplier)
            &>> UInt64(64 - Self.indexBits)
    }

    /// The name in two words, letters folded to lower case; with the length exact up to 16 letters.
    @inline(__always)
    static func pack(_ name: ByteView) -> (UInt64, UInt64) {
        let count = name.count
        let fold: UInt64 = 0x2020_2020_2020_2020
        let address = unsafe name.address
        if count >= 8 {
            let first = unsafe address.loadUnaligned(as: UInt64.self)
            let last = unsafe address.loadUnaligned(fromByteOffset: count &- 8, as: UInt64.self)
            // The length goes into the second word: overlapping loads alone would not tell it.
            return (first | fold, (last | fold) &+ UInt64(count) &<< 32)
        }
        if count >= 4 {
            let first = unsafe address.loadUnaligned(as: UInt32.self)
            let last = unsafe address.loadUnaligned(fromByteOffset: count &- 4, as: UInt32.self)
            return (UInt64(first) | UInt64(last) &<< 32 | fold, UInt64(count))
        }
        if count == 0 { return (0, 0) }
        let a = unsafe UInt64(address.load(as: UInt8.self))
        let b = unsafe UInt64(address.load(fromByteOffset: count &>> 1, as: UInt8.self))
        let c = unsafe UInt64(address.load(fromByteOffset: count &- 1, as: UInt8.self))
        return (a | b &<< 8 | c &<< 16 | 0x20_2020, UInt64(count))
    }

    /// The number of the command of that name, -1 for none, or -2 minus a number whose full name
    /// must still be compared.
    @inline(__always)
    func number(_ name: ByteView) -> Int {
        let packed = Self.pack(name)
        let row = unsafe rows + Int(truncatingIfNeeded: slot(packed))
        // Without the length, a longer name that differs in what the words leave out would pass.
        guard unsafe row.pointee.first == packed.0, unsafe row.pointee.second == packed.1,
            unsafe Int(row.pointee.length) == name.count
        else { return -1 }
        let number = unsafe Int(row.pointee.number)
        return unsafe row.pointee.needsComparison && number >= 0 ? -2 &- number : number
    }
}
