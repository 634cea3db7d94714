//  The first line of a script or library: which language it is in, and what it promises.
//
//      #!lua flags=no-writes,allow-stale
//      #!lua name=mylib
//
//  Errors have Redis' texts, which clients show to people.

import MartletBase

/// What a script or function says that it does, or does not.
package struct ScriptFlags: OptionSet, Sendable {
    package let rawValue: UInt32
    package init(rawValue: UInt32) { self.rawValue = rawValue }

    /// It writes nothing: it may run by the `_RO` commands, and while there is no memory.
    static let noWrites = ScriptFlags(rawValue: 1)
    /// It may run while there is no memory.
    static let allowOOM = ScriptFlags(rawValue: 2)
    static let allowStale = ScriptFlags(rawValue: 4)
    static let noCluster = ScriptFlags(rawValue: 8)
    static let allowCrossSlotKeys = ScriptFlags(rawValue: 16)
    /// A script without a first line: what it does is seen when it does it.
    static let promisesNothing = ScriptFlags(rawValue: 1 << 16)

    /// Names in the order of Redis' table, in which FUNCTION LIST shows them.
    static let names: [(name: String, flag: ScriptFlags)] = [
        ("no-writes", .noWrites), ("allow-oom", .allowOOM), ("allow-stale", .allowStale),
        ("no-cluster", .noCluster), ("allow-cross-slot-keys", .allowCrossSlotKeys),
    ]

    /// The flag of that name.
    static func named(_ name: String) -> ScriptFlags? {
        names.first { $0.name == name }?.flag
    }
}

/// Why a script's text is refused: the text of the error behind its code.
package struct ScriptRefusal: Error {
    package let text: String

    init(_ text: String) { self.text = text }
}

/// The first line of a script.
struct ScriptHeader {
    var flags: ScriptFlags = .promisesNothing
    /// Bytes of it, without its line end; 0 for a script without one.
    var byteCount = 0

    init() {}

    /// Reads the first line of a text that begins with `#!`; of others there is nothing to read.
    init(of text: ByteView) throws(ScriptRefusal) {
        guard text.count >= 2, text[0] == UInt8(ascii: "#"), text[1] == UInt8(ascii: "!") else {
            return
        }
        guard let end = text.firstIndex(of: UInt8(ascii: "\n")) else {
            throw ScriptRefusal("Invalid script shebang")
        }
        byteCount = end
        flags = []
        guard let words = Self.words(text.slice(0, end)), let engine = words.first else {
            throw ScriptRefusal("Invalid engine in script shebang")
        }
        if engine != "#!lua" {
            throw ScriptRefusal("Unexpected engine in script shebang: \(engine)")
        }
        for word in words.dropFirst() {
            guard word.hasPrefix("flags=") else {
                throw ScriptRefusal("Unknown lua shebang option: \(word)")
            }
            let names = word.dropFirst(6)
            if names.isEmpty { continue }
            for name in names.split(separator: ",", omittingEmptySubsequences: false) {
                guard let flag = ScriptFlags.named(String(name)) else {
                    throw ScriptRefusal("Unexpected flag in script shebang: \(name)")
                }
                flags.insert(flag)
            }
        }
    }

    /// The words of a line, as those of an inline request; nil when quotes are not closed.
    static func words(_ line: ByteView) -> [String]? {
        var store = ArgumentStore()
        var request = ByteBuffer()
        request.append(line)
        request.append("\r\n")
        if line.isEmpty { return [] }
        var parser = RequestParser(from: 0, RequestLimits())
        let count = parser.next(request.view, into: &store)
        if count < 0 || parser.failure != nil { return nil }
        return (0..<max(0, count)).map { unsafe store.views[$0].string }
    }
}
