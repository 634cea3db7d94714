//  What the server's commands and loops share: configuration, log, engine state, loops.
//
//  Wired once before the loops start and constant afterwards; what changes while running is atomic or
//  has a lock of its own.

import MartletBase
import MartletEngine
import MartletTransport
import Synchronization

/// The parts of a running server, for those that administer it.
package final class ServerContext: @unchecked Sendable {
    // Unchecked: what is `var` is set before the loops start, constant afterwards.
    package let configuration: Configuration
    package let log: Log
    /// `maxclients`, or fewer if the system has no room for so many.
    package let clientsMax: Atomic<Int>
    /// 40 hexadecimal digits, new at each start: INFO's run_id.
    package let runID: String
    /// Comes after the context: the server's commands are built with it in hand.
    private var engine: (state: EngineState, commands: CommandTable)?
    package internal(set) var loops: [EventLoop] = []
    /// The port in use, which differs from the setting when that is 0.
    package internal(set) var port = 0
    package let monitors = Monitors()
    package let connections = Connections()
    package let clientMemory = ClientMemory()
    package let commandLogs = CommandLogs()
    package let latency = LatencyMonitor()
    package let hotKeys = HotKeys()
    package let bigKeys = BigKeys()
    package let cron = Cron()
    package let statisticsBase = StatisticsBase()
    package let replicationID = ReplicationID()
    /// The log and the snapshots.
    package private(set) lazy var durability = Durability(self)
    /// What the process had allocated before its first client, in bytes.
    package internal(set) var startupBytes = 0
    /// What it had in memory then.
    package internal(set) var startupResidentBytes = 0
    package let memoryReturn = MemoryReturn()
    /// Takes an errand that has ended, on any thread, to its client's loop.
    package internal(set) var errandEnded: @Sendable (Errand) -> Void = { _ in }
    /// Where connections come in; set when the server starts.
    package internal(set) var listeners: [Listener] = []
    /// Set by SHUTDOWN or a signal; the main thread waits for it.
    package let shutdown = ShutdownRequest()
    package let rejectedConnections = Atomic<UInt64>(0)

    package init(configuration: Configuration, log: Log, clientsMax: Int) {
        self.configuration = configuration
        self.log = log
        self.clientsMax = Atomic(clientsMax)
        runID = Self.newRunID()
    }

    /// What all loops share.
    package var state: EngineState { joined.state }

    /// All commands.
    package var commands: CommandTable { joined.commands }

    /// Adds the engine, once, before anybody asks for it.
    func join(_ state: EngineState, _ commands: CommandTable) { engine = (state, commands) }

    private var joined: (state: EngineState, commands: CommandTable) {
        guard let engine else { preconditionFailure("the engine was joined before it is used") }
        return engine
    }

    package static func newRunID() -> String {
        var random = Random.seededFromSystem()
        return (0..<40).map { _ in
            String(Int(random.next() & 15), radix: 16)
        }.joined()
    }
}
