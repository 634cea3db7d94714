//  The servers of a comparison: running ones that are named, or ones started for it.

import LoadGenerator

/// Where the processes of a comparison run.
struct Placement {
    let serverCPUs: CPUList?
    let clientCPUs: CPUList?
    private let firstPort: Int
    private var taken = 0

    init(_ arguments: Arguments) throws(BenchmarkError) {
        serverCPUs = try arguments.cpus("--server-cpu")
        clientCPUs = try arguments.cpus("--client-cpu")
        firstPort = try arguments.integer("--first-port", 0, in: 0...65000)
    }

    /// The port of the next server: counted up, or any that is free.
    mutating func nextPort() throws(BenchmarkError) -> Int {
        if firstPort == 0 { return try freePort() }
        taken += 1
        return firstPort + taken - 1
    }

    /// Binds the calling thread, which the workers' threads do for themselves, to the client's
    /// CPUs: it wakes fifty times a second and must not do so on the server's.
    func bindCaller() throws(BenchmarkError) {
        try clientCPUs?.bindCallingThread()
    }
}

/// How a peer was given on the command line.
enum PeerSource {
    case running(Endpoint)
    case spawned(commandLine: String)
    case floor
}

/// One server of a comparison. A class, because it ends its process when the comparison ends,
/// however it ends.
final class Peer {
    let name: String
    let source: PeerSource
    /// What stands for names in braces in its command line, besides {port}.
    var values: [String: String] = [:]
    private var process: SpawnedServer?
    private(set) var endpoint: Endpoint
    private(set) var meter: ProcessMeter?
    /// How long the start of its process took until it answered, its data loaded.
    private(set) var startSeconds = 0.0
    /// The command that filled its keys for the workload before.
    var filledWith: String?
    /// Whether a workload has run on it.
    var isUsed = false
    /// Operations of all rounds so far, where the next one's {seq} begins.
    var operations = 0

    init(_ name: String, _ source: PeerSource) {
        self.name = name
        self.source = source
        endpoint = .tcp(host: "127.0.0.1", port: 1)
    }

    /// The peers of `--server name=address` and `--spawn 'name=command line'`, running ones first.
    static func all(_ arguments: Arguments) throws(BenchmarkError) -> [Peer] {
        var peers: [Peer] = []
        func split(_ option: String, _ text: String) throws(BenchmarkError) -> (String, String) {
            guard let sign = text.firstIndex(of: "="), sign > text.startIndex else {
                throw .usage("\(option) wants name=value, not '\(text)'")
            }
            let name = String(text[..<sign])
            if peers.contains(where: { $0.name == name }) {
                throw .usage("two servers are called '\(name)'")
            }
            return (name, String(text[text.index(after: sign)...]))
        }
        for text in arguments.texts("--server") {
            let (name, address) = try split("--server", text)
            peers.append(Peer(name, .running(try Endpoint(parsing: address))))
        }
        for text in arguments.texts("--spawn") {
            let (name, line) = try split("--spawn", text)
            peers.append(Peer(name, line == "@floor" ? .floor : .spawned(commandLine: line)))
        }
        return peers
    }

    /// The server of `--spawn`, started, or the running one of `--host`, `--port`, `--socket`; with
    /// its process, which must be on this machine.
    static func single(
        _ arguments: Arguments, _ placement: inout Placement
    ) throws(BenchmarkError) -> (Peer, ProcessMeter) {
        let server = try ServerOptions(arguments)
        guard let commandLine = arguments.text("--spawn") else {
            let peer = Peer("server", .running(server.endpoint))
            peer.endpoint = server.endpoint
            return (peer, try server.requiredMeter())
        }
        let peer = Peer("server", .spawned(commandLine: commandLine))
        try peer.start(&placement, greeting: server.greeting)
        guard let meter = peer.meter else {
            throw .measurement("the process of the server is not known")
        }
        return (peer, meter)
    }

    var isFloor: Bool { if case .floor = source { true } else { false } }
    var isSpawned: Bool { if case .running = source { false } else { true } }

    /// Finds or starts the server; the floor starts with `startFloor`.
    func start(_ placement: inout Placement, greeting: Greeting) throws(BenchmarkError) {
        switch source {
        case .running(let address):
            endpoint = address
            meter = try LoadGenerator.meter(of: address, greeting: greeting)
        case .spawned(let commandLine):
            let port = try placement.nextPort()
            keep(
                try SpawnedServer.start(
                    commandLine, port: port, values: values, cpus: placement.serverCPUs,
                    greeting: greeting))
            try placement.bindCaller()
            meter = try processMeter()
        case .floor: break
        }
    }

    /// Starts, or starts again, the floor for requests of the given kind.
    func startFloor(
        _ placement: inout Placement, counting: RequestCounting, reply: [UInt8]
    ) throws(BenchmarkError) {
        process = nil
        keep(
            try SpawnedServer.startFloor(
                port: try placement.nextPort(), counting: counting, reply: reply,
                cpus: placement.serverCPUs))
        try placement.bindCaller()
        meter = try processMeter()
    }

    /// Ends a server that was started here.
    func stop() { process = nil }

    /// Ends a server that was started here, without a chance to save anything.
    func stopAtOnce() {
        process?.endAtOnce()
        process = nil
    }

    private func keep(_ server: consuming SpawnedServer) {
        endpoint = server.endpoint
        startSeconds = server.startSeconds
        process = consume server
    }

    /// The meter of the process started here; INFO may name another when it was started by a
    /// script, and then knows better.
    private func processMeter() throws(BenchmarkError) -> ProcessMeter? {
        if !isFloor, let told = try LoadGenerator.meter(of: endpoint, greeting: Greeting()) {
            return told
        }
        guard let pid = process?.pid else { return nil }
        return try ProcessMeter(pid: pid)
    }
}
