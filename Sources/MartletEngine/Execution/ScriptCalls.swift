//  What a script does while it runs: `redis.call` and the other functions of the server, and its end.
//
//  A command that a script calls passes the checks that Redis makes there, in its order and with its
//  texts, and then the executor's usual path: its shards are among those the unit holds, or are claimed
//  before it runs. Its reply goes to the call's buffer and from there into Lua; nothing of it allocates
//  once the buffers have grown.
//
//  Raw memory: while a slice runs, the interpreter holds a pointer to the executor, which it calls back on
//  the same thread. Arguments are views of Lua strings, which stay where they are until the function
//  returns; numbers are written into a buffer that was given its room before. The stand-in session is the
//  executor's: commands of scripts see it instead of the client's, which may be gone.

import CSystem
import MartletBase
import MartletLua

/// Buffers for what scripts call.
struct ScriptCallBuffers: ~Copyable {
    var views = GrowingArray<ByteView>()
    var digits = ByteBuffer()
    var text = ByteBuffer()
}

extension Executor {
    // MARK: Beginning and resuming

    /// Gives a script its keys and arguments.
    mutating func beginInterpreting(_ chosen: ChosenScript) throws(CommandError) {
        let scripts = unsafe call.state.scripts
        let interpreter: Interpreter
        do throws(ScriptRefusal) {
            interpreter = try scripts.interpreter(function: chosen.isFunction)
        } catch {
            throw call.error("ERR \(error.text)")
        }
        interpreter.setBudget(
            milliseconds: scripts.budgetMilliseconds.load(ordering: .relaxed),
            memoryBytes: scripts.memoryBytesMax.load(ordering: .relaxed))
        guard let function = chosen.function, interpreter.runtime.begin(function) else {
            throw .coded("OOM not enough memory for the script: see script-memory-limit")
        }
        let writer = interpreter.runtime.arguments
        let first = 3
        writer.array(chosen.keyCount)
        for index in first..<(first + chosen.keyCount) { write(call.arguments[index], to: writer) }
        if !chosen.isFunction { writer.assign(to: interpreter.names.keys) }
        writer.array(call.arguments.count - first - chosen.keyCount)
        for index in (first + chosen.keyCount)..<call.arguments.count {
            write(call.arguments[index], to: writer)
        }
        if !chosen.isFunction { writer.assign(to: interpreter.names.arguments) }
        unsafe unit.pointee.interpreter = interpreter
    }

    @inline(__always)
    private func write(_ argument: ByteView, to writer: LuaWriter) {
        unsafe writer.bytes(
            UnsafeRawBufferPointer(start: argument.address, count: argument.count))
    }

    /// Runs the open script for a slice; answers whether it has ended, and its reply is written.
    mutating func resumeScript() -> Bool {
        if let loader = unsafe unit.pointee.loader { return resumeLoading(loader) }
        guard let interpreter = unsafe unit.pointee.interpreter else { return true }
        let running = unsafe call.state.scripts.running
        if unsafe unit.pointee.isNoted, running.isKilled { interpreter.runtime.stopper.stop() }
        unsafe call.session = standIn
        unsafe standIn.pointee.database = call.keyspace.database
        lastTicks = martlet_ticks()
        unsafe unit.pointee.sliceBeginTicks = lastTicks
        let outcome = unsafe withUnsafeMutablePointer(to: &self) { executor in
            unsafe interpreter.host.context = UnsafeMutableRawPointer(executor)
            unsafe interpreter.host.serve = { (context, function, lua) in
                unsafe context.assumingMemoryBound(to: Executor.self).pointee
                    .serve(function, lua)
            }
            return interpreter.runtime.resume()
        }
        unsafe interpreter.host.context = nil
        switch outcome {
        case .sliceOver, .suspended: return false
        case .finished: writeResult(interpreter)
        case .failed: writeFailure(interpreter, nil)
        case .stopped:
            let isFunction = unsafe unit.pointee.chosen.isFunction
            writeFailure(
                interpreter,
                isFunction
                    ? "ERR Function killed by user with FUNCTION KILL."
                    : "ERR Script killed by user with SCRIPT KILL.")
        case .outOfTime:
            writeFailure(interpreter, "ERR Script has used up its time, script-time-budget-ms.")
        }
        closeScript()
        return true
    }

    /// Lets the interpreter forget the script.
    mutating func endInterpreting() {
        guard let interpreter = unsafe unit.pointee.interpreter else { return }
        interpreter.runtime.end()
        unsafe unit.pointee.interpreter = nil
    }

    // MARK: The reply

