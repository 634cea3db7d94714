//  A server without sockets and loops: context, engine and one executor in this process, on virtual
//  time. Commands go in as arguments, replies come out as bytes.

import MartletBase
import MartletEngine

@testable import MartletServer

/// A server that executes the commands of one client at a time.
@safe
final class AdministrationHarness {
    let time: VirtualTime
    let context: ServerContext
    private var executor: Executor

    /// A server configured by `lines`, a configuration file's text.
    init(_ lines: String = "", shards: Int = 16) throws {
        time = VirtualTime(wallMilliseconds: 1_700_000_000_000)
        let configuration = try Configuration(
            lines: ConfigurationSource.standardInput([UInt8](lines.utf8)))
        context = ServerContext(
            configuration: configuration, log: Log(descriptor: -1), clientsMax: 100)
        let commands = CommandTable(
            groups: EngineCommands.groups + Administration.groups(context))
        let state = EngineState(
            loops: 1, shardCount: shards, databases: configuration.settings.databases,
            commandCount: commands.all.count, clock: time.clock, hashKey: HashKey(1, 2))
        context.join(state, commands)
        state.notedCommand.function = { [unowned context] in context.note($0) }
        state.bytesOutside.function = { [unowned context] in context.bytesOutsideKeyspace }
        context.putSettingsInForce(HostFacts())
        executor = Executor(state: state, commands: commands, loop: 0)
    }

    /// A new connection.
    func client(isLoopback: Bool = true, isRESP3: Bool = false) -> AdministrationClient {
        AdministrationClient(self, isLoopback: isLoopback, isRESP3: isRESP3)
    }

    fileprivate func serve(
        _ session: UnsafeMutablePointer<Session>, _ input: [UInt8]
    ) -> (replies: [UInt8], next: Served.Next) {
        executor.iterationBegan()
        var replies = ByteBuffer()
        let served = input.withView { unsafe executor.serve(session, $0, output: &replies) }
        executor.iterationEnded()
        return (replies.view.bytes, served.next)
    }
}

/// One connection.
@safe
final class AdministrationClient {
    private let server: AdministrationHarness
    private let session: UnsafeMutablePointer<Session>
    /// What the server wants with the connection after the last command.
    private(set) var next = Served.Next.readOn

    init(_ server: AdministrationHarness, isLoopback: Bool, isRESP3: Bool) {
        self.server = server
        let state = server.context.state
        let record = ClientRecord(
            id: state.clients.newID(), loop: 0,
            addresses: ClientAddresses(
                peer: "127.0.0.1:50001", local: "127.0.0.1:6379", descriptor: 7,
                isUnixSocket: false, isLoopback: isLoopback),
            createdMilliseconds: state.clock.wallMilliseconds())
        unsafe session = .allocate(capacity: 1)
        unsafe session.initialize(to: Session(record: record))
        unsafe session.pointee.isRESP3 = isRESP3
        unsafe state.begin(session)
    }

    deinit {
        unsafe server.context.state.forget(session)
        unsafe server.context.state.clients.remove(session.pointee.record)
        unsafe session.deinitialize(count: 1)
        unsafe session.deallocate()
    }

    /// Sends one command and returns the bytes of its reply as text.
    @discardableResult
    func run(_ arguments: String...) -> String {
        var request = [UInt8]("*\(arguments.count)\r\n".utf8)
        for argument in arguments {
            let bytes = [UInt8](argument.utf8)
            request += [UInt8]("$\(bytes.count)\r\n".utf8) + bytes + [0x0D, 0x0A]
        }
        let served = unsafe server.serve(session, request)
        next = served.next
        return String(decoding: served.replies, as: UTF8.self)
    }

    /// A field of INFO, or nil when it is not shown.
    func info(_ field: String, section: String = "everything") -> String? {
        for line in run("INFO", section).split(separator: "\r\n") {
            let parts = line.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
            if parts.count == 2 && parts[0] == field { return String(parts[1]) }
        }
        return nil
    }
}

/// The elements of a flat reply: the text of each line that is no header.
func texts(_ reply: String) -> [String] {
    reply.split(separator: "\r\n").filter { !"*$%~=".contains($0.first ?? " ") }.map(String.init)
}
