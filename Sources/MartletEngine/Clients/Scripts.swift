//  What scripts have in common: the turn, the interpreters, the scripts and functions that are known.
//
//  There is one interpreter for EVAL and one for functions, each with its own memory, and one turn for
//  both: scripts run one at a time, whatever loop they came to. To let two run at once would take an
//  interpreter and a cache for each loop, and a rule for two scripts that want each other's keys. What a
//  turn costs a script that meets no other is a lock that nobody else wants. See
//  Execution/ScriptTurns.swift.
//
//  Everything here but `running` is touched by who has the turn, whatever thread that is.
//
//  Raw memory: a host's context is the executor that runs the slice, which outlives it.

import MartletBase
import MartletLua
import Synchronization

/// A script or function that is about to run.
struct ChosenScript {
    /// Nil for libraries that are loaded: see `Scripts.loader`.
    var function: LuaFunction?
    /// Under which name errors and FUNCTION STATS show it.
    var name: [UInt8] = []
    var flags: ScriptFlags = []
    var isFunction = false
    /// How many keys stand behind the number of keys, the third argument of the request.
    var keyCount = 0
}

/// The functions that scripts call, by number.
enum ScriptFunctionNumber: Int {
    case call, pcall, errorReply, statusReply, sha1hex, log, setResponse, setReplication
    case replicateCommands, checkCommand, breakpoint, debug, registerFunction
}

/// Takes what a script calls to whoever runs it.
@safe
final class ScriptHost: LuaHost {
    /// Runs a function by its number.
    typealias Service = @Sendable (UnsafeMutableRawPointer, Int, LuaCall) -> LuaCallStatus

    /// Who runs the script, and what serves it; set when a slice begins. Two words, and no closure that
    /// would be allocated each time.
    var context: UnsafeMutableRawPointer?
    var serve: Service = { _, _, _ in .exhausted }

    init() { unsafe context = nil }

    func call(_ function: Int, _ call: LuaCall) -> LuaCallStatus {
        guard let context = unsafe context else { return .exhausted }
        return unsafe serve(context, function, call)
    }
}

/// A line that a script writes to the server's log.
package struct ScriptLogLine {
    /// From 0, debug, to 3, warning.
    package let level: Int
    package let text: String

    /// What a line in the server's log takes of one argument.
    private static let argumentBytesMax = 1024

    /// Reads the arguments of `redis.log(level, text, ...)`.
    init(_ lua: LuaCall) throws(ScriptRefusal) {
        guard lua.argumentCount >= 2 else {
            throw ScriptRefusal("redis.log() requires two arguments or more.")
        }
        guard lua.arguments.type(at: 1) == .number else {
            throw ScriptRefusal("First argument must be a number (log level).")
        }
        let level = lua.arguments.number(at: 1)
        guard level > -1 && level < 4 else { throw ScriptRefusal("Invalid log level.") }
        self.level = Int(level)
        var parts: [String] = []
        for index in 2...lua.argumentCount {
            if let part = unsafe lua.arguments.text(at: index) {
                let bytes = unsafe part.prefix(Self.argumentBytesMax)
                parts.append(unsafe String(decoding: bytes, as: UTF8.self))
            }
        }
        text = String(parts.joined(separator: " ").map { $0.isNewline ? " " : $0 })
    }
}