    mutating func beginReply() {
        call.reply.buffer.truncate(to: unsafe unit.pointee.replyBegin)
        call.reply.isRESP3 = unsafe unit.pointee.isRESP3
    }

    private mutating func writeResult(_ interpreter: Interpreter) {
        beginReply()
        let before = call.reply.buffer.count
        let results = interpreter.runtime.results
        let count = results.count
        if count == 0 {
            call.reply.null()
            return
        }
        // Of several values the first is the reply.
        if count > 1 { results.pop(count - 1) }
        var converter = LuaToReply(
            results, interpreter.names, keepsBooleans: unsafe unit.pointee.speaksRESP3)
        converter.convert(to: &call.reply)
        if converter.isError {
            countScriptError(from: before, isCounted: converter.isCounted)
        }
    }

    /// Writes the error that ended the script: what it raised, or the given one.
    private mutating func writeFailure(_ interpreter: Interpreter, _ given: StaticString?) {
        beginReply()
        let results = interpreter.runtime.results
        let names = interpreter.names
        // What ended a script in the course of a tail call has left no line, and what Lua itself raises has
        // it in its text only.
        let source = unsafe unit.pointee.chosen.isFunction ? "user_function" : "user_script"
        let position =
            results.position() ?? (source: source, line: Self.line(in: results, of: source) ?? 1)
        var isCounted = false
        call.errorDetail.removeAll()
        if let given {
            call.errorDetail.append(given)
        } else if results.type(at: -1) == .table {
            let index = results.count
            results.pushField(names.ignoresStatistics, ofTableAt: index)
            isCounted = results.boolean(at: -1)
            results.pop()
            results.pushField(names.err, ofTableAt: index)
            if let text = results.line(at: -1) {
                call.errorDetail.append(text)
            } else {
                call.errorDetail.append("ERR unknown error")
            }
            results.pop()
        } else {
            call.errorDetail.append("ERR ")
            appendText(of: results)
        }
        call.errorDetail.append(" script: ")
        unsafe unit.pointee.chosen.name.withView { call.errorDetail.append($0) }
        call.errorDetail.append(", on @")
        call.errorDetail.append(position.source)
        call.errorDetail.append(":")
        call.errorDetail.append(decimal: Int64(position.line))
        call.errorDetail.append(".")
        let before = call.reply.buffer.count
        call.reply.error(call.errorDetail.view)
        countScriptError(from: before, isCounted: isCounted)
    }

    /// The line in a message of Lua's own: `user_script:3: attempt to call ...`.
    private static func line(in results: LuaReader, of source: String) -> Int? {
        guard let text = results.view(at: -1), text.count > source.utf8.count,
            source.withView({ text.slice(0, $0.count) == $0 })
        else { return nil }
        let begin = source.utf8.count + 1
        guard let end = text.firstIndex(of: UInt8(ascii: ":"), from: begin) else { return nil }
        return text.slice(begin, end).parseInteger().flatMap { Int(exactly: $0) }
    }

    /// Appends what `tostring` makes of the value on top to the error's text.
    private mutating func appendText(of results: LuaReader) {
        switch results.type(at: -1) {
        case .bytes: call.errorDetail.append(results.line(at: -1) ?? ByteView())
        case .number: call.errorDetail.append(double: results.number(at: -1))
        case .boolean: call.errorDetail.append(results.boolean(at: -1) ? "true" : "false")
        case .function: call.errorDetail.append("function")
        default: call.errorDetail.append("nil")
        }
    }

    /// Counts the error that a script has for its reply; one that a command of it had is counted already.
    private mutating func countScriptError(from before: Int, isCounted: Bool) {
        if !isCounted { countError(from: before) }
        statistics.countFailure(unsafe unit.pointee.scriptCommand, wasRejected: false)
    }

    // MARK: What scripts call

    /// Runs a function of the server for a script.
    fileprivate mutating func serve(_ function: Int, _ lua: LuaCall) -> LuaCallStatus {
        switch ScriptFunctionNumber(rawValue: function) {
        case .call: return callCommand(lua, raises: true)
        case .pcall: return callCommand(lua, raises: false)
        case .errorReply: return errorReply(lua)
        case .statusReply: return statusReply(lua)
        case .sha1hex: return sha1(lua)
        case .log: return log(lua)
        case .setResponse: return setResponse(lua)
        case .setReplication: return setReplication(lua)
        case .replicateCommands:
            lua.results.boolean(true)
            return .returns
        case .checkCommand: return checkCommand(lua)
        // There is no debugger: nothing stops, and nobody is shown anything.
        case .breakpoint:
            lua.results.boolean(false)
            return .returns
        case .debug: return .returns
        case .registerFunction:
            return raise(
                "ERR redis.register_function can only be called on FUNCTION LOAD command", lua)
        case nil: return .exhausted
        }
    }

