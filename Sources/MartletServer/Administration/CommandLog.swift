//  The logs of slow commands, of large requests and of large replies: the last so many of each.
//
//  Written from any loop, after the command has released its shards; one lock per log, which ranks
//  after the shards'. An ordinary command never comes here.

import MartletEngine

/// The last commands of one kind, each with the number that made it notable.
package final class CommandLog: Sendable {
    package struct Entry: Sendable, Equatable {
        /// Grows by one with each entry, and goes on after a reset.
        package let id: Int64
        package let unixSeconds: Int64
        /// Microseconds, or bytes of the request or of the reply.
        package let amount: Int64
        package let arguments: [[UInt8]]
        package let peer: String
        package let clientName: String
    }

    private struct State {
        /// Oldest first, behind `firstIndex` ones that were dropped.
        var entries: [Entry] = []
        var firstIndex = 0
        var nextID: Int64 = 0
        var countMax = 128

        var count: Int { entries.count - firstIndex }

        mutating func trim() {
            firstIndex += max(0, count - countMax)
            // Moving the rest to the front when it is the smaller part costs O(1) an entry.
            if firstIndex > entries.count / 2 {
                entries.removeFirst(firstIndex)
                firstIndex = 0
            }
        }
    }

    private let state = Locked(State())

    package init() {}

    package var count: Int { state.withLock { $0.count } }

    /// The latest entries, at most `count`, latest first.
    package func latest(_ count: Int) -> [Entry] {
        state.withLock { Array($0.entries[$0.firstIndex...].reversed().prefix(count)) }
    }

    /// Adds a command, and drops the oldest one when there are too many.
    package func add(
        amount: Int64, arguments: [[UInt8]], peer: String, clientName: String, unixSeconds: Int64
    ) {
        state.withLock { state in
            state.entries.append(
                Entry(
                    id: state.nextID, unixSeconds: unixSeconds, amount: amount,
                    arguments: arguments, peer: peer, clientName: clientName))
            state.nextID += 1
            state.trim()
        }
    }

    /// Bounds the log; what it holds beyond that goes with the next entry, as in Redis.
    package func setCountMax(_ count: Int) { state.withLock { $0.countMax = count } }

    package func reset() {
        state.withLock {
            $0.entries = []
            $0.firstIndex = 0
        }
    }
}

/// The three logs.
package struct CommandLogs: Sendable {
    package let slow = CommandLog()
    package let largeRequests = CommandLog()
    package let largeReplies = CommandLog()
}

extension ServerContext {
    /// Takes a command that was slow or large into the log it belongs to, and a slow one to the
    /// latency events.
    func note(_ noted: NotedCommand) {
        switch noted.reason {
        case .duration(let microseconds):
            let settings = state.settings
            let slow = settings.slowlogMicroseconds.load(ordering: .relaxed)
            if slow >= 0 && microseconds >= slow {
                add(noted, amount: microseconds, to: commandLogs.slow)
            }
            let milliseconds = microseconds / 1000
            let threshold = settings.latencyThresholdMilliseconds.load(ordering: .relaxed)
            if threshold > 0 && milliseconds >= threshold {
                latency.add(
                    noted.isFast ? "fast-command" : "command", milliseconds: milliseconds,
                    unixSeconds: state.clock.wallSeconds())
            }
        case .requestBytes(let bytes):
            add(noted, amount: Int64(bytes), to: commandLogs.largeRequests)
        case .replyBytes(let bytes):
            add(noted, amount: Int64(bytes), to: commandLogs.largeReplies)
        }
    }

    private func add(_ noted: NotedCommand, amount: Int64, to log: CommandLog) {
        log.add(
            amount: amount, arguments: noted.arguments, peer: noted.record.addresses.peer,
            clientName: state.clients.withTexts(noted.record) { $0.name },
            unixSeconds: state.clock.wallSeconds())
    }
}