/// All that scripts need.
package final class Scripts: @unchecked Sendable {
    // Unchecked: see the top of the file.

    /// Whose turn it is. Ranks before the shards: whoever holds a shard takes no turn.
    let turn = ShardLock.allocate(rank: ShardLock.turnRank)
    /// What others may ask while a script runs.
    package let running = RunningScript()
    /// Called for `redis.log`.
    package let logged = SharedCallback1<ScriptLogLine>()
    /// Bytes that an interpreter may hold: `script-memory-limit`.
    package let memoryBytesMax = Atomic<Int>(256 << 20)
    /// Milliseconds after which a script is ended: `script-time-budget-ms`; 0 for never.
    package let budgetMilliseconds = Atomic<Int>(6_000)
    /// Scripts that had to go for others.
    package let evictedCount = Atomic<UInt64>(0)

    var cache = ScriptCache()
    /// The libraries in force: see `FunctionRegistry` for who may read and change them.
    private(set) var functions = FunctionRegistry()
    /// The function that was called last, which most often is the next.
    private var latestFunction: ScriptFunction?
    /// The script that the running command has found.
    var chosen = ChosenScript()
    /// The libraries that the running command brings, in place of a script.
    var loader: LibraryLoader?
    /// The libraries were changed, and where that stands in the log is not known yet.
    private var hasChangedFunctions = false
    /// Where the log has the last change of libraries; counted while replies wait for the log.
    private(set) var functionsPosition: UInt64 = 0
    private var evaluator: Interpreter?
    private var library: Interpreter?

    init() {}

    deinit { turn.deallocate() }

    /// The interpreter for EVAL, or that for functions.
    func interpreter(function: Bool) throws(ScriptRefusal) -> Interpreter {
        if let made = function ? library : evaluator { return made }
        let bytesMax = memoryBytesMax.load(ordering: .relaxed)
        guard let made = Interpreter(memoryBytesMax: bytesMax, isForFunctions: function) else {
            throw ScriptRefusal("not enough memory for the interpreter: see script-memory-limit")
        }
        if function { library = made } else { evaluator = made }
        return made
    }

    /// SCRIPT FLUSH: the interpreter goes with its scripts.
    func removeAllScripts() {
        _ = cache.removeAll()
        evaluator = nil
        noteCounts()
    }

    /// The function of that name. The caller has the turn.
    func function(_ name: ByteView) -> ScriptFunction? {
        if let latestFunction, latestFunction.name.withView({ $0 == name }) {
            return latestFunction
        }
        guard let function = functions.function(name) else { return nil }
        latestFunction = function
        return function
    }

    /// Exchanges all libraries for others, whose functions are in the same interpreter. The caller has the
    /// turn and all shards.
    func replaceFunctions(by others: FunctionRegistry) {
        let gone = functions.libraries.values.filter { others.libraries[$0.name] !== $0 }
        functions = others
        latestFunction = nil
        if others.libraries.isEmpty {
            // Their memory is back at once, and whatever they have left there.
            library = nil
        } else {
            for old in gone { release(old.functions) }
        }
        hasChangedFunctions = true
        noteCounts()
    }

    /// Lets functions go.
    func release(_ functions: [ScriptFunction]) {
        for function in functions { library?.runtime.release(function.function) }
    }

    /// What was changed stands in the log: `position` is its end.
    @inline(__always)
    func noteLogged(at position: UInt64) {
        if !hasChangedFunctions { return }
        hasChangedFunctions = false
        functionsPosition = max(functionsPosition, position)
    }

    /// What INFO tells of memory and counts.
    package struct Report {
        package var scriptCount = 0
        package var scriptBytes = 0
        package var evaluatorBytes = 0
        package var functionCount = 0
        package var libraryCount = 0
        package var functionBytes = 0
        package var libraryInterpreterBytes = 0
        /// The texts of scripts and libraries, and what is known of them.
        package var textBytes: Int { scriptBytes + functionBytes }

        package init() {}
    }

    private let counts = ScriptCounts()

    /// What is there, as it was when a turn last ended: INFO waits for no turn.
    package var report: Report { counts.report }

    /// Leaves what others may ask; the caller has the turn.
    func noteCounts() {
        counts.scriptCount.store(cache.count, ordering: .relaxed)
        counts.scriptBytes.store(cache.memoryBytes, ordering: .relaxed)
        counts.functionCount.store(functions.functionCount, ordering: .relaxed)
        counts.libraryCount.store(functions.libraries.count, ordering: .relaxed)
        counts.functionBytes.store(functions.memoryBytes, ordering: .relaxed)
        noteMemory()
    }

    /// The same for the interpreters' memory alone.
    @inline(__always)
    func noteMemory() {
        counts.evaluatorBytes.store(evaluator?.runtime.memoryBytes ?? 0, ordering: .relaxed)
        counts.libraryBytes.store(library?.runtime.memoryBytes ?? 0, ordering: .relaxed)
    }
}

/// What INFO tells, one word each.
private final class ScriptCounts: Sendable {
    let scriptCount = Atomic<Int>(0)
    let scriptBytes = Atomic<Int>(0)
    let functionCount = Atomic<Int>(0)
    let libraryCount = Atomic<Int>(0)
    let functionBytes = Atomic<Int>(0)
    let evaluatorBytes = Atomic<Int>(0)
    let libraryBytes = Atomic<Int>(0)

    var report: Scripts.Report {
        var report = Scripts.Report()
        report.scriptCount = scriptCount.load(ordering: .relaxed)
        report.scriptBytes = scriptBytes.load(ordering: .relaxed)
        report.evaluatorBytes = evaluatorBytes.load(ordering: .relaxed)
        report.functionCount = functionCount.load(ordering: .relaxed)
        report.libraryCount = libraryCount.load(ordering: .relaxed)
        report.functionBytes = functionBytes.load(ordering: .relaxed)
        report.libraryInterpreterBytes = libraryBytes.load(ordering: .relaxed)
        return report
    }
}

/// One sandbox.
final class Interpreter {
    let runtime: LuaRuntime
    let host = ScriptHost()
    let names: ScriptNames
    private var budgetMilliseconds = 0
    private var isSliced = true

    /// Running time after which a script frees its loop.
    static let slice: Duration = .milliseconds(1)