    /// Raises an error as a table, as all of the server's are.
    private mutating func raise(_ text: StaticString, _ lua: LuaCall) -> LuaCallStatus {
        answer(text, lua)
        return .raises
    }

    /// Returns an error as a table.
    @discardableResult
    private mutating func answer(_ text: StaticString, _ lua: LuaCall) -> LuaCallStatus {
        writeError(ByteView(text), lua, isCounted: false)
        return .returns
    }

    private mutating func writeError(_ text: ByteView, _ lua: LuaCall, isCounted: Bool) {
        guard let names = unsafe unit.pointee.interpreter?.names else { return }
        lua.results.record(isCounted ? 2 : 1)
        lua.results.name(names.err)
        write(text, to: lua.results)
        if isCounted {
            lua.results.name(names.ignoresStatistics)
            lua.results.boolean(true)
        }
    }

    // MARK: redis.call

    /// `redis.call` and `redis.pcall`: runs the command that the arguments are.
    private mutating func callCommand(_ lua: LuaCall, raises: Bool) -> LuaCallStatus {
        // Commands that take long count for the slice as well as what the script computes.
        if unsafe lastTicks &- unit.pointee.sliceBeginTicks > TickRate.perMillisecond {
            return .suspends
        }
        let count = lua.argumentCount
        if count == 0 {
            answer("ERR Please specify at least one argument for this redis lib call", lua)
            return raises ? .raises : .returns
        }
        guard readArguments(lua, count) else {
            answer("ERR Lua redis lib command arguments must be strings or integers", lua)
            return raises ? .raises : .returns
        }
        let begin = unsafe unit.pointee.replyBegin
        call.reply.buffer.truncate(to: begin)
        call.reply.isRESP3 = unsafe unit.pointee.speaksRESP3
        runCalled(count)
        let reply = call.reply.buffer.view.slice(begin, call.reply.buffer.count)
        guard let names = unsafe unit.pointee.interpreter?.names else { return .exhausted }
        var converter = ReplyToLua(reply, names, lua.results)
        converter.convert()
        let isError = !reply.isEmpty && reply[0] == UInt8(ascii: "-")
        return isError && raises ? .raises : .returns
    }

    /// Makes views of a call's arguments; false when one is neither a string nor a number.
    private mutating func readArguments(_ lua: LuaCall, _ count: Int) -> Bool {
        scriptBuffers.views.removeAll(keeping: 1024)
        scriptBuffers.digits.removeAll()
        var hasRoom = false
        for index in 1...count {
            if let text = lua.arguments.view(at: index) {
                scriptBuffers.views.append(text)
                continue
            }
            guard lua.arguments.type(at: index) == .number else { return false }
            if !hasRoom {
                // For all of them, so that none moves when the next is written.
                unsafe _ = scriptBuffers.digits.writable(count * Limits.doubleBytesMax + 64)
                hasRoom = true
            }
            let begin = scriptBuffers.digits.count
            let number = lua.arguments.number(at: index)
            if let integer = Int64(exactly: number) {
                scriptBuffers.digits.append(decimal: integer)
            } else {
                scriptBuffers.digits.append(double: number)
            }
            scriptBuffers.views.append(
                scriptBuffers.digits.view.slice(begin, scriptBuffers.digits.count))
        }
        return true
    }

    /// Looks up, checks and runs the command whose arguments were read; its reply, or the error why it is
    /// not run, stands in the call's buffer.
    private mutating func runCalled(_ count: Int) {
        guard let views = unsafe scriptBuffers.views.base else { return }
        let commands = unsafe call.commands
        var number = commands.number(unsafe views[0])
        guard number >= 0 else {
            refuse("ERR Unknown Redis command called from script", -1)
            return
        }
        var position = 1
        if !commands.all[number].subcommands.isEmpty && count >= 2 {
            let found = commands.subcommand(number, unsafe views[1])
            guard found >= 0 else {
                refuse("ERR Unknown Redis command called from script", -1)
                return
            }
            number = found
            position = 2
        }
        let row = unsafe rows + number
        guard unsafe row.pointee.admits(count) else {
            refuse("ERR Wrong number of args calling Redis command from script", number)
            return
        }
        let traits = unsafe row.pointee.traits
        if !traits.isDisjoint(with: [.noScript, .goesOut, .takesTurn]) {
            refuse("ERR This Redis command is not allowed from script", number)
            return
        }
        guard mayRun(number, traits, isWrite: unsafe row.pointee.isWrite) else { return }
        let firstKey = unsafe Int(row.pointee.firstKey)
        var hash: UInt64 = 0
        if firstKey != 0 && firstKey < count {
            hash = unsafe call.state.keyspace.pointee.hashKey.hash(views[firstKey])
        }
        unsafe call.arguments.begin(
            views, count: count, firstKeyIndex: hash == 0 ? 0 : firstKey, firstKeyHash: hash)
        call.arguments.position = position
        call.commandNumber = number
        runInUnit(number)
        if unsafe call.state.conditions.contains(.monitored) {
            let command = commands.all[number]
            if isMonitored(command) { feedMonitors(command) }
        }
        // Nothing a command wants beyond its reply is to be had in a script.
        call.followUp = .none
    }

