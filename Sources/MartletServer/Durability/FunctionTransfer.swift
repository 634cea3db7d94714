//  FUNCTION, whose DUMP and RESTORE are libraries as bytes that other servers understand, and back. The
//  other subcommands are the engine's.

import MartletBase
import MartletEngine
import MartletPersistence

extension CommandGroup {
    static let functions: CommandGroup = [
        Command(
            "FUNCTION", since: "7.0.0", group: .scripting,
            summary: "A container for function commands.",
            subcommands: functionSubcommands + [
                Command(
                    "DUMP", since: "7.0.0", group: .scripting,
                    summary: "Dumps all libraries into a serialized binary payload.",
                    complexity: "O(N) where N is the number of functions", arity: .exactly(2),
                    traits: [.noScript, .takesTurn], acl: [.scripting], run: dump),
                Command(
                    "RESTORE", since: "7.0.0", group: .scripting,
                    syntax: "serialized-value [FLUSH | APPEND | REPLACE]",
                    summary: "Restores all libraries from a payload.",
                    complexity: "O(N) where N is the number of functions on the payload",
                    arity: .atLeast(3), access: .write,
                    traits: [.noScript, .growsMemory, .runsScript, .takesTurn],
                    acl: [.scripting],
                    tips: ["request_policy:all_shards", "response_policy:all_succeeded"],
                    run: restore),
            ])
    ]
}

private func dump(_ call: inout Call) throws(CommandError) -> Effect {
    call.awaitLibraries()
    var output = RDBOutput()
    call.reply.bulk(RDBPayload.write(libraries: unsafe call.state.libraryTexts, to: &output))
    return .none
}

/// Finds the libraries that the request brings. The executor runs them.
private func restore(_ call: inout Call) throws(CommandError) -> Effect {
    let payload = try call.arguments.next()
    if call.arguments.remaining > 1 {
        throw call.functionSyntaxError()
    }
    var policy = LibraryPolicy.join(replaces: false)
    if !call.arguments.isAtEnd {
        if call.arguments.skip("flush") {
            policy = .flush
        } else if call.arguments.skip("replace") {
            policy = .join(replaces: true)
        } else if !call.arguments.skip("append") {
            throw .invalid(
                "Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE.")
        }
    }
    let texts: [Bytes]
    do throws(RDBPayload.LibraryError) {
        texts = try RDBPayload.libraries(in: payload)
    } catch {
        throw .invalid(error.text)
    }
    try call.loadLibraries(texts, policy, payload: Bytes(payload))
    return .none
}
