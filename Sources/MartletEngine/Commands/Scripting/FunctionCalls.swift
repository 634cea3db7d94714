//  FCALL and FCALL_RO. They are run by the executor: see Execution/ScriptRunner.swift.

import MartletBase

extension CommandGroup {
    static let functionCalls: CommandGroup = [
        Command(
            "FCALL", since: "7.0.0", group: .scripting,
            syntax: "function numkeys [key [key ...]] [arg [arg ...]]",
            summary: "Invokes a function.", complexity: complexity, arity: .atLeast(3),
            keys: [scriptKeys], traits: writing, acl: [.scripting], run: callFunction),
        Command(
            "FCALL_RO", since: "7.0.0", group: .scripting,
            syntax: "function numkeys [key [key ...]] [arg [arg ...]]",
            summary: "Invokes a read-only function.", complexity: complexity, arity: .atLeast(3),
            keys: [readScriptKeys], access: .read, traits: reading, acl: [.scripting],
            run: callFunction),
    ]

    private static let complexity = "Depends on the function that is executed."
}

/// Finds the function that the request names. The executor runs it.
private func callFunction(_ call: inout Call) throws(CommandError) -> Effect {
    let scripts = unsafe call.state.scripts
    call.awaitLibraries()
    guard let function = scripts.function(try call.arguments.next()) else {
        throw .invalid("Function not found")
    }
    let keyCount = try call.scriptKeyCount(.invalid("Bad number of keys provided"))
    scripts.chosen = ChosenScript(
        function: function.function, name: function.name.storage, flags: function.flags,
        isFunction: true, keyCount: keyCount)
    return .none
}
