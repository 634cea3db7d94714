//  Libraries of functions, by name: what FUNCTION LOAD brings and FCALL finds.
//
//  A registry is a value: RESTORE and a load build another one beside it, and only what is whole takes its
//  place. Whoever uses the one in force has the turn, whoever changes it holds all shards besides, so that
//  a snapshot has the libraries of its own point in time.

import MartletBase
import MartletLua

/// One function of a library.
final class ScriptFunction {
    let name: Bytes
    let description: Bytes?
    let flags: ScriptFlags
    let function: LuaFunction

    init(name: Bytes, description: Bytes?, flags: ScriptFlags, function: LuaFunction) {
        self.name = name
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
struct FunctionRegistry {
    private(set) var libraries: [Bytes: FunctionLibrary] = [:]
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

    func function(_ name: Bytes) -> ScriptFunction? { functions[name] }

    /// The libraries in order of name.
    var all: [FunctionLibrary] { libraries.values.sorted { $0.name < $1.name } }

    /// Adds a library, in place of one of its name if that is to be.
    ///
    /// - Returns: the one that had to go.
    /// - Throws: what it has in common with another; nothing was changed then.
    @discardableResult
    mutating func add(
        _ library: FunctionLibrary, replaces: Bool
    ) throws(ScriptRefusal) -> FunctionLibrary? {
        let old = libraries[library.name]
        if old != nil && !replaces {
            throw ScriptRefusal("Library '\(library.name)' already exists")
        }
        let ownNames = Set(old?.functions.map(\.name) ?? [])
        for function in library.functions
        where functions[function.name] != nil && !ownNames.contains(function.name) {
            throw ScriptRefusal("Function \(function.name) already exists")
        }
        if let old { _ = remove(old.name) }
        libraries[library.name] = library
        for function in library.functions { functions[function.name] = function }
        memoryBytes += library.memoryBytes
        return old
    }

    /// Takes a library out.
    mutating func remove(_ name: Bytes) -> FunctionLibrary? {
        guard let library = libraries.removeValue(forKey: name) else { return nil }
        for function in library.functions { functions[function.name] = nil }
        memoryBytes -= library.memoryBytes
        return library
    }
}
