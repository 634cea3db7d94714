//  What stops the process is used where a reason is given, and nowhere else.

import Testing

struct TrapTests {
    /// File and word to the reason why the trap is right there.
    private static let allowed: [String: [String: String]] = [
        "Sources/MartletBase/ByteBuffer.swift": [
            "fatalError": "the system refused memory within our limits",
            "unsafelyUnwrapped": "room was made on the line before, on the hot path",
        ],
        "Sources/MartletBase/ByteView.swift": [
            "unsafelyUnwrapped": "a constant address that is not zero"
        ],
        "Sources/MartletBase/Glob.swift": [
            "unchecked": "indices that the loop has just compared with the counts"
        ],
        "Sources/MartletBase/Number.swift": [
            "unchecked": "indices that the loop has just compared with the count"
        ],
        "Sources/MartletBase/Random.swift": [
            "fatalError": "without the system's random numbers there are no secrets"
        ],
        "Sources/MartletEngine/Keyspace/Slabs.swift": [
            "unsafelyUnwrapped": "an address the slab keeps as a number"
        ],
        "Sources/MartletEngine/Keyspace/Table.swift": [
            "fatalError": "the system refused memory within our limits",
            "unsafelyUnwrapped": "an address the table keeps as a number",
        ],
        "Sources/MartletEngine/Structures/MemberStore.swift": [
            "unsafelyUnwrapped": "an address the store keeps as a number"
        ],
        "Sources/MartletEngine/Structures/MemberTable.swift": [
            "unsafelyUnwrapped": "an address the table keeps as a number"
        ],
        "Sources/MartletEngine/Structures/NodeMemory.swift": [
            "fatalError": "the system refused memory within our limits"
        ],
        "Sources/MartletEngine/Clients/Transaction.swift": [
            "unsafelyUnwrapped": "room was made on the line before, or the index compared"
        ],
        "Sources/MartletEngine/Execution/Executor.swift": [
            "unsafelyUnwrapped": "a constant address that is not zero"
        ],
        "Sources/MartletServer/SystemFile.swift": [
            "unsafelyUnwrapped": "an array that is not empty has an address"
        ],
        "Sources/MartletTransport/Connection.swift": [
            "fatalError": "a chunk was added on the line before"
        ],
    ]

    private static let traps: Set<String> = [
        "fatalError", "unsafelyUnwrapped", "unsafeBitCast", "unchecked",
    ]

    @Test func `what traps is listed with its reason, and used`() {
        var used: [String: Set<String>] = [:]
        for file in Repository.sources where file.path.hasPrefix("Sources/") {
            for (index, token) in file.tokens.enumerated()
            where token.kind == .word && Self.traps.contains(token.text) {
                let isAttribute = index > 0 && file.tokens[index - 1].text == "@"
                let isProgram = file.path.hasPrefix("Sources/martlet/")
                if isAttribute || isProgram { continue }
                used[file.path, default: []].insert(token.text)
                #expect(
                    Self.allowed[file.path]?[token.text] != nil,
                    "\(file.place(token)): why is \(token.text) right here?")
            }
        }
        for (path, words) in Self.allowed {
            for word in words.keys where used[path]?.contains(word) != true {
                Issue.record("\(path) no longer uses \(word): take it off the list")
            }
        }
    }

    /// `x!`, `try!`, `as!` and `T!` alike: a mark right behind a word or a bracket.
    @Test func `nothing is unwrapped by force`() {
        for file in Repository.sources {
            for (index, token) in file.tokens.enumerated()
            where index > 0 && token.text == "!" && token.kind == .symbol && token.isAdjacent {
                let before = file.tokens[index - 1]
                let isOperand = before.kind == .word || [")", "]", "}", "?"].contains(before.text)
                #expect(!isOperand, "\(file.place(token)): \(before.text)!")
            }
        }
    }
}
