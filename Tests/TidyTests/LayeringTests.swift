//  Who may name whom: modules among each other, and the folders inside the engine.

import Testing

struct LayeringTests {
    /// Target to the modules it may import. The C library and `Synchronization` go without saying.
    private static let imports: [String: Set<String>] = [
        "MartletBase": ["CSystem"],
        "MartletLua": ["CLuaShim"],
        "MartletEngine": ["MartletLua", "MartletBase", "CSystem"],
        "MartletTransport": ["MartletBase", "CSystem"],
        "MartletPersistence": ["MartletEngine", "MartletBase", "CSystem"],
        "MartletServer": [
            "MartletPersistence", "MartletEngine", "MartletTransport", "MartletBase", "CSystem",
        ],
        "martlet": ["MartletServer", "MartletBase", "CSystem"],
        "LoadGenerator": ["MartletBase", "CSystem"],
        "CacheSimulator": ["LoadGenerator"],
        "Load": ["LoadGenerator", "CacheSimulator", "MartletBase"],
        "Micro": ["MartletEngine", "MartletBase", "CSystem"],
    ]

    private static let everywhere: Set<String> = ["Glibc", "Musl", "Synchronization"]

    @Test func `modules import only downwards`() {
        for file in Repository.sources where file.path.contains("/") {
            guard let allowed = Self.imports[file.target] else {
                Issue.record("\(file.path): which modules may \(file.target) import?")
                continue
            }
            for (index, token) in file.tokens.enumerated()
            where token.kind == .word && token.text == "import" {
                let module = file.tokens[index + 1].text
                #expect(
                    allowed.contains(module) || Self.everywhere.contains(module),
                    "\(file.place(token)): \(file.target) may not import \(module)")
            }
        }
    }

    /// Foundation in the process costs 9 MB. The generator may have it; nothing needs it so far.
    @Test func `nothing that the server links imports Foundation`() {
        for file in Repository.sources where file.path.hasPrefix("Sources/") {
            for module in ["Foundation", "FoundationEssentials", "Dispatch"] {
                #expect(file.occurrences(of: "import", module).isEmpty, "\(file.path): \(module)")
            }
        }
    }

    /// A folder of the engine to the folders below it.
    private static let folders: [String: Set<String>] = [
        "Structures": [],
        "Keyspace": ["Structures"],
        "Protocol": [],
        "Clients": ["Keyspace", "Structures", "Protocol"],
        "Commands": ["Clients", "Keyspace", "Structures", "Protocol"],
        "Execution": ["Commands", "Clients", "Keyspace", "Structures", "Protocol"],
    ]

    @Test func `a folder of the engine names only types of the folders below it`() {
        var folderOfType: [String: String] = [:]
        for file in Repository.engine {
            for type in Self.declaredTypes(file) { folderOfType[type] = file.folder }
        }
        #expect(folderOfType.count > 50, "the types were found")
        for file in Repository.engine {
            guard let allowed = Self.folders[file.folder] else {
                Issue.record("\(file.path): which folders stand below \(file.folder)?")
                continue
            }
            for token in file.tokens where token.kind == .word {
                guard let owner = folderOfType[token.text], owner != file.folder else { continue }
                #expect(
                    allowed.contains(owner),
                    "\(file.place(token)): \(file.folder) names \(token.text) of \(owner)")
            }
        }
    }

    /// Types declared outside of others and seen by other files.
    private static func declaredTypes(_ file: SourceFile) -> [String] {
        let kinds: Set<String> = ["struct", "class", "enum", "protocol", "typealias", "actor"]
        return file.tokens.indices.compactMap { index in
            let token = file.tokens[index]
            guard token.depth == 0, token.kind == .word, kinds.contains(token.text) else {
                return nil
            }
            let modifiers = file.tokens[..<index].suffix(2).map(\.text)
            if modifiers.contains("private") || modifiers.contains("fileprivate") { return nil }
            return file.tokens[index + 1].text
        }
    }
}