    init?(memoryBytesMax: Int, isForFunctions: Bool) {
        do throws(LuaError) {
            runtime = try LuaRuntime(
                limits: LuaLimits(
                    memoryBytes: memoryBytesMax, slice: Self.slice, budget: .seconds(86_400)),
                libraries: Self.libraries(isForFunctions: isForFunctions), host: host)
            let runtime = runtime
            names = try ScriptNames(
                ok: runtime.intern("ok"), err: runtime.intern("err"),
                ignoresStatistics: runtime.intern("ignore_error_stats_update"),
                double: runtime.intern("double"), map: runtime.intern("map"),
                set: runtime.intern("set"), bigNumber: runtime.intern("big_number"),
                verbatim: runtime.intern("verbatim_string"), format: runtime.intern("format"),
                string: runtime.intern("string"), keys: runtime.intern("KEYS"),
                arguments: runtime.intern("ARGV"))
        } catch {
            return nil
        }
    }

    /// What a script may use up. One that is not sliced has no loop that waits for it.
    func setBudget(milliseconds: Int, memoryBytes: Int, isSliced: Bool = true) {
        if budgetMilliseconds == milliseconds && runtime.limits.memoryBytes == memoryBytes
            && self.isSliced == isSliced
        {
            return
        }
        budgetMilliseconds = milliseconds
        self.isSliced = isSliced
        runtime.limits = LuaLimits(
            memoryBytes: memoryBytes, slice: isSliced ? Self.slice : .seconds(86_400),
            // A day that is computed through, without a rest, is for ever.
            budget: milliseconds == 0 ? .seconds(86_400) : .milliseconds(milliseconds))
    }

    /// Compiles a text; `prefix` stands in front of Lua's own message.
    func compile(
        _ text: ByteView, name: String, failing prefix: String
    ) throws(ScriptRefusal) -> LuaFunction {
        do throws(LuaError) {
            return unsafe try runtime.compile(
                UnsafeRawBufferPointer(start: text.address, count: text.count), name: name)
        } catch {
            switch error {
            case .outOfMemory: throw ScriptRefusal(prefix + "not enough memory")
            case .syntax(let message): throw ScriptRefusal(prefix + message)
            }
        }
    }

    private static func libraries(isForFunctions: Bool) -> [LuaLibrary] {
        var library = LuaLibrary("redis", aliases: ["server"])
        let functions: [(String, ScriptFunctionNumber)] = [
            ("call", .call), ("pcall", .pcall), ("error_reply", .errorReply),
            ("status_reply", .statusReply), ("sha1hex", .sha1hex), ("log", .log),
            ("setresp", .setResponse), ("set_repl", .setReplication),
            ("acl_check_cmd", .checkCommand),
        ]
        for (name, number) in functions {
            // A slice that is over is over before the next command.
            let suspends = number == .call || number == .pcall
            library.add(function: name, number.rawValue, suspends: suspends)
        }
        if !isForFunctions {
            library.add(
                function: "replicate_commands", ScriptFunctionNumber.replicateCommands.rawValue)
            library.add(function: "breakpoint", ScriptFunctionNumber.breakpoint.rawValue)
            library.add(function: "debug", ScriptFunctionNumber.debug.rawValue)
        }
        library.add("REPL_NONE", number: 0)
        library.add("REPL_AOF", number: 1)
        library.add("REPL_SLAVE", number: 2)
        library.add("REPL_REPLICA", number: 2)
        library.add("REPL_ALL", number: 3)
        addConstants(to: &library)
        if !isForFunctions { return [library] }
        // All that a library has while its text runs: it reaches no keys then, and computes little.
        var loading = LuaLibrary("redis", aliases: ["server"], isForLoading: true)
        loading.add(
            function: "register_function", ScriptFunctionNumber.registerFunction.rawValue)
        loading.add(function: "log", ScriptFunctionNumber.log.rawValue)
        addConstants(to: &loading)
        return [library, loading]
    }

    private static func addConstants(to library: inout LuaLibrary) {
        let levels = ["LOG_DEBUG", "LOG_VERBOSE", "LOG_NOTICE", "LOG_WARNING"]
        for (level, name) in levels.enumerated() { library.add(name, number: Double(level)) }
        library.add("REDIS_VERSION", string: "\(RedisCompatibility.version)")
        library.add("REDIS_VERSION_NUM", number: Double(RedisCompatibility.number))
    }
}

/// Names of fields that tables for replies have, and of scripts' globals.
struct ScriptNames {
    let ok: LuaName
    let err: LuaName
    let ignoresStatistics: LuaName
    let double: LuaName
    let map: LuaName
    let set: LuaName
    let bigNumber: LuaName
    let verbatim: LuaName
    let format: LuaName
    let string: LuaName
    let keys: LuaName
    let arguments: LuaName
}
