//  Libraries of functions, by name: what FUNCTION LOAD brings and FCALL finds.
//
//  A registry is a value: whoever changes libraries builds another one beside it, and only what is whole
//  takes its place. Whoever changes the one in force has the turn and holds all shards, so that either is
//  enough to read it: FCALL has the turn, a snapshot all shards for the instant of its point in time.

import MartletBase
import MartletLua

/// One function of a library.
final class ScriptFunction {
    let name: Bytes
    /// The name in lower case.
    let key: Bytes
    let description: Bytes?
    let flags: ScriptFlags
    let function: LuaFunction

    init(name: Bytes, description: Bytes?, flags: ScriptFlags, function: LuaFunction) {
        self.name = name
        key = name.withView { FunctionRegistry.folded($0) }
        self.description = description
        self.flags = flags
        self.function = function
    }
}

/// A library: its text, and the functions that this has registered.
final class FunctionLibrary {
    let name: Bytes
    let text: Bytes
    let functions: [ScriptFunction]

    init(name: Bytes, text: Bytes, functions: [ScriptFunction]) {
        self.name = name
        self.text = text
        self.functions = functions
    }

    /// What Redis counts of it, roughly.
    var memoryBytes: Int {
        functions.reduce(text.count + name.count + 200) {
            $0 + $1.name.count + ($1.description?.count ?? 0) + 160
        }
    }
}

/// The first line of a library: `#!lua name=mylib`.
struct LibraryHeader {
    let name: Bytes
    /// Bytes of the line, without its end.
    let byteCount: Int

    init(of text: ByteView) throws(ScriptRefusal) {
        guard text.count >= 2, text[0] == UInt8(ascii: "#"), text[1] == UInt8(ascii: "!") else {
            throw ScriptRefusal("Missing library metadata")
        }
        guard let end = text.firstIndex(of: UInt8(ascii: "\n")),
            let words = ScriptHeader.words(text.slice(0, end)), let first = words.first
        else { throw ScriptRefusal("Invalid library metadata") }
        byteCount = end
        // Only the text of an error; names are checked as bytes.
        var name: String?
        for word in words.dropFirst() {
            guard word.lowercased().hasPrefix("name=") else {
                throw ScriptRefusal("Invalid metadata value given: \(word)")
            }
            if name != nil {
                throw ScriptRefusal(
                    "Invalid metadata value, name argument was given multiple times")
            }
            name = String(word.dropFirst(5))
        }
        guard let name else { throw ScriptRefusal("Library name was not given") }
        self.name = Bytes(name)
        if !FunctionRegistry.isName(self.name) {
            throw ScriptRefusal(
                "Library names can only contain letters, numbers, or underscores(_) and must be at "
                    + "least one character long")
        }
        if first.lowercased() != "#!lua" {
            throw ScriptRefusal("Engine '\(first.dropFirst(2))' not found")
        }
    }
}

/// Libraries, no two of which have a name in common, nor a function's.
///
/// Names of functions are the same in any case, as in Redis; those of libraries are not.
struct FunctionRegistry {
    private(set) var libraries: [Bytes: FunctionLibrary] = [:]
    /// By their names in lower case.
    private var functions: [Bytes: ScriptFunction] = [:]
    private(set) var memoryBytes = 0

    var functionCount: Int { functions.count }

    /// Whether a library or function may be called so.
    static func isName(_ name: Bytes) -> Bool {
        !name.isEmpty
            && name.storage.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                    UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"):
                    true
                default: false
                }
            }
    }

    func function(_ name: ByteView) -> ScriptFunction? { functions[Self.folded(name)] }

    /// A name in lower case.
    static func folded(_ name: ByteView) -> Bytes {
        var folded = Bytes(name)
        for index in folded.storage.indices { folded.storage[index] = lowered(name[index]) }
        return folded
    }

    /// The libraries in order of name.
    var all: [FunctionLibrary] { libraries.values.sorted { $0.name < $1.name } }

    /// Adds a library, in place of one of its name if that is to be.
    ///
    /// - Throws: what it has in common with another; nothing was changed then.
    mutating func add(_ library: FunctionLibrary, replaces: Bool) throws(ScriptRefusal) {
        if libraries[library.name] != nil && !replaces {
            throw ScriptRefusal("Library '\(library.name)' already exists")
        }
        var others = self
        _ = others.remove(library.name)
        if let function = library.functions.first(where: { others.functions[$0.key] != nil }) {
            throw ScriptRefusal("Function \(function.name) already exists")
        }
        others.link(library)
        self = others
    }

    /// Adds all libraries of another registry, in place of those of their names if that is to be.
    ///
    /// - Throws: what they have in common with others; nothing was changed then.
    mutating func join(_ added: FunctionRegistry, replaces: Bool) throws(ScriptRefusal) {
        var others = self
        for library in added.all {
            let old = others.remove(library.name)
            if old != nil && !replaces {
                throw ScriptRefusal("Library \(library.name) already exists")
            }
        }
        for library in added.all {
            if let function = library.functions.first(where: { others.functions[$0.key] != nil }) {
                throw ScriptRefusal("Function \(function.name) already exists")
            }
        }
        for library in added.all { others.link(library) }
        self = others
    }

    private mutating func link(_ library: FunctionLibrary) {
        libraries[library.name] = library
        for function in library.functions { functions[function.key] = function }
        memoryBytes += library.memoryBytes
    }

    /// Takes a library out.
    mutating func remove(_ name: Bytes) -> FunctionLibrary? {
        guard let library = libraries.removeValue(forKey: name) else { return nil }
        for function in library.functions { functions[function.key] = nil }
        memoryBytes -= library.memoryBytes
        return library
    }
}
