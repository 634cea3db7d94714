//  Syntaxes taken apart.

import Testing

@testable import MartletEngine

@Suite struct CommandSyntaxTests {
    private typealias Argument = DocumentedArgument

    private func arguments(_ text: String, keys: [KeySpec] = []) -> [DocumentedArgument] {
        CommandSyntax(text, keys: keys).arguments()
    }

    @Test func `values, keys and numbers are told apart`() {
        #expect(
            arguments("key seconds value", keys: [.one(at: 1, [.overwrite])]) == [
                Argument(name: "key", kind: .key, keySpec: 0),
                Argument(name: "seconds", kind: .integer),
                Argument(name: "value", kind: .string),
            ])
        #expect(arguments("[cursor]")[0].isOptional)
        #expect(arguments("unix-time-seconds")[0].kind == .unixTime)
        #expect(arguments("pattern")[0].kind == .pattern)
        #expect(arguments("") == [])
    }

    @Test func `a word in capitals takes the values behind it`() {
        #expect(
            arguments("[COUNT count] [LIMIT offset count] [REV]") == [
                Argument(name: "count", kind: .integer, token: "COUNT", isOptional: true),
                Argument(
                    name: "limit", kind: .block, token: "LIMIT", isOptional: true,
                    children: [
                        Argument(name: "offset", kind: .integer),
                        Argument(name: "count", kind: .integer),
                    ]),
                Argument(name: "rev", kind: .pureToken, token: "REV", isOptional: true),
            ])
    }

    @Test func `alternatives are one of several`() {
        let on = Argument(name: "on", kind: .pureToken, token: "ON")
        let off = Argument(name: "off", kind: .pureToken, token: "OFF")
        #expect(
            arguments("ON | OFF") == [
                Argument(name: "on-off", kind: .oneOf, children: [on, off])
            ])
        #expect(
            arguments("[MODE <ON | OFF>]") == [
                Argument(
                    name: "on-off", kind: .oneOf, token: "MODE", isOptional: true,
                    children: [on, off])
            ])
    }

    @Test func `dots repeat what stands before them`() {
        let keys: [KeySpec] = [.rest(from: 1, step: 2, [.overwrite])]
        #expect(
            arguments("key value [key value ...]", keys: keys) == [
                Argument(
                    name: "key-value", kind: .block, isMultiple: true,
                    children: [
                        Argument(name: "key", kind: .key, keySpec: 0),
                        Argument(name: "value", kind: .string),
                    ])
            ])
        #expect(
            arguments("[GET pattern [GET pattern ...]]") == [
                Argument(
                    name: "pattern", kind: .pattern, token: "GET", isOptional: true,
                    isMultiple: true, repeatsToken: true)
            ])
        #expect(
            arguments("[ID client-id [client-id ...]]") == [
                Argument(
                    name: "client-id", kind: .integer, token: "ID", isOptional: true,
                    isMultiple: true)
            ])
        let a = DocumentedArgument(name: "a", kind: .pureToken, token: "A")
        let b = DocumentedArgument(name: "b", kind: .pureToken, token: "B")
        for text in ["[A | B] ...", "[<A | B> ...]", "[A | B] ... [C]"] {
            #expect(
                arguments(text)[0]
                    == Argument(
                        name: "a-b", kind: .oneOf, isOptional: true, isMultiple: true,
                        children: [a, b]))
        }
        #expect(arguments("...") == [])
        #expect(
            arguments("[name ...]") == [
                Argument(name: "name", kind: .string, isOptional: true, isMultiple: true)
            ])
    }

    @Test func `keys behind a count are found, and none behind what may be left out`() {
        let counted = arguments(
            "destination numkeys key [key ...] [WEIGHTS weight]",
            keys: [.one(at: 1, [.overwrite]), .counted(at: 2, [.readOnly])])
        #expect(counted.map(\.keySpec) == [0, nil, 1, nil])
        #expect(
            arguments("[a] key", keys: [.one(at: 2, [.readOnly])]).map(\.keySpec) == [nil, nil])
    }

    @Test func `words are counted`() {
        func counts(_ text: String) -> [Int?] {
            let counts = CommandSyntax(text).wordCounts
            return [counts.fewest, counts.most]
        }
        #expect(counts("") == [0, 0])
        #expect(counts("key [NX | XX] [EX seconds]") == [1, 4])
        #expect(counts("key [key ...]") == [1, nil])
        #expect(counts("[key ...]") == [0, nil])
        #expect(counts("LIB-NAME name | LIB-VER version") == [2, 2])
        #expect(counts("a | <b c>") == [1, 2])
        #expect(counts("<<[A x] | [B y]> ...>") == [0, nil])
    }
}
