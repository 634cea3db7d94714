//  A sandbox with its memory, its budget and its scripts, one running at a time.
//
//  Raw memory: the runtime owns the C state from `init` to `deinit`; the state holds an unretained
//  pointer back, which is followed only while a call into the state is on the stack. One thread
//  uses a runtime at a time, and the thread may change between calls; only `LuaStopper` is for
//  others.

import CLuaShim
import Synchronization

/// What a host function reads and writes.
package struct LuaCall {
    /// The arguments.
    package let arguments: LuaReader
    /// How many arguments there are.
    package let argumentCount: Int
    /// The results; or, for `.raises`, the one value to raise.
    package let results: LuaWriter
}

/// How a host function ended.
package enum LuaCallStatus: Int32, Sendable {
    /// What was written are the results.
    case returns = 0
    /// The one value written is raised as an error: a string or a table.
    case raises = 1
    /// Nothing was done: the script is to wait. `resume` comes back with `.suspended`, and the
    /// next one runs the function anew with the same arguments.
    case suspends = 2
    /// Raises Lua's "not enough memory".
    case exhausted = 3
}

/// Who runs the functions that scripts call.
package protocol LuaHost: AnyObject {
    /// Runs the function that was declared with this number.
    ///
    /// It may not use the runtime to run scripts. `call.arguments` stands until it returns.
    func call(_ function: Int, _ call: LuaCall) -> LuaCallStatus
}

/// A library of host functions and constants, frozen like the others: `redis`, for example.
package struct LuaLibrary {
    enum Member {
        case function(number: Int, suspends: Bool)
        case number(Double)
        case string(String)
    }

    let name: String?
    let aliases: [String]
    let isForLoading: Bool
    var members: [(name: String, member: Member)] = []

    /// A library that scripts find under `name` and each alias; nil for plain globals.
    ///
    /// - Parameters:
    ///   - name: what scripts call it.
    ///   - aliases: what they may call it as well.
    ///   - isForLoading: it is seen while `LuaRuntime.isLoading`, and only then.
    package init(_ name: String?, aliases: [String] = [], isForLoading: Bool = false) {
        self.name = name
        self.aliases = aliases
        self.isForLoading = isForLoading
    }

    /// Adds a function: scripts that call it make the host run `number`, which is at least 0.
    ///
    /// - Parameters:
    ///   - name: what scripts call it.
    ///   - number: what the host is given.
    ///   - suspends: it may return `.suspends`; it then has at most one result.
    package mutating func add(function name: String, _ number: Int, suspends: Bool = false) {
        members.append((name, .function(number: number, suspends: suspends)))
    }

    /// Adds a constant.
    package mutating func add(_ name: String, number: Double) {
        members.append((name, .number(number)))
    }

    /// Adds a constant.
    package mutating func add(_ name: String, string: String) {
        members.append((name, .string(string)))
    }
}

/// What `LuaRuntime.resume` came back with.
package enum LuaOutcome: Int32, Sendable {
    /// The script returned; `results` holds what.
    case finished = 0
    /// An error ended the script; the value raised is the only one of `results`.
    case failed = 1
    /// The slice is over; `resume` continues.
    case sliceOver = 2
    /// A host function suspended; `resume` runs it anew.
    case suspended = 3
    /// `LuaStopper.stop` ended the script.
    case stopped = 4
    /// The script used up its budget of time and was ended.
    case outOfTime = 5
}

/// What a runtime can fail with outside of scripts.
package enum LuaError: Error, Equatable {
    /// The memory limit is too small, or the system has none.
    case outOfMemory
    /// The text is not Lua: the message says where and why (`user_script:1: unexpected ...`).
    case syntax(String)
}

/// Bounds of a runtime and of what it is given.
package struct LuaLimits: Sendable {
    /// Bytes that Lua may hold, the libraries (about 100 KB) included. One instruction may exceed
    /// it, at most fourfold, before the script fails.
    package var memoryBytes: Int
    /// Running time after which a script yields to its loop.
    package var slice: Duration
    /// Running time after which a script is ended, waiting not counted.
    package var budget: Duration
    /// Bytes of a script's text.
    package static let sourceBytesMax = 16 * 1024 * 1024

    /// Limits with the slice that scripts are meant to have, a millisecond.
    package init(memoryBytes: Int, slice: Duration = .milliseconds(1), budget: Duration) {
        self.memoryBytes = memoryBytes
        self.slice = slice
        self.budget = budget
    }
}

