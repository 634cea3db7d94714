//  Libraries on their way in: runs their texts, one after the other, and gathers what these register.
//
//  While a text runs it sees no more than `redis.register_function`, `redis.log` and constants, as in
//  Redis. It runs as scripts do: in slices, within the memory of the functions' interpreter, and with a
//  budget of its own. Nothing of it counts before all texts are through: see `registry(over:)`.
//
//  Whoever uses a loader has the turn, whatever thread that is.
//
//  Raw memory: the interpreter's host holds an unretained pointer to the loader while a text runs, on
//  this very thread.

import MartletBase
import MartletLua

/// What becomes of the libraries that are there.
package enum LibraryPolicy: Sendable {
    /// FUNCTION LOAD: the library is new, or takes the place of one of its name.
    case load(replaces: Bool)
    /// FUNCTION RESTORE: likewise, for several; or all others go.
    case join(replaces: Bool)
    case flush
}

/// Loads libraries from their texts.
@safe
final class LibraryLoader {
    let texts: [Bytes]
    let policy: LibraryPolicy
    /// What FUNCTION RESTORE was given, to be logged.
    let payload: Bytes?
    /// The library whose text runs, or ran last.
    private(set) var name = Bytes()
    private let scripts: Scripts
    private let interpreter: Interpreter
    let isSliced: Bool
    private var nextText = 0
    private var main: LuaFunction?
    private var functions: [ScriptFunction] = []
    private var functionNames: Set<Bytes> = []
    private var loaded = FunctionRegistry()

    /// Running time that a text has, as in Redis.
    private static let budgetMilliseconds = 500
    /// And one from a file or a log, where Redis has no limit: it was loaded once already.
    private static let budgetOfFileMilliseconds = 30_000

    /// - Parameters:
    ///   - texts: of the libraries.
    ///   - policy: what becomes of those that are there.
    ///   - payload: to be logged in place of a text.
    ///   - isSliced: a loop serves others meanwhile, and somebody waits for the reply.
    ///   - scripts: whose libraries they become.
    /// - Throws: when there is no memory for an interpreter.
    init(
        _ texts: [Bytes], _ policy: LibraryPolicy, payload: Bytes? = nil, isSliced: Bool,
        _ scripts: Scripts
    ) throws(ScriptRefusal) {
        self.texts = texts
        self.policy = policy
        self.payload = payload
        self.isSliced = isSliced
        self.scripts = scripts
        interpreter = try scripts.interpreter(function: true)
    }

    // MARK: One text after the other

    /// A text was begun and has not ended.
    var isRunning: Bool { main != nil }

    /// Begins the next text.
    ///
    /// - Returns: false when there is none left.
    func begin() throws(ScriptRefusal) -> Bool {
        guard nextText < texts.count else { return false }
        let text = texts[nextText]
        nextText += 1
        let header = try text.withView { (view) throws(ScriptRefusal) in
            try LibraryHeader(of: view)
        }
        name = header.name
        var siblings = loaded.libraries
        if case .load(replaces: false) = policy { siblings = scripts.functions.libraries }
        if siblings[name] != nil { throw ScriptRefusal("Library '\(name)' already exists") }
        interpreter.setBudget(
            milliseconds: isSliced ? Self.budgetMilliseconds : Self.budgetOfFileMilliseconds,
            memoryBytes: scripts.memoryBytesMax.load(ordering: .relaxed), isSliced: isSliced)
        let compiled = try text.withView { (view) throws(ScriptRefusal) in
            try interpreter.compile(
                view.slice(header.byteCount, view.count), name: "user_function",
                failing: "Error compiling function: ")
        }
        guard interpreter.runtime.begin(compiled) else {
            interpreter.runtime.release(compiled)
            throw ScriptRefusal("Error registering functions: ERR not enough memory")
        }
        interpreter.runtime.isLoading = true
        main = compiled
        return true
    }

    /// Runs the text for a slice.
    func resume() -> LuaOutcome {
        unsafe interpreter.host.context = Unmanaged.passUnretained(self).toOpaque()
        unsafe interpreter.host.serve = { (context, function, lua) in
            unsafe Unmanaged<LibraryLoader>.fromOpaque(context).takeUnretainedValue()
                .serve(function, lua)
        }
        defer { unsafe interpreter.host.context = nil }
        return interpreter.runtime.resume()
    }

