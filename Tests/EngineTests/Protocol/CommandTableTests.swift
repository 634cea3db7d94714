//  The command table: every name is found in any case, nothing else is.

import MartletBase
import Testing

@testable import MartletEngine

extension CommandTable {
    /// The number of a command by the bytes of its name.
    fileprivate func number(_ name: [UInt8]) -> Int { name.withView { number($0) } }

    fileprivate func number(_ name: String) -> Int { number(Array(name.utf8)) }
}

/// A command that is only a name.
private func command(_ name: String, subcommands: [Command] = []) -> Command {
    Command(
        name, since: "1.0.0", group: .generic, summary: "A test's.", arity: .atLeast(1),
        subcommands: subcommands
    ) { (call) throws(CommandError) in .none }
}

/// Names of all lengths: those of Redis, 250 of them and more, are like these.
private let names: [String] = {
    var names = [
        "a", "zz", "abc", "abcd", "abcde", "abcdefg", "abcdefgh", "abcdefghi", "zrevrangebyscore",
        "georadiusbymember", "georadiusbymember_ro", "restore-asking", "host.name", "x1", "get",
        "set", "getset", "setget", "incrbyfloat", "subscribe", "psubscribe", "unsubscribe",
        "punsubscribe", "ssubscribe", "zrangebyscore", "zremrangebyscore", "client-no-evict-x",
    ]
    var random = Random(seed: 11)
    while names.count < 280 {
        let length = 3 + random.index(below: 12)
        let name = String(
            decoding: (0..<length).map { _ in UInt8(0x61 + random.index(below: 26)) }, as: UTF8.self
        )
        if !names.contains(name) { names.append(name) }
    }
    return names
}()

@Suite struct CommandTableTests {
    private let table = CommandTable(groups: [names.map { command($0.uppercased()) }])

    @Test func `every name is found in any case`() {
        var random = Random(seed: 3)
        for name in names {
            let number = table.number(name)
            #expect(number >= 0 && table.all[number].name == name.uppercased())
            #expect(table.number(name.uppercased()) == number)
            for _ in 0..<10 {
                let mixed = name.utf8.map { byte in
                    byte >= 0x61 && byte <= 0x7A && random.index(below: 2) == 0
                        ? byte - 0x20 : byte
                }
                #expect(table.number(mixed) == number, "\(name)")
            }
        }
    }

    @Test func `a name with one byte changed, added or removed is another one`() {
        let known = Set(names)
        // All that should be found although it is none of the names; an expectation for each of the
        // seven hundred thousand would take longer than the lookups.
        var mistaken: [[UInt8]] = []
        func look(_ name: [UInt8]) {
            guard table.number(name) >= 0 else { return }
            let folded = name.map { $0 >= 0x41 && $0 <= 0x5A ? $0 + 0x20 : $0 }
            if !known.contains(String(decoding: folded, as: UTF8.self)) { mistaken.append(name) }
        }
        for name in names {
            let bytes = Array(name.utf8)
            for index in bytes.indices {
                for byte in UInt8.min...UInt8.max {
                    var near = bytes
                    near[index] = byte
                    look(near)
                }
                for byte: UInt8 in [0x61, 0x7A, 0x20, 0x00, bytes[index]] {
                    var longer = bytes
                    longer.insert(byte, at: index)
                    look(longer)
                }
                var shorter = bytes
                shorter.remove(at: index)
                look(shorter)
            }
        }
        #expect(mistaken == [])
    }

    @Test func `a name that packs into the same words is another one`() {
        // Seventeen bytes: the last word differs by what the length adds to it.
        #expect(table.number("zrevrangxebysbore") < 0)
        #expect(table.number("zrevrangebysbore") < 0)
        for name in names where name.utf8.count >= 8 {
            for added in 1...4 {
                var bytes = Array(name.utf8)
                let last = bytes.count - 4
                guard bytes[last] > 0x61 + UInt8(added) else { continue }
                bytes[last] -= UInt8(added)
                bytes.insert(contentsOf: [UInt8](repeating: 0x78, count: added), at: 8)
                #expect(table.number(bytes) < 0, "\(name)")
            }
        }
    }

