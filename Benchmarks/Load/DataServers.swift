//  The servers of a comparison that write files: each in an empty directory of its own, all of
//  them below one that goes when the comparison ends, however it ends.

import LoadGenerator

extension OptionGroup {
    static let dataServers = OptionGroup(
        "Servers, started and ended here",
        [
            Option(
                "--spawn", "NAME=COMMAND",
                "its command line, in which {port}, {directory} (empty, its own)\n"
                    + "and {appendonly} (yes or no) are replaced"),
            Option("--directory", "PATH", "where their directories are made, and removed (.)"),
            Option("--server-cpu", "LIST", "CPUs they are bound to"),
            Option("--first-port", "PORT", "their ports, counted from here (0: any free port)"),
        ])

    /// The options of load that make sense beside files; `keys` is how many are filled in.
    static func dataLoad(keys: String) -> OptionGroup {
        OptionGroup(
            "Load",
            [
                Option("--keys", "N", "keys that are there (\(keys))"),
                Option("--value-bytes", "N", "size of their values (64)"),
                Option("--connections", "N", "connections in all (50)"),
                Option("--threads", "N", "threads of the generator (1)"),
                Option("--seed", "N", "of everything random (1)"),
                Option("--client-cpu", "LIST", "CPUs of the generator, such as 1 or 2,3"),
            ])
    }
}

/// The peers and their directories. `close` must be called, whatever happened.
final class DataServers {
    let peers: [Peer]
    private var placement: Placement
    private let directory: DataDirectory

    /// - Throws: `.usage` for a server that does not write where it is told to.
    init(_ arguments: Arguments) throws(BenchmarkError) {
        peers = try Peer.all(arguments)
        guard !peers.isEmpty else { throw .usage("at least one --spawn is wanted") }
        for peer in peers {
            guard case .spawned(let line) = peer.source, line.contains("{directory}"),
                line.contains("{appendonly}")
            else {
                throw .usage(
                    "--spawn \(peer.name): {directory} and {appendonly} must be in its command line"
                )
            }
        }
        placement = try Placement(arguments)
        try placement.bindCaller()
        directory = try DataDirectory(in: arguments.text("--directory") ?? ".")
    }

    /// Ends the servers, then removes their files.
    func close() {
        for peer in peers { peer.stopAtOnce() }
        directory.remove()
    }

    var names: [String] { peers.map(\.name) }

    /// Starts a server on an empty directory; it will not begin to save of its own accord.
    func startEmpty(_ peer: Peer, appendOnly: Bool) throws(BenchmarkError) {
        _ = try emptyDirectory(peer, appendOnly: appendOnly)
        try start(peer)
        var client = try connect(peer)
        _ = try client.command(["CONFIG", "SET", "save", ""])
        _ = try client.command(["CONFIG", "SET", "auto-aof-rewrite-percentage", "0"])
    }

    /// Gives a server that does not run an empty directory, and returns that.
    func emptyDirectory(_ peer: Peer, appendOnly: Bool) throws(BenchmarkError) -> String {
        if let used = peer.values["directory"] { removeTree(used) }
        // Any name may be given to a server, also one that is no name of a file.
        let number = peers.firstIndex { $0 === peer } ?? 0
        let empty = try directory.makeDirectory("server-\(number)")
        peer.values = ["directory": empty, "appendonly": appendOnly ? "yes" : "no"]
        return empty
    }

    /// Starts a server on the files that are there.
    func start(_ peer: Peer) throws(BenchmarkError) {
        try peer.start(&placement, greeting: Greeting())
    }

    func connect(_ peer: Peer) throws(BenchmarkError) -> ControlClient {
        try ControlClient.connect(peer.endpoint, greeting: Greeting())
    }

    /// The meter of a server that runs.
    ///
    /// - Throws: `.measurement` when its INFO names no process.
    func meter(_ peer: Peer) throws(BenchmarkError) -> ProcessMeter {
        guard let meter = peer.meter else {
            throw .measurement("the process of \(peer.name) is not known: its INFO does not tell")
        }
        return meter
    }
}

/// Whether the server writes a snapshot or a new log just now.
///
/// - Throws: `.measurement` when the last one failed.
func isSaving(_ client: inout ControlClient) throws(BenchmarkError) -> Bool {
    let info = try client.info("persistence")
    for name in ["rdb_last_bgsave_status", "aof_last_bgrewrite_status"] {
        guard info[name] == "ok" else {
            throw .measurement("the server says \(name):\(info[name] ?? "nothing")")
        }
    }
    return ["rdb_bgsave_in_progress", "aof_rewrite_in_progress", "aof_rewrite_scheduled"]
        .contains { (info[$0] ?? "0") != "0" }
}

/// Sends a command that has something saved in the background, and waits until it is.
func save(_ client: inout ControlClient, by command: String) throws(BenchmarkError) {
    _ = try client.command([command])
    while try isSaving(&client) { sleep(seconds: 0.02) }
}

/// The number of keys.
func keyCount(_ client: inout ControlClient) throws(BenchmarkError) -> Int {
    guard case .integer(let count) = try client.command(["DBSIZE"]) else {
        throw .reply("DBSIZE did not reply an integer")
    }
    return count
}