    /// What a script's command is checked for before it runs; the error is written if it may not.
    private mutating func mayRun(_ number: Int, _ traits: Traits, isWrite: Bool) -> Bool {
        if unsafe unit.pointee.isReadOnly, isWrite || traits.contains(.mayReplicate) {
            refuse("ERR Write commands are not allowed from read-only scripts.", number)
            return false
        }
        // What has begun to write goes on whatever happens.
        if unsafe !isWrite || unit.pointee.hasWritten { return true }
        let conditions = unsafe call.state.conditions
        if conditions.contains(.refusingWrites) {
            let reason = unsafe call.state.refusedWrite
            reason.withView { refuse($0, number) }
            return false
        }
        if unsafe unit.pointee.isOutOfMemory, traits.contains(.growsMemory),
            unsafe !unit.pointee.allowsOOM
        {
            refuse("OOM command not allowed when used memory > 'maxmemory'.", number)
            return false
        }
        if unsafe unit.pointee.isNoted, unsafe !call.state.scripts.running.noteWrite() {
            refuse("ERR Script killed by user with SCRIPT KILL.", number)
            return false
        }
        unsafe unit.pointee.hasWritten = true
        return true
    }

    private mutating func refuse(_ error: StaticString, _ number: Int) {
        refuse(ByteView(error), number)
    }

    private mutating func refuse(_ error: ByteView, _ number: Int) {
        let before = call.reply.buffer.count
        call.reply.error(error)
        countError(from: before)
        if number >= 0 { statistics.countFailure(number, wasRejected: true) }
    }

    /// Runs a command of the unit. Its shards are held, or are claimed now.
    mutating func runInUnit(_ number: Int) {
        let row = unsafe rows + number
        if unsafe unit.pointee.claim == nil {
            if isHeld(number, unsafe row.pointee.shape) {
                runNested(number)
                rememberKeysOfUnit(number)
                return
            }
            claimHeld()
        }
        let plan = plan(unsafe call.commands.all[number], call.arguments)
        let locks: LockPlan =
            if case .walks = unsafe row.pointee.shape { .all } else { plan }
        lockClaimed(locks)
        runNested(number)
        rememberKeysOfUnit(number)
        unsafe Router.unlock(locks, call.state.keyspace.pointee)
    }

    /// Whether the locks that a unit holds are those that a command needs.
    @inline(__always)
    private mutating func isHeld(_ number: Int, _ shape: KeyShape) -> Bool {
        switch shape {
        case .none: return true
        case .one:
            let known = call.arguments.knownKey
            let hash =
                known.index != 0
                ? known.hash
                : unsafe call.state.keyspace.pointee.hashKey.hash(
                    call.arguments[Int(rows[number].firstKey)])
            let shard = unsafe call.state.keyspace.pointee.shardIndex(hash)
            return unsafe unit.pointee.held.holds(shard)
        case .several, .all, .walks: return areHeld(number, shape)
        }
    }

    private mutating func areHeld(_ number: Int, _ shape: KeyShape) -> Bool {
        let held = unsafe unit.pointee.held
        if case .all = held { return true }
        guard shape == .several,
            case .several(let wanted) = plan(unsafe call.commands.all[number], call.arguments)
        else { return false }
        var areHeld = true
        wanted.forEachShard { if !held.holds($0) { areHeld = false } }
        return areHeld
    }

    /// Remembers what the unit's command has read for a tracking client. Its shards are held.
    @inline(__always)
    private mutating func rememberKeysOfUnit(_ number: Int) {
        guard unsafe unit.pointee.isTracking, let caller = unsafe unit.pointee.caller else {
            return
        }
        call.rememberKeys(of: unsafe call.commands.all[number], for: caller)
    }
}

// MARK: - The other functions