/// Lua 5.1 in a sandbox: compiles scripts, runs one at a time in slices, and never more than its
/// limits allow.
///
///     let script = try runtime.compile(text, name: "user_script")
///     if runtime.begin(script) {
///         runtime.arguments.array(keys.count); ...; runtime.arguments.assign(to: keysName)
///         var outcome = runtime.resume()
///         while outcome == .sliceOver { /* serve others */ outcome = runtime.resume() }
///         /* read runtime.results */
///         runtime.end()
///     }
///
/// - Invariant: between `begin` and `end` no other script is begun. `end` may come at any time
///   when no call into the runtime is running; a script that was not finished is forgotten.
@safe package final class LuaRuntime {
    private let runtime: UnsafeMutablePointer<martlet_lua>
    private unowned let host: any LuaHost
    private var sliceNanoseconds: UInt64
    private var budgetNanoseconds: UInt64
    private var libraries = StandardLibraries()

    /// The slice, the budget and the memory limit; they may be changed between scripts.
    package var limits: LuaLimits {
        didSet { applyLimits() }
    }

    /// Builds the sandbox with `libraries` in it.
    ///
    /// - Throws: `LuaError.outOfMemory` when the libraries do not fit the limit.
    /// - Complexity: about 0.2 ms.
    package init(
        limits: LuaLimits, libraries: [LuaLibrary], host: any LuaHost
    ) throws(LuaError) {
        self.limits = limits
        self.host = host
        sliceNanoseconds = 0
        budgetNanoseconds = 0
        // The context is set below, when `self` is whole; nothing calls the host before.
        let created = unsafe martlet_lua_create(runHostFunction, max(limits.memoryBytes, 0))
        guard let created = unsafe created else { throw .outOfMemory }
        unsafe runtime = created
        unsafe runtime.pointee.context = Unmanaged.passUnretained(self).toOpaque()
        applyLimits()
        describe(libraries + StandardLibraries.descriptions)
        let opened = unsafe martlet_lua_open(
            runtime, UnsafeRawPointer(Prelude.text.utf8Start).assumingMemoryBound(to: CChar.self),
            Prelude.text.utf8CodeUnitCount)
        if !opened {
            let message = unsafe LuaReader(runtime).copiedBytes(at: -1) ?? []
            let text = String(decoding: message, as: UTF8.self)
            throw text == "not enough memory" ? .outOfMemory : .syntax(text)
        }
        if memoryBytes > limits.memoryBytes { throw .outOfMemory }
        try keepCallers(libraries)
    }

    /// Functions that may suspend have at most one result, and their errors name the line.
    private func keepCallers(_ libraries: [LuaLibrary]) throws(LuaError) {
        for library in libraries {
            guard let libraryName = library.name else { continue }
            for (name, member) in library.members {
                guard case .function(_, suspends: true) = member else { continue }
                for prefix in [libraryName] + library.aliases {
                    guard unsafe martlet_lua_keep_caller(runtime, "\(prefix).\(name)") else {
                        throw .outOfMemory
                    }
                }
            }
        }
    }

    deinit {
        unsafe martlet_lua_destroy(runtime)
    }

    private func applyLimits() {
        unsafe runtime.pointee.limit_bytes = max(limits.memoryBytes, 0)
        unsafe runtime.pointee.values.capacity_max = max(limits.memoryBytes, 0)
        sliceNanoseconds = limits.slice.nanoseconds
        budgetNanoseconds = limits.budget.nanoseconds
    }

    private func describe(_ libraries: [LuaLibrary]) {
        let writer = unsafe LuaWriter(runtime)
        let list = writer.openArray()
        var count = 0
        for library in libraries {
            for (name, member) in library.members {
                let record = writer.openRecord()
                var fields = 2
                writer.string("name")
                writer.string(name)
                writer.string("loading")
                writer.boolean(library.isForLoading)
                if let library = library.name {
                    writer.string("library")
                    writer.string(library)
                    fields += 1
                }
                switch member {
                case .function(let number, let suspends):
                    writer.string("host")
                    writer.number(Double(number))
                    writer.string("suspends")
                    writer.boolean(suspends)
                    fields += 2
                case .number(let number):
                    writer.string("value")
                    writer.number(number)
                    fields += 1
                case .string(let string):
                    writer.string("value")
                    writer.string(string)
                    fields += 1
                }
                writer.closeRecord(record, count: fields)
                count += 1
            }
        }
        writer.closeArray(list, count: count)
        describeAliases(libraries, writer)
    }

    private func describeAliases(_ libraries: [LuaLibrary], _ writer: LuaWriter) {
        let list = writer.openArray()
        var count = 0
        for library in libraries {
            for alias in library.aliases {
                writer.record(3)
                writer.string("loading")
                writer.boolean(library.isForLoading)
                writer.string("alias")
                writer.string(alias)
                writer.string("library")
                writer.string(library.name ?? "")
                count += 1
            }
        }
        writer.closeArray(list, count: count)
    }

    // MARK: Scripts

    /// Compiles text; `name` stands in messages (`user_script:1: ...`).
    ///
    /// - Throws: `LuaError.syntax` with Lua's message, `LuaError.outOfMemory`.
    /// - Complexity: O(n) in the text's bytes, at most `LuaLimits.sourceBytesMax`.
    package func compile(
        _ source: UnsafeRawBufferPointer, name: String
    ) throws(LuaError) -> LuaFunction {
        guard source.count <= LuaLimits.sourceBytesMax else { throw .syntax("chunk is too long") }
        // What earlier scripts left may be in the way.
        for _ in 0..<Self.collectionsMax {
            do {
                return try unsafe compileOnce(source, name: name)
            } catch .outOfMemory {
                while !collect(kilobytes: 1024) {}
            }
        }
        throw .outOfMemory
    }

    /// Collections that free whatever can be freed: the library's buffer for strings is halved by each.
    private static let collectionsMax = 12

    private func compileOnce(
        _ source: UnsafeRawBufferPointer, name: String
    ) throws(LuaError) -> LuaFunction {
        let start = unsafe source.baseAddress?.assumingMemoryBound(to: CChar.self)
        let reference = unsafe martlet_lua_compile(runtime, start, source.count, "@" + name)
        if reference > 0 { return LuaFunction(reference: reference) }
        let reader = unsafe LuaReader(runtime)
        let message = String(decoding: reader.copiedBytes(at: -1) ?? [], as: UTF8.self)
        reader.pop()
        throw message == "not enough memory" ? .outOfMemory : .syntax(message)
    }

    /// Compiles text; `name` stands in messages (`user_script:1: ...`).
    ///
    /// - Throws: `LuaError.syntax` with Lua's message, `LuaError.outOfMemory`.
    package func compile(_ source: [UInt8], name: String) throws(LuaError) -> LuaFunction {
        let result = unsafe source.withUnsafeBytes { bytes in
            Result { () throws(LuaError) in try unsafe compile(bytes, name: name) }
        }
        return try result.get()
    }

    /// Keeps the function that is argument `index` of the running host function; nil when it is
    /// none, or when there is no memory to keep it.
    package func retainFunction(at index: Int) -> LuaFunction? {
        guard unsafe LuaReader(runtime).type(at: index) == .function else { return nil }
        let reference = unsafe martlet_lua_retain(runtime, Int32(truncatingIfNeeded: index))
        return reference > 0 ? LuaFunction(reference: reference) : nil
    }

    /// Lets go of a function: its memory comes back with the collector.
    package func release(_ function: LuaFunction) {
        unsafe martlet_lua_release(runtime, function.reference)
    }

    /// Keeps a name for fields and globals for the life of the runtime.
    ///
    /// - Throws: `LuaError.outOfMemory`.
    package func intern(_ name: String) throws(LuaError) -> LuaName {
        var name = name
        let reference = name.withUTF8 { bytes in
            unsafe bytes.withMemoryRebound(to: CChar.self) {
                unsafe martlet_lua_intern(runtime, $0.baseAddress, $0.count)
            }
        }
        guard reference > 0 else { throw .outOfMemory }
        return LuaName(reference: reference)
    }

    /// Whether globals are those for loading, the libraries that are declared so and nothing else: for
    /// functions that were compiled before, too. Changed while no script is running.
    package var isLoading = false {
        didSet {
            // It sets a field that is there: nothing is allocated, so nothing can fail.
            if isLoading != oldValue { unsafe martlet_lua_set_loading(runtime, isLoading) }
        }
    }

    // MARK: Running

    /// Makes `function` the running script; write its arguments into `arguments`, then `resume`.
    ///
    /// - Returns: false when memory is exhausted: collect, or make a new runtime.
    /// - Precondition: the script before it was ended.
    package func begin(_ function: LuaFunction) -> Bool {
        libraries.reset()
        if memoryBytes > limits.memoryBytes { makeRoom() }
        return unsafe martlet_lua_begin(runtime, function.reference)
    }

    /// What a script left that was ended for its memory, up to four times the limit, must not end the next.
    private func makeRoom() {
        for _ in 0..<Self.collectionsMax where memoryBytes > limits.memoryBytes {
            while !collect(kilobytes: 1024) {}
        }
    }

    /// Where the arguments of the script that was begun are written: values that are assigned to
    /// names become globals, the others arguments of the function.
    package var arguments: LuaWriter { unsafe LuaWriter(runtime) }

    /// Runs the script until it ends, suspends, or its slice is over.
    package func resume() -> LuaOutcome {
        let outcome = unsafe martlet_lua_resume(runtime, sliceNanoseconds, budgetNanoseconds)
        return LuaOutcome(rawValue: outcome) ?? .failed
    }

    /// What the script returned, or at index 1 the error that ended it; until `end`.
    package var results: LuaReader { unsafe LuaReader(runtime) }

    /// Ends the script, finished or not, and lets go of what it returned.
    package func end() {
        unsafe martlet_lua_end(runtime)
    }

    /// Whether the running script is to end (stopped, or out of time): a host function that works
    /// long asks now and then, and returns when it is so.
    package var mustEnd: Bool { unsafe martlet_lua_must_end(runtime) }

    /// Stops the running script from any thread; see `LuaStopper`.
    package var stopper: LuaStopper { LuaStopper(self) }

    fileprivate func requestStop() {
        unsafe martlet_lua_stop(runtime)
    }

    // MARK: Memory

    /// Bytes that Lua holds.
    package var memoryBytes: Int { unsafe runtime.pointee.used_bytes }

    /// The most bytes that Lua held since the script was begun.
    package var peakMemoryBytes: Int { unsafe runtime.pointee.peak_bytes }

    /// Takes a step of the collector, about `kilobytes` of work: 1 KB takes about a microsecond.
    ///
    /// - Returns: true at the end of a collection.
    /// - Precondition: no script is running; one may be suspended.
    package func collect(kilobytes: Int) -> Bool {
        unsafe martlet_lua_collect(runtime, Int32(clamping: kilobytes))
    }

    fileprivate func callHost(_ function: Int32, _ count: Int32) -> Int32 {
        let call = unsafe LuaCall(
            arguments: LuaReader(runtime), argumentCount: Int(count), results: LuaWriter(runtime))
        if function < 0 { return libraries.call(Int(function), call, self).rawValue }
        return host.call(Int(function), call).rawValue
    }

    /// Counts a step of a function that works long, and what it has put together so far.
    ///
    /// - Throws: when the script is to end, or the memory limit does not allow as much.
    func account(step: inout Int, bytes: Int) throws(LibraryError) {
        step &+= 1
        if bytes > limits.memoryBytes { throw LibraryError("not enough memory") }
        if step & 0x3FF == 0, mustEnd { throw LibraryError("script ended by its runtime") }
    }
}

