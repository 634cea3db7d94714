//  The commands as declared: every group is in the table, and the README lists what the table holds.

import MartletEngine
import Testing

@testable import MartletServer

struct CommandTests {
    @Test func `every command group is in the list`() {
        let lists = ["EngineCommands.swift", "Administration.swift"]
        let listed = Repository.sources.filter { file in
            lists.contains { file.path.hasSuffix("/" + $0) }
        }
        #expect(listed.count == lists.count)
        let names = Set(listed.flatMap { $0.tokens.map(\.text) })
        for file in Repository.sources {
            for token in file.tokens where token.text == "static" && token.depth == 1 {
                guard let group = Self.groupName(token, file) else { continue }
                #expect(names.contains(group), "\(file.place(token)): \(group) is not listed")
            }
        }
    }

    /// The name of the command group that a line with `static` declares for others to list.
    private static func groupName(_ token: Token, _ file: SourceFile) -> String? {
        let line = file.tokens.filter { $0.line == token.line }.map(\.text)
        guard let end = line.firstIndex(where: { $0 == "=" || $0 == "{" }), end > 0,
            line[end - 1] == "CommandGroup", !line.contains("private"),
            let keyword = line.firstIndex(where: { ["let", "var", "func"].contains($0) })
        else { return nil }
        return line[keyword + 1]
    }

    @Test func `a syntax agrees with arity and keys`() throws {
        for command in try Self.commands().all where command.subcommands.isEmpty {
            let syntax = CommandSyntax(command)
            let counts = syntax.wordCounts
            let fixed = command.parent == nil ? 1 : 2
            switch command.arity {
            case .exactly(let count):
                #expect(counts.fewest + fixed == count, "\(command.fullName) takes \(count)")
                #expect(counts.most == counts.fewest, "\(command.fullName) takes \(count)")
            case .atLeast(let count):
                #expect(
                    counts.fewest + fixed == count, "\(command.fullName) takes \(count) or more")
            }
            let keys = Set(syntax.arguments().flatMap(\.flattened).compactMap(\.keySpec))
            #expect(
                keys
                    == Set(
                        command.keys.indices.filter {
                            !command.keys[$0].flags.contains(.notKey)
                        }),
                "\(command.fullName): which arguments are keys, by syntax and by specification?")
        }
    }

    @Test func `the README lists the declared commands`() throws {
        let readme = try #require(Repository.text(of: "README.md"))
        let start = try #require(readme.range(of: "<!-- commands -->\n"))
        let end = try #require(readme.range(of: "<!-- end of commands -->"))
        let table = try Self.table()
        #expect(readme[start.upperBound..<end.lowerBound] == table)
    }

    /// All commands of a server.
    private static func commands() throws -> CommandTable {
        let context = ServerContext(
            configuration: try Configuration(lines: []), log: Log(), clientsMax: 1)
        return CommandTable(groups: EngineCommands.groups + Administration.groups(context))
    }

    /// A row for each group, its commands in order; a container with its subcommands.
    private static func table() throws -> String {
        let commands = try commands().topLevel
        var rows: [String: [String]] = [:]
        for command in commands {
            var name = "`\(command.name)`"
            if !command.subcommands.isEmpty {
                let names = command.subcommands.map { "`\($0.name)`" }.sorted()
                name += " (\(names.joined(separator: ", ")))"
            }
            let group = command.group.rawValue.replacing("_", with: " ")
            rows[group.prefix(1).uppercased() + group.dropFirst(), default: []].append(name)
        }
        return "| Group | Commands |\n|---|---|\n"
            + rows.sorted { $0.key < $1.key }.map { group, names in
                "| \(group) | \(names.joined(separator: ", ")) |\n"
            }.joined()
    }
}
