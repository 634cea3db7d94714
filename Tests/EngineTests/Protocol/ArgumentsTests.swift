//  The cursor over a request's arguments.

import MartletBase
import Testing

@testable import MartletEngine

/// Lends a cursor over `words`, the first of which is the command's name.
private func withArguments<R>(
    _ words: [String], firstKeyIndex: Int = 0, firstKeyHash: UInt64 = 0,
    _ body: (inout Arguments) -> R
) -> R {
    let bytes = words.flatMap { Array($0.utf8) }
    return bytes.withView { all in
        var start = 0
        var views = words.map { word in
            defer { start += word.utf8.count }
            return all.slice(start, start + word.utf8.count)
        }
        return unsafe views.withUnsafeMutableBufferPointer { buffer in
            guard let base = buffer.baseAddress else { preconditionFailure("a request has a name") }
            var arguments = unsafe Arguments(
                base, count: words.count, firstKeyIndex: firstKeyIndex, firstKeyHash: firstKeyHash,
                hashKey: HashKey(1, 2))
            return body(&arguments)
        }
    }
}

extension Arguments {
    /// What a read gives, as text: the value, or the name of the error.
    private func shown(_ read: () throws(CommandError) -> String) -> String {
        do { return try read() } catch { return "\(error)" }
    }

    fileprivate mutating func readNext() -> String {
        var copy = self
        defer { self = copy }
        return shown { () throws(CommandError) in try copy.next().string }
    }

    fileprivate mutating func readHash() -> String {
        var copy = self
        defer { self = copy }
        return shown { () throws(CommandError) in "\(try copy.key().hash)" }
    }

    fileprivate mutating func readInteger(_ error: CommandError = .notInteger) -> String {
        var copy = self
        defer { self = copy }
        return shown { () throws(CommandError) in "\(try copy.integer(error))" }
    }

    fileprivate mutating func readDouble() -> String {
        var copy = self
        defer { self = copy }
        return shown { () throws(CommandError) in "\(try copy.double())" }
    }
}

@Suite struct ArgumentsTests {
    @Test func `arguments are read in order, and none beyond the last`() {
        withArguments(["SET", "k", "v"]) { arguments in
            #expect(arguments.count == 3 && arguments.remaining == 2 && !arguments.isAtEnd)
            let read = [arguments.readNext(), arguments.readNext()]
            #expect(read == ["k", "v"])
            #expect(arguments.isAtEnd && arguments.remaining == 0)
            for _ in 0..<3 {
                let errors = [
                    arguments.readNext(), arguments.readHash(), arguments.readInteger(),
                    arguments.readDouble(),
                ]
                #expect(errors.allSatisfy { $0 == "syntax" })
                let wasSkipped = arguments.skip("v")
                #expect(!wasSkipped)
            }
            #expect(arguments[0].string == "SET")
        }
    }

    @Test func `integers are Redis': one spelling per number`() {
        for text in ["0", "-1", "42", "9223372036854775807", "-9223372036854775808"] {
            let read = withArguments(["X", text]) { $0.readInteger() }
            #expect(read == text)
        }
        for text in [
            "", " 1", "1 ", "+1", "01", "-0", "-", "1.0", "1e3", "0x10", "9223372036854775808",
            "-9223372036854775809", "18446744073709551616", "1\0", "\u{661}",
        ] {
            let read = withArguments(["X", text]) { $0.readInteger() }
            #expect(read == "notInteger", "\(text)")
            let other = withArguments(["X", text]) { $0.readInteger(.syntax) }
            #expect(other == "syntax", "\(text)")
        }
    }

    @Test func `doubles are never NaN`() {
        for (text, value) in [("1.5", "1.5"), ("inf", "inf"), ("-inf", "-inf"), ("1e3", "1000.0")] {
            let read = withArguments(["X", text]) { $0.readDouble() }
            #expect(read == value)
        }
        for text in ["nan", "-nan", "NaN", "", "1.5x", " 1", "1 ", "1e400", "0x"] {
            let read = withArguments(["X", text]) { $0.readDouble() }
            #expect(read == "notFloat", "\(text)")
        }
    }

    @Test func `a word is skipped in any case and only as a whole`() {
        let skipped = withArguments(["SET", "eX", "EXA", "E", "ex"]) { arguments in
            var skipped: [Bool] = []
            while !arguments.isAtEnd {
                let wasSkipped = arguments.skip("ex")
                skipped.append(wasSkipped)
                if !wasSkipped { arguments.position += 1 }
            }
            return skipped
        }
        #expect(skipped == [true, false, false, true])
    }

    @Test func `the hash that the batch computed is used for the first key alone`() {
        let hashes = withArguments(["X", "a", "b"], firstKeyIndex: 1, firstKeyHash: 99) {
            [$0.readHash(), $0.readHash()]
        }
        #expect(hashes == ["99", "b".withView { "\(HashKey(1, 2).hash($0))" }])
    }
}