/// Stops the script of a runtime from any thread.
///
/// The script ends within a few milliseconds of running, `resume` coming back with `.stopped`. A
/// stop is for the script that runs: `begin` forgets an earlier one.
package struct LuaStopper: @unchecked Sendable {
    // Safe to send: the one thing it does is an atomic store into a runtime that it keeps alive.
    private let runtime: LuaRuntime

    fileprivate init(_ runtime: LuaRuntime) {
        self.runtime = runtime
    }

    /// Makes the running script end.
    package func stop() {
        runtime.requestStop()
    }
}

private func runHostFunction(
    _ context: UnsafeMutableRawPointer?, _ state: UnsafeMutablePointer<martlet_lua>,
    _ function: Int32, _ count: Int32
) -> Int32 {
    guard let context = unsafe context else { return LuaCallStatus.exhausted.rawValue }
    return unsafe Unmanaged<LuaRuntime>.fromOpaque(context).takeUnretainedValue()
        .callHost(function, count)
}

extension Duration {
    /// Whole nanoseconds, at least 0, at most what fits.
    fileprivate var nanoseconds: UInt64 {
        let (seconds, attoseconds) = components
        if seconds < 0 || attoseconds < 0 { return 0 }
        let (product, overflow) = UInt64(seconds).multipliedReportingOverflow(by: 1_000_000_000)
        if overflow { return .max }
        return product &+ UInt64(attoseconds / 1_000_000_000)
    }
}
