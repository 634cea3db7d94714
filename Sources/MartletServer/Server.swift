//  A whole server: builds the parts, joins them, listens, and ends in order.

import Glibc
import MartletBase
import MartletEngine
import MartletPersistence
import MartletTransport

/// A server in this process. Embedders create one, start it and stop it.
public final class Server {
    package let context: ServerContext
    private let group: LoopGroup
    private let handlers: [LoopHandler]
    private var listeners: [Listener] = []

    /// Shards per loop: enough that two loops rarely meet in one.
    static let shardsPerLoop = 16

    /// Builds a server that serves nobody yet.
    ///
    /// - Throws: when a loop cannot be made, for want of descriptors.
    package init(_ launch: Launch) throws(SocketError) {
        let settings = launch.configuration.settings
        context = ServerContext(
            configuration: launch.configuration, log: launch.log, clientsMax: launch.clientsMax)
        let commands = CommandTable(
            groups: EngineCommands.groups + Administration.groups(context))
        var shards = 32
        while shards < settings.loops * Self.shardsPerLoop && shards < 1024 { shards *= 2 }
        context.join(
            EngineState(
                loops: settings.loops, shardCount: shards, databases: settings.databases,
                commandCount: commands.all.count, clock: .system, hashKey: .random()),
            commands)
        // Made here, before several threads ask for it.
        _ = context.durability
        let context = context
        handlers = (0..<settings.loops).map { LoopHandler(context: context, loop: $0) }
        var loops: [EventLoop] = []
        for handler in handlers { loops.append(try EventLoop(handler: handler)) }
        context.loops = loops
        group = LoopGroup(loops)
        wire(launch)
    }

    /// Joins what knows nothing of each other.
    private func wire(_ launch: Launch) {
        let context = context
        let state = context.state
        let handlers = handlers
        state.closeClient.function = { record in
            context.loops[record.loop].post { handlers[record.loop].closeKilled(record) }
        }
        state.waiterEnded.function = { ended in
            let home = ended.waiter.record.loop
            if ended.loop == home {
                handlers[home].waitEnded(ended.waiter.record)
            } else {
                context.loops[home].post { handlers[home].finishWait(ended.waiter.record.id) }
            }
        }
        state.tracking.arrived.function = { loop in
            context.loops[loop].post { handlers[loop].tellTrackers() }
        }
        state.tracking.send.function = { push in
            if push.loop == push.record.loop {
                handlers[push.loop].send(push.bytes, to: push.record)
                return
            }
            let record = push.record
            let bytes = push.bytes.bytes
            context.loops[record.loop].post {
                bytes.withView { handlers[record.loop].send($0, to: record) }
            }
        }
        state.evictionExemptionChanged.function = { record in
            context.connections.connection(record.id)?.setMayBeEvicted(
                !record.isExemptFromEviction.load(ordering: .relaxed))
        }
        state.beganMonitoring.function = { [unowned state] record in
            guard let connection = context.connections.connection(record.id) else { return }
            context.monitors.add(connection, state)
        }
        state.endedMonitoring.function = { [unowned state] record in
            guard let connection = context.connections.connection(record.id) else { return }
            context.monitors.remove(connection, state)
        }
        state.subscriberChanged.function = { handlers[$0.loop].subscriberChanged($0) }
        state.monitorFeed.function = { [unowned state] line in
            context.monitors.post(line, wallMicroseconds: state.clock.wallMicroseconds())
        }
        state.notedCommand.function = { context.note($0) }
        state.commandCost.function = { context.hotKeys.take($0, context) }
        state.notedWork.function = { [unowned state] work in
            context.latency.add(
                "\(work.event)", milliseconds: work.milliseconds,
                unixSeconds: state.clock.wallSeconds())
        }
        state.bytesOutside.function = { context.bytesOutsideKeyspace }
        state.continueScript.function = { loop in
            context.loops[loop].post { handlers[loop].continueScript() }
        }
        state.scripts.logged.function = { line in
            context.log.write(LogLevel(rawValue: line.level) ?? .notice, line.text)
        }
        context.errandEnded = { errand in
            context.loops[errand.loop].post { handlers[errand.loop].conclude(errand) }
        }
        context.putSettingsInForce(launch.host)
        state.wakeLoops.function = {
            for loop in context.loops { loop.post {} }
        }
    }

    /// Listens and serves; returns when everything listens.
    ///
    /// - Parameter choosesPort: port 0 stands for one that the system chooses, not for none.
    /// - Throws: the address that cannot be listened on, with the reason.
    package func start(choosesPort: Bool = false) throws(SocketError) {
        let settings = context.configuration.settings
        if settings.port != 0 || choosesPort {
            listeners = try Listener.tcp(
                addresses: settings.bind, port: UInt16(settings.port),
                backlog: Int32(settings.tcpBacklog),
                keepAliveSeconds: Int32(settings.tcpKeepAliveSeconds),
                keepAliveProbes: Int32(settings.tcpKeepAliveProbes))
        }
        if !settings.unixSocket.isEmpty {
            listeners.append(
                try Listener.unix(
                    path: String(decoding: settings.unixSocket, as: UTF8.self),
                    permissions: settings.unixSocketPermissions == 0
                        ? nil : UInt32(settings.unixSocketPermissions),
                    backlog: Int32(settings.tcpBacklog)))
        }
        context.listeners = listeners
        context.measureStartup()
        context.port = Int(listeners.first { !$0.isUnixSocket }?.port ?? 0)
        context.state.set(.loading, context.durability.loadsAtStart)
        group.listen(on: listeners)
        try group.start()
    }

    /// Loads what is on the disk; until it returns, clients are told that the server is loading.
    ///
    /// - Throws: what is wrong with which file: the server is not to go on then.
    package func load() throws(StorageError) { try context.durability.load() }

    /// Waits until somebody asks for the end, then stops accepting, serves what was sent, flushes
    /// replies and stops the loops.
    ///
    /// Where a snapshot is due at the end and cannot be saved, the server goes on, unless it is forced.
    ///
    /// - Parameter whenRefused: called when it goes on.
    /// - Returns: whether everything that was acknowledged is where it was to be.
    package func runToEnd(whenRefused: () -> Void = {}) -> Bool {
        while true {
            context.shutdown.wait()
            if context.durability.saveBeforeEnd() { return stop() }
            for waiter in context.shutdown.refuse() {
                _ = context.state.end(waiter, .served)
            }
            whenRefused()
        }
    }

    /// Ends in order: no new connections, what was read is served, replies leave, the log is closed.
    ///
    /// - Returns: as `runToEnd`.
    @discardableResult
    package func stop() -> Bool {
        group.closeListeners()
        let grace = context.configuration.settings.shutdownTimeoutSeconds
        // Drained loops end by themselves; to stop them would cut the grace.
        let isNow = context.shutdown.wish?.isNow ?? false
        group.drain(graceMilliseconds: isNow ? 0 : UInt64(max(0, grace)) * 1000)
        group.join()
        context.state.abandonErrands()
        return context.durability.end()
    }
}
