//  How files begin, how things are named, and what must not be left lying about.

import Testing

struct FileTests {
    @Test func `a file opens by saying what lives in it`() {
        for file in Repository.swiftFiles {
            let opening = file.opening.filter { !$0.hasPrefix("swift-tools-version") }
            #expect(opening.first?.isEmpty == false, "\(file.path): a comment on the first line")
            #expect(
                opening.last { !$0.isEmpty }?.hasSuffix("”") == true
                    || opening.joined(separator: " ").contains(where: { ".:;".contains($0) }),
                "\(file.path): the opening is a sentence")
        }
    }

    @Test func `types that other files use are documented`() {
        let kinds: Set<String> = ["struct", "class", "enum", "protocol", "typealias", "actor"]
        for file in Repository.sources {
            for (index, token) in file.tokens.enumerated()
            where token.depth == 0 && token.kind == .word && kinds.contains(token.text) {
                let modifiers = file.tokens[..<index].suffix(2).map(\.text)
                if modifiers.contains("private") || modifiers.contains("fileprivate") { continue }
                var line = token.line - 2
                while line > 0, file.lines[line].hasPrefix("@") { line -= 1 }
                #expect(
                    line >= 0 && file.lines[line].hasPrefix("///"),
                    "\(file.place(token)): \(file.tokens[index + 1].text) has no summary")
            }
        }
    }

    @Test func `no declaration has a leading underscore or a name that says nothing`() {
        let kinds: Set<String> = [
            "struct", "class", "enum", "protocol", "typealias", "actor", "func", "var", "let",
        ]
        let empty = ["Manager", "Helper", "Util", "Utils", "Utilities", "Common", "Impl"]
        for file in Repository.swiftFiles {
            for (index, token) in file.tokens.dropLast().enumerated()
            where token.kind == .word && kinds.contains(token.text) {
                let next = file.tokens[index + 1]
                if next.kind != .word || next.text == "_" { continue }
                #expect(!next.text.hasPrefix("_"), "\(file.place(next)): \(next.text)")
                if token.text == "func" || token.text == "var" || token.text == "let" { continue }
                #expect(
                    !empty.contains { next.text.hasSuffix($0) },
                    "\(file.place(next)): what does a \(next.text) do?")
            }
        }
    }

    @Test func `a test is named by a sentence`() {
        for file in Repository.tests {
            for (index, token) in file.tokens.enumerated()
            where index > 0 && token.text == "Test" && token.isAdjacent
                && file.tokens[index - 1].text == "@"
            {
                let rest = file.tokens[index...]
                guard let keyword = rest.firstIndex(where: { $0.text == "func" }) else { continue }
                let name = file.tokens[keyword + 1]
                #expect(name.text.contains(" "), "\(file.place(name)): \(name.text)")
            }
        }
    }

    @Test func `nothing is left to be done without an issue`() {
        for path in Self.textFiles {
            for (line, text) in Self.numberedLines(path) {
                #expect(!text.contains("FIX" + "ME"), "\(path):\(line)")
                if text.contains("TO" + "DO") {
                    #expect(
                        text.contains(/TO[D]O\(#\d+\)/), "\(path):\(line): name the issue, (#12)")
                }
            }
        }
    }

    /// A path that only exists where somebody worked must not slip in: what is named with an
    /// absolute path is a place that every system has.
    @Test func `no path of anybody's machine is named`() {
        let places: Set<Substring> = [
            "usr", "etc", "var", "run", "proc", "sys", "dev", "tmp", "bin", "sbin", "lib",
            "path", "nonexistent",
        ]
        for path in Self.textFiles {
            for (line, text) in Self.numberedLines(path) {
                for match in text.matches(of: /(?:^|[\s"'`(=:])\/(\w+)\/\w/) {
                    #expect(places.contains(match.1), "\(path):\(line): \(match.0)")
                }
            }
        }
    }

    private static let textFiles = Repository.files {
        ![".git", ".gitignore"].contains($0)
    }

    private static func numberedLines(_ path: String) -> [(Int, Substring)] {
        let text = Repository.text(of: path) ?? ""
        return text.split(separator: "\n", omittingEmptySubsequences: false).enumerated().map {
            ($0.offset + 1, $0.element)
        }
    }
}
