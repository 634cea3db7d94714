//  EVAL, EVALSHA and their kind. They are run by the executor: see Execution/ScriptRunner.swift.

import MartletBase

extension CommandGroup {
    static let evaluation: CommandGroup = [
        Command(
            "EVAL", since: "2.6.0", group: .scripting,
            syntax: "script numkeys [key [key ...]] [arg [arg ...]]",
            summary: "Executes a server-side Lua script.", complexity: complexity,
            arity: .atLeast(3), keys: [scriptKeys], traits: writing, acl: [.scripting],
            run: { (call) throws(CommandError) in try evaluate(&call, isNamed: false) }),
        Command(
            "EVALSHA", since: "2.6.0", group: .scripting,
            syntax: "sha1 numkeys [key [key ...]] [arg [arg ...]]",
            summary: "Executes a server-side Lua script by SHA1 digest.", complexity: complexity,
            arity: .atLeast(3), keys: [namedScriptKeys], traits: writing, acl: [.scripting],
            run: { (call) throws(CommandError) in try evaluate(&call, isNamed: true) }),
        Command(
            "EVAL_RO", since: "7.0.0", group: .scripting,
            syntax: "script numkeys [key [key ...]] [arg [arg ...]]",
            summary: "Executes a read-only server-side Lua script.", complexity: complexity,
            arity: .atLeast(3), keys: [readScriptKeys], access: .read, traits: reading,
            acl: [.scripting],
            run: { (call) throws(CommandError) in try evaluate(&call, isNamed: false) }),
        Command(
            "EVALSHA_RO", since: "7.0.0", group: .scripting,
            syntax: "sha1 numkeys [key [key ...]] [arg [arg ...]]",
            summary: "Executes a read-only server-side Lua script by SHA1 digest.",
            complexity: complexity, arity: .atLeast(3), keys: [namedReadScriptKeys], access: .read,
            traits: reading, acl: [.scripting],
            run: { (call) throws(CommandError) in try evaluate(&call, isNamed: true) }),
    ]

    private static let complexity = "Depends on the script that is executed."

    static let writing: Traits = [
        .noScript, .skipMonitor, .mayReplicate, .noMandatoryKeys, .stale, .runsScript,
        .takesTurn,
    ]
    static let reading: Traits = [
        .noScript, .skipMonitor, .noMandatoryKeys, .stale, .runsScript, .takesTurn,
    ]

    static let scriptKeys =
        KeySpec.counted(at: 2, [.readWrite, .access, .update])
        .noting(
            "We cannot tell how the keys will be used so we assume the worst, RW and UPDATE")
    static let readScriptKeys =
        KeySpec.counted(at: 2, [.readOnly, .access])
        .noting("We cannot tell how the keys will be used so we assume the worst, RO and ACCESS")

    private static let namedScriptKeys = KeySpec.counted(at: 2, [.readWrite, .access, .update])
    private static let namedReadScriptKeys = KeySpec.counted(at: 2, [.readOnly, .access])
}

let noScript = CommandError.coded("NOSCRIPT No matching script. Please use EVAL.")

/// Finds the script that the request brings or names. The executor runs it.
private func evaluate(_ call: inout Call, isNamed: Bool) throws(CommandError) -> Effect {
    let text = try call.arguments.next()
    if isNamed && text.count != ScriptName.byteCount { throw noScript }
    let keyCount = try call.scriptKeyCount(.notInteger)
    let scripts = unsafe call.state.scripts
    let script: Script
    if isNamed {
        guard let name = ScriptName(text), let known = scripts.cache.find(name) else {
            throw noScript
        }
        script = known
    } else {
        script = try call.loadScript(text, mayGo: true)
    }
    scripts.cache.noteUse(script)
    scripts.chosen = ChosenScript(
        function: script.function, name: script.digits, flags: script.flags, isFunction: false,
        keyCount: keyCount)
    return .none
}

extension Call {
    /// The number of keys, behind which these and other arguments stand.
    mutating func scriptKeyCount(_ notInteger: CommandError) throws(CommandError) -> Int {
        let count = try arguments.integer(notInteger)
        if count > Int64(arguments.remaining) {
            throw .invalid("Number of keys can't be greater than number of args")
        }
        if count < 0 { throw .invalid("Number of keys can't be negative") }
        return Int(count)
    }

    /// The script of this text, which is compiled if it is not known. One that `mayGo`, since EVAL brings it,
    /// goes again when there are many.
    mutating func loadScript(_ text: ByteView, mayGo: Bool) throws(CommandError) -> Script {
        let scripts = unsafe state.scripts
        let hash = unsafe keyspace.keyspace.pointee.hashKey.hash(text)
        if let known = scripts.cache.find(text, hash: hash) { return known }
        let (name, digits) = ScriptName.of(text)
        if let known = scripts.cache.find(name) { return known }
        do throws(ScriptRefusal) {
            let header = try ScriptHeader(of: text)
            let interpreter = try scripts.interpreter(function: false)
            let function = try interpreter.compile(
                text.slice(header.byteCount, text.count), name: "user_script",
                failing: "Error compiling script (new function): ")
            let script = Script(
                name, digits: digits, text: text.bytes, flags: header.flags, function: function,
                mayGo: mayGo)
            if let evicted = scripts.cache.add(script, hash: hash) {
                interpreter.runtime.release(evicted.function)
                scripts.evictedCount.add(1, ordering: .relaxed)
            }
            scripts.noteCounts()
            return script
        } catch {
            throw self.error("ERR \(error.text)")
        }
    }
}