extension Executor {
    /// The text of an argument that is a string or a number, lent until the next one is asked for; nil for
    /// what is neither.
    private mutating func text(_ index: Int, _ lua: LuaCall) -> ByteView? {
        if let text = lua.arguments.view(at: index) { return text }
        guard lua.arguments.type(at: index) == .number else { return nil }
        scriptBuffers.text.removeAll()
        scriptBuffers.text.append(double: lua.arguments.number(at: index))
        return scriptBuffers.text.view
    }

    /// `redis.error_reply(text)`: a table whose error has a code, `ERR` if it names none by a dash.
    private mutating func errorReply(_ lua: LuaCall) -> LuaCallStatus {
        guard lua.argumentCount == 1, lua.arguments.type(at: 1) == .bytes,
            let whole = text(1, lua)
        else {
            return answer("ERR wrong number or type of arguments", lua)
        }
        var text = whole.slice(0, whole.firstIndex(of: 0) ?? whole.count)
        if !text.isEmpty, text[0] == UInt8(ascii: "-") { text = text.slice(1, text.count) }
        scriptBuffers.text.removeAll()
        if text.firstIndex(of: UInt8(ascii: " ")) == nil { scriptBuffers.text.append("ERR ") }
        scriptBuffers.text.append(text)
        writeError(Self.trimmed(scriptBuffers.text.view), lua, isCounted: false)
        return .returns
    }

    /// Without line ends at its end.
    private static func trimmed(_ text: ByteView) -> ByteView {
        var count = text.count
        while count > 0 && (text[count - 1] == 0x0D || text[count - 1] == 0x0A) { count -= 1 }
        return text.slice(0, count)
    }

    /// `redis.status_reply(text)`.
    private mutating func statusReply(_ lua: LuaCall) -> LuaCallStatus {
        guard lua.argumentCount == 1, lua.arguments.type(at: 1) == .bytes,
            let text = text(1, lua), let names = unsafe unit.pointee.interpreter?.names
        else {
            return answer("ERR wrong number or type of arguments", lua)
        }
        lua.results.record(1)
        lua.results.name(names.ok)
        write(text, to: lua.results)
        return .returns
    }

    private mutating func sha1(_ lua: LuaCall) -> LuaCallStatus {
        guard lua.argumentCount == 1 else { return raise("ERR wrong number of arguments", lua) }
        lua.results.bytes(sha1Digits(text(1, lua) ?? ByteView()))
        return .returns
    }

    /// `redis.log(level, text, ...)`.
    private mutating func log(_ lua: LuaCall) -> LuaCallStatus {
        do throws(ScriptRefusal) {
            unsafe call.state.scripts.logged.call(try ScriptLogLine(lua))
            return .returns
        } catch {
            "ERR \(error.text)".withView { writeError($0, lua, isCounted: false) }
            return .raises
        }
    }

    private mutating func setResponse(_ lua: LuaCall) -> LuaCallStatus {
        guard lua.argumentCount == 1 else {
            return raise("ERR redis.setresp() requires one argument.", lua)
        }
        let version = lua.arguments.number(at: 1)
        guard version >= 2 && version < 4 else {
            return raise("ERR RESP version must be 2 or 3.", lua)
        }
        unsafe unit.pointee.speaksRESP3 = version >= 3
        return .returns
    }

    /// `redis.set_repl`: taken, and everything is logged all the same. What the log lacked would be lost.
    private mutating func setReplication(_ lua: LuaCall) -> LuaCallStatus {
        guard lua.argumentCount == 1 else {
            return raise("ERR redis.set_repl() requires one argument.", lua)
        }
        let flags = lua.arguments.number(at: 1)
        guard flags > -1 && flags < 4 else {
            return raise(
                """
                ERR Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE.
                """, lua)
        }
        return .returns
    }

    /// `redis.acl_check_cmd(command, ...)`: whether the user may run it. There is one user, who may.
    private mutating func checkCommand(_ lua: LuaCall) -> LuaCallStatus {
        let count = lua.argumentCount
        if count == 0 {
            return raise(
                "ERR Please specify at least one argument for this redis.acl_check_cmd() call", lua)
        }
        guard readArguments(lua, count) else {
            return raise(
                "ERR redis.acl_check_cmd() require a command as first argument", lua)
        }
        let commands = unsafe call.commands
        guard let views = unsafe scriptBuffers.views.base else { return .exhausted }
        let number = commands.number(unsafe views[0])
        let hasSubcommands = number >= 0 && !commands.all[number].subcommands.isEmpty
        guard number >= 0,
            unsafe !hasSubcommands || count < 2 || commands.subcommand(number, views[1]) >= 0
        else {
            return raise("ERR Invalid command passed to redis.acl_check_cmd()", lua)
        }
        lua.results.boolean(true)
        return .returns
    }
}