    @Test func `strange names are not found and do no harm`() {
        #expect(table.number("") < 0)
        for length in [1, 2, 3, 4, 7, 8, 9, 16, 17, 64, 300, 70_000, 1 << 20] {
            for byte: UInt8 in [0, 0x20, 0x40, 0x5F, 0x7F, 0x80, 0xFF, 0x71] {
                #expect(table.number([UInt8](repeating: byte, count: length)) < 0)
            }
        }
        var random = Random(seed: 5)
        for _ in 0..<100_000 {
            let name = random.bytes(random.index(below: 20))
            let number = table.number(name)
            if number >= 0 {
                #expect(String(decoding: name, as: UTF8.self).lowercased() == names[number])
            }
        }
    }

    @Test func `a renamed command goes by its new name only, an emptied one by none`() {
        let table = CommandTable(
            groups: [[command("GET"), command("SET"), command("DEL"), command("KEYS")]],
            renames: ["get": "Fetch", "keys": "", "del": "a-very-long-name-of-a-command"])
        #expect(table.number("get") < 0 && table.number("keys") < 0 && table.number("del") < 0)
        #expect(table.all[table.number("fetch")].name == "GET")
        #expect(table.all[table.number("FETCH")].name == "GET")
        #expect(table.all[table.number("A-VERY-LONG-NAME-OF-A-COMMAND")].name == "DEL")
        #expect(table.number("a-very-long-nAme-of-e-command") < 0)
        #expect(table.number("set") >= 0)
        #expect(table.command(named: "fetch")?.name == "GET")
        #expect(table.command(named: "get") == nil)
    }

    @Test func `subcommands are found by ASCII case alone`() {
        let table = CommandTable(groups: [
            [command("CLIENT", subcommands: [command("KILL"), command("NO-EVICT")])]
        ])
        let client = table.number("client")
        func subcommand(_ name: String) -> Int { name.withView { table.subcommand(client, $0) } }
        #expect(table.all[subcommand("kill")].fullName == "client|kill")
        #expect(table.all[subcommand("KiLL")].fullName == "client|kill")
        #expect(table.all[subcommand("no-evict")].fullName == "client|no-evict")
        // The Kelvin sign is a k to Unicode.
        #expect(subcommand("\u{212A}ill") < 0)
        for name in ["", "kil", "kills", "client", "no_evict"] { #expect(subcommand(name) < 0) }
        #expect(table.command(named: "CLIENT|kill")?.name == "KILL")
        #expect(table.command(named: "client|")?.name == nil)
        #expect(table.command(named: "client|kill|x") == nil)
        #expect(table.command(named: "") == nil)
        #expect(table.command(named: "|") == nil)
    }

    @Test func `every command of the engine can be reached and has the arguments of its keys`() {
        let table = CommandTable(groups: EngineCommands.groups)
        for command in table.topLevel {
            #expect(table.command(named: command.name) === command)
            for subcommand in command.subcommands {
                #expect(
                    table.command(named: subcommand.fullName) === subcommand,
                    "\(subcommand.fullName)")
            }
        }
        for command in table.all {
            // What the least number of arguments promises is what locking relies on.
            for spec in command.keys {
                switch spec.find {
                case .range(let last, _) where last < 0:
                    // As many as there are, and none as well: PFMERGE.
                    #expect(spec.first <= abs(command.arity.number), "\(command.fullName)")
                case .range, .counted:
                    #expect(spec.first < abs(command.arity.number), "\(command.fullName)")
                case .behind, .halfBehind, .found, .listed, .unknown:
                    // Looked for among the arguments, and may not be there.
                    break
                }
            }
            if command.access == .write || command.access == .read {
                let isBounded =
                    !command.keys.isEmpty
                    || !command.traits.isDisjoint(with: [.allShards, .walksShards])
                #expect(isBounded, "\(command.fullName) reads or writes keys it does not declare")
            }
        }
    }
}