    /// Lets the text that runs end with its next instruction.
    func stop() { interpreter.runtime.stopper.stop() }

    /// The text has ended: takes its library over.
    ///
    /// - Throws: why there is none.
    func conclude(_ outcome: LuaOutcome) throws(ScriptRefusal) {
        defer { end() }
        switch outcome {
        case .finished: break
        case .failed: throw refusal(failure(interpreter.runtime.results))
        case .stopped: throw refusal("ERR Function killed by user with FUNCTION KILL.")
        case .outOfTime, .sliceOver, .suspended: throw refusal("ERR FUNCTION LOAD timeout")
        }
        if functions.isEmpty { throw ScriptRefusal("No functions registered") }
        try loaded.add(
            FunctionLibrary(name: name, text: texts[nextText - 1], functions: functions),
            replaces: false)
        functions = []
        functionNames = []
    }

    private func refusal(_ text: String) -> ScriptRefusal {
        ScriptRefusal("Error registering functions: " + text)
    }

    private func end() {
        guard let main else { return }
        self.main = nil
        interpreter.runtime.end()
        interpreter.runtime.isLoading = false
        interpreter.runtime.release(main)
    }

    /// Gives up what was loaded so far.
    func abandon() {
        end()
        scripts.release(functions)
        for library in loaded.all { scripts.release(library.functions) }
        functions = []
        loaded = FunctionRegistry()
    }

    /// All libraries there are to be: those loaded, and of the others what the policy leaves.
    ///
    /// - Throws: what they have in common.
    func registry(over present: FunctionRegistry) throws(ScriptRefusal) -> FunctionRegistry {
        var registry = present
        switch policy {
        case .load(let replaces):
            for library in loaded.all { try registry.add(library, replaces: replaces) }
        case .join(let replaces): try registry.join(loaded, replaces: replaces)
        case .flush: return loaded
        }
        return registry
    }

    /// Runs all texts to their end, where nobody waits for a loop.
    func run() throws(ScriptRefusal) {
        while try begin() {
            var outcome = LuaOutcome.sliceOver
            while outcome == .sliceOver || outcome == .suspended { outcome = resume() }
            try conclude(outcome)
        }
    }

    /// The text of the error that ended a library.
    private func failure(_ results: LuaReader) -> String {
        if results.type(at: -1) == .table {
            results.pushField(interpreter.names.err, ofTableAt: results.count)
            defer { results.pop() }
            return results.line(at: -1)?.string ?? "ERR unknown error"
        }
        return "ERR " + (results.line(at: -1)?.string ?? "unknown error")
    }

    // MARK: What a library may call

    private func serve(_ function: Int, _ lua: LuaCall) -> LuaCallStatus {
        switch ScriptFunctionNumber(rawValue: function) {
        case .registerFunction:
            do throws(ScriptRefusal) {
                try register(lua)
                return .returns
            } catch {
                return raise(error, lua)
            }
        case .log:
            do throws(ScriptRefusal) {
                scripts.logged.call(try ScriptLogLine(lua))
                return .returns
            } catch {
                return raise(error, lua)
            }
        default: return .exhausted
        }
    }

    private func raise(_ refusal: ScriptRefusal, _ lua: LuaCall) -> LuaCallStatus {
        lua.results.record(1)
        lua.results.name(interpreter.names.err)
        lua.results.string("ERR " + refusal.text)
        return .raises
    }

    /// `redis.register_function(name, callback)`, or of a table of named arguments.
    private func register(_ lua: LuaCall) throws(ScriptRefusal) {
        guard lua.argumentCount == 1 || lua.argumentCount == 2 else {
            throw ScriptRefusal("wrong number of arguments to redis.register_function")
        }
        var registration = FunctionRegistration(interpreter.runtime)
        do throws(ScriptRefusal) {
            if lua.argumentCount == 1 {
                try registration.read(lua.arguments)
            } else {
                try registration.readPair(lua.arguments)
            }
            let function = try registration.function()
            if functionNames.contains(function.key) {
                throw ScriptRefusal("Function already exists in the library")
            }
            if functions.count >= Limits.libraryFunctionsMax {
                throw ScriptRefusal("a library has at most that many functions")
            }
            functionNames.insert(function.key)
            functions.append(function)
        } catch {
            registration.release()
            throw error
        }
    }
}

