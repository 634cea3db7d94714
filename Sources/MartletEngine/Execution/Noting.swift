//  Commands worth a note: slow ones, and those with a large request or reply. Nothing here runs for
//  an ordinary command; what decides that is one comparison per command and one per batch.

import CSystem
import MartletBase

extension Command {
    private static let redacted = [UInt8]("(redacted)".utf8)

    /// The arguments of a request as they may be shown: secrets left out, and cut to so many and so
    /// long, in the words of Redis' slow log.
    func shown(_ arguments: Arguments, countMax: Int, bytesMax: Int) -> [[UInt8]] {
        if traits.contains(.secret) { return [Array(name.utf8), Self.redacted] }
        let secrets = secrets?(arguments) ?? []
        let isCut = arguments.count > countMax
        let shownCount = isCut ? countMax - 1 : arguments.count
        var shown: [[UInt8]] = []
        for index in 0..<shownCount {
            if secrets.contains(index) {
                shown.append(Self.redacted)
                continue
            }
            let bytes = arguments[index]
            if bytes.count > bytesMax {
                shown.append(
                    bytes.slice(0, bytesMax).bytes
                        + Array("... (\(bytes.count - bytesMax) more bytes)".utf8))
            } else {
                shown.append(bytes.bytes)
            }
        }
        if isCut {
            shown.append(Array("... (\(arguments.count - shownCount) more arguments)".utf8))
        }
        return shown
    }
}

extension Executor {
    /// Hands a command that ran for `ticks` to the slow log and the latency events, if it is theirs.
    @inline(never)
    mutating func noteSlowCommand(_ number: Int, ticks: UInt64) {
        let settings = unsafe call.state.settings
        if settings.hotKeys.isActive.load(ordering: .relaxed) {
            tellCost(.ticks(ticks), unsafe call.commands.all[number], call.arguments)
        }
        let microseconds = Int64(TickRate.microseconds(ticks))
        let slow = settings.slowlogMicroseconds.load(ordering: .relaxed)
        let latency = settings.latencyThresholdMilliseconds.load(ordering: .relaxed)
        if slow >= 0 && microseconds >= slow || latency > 0 && microseconds / 1000 >= latency {
            note(.duration(microseconds), unsafe call.commands.all[number], call.arguments)
        }
        // The loop's time is old now; but a transaction sees one time.
        if microseconds >= 1000 && !call.isNested { refreshTime() }
    }

    /// Notes a request of a batch that took `requestBytes` and was answered with `replyBytes`, if
    /// one of both is large.
    mutating func noteSizes(
        _ command: Command, _ arguments: Arguments, requestBytes: Int, replyBytes: Int
    ) {
        let settings = unsafe call.state.settings
        if settings.hotKeys.isActive.load(ordering: .relaxed) {
            tellCost(.bytes(requestBytes + replyBytes), command, arguments)
        }
        let requestMin = settings.largeRequestBytes.load(ordering: .relaxed)
        let replyMin = settings.largeReplyBytes.load(ordering: .relaxed)
        if requestMin >= 0 && requestBytes >= requestMin {
            note(.requestBytes(requestBytes), command, arguments)
        }
        if replyMin >= 0 && replyBytes >= replyMin {
            note(.replyBytes(replyBytes), command, arguments)
        }
    }

    /// Tells HOTKEYS what a command cost, and one of so many commands also for which keys.
    private mutating func tellCost(
        _ amount: CommandCost.Amount, _ command: Command, _ arguments: Arguments
    ) {
        let state = unsafe call.state
        let ratio = max(1, state.settings.hotKeys.ratio.load(ordering: .relaxed))
        var keys: [[UInt8]] = []
        if ratio == 1 || eviction.random.index(below: ratio) == 0 {
            KeySpec.forEachKey(command.keys, arguments) { index, _ in
                keys.append(arguments[index].bytes)
            }
        }
        state.commandCost.call(CommandCost(amount: amount, keys: keys))
    }

    /// The least size that is noted.
    func notedBytesMin() -> Int {
        let settings = unsafe call.state.settings
        let request = settings.largeRequestBytes.load(ordering: .relaxed)
        let reply = settings.largeReplyBytes.load(ordering: .relaxed)
        return min(request < 0 ? Int.max : request, reply < 0 ? Int.max : reply)
    }

    private mutating func note(
        _ reason: NotedCommand.Reason, _ command: Command, _ arguments: Arguments
    ) {
        if command.traits.contains(.skipSlowlog) { return }
        let settings = unsafe call.state.settings
        unsafe call.state.notedCommand.call(
            NotedCommand(
                reason: reason, record: call.session.pointee.record,
                commandName: command.fullName, isFast: command.traits.contains(.fast),
                arguments: command.shown(
                    arguments, countMax: settings.notedArgumentsMax.load(ordering: .relaxed),
                    bytesMax: settings.notedArgumentBytesMax.load(ordering: .relaxed))))
    }
}