/// What `redis.register_function` was given.
private struct FunctionRegistration {
    private let runtime: LuaRuntime
    private var name: Bytes?
    private var description: Bytes?
    private var flags: ScriptFlags = []
    private var callback: LuaFunction?

    init(_ runtime: LuaRuntime) { self.runtime = runtime }

    /// Lets the callback go of a function that is none after all.
    func release() { if let callback { runtime.release(callback) } }

    /// The function, when all that it needs was given.
    func function() throws(ScriptRefusal) -> ScriptFunction {
        guard let name else {
            throw ScriptRefusal("redis.register_function must get a function name argument")
        }
        guard let callback else {
            throw ScriptRefusal("redis.register_function must get a callback argument")
        }
        if !FunctionRegistry.isName(name) {
            throw ScriptRefusal(
                "Library names can only contain letters, numbers, or underscores(_) and must be at "
                    + "least one character long")
        }
        return ScriptFunction(
            name: name, description: description, flags: flags, function: callback)
    }

    /// Reads a name and a callback.
    mutating func readPair(_ reader: LuaReader) throws(ScriptRefusal) {
        guard let first = reader.textBytes(at: 1) else {
            throw ScriptRefusal("first argument to redis.register_function must be a string")
        }
        name = first
        callback = runtime.retainFunction(at: 2)
        if callback == nil {
            throw ScriptRefusal("second argument to redis.register_function must be a function")
        }
    }

    /// Reads a table of named arguments.
    mutating func read(_ reader: LuaReader) throws(ScriptRefusal) {
        guard reader.type(at: 1) == .table else {
            throw ScriptRefusal(
                "calling redis.register_function with a single argument is only applicable to Lua "
                    + "table (representing named arguments).")
        }
        reader.pushNil()
        while reader.pushNext(ofTableAt: 1) {
            // Key and value are the two on top.
            try take(reader, at: reader.count)
            reader.pop()
        }
    }

    /// Takes the named argument whose value stands at `index`, its name before it.
    private mutating func take(_ reader: LuaReader, at index: Int) throws(ScriptRefusal) {
        guard let key = reader.textBytes(at: index - 1) else {
            throw ScriptRefusal(
                "named argument key given to redis.register_function is not a string")
        }
        func text(_ name: String) throws(ScriptRefusal) -> Bytes {
            if let text = reader.textBytes(at: index) { return text }
            throw ScriptRefusal(
                "\(name) argument given to redis.register_function must be a string")
        }
        switch key.string.lowercased() {
        case "function_name": name = try text("function_name")
        case "description": description = try text("description")
        case "callback":
            // Named twice, in two spellings, the one before goes.
            release()
            callback = runtime.retainFunction(at: index)
            if callback == nil {
                throw ScriptRefusal(
                    "callback argument given to redis.register_function must be a function")
            }
        case "flags": flags = try readFlags(reader, index)
        default: throw ScriptRefusal("unknown argument given to redis.register_function")
        }
    }

    private func readFlags(
        _ reader: LuaReader, _ index: Int
    ) throws(ScriptRefusal) -> ScriptFlags {
        guard reader.type(at: index) == .table else {
            throw ScriptRefusal(
                "flags argument to redis.register_function must be a table representing function "
                    + "flags")
        }
        var flags: ScriptFlags = []
        var position = 1
        while true {
            reader.pushElement(position, ofTableAt: index)
            defer { reader.pop() }
            if reader.type(at: -1) == .null { return flags }
            guard let name = reader.textBytes(at: -1),
                let flag = ScriptFlags.named(name.string.lowercased())
            else { throw ScriptRefusal("unknown flag given") }
            flags.insert(flag)
            position += 1
        }
    }
}

extension LuaReader {
    /// A copy of a string, or of a number's digits; nil for all else.
    fileprivate func textBytes(at index: Int) -> Bytes? {
        guard let text = unsafe text(at: index) else { return nil }
        return unsafe Bytes([UInt8](text))
    }
}
