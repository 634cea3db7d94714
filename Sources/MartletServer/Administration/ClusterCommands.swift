//  CLUSTER, as one node that answers for all slots: a client that knows clusters only can use it.
//
//  READONLY, READWRITE and ASKING are about replicas and moving slots, of which there are none; they
//  answer what Redis does without cluster support. INFO says `cluster_enabled:0`.

import MartletBase
import MartletEngine

extension CommandGroup {
    private static let answersVary = ["nondeterministic_output"]

    static func cluster(_ context: ServerContext) -> CommandGroup {
        [
            Command(
                "CLUSTER", since: "3.0.0", group: .cluster,
                summary: "A container for Redis Cluster commands.",
                subcommands: topology(context) + slots,
                awaited: [
                    "ADDSLOTS", "ADDSLOTSRANGE", "BUMPEPOCH", "COUNT-FAILURE-REPORTS", "DELSLOTS",
                    "DELSLOTSRANGE", "FAILOVER", "FLUSHSLOTS", "FORGET", "MEET", "REPLICATE",
                    "RESET", "SAVECONFIG", "SET-CONFIG-EPOCH", "SETSLOT", "SLAVES", "SLOT-STATS",
                ]),
            Command(
                "READONLY", since: "3.0.0", group: .cluster,
                summary: "Enables read-only queries for a connection to a Redis Cluster replica "
                    + "node.", arity: .exactly(1), traits: [.fast, .loading, .stale],
                acl: [.connection], run: withoutCluster),
            Command(
                "READWRITE", since: "3.0.0", group: .cluster,
                summary: "Enables read-write queries for a connection to a Redis Cluster replica "
                    + "node.", arity: .exactly(1), traits: [.fast, .loading, .stale],
                acl: [.connection], run: withoutCluster),
            Command(
                "ASKING", since: "3.0.0", group: .cluster,
                summary: "Signals that a cluster client is following an -ASK redirect.",
                arity: .exactly(1), traits: .fast, acl: [.connection], run: withoutCluster),
        ]
    }

    /// Who this node is, and that there is no other.
    private static func topology(_ context: ServerContext) -> CommandGroup {
        let node = ClusterNode()
        return [
            Command(
                "HELP", since: "5.0.0", group: .cluster,
                summary: "Returns helpful text about the different subcommands.",
                arity: .exactly(2), traits: [.loading, .stale], run: help),
            Command(
                "INFO", since: "3.0.0", group: .cluster,
                summary: "Returns information about the state of a node.", arity: .exactly(2),
                traits: .stale, tips: answersVary
            ) { (call) throws(CommandError) in
                call.reply.verbatim(ClusterNode.stateText)
                return .none
            },
            Command(
                "LINKS", since: "7.0.0", group: .cluster,
                summary: "Returns a list of all TCP links to and from peer nodes.",
                complexity: "O(N) where N is the total number of Cluster nodes",
                arity: .exactly(2), traits: .stale, tips: answersVary
            ) { (call) throws(CommandError) in
                call.reply.array(0)
                return .none
            },
            Command(
                "MYID", since: "3.0.0", group: .cluster, summary: "Returns the ID of a node.",
                arity: .exactly(2), traits: .stale
            ) { (call) throws(CommandError) in
                call.reply.bulk(node.id)
                return .none
            },
            Command(
                "MYSHARDID", since: "7.2.0", group: .cluster,
                summary: "Returns the shard ID of a node.", arity: .exactly(2), traits: .stale,
                tips: answersVary
            ) { (call) throws(CommandError) in
                call.reply.bulk(node.shardID)
                return .none
            },
            Command(
                "NODES", since: "3.0.0", group: .cluster,
                summary: "Returns the cluster configuration for a node.",
                complexity: "O(N) where N is the total number of Cluster nodes",
                arity: .exactly(2), traits: .stale, tips: answersVary
            ) { (call) throws(CommandError) in
                call.reply.verbatim(node.line(at: Endpoint(call.record.addresses, context.port)))
                return .none
            },
            Command(
                "REPLICAS", since: "5.0.0", group: .cluster, syntax: "node-id",
                summary: "Lists the replica nodes of a master node.",
                complexity: "O(N) where N is the number of replicas.", arity: .exactly(3),
                traits: [.admin, .stale], tips: answersVary
            ) { (call) throws(CommandError) in
                let id = try call.arguments.next().string
                guard id == node.id else { throw call.error("ERR Unknown node \(id)") }
                call.reply.array(0)
                return .none
            },
            Command(
                "SHARDS", since: "7.0.0", group: .cluster,
                summary: "Returns the mapping of cluster slots to shards.",
                complexity: "O(N) where N is the total number of cluster nodes",
                arity: .exactly(2), traits: [.loading, .stale], tips: answersVary
            ) { (call) throws(CommandError) in
                node.replyShards(&call, Endpoint(call.record.addresses, context.port))
                return .none
            },
            Command(
                "SLOTS", since: "3.0.0", group: .cluster,
                summary: "Returns the mapping of cluster slots to nodes.",
                complexity: "O(N) where N is the total number of Cluster nodes",
                arity: .exactly(2), traits: [.loading, .stale], tips: answersVary
            ) { (call) throws(CommandError) in
                node.replySlots(&call, Endpoint(call.record.addresses, context.port))
                return .none
            },
        ]
    }

    /// Which slot a key is in, and which keys are in a slot. Made anew for each container, which a
    /// subcommand knows and must not share.
    private static var slots: CommandGroup {
        [
            Command(
                "COUNTKEYSINSLOT", since: "3.0.0", group: .cluster, syntax: "slot",
                summary: "Returns the number of keys in a hash slot.",
                complexity: "O(N) where N is the number of keys in the database",
                arity: .exactly(3),
                traits: [.stale, .walksShards], run: countKeys),
            Command(
                "GETKEYSINSLOT", since: "3.0.0", group: .cluster, syntax: "slot count",
                summary: "Returns the key names in a hash slot.",
                complexity: "O(N) where N is the number of keys in the database",
                arity: .exactly(4),
                traits: [.stale, .walksShards], tips: answersVary, run: getKeys),
            Command(
                "KEYSLOT", since: "3.0.0", group: .cluster, syntax: "key",
                summary: "Returns the hash slot for a key.",
                complexity: "O(N) where N is the number of bytes in the key", arity: .exactly(3),
                traits: .stale, run: slotOfKey),
        ]
    }
}

private func withoutCluster(_ call: inout Call) throws(CommandError) -> Effect {
    throw .invalid("This instance has cluster support disabled")
}

private func slotOfKey(_ call: inout Call) throws(CommandError) -> Effect {
    call.reply.integer(keySlot(of: try call.arguments.next()))
    return .none
}

private func countKeys(_ call: inout Call) throws(CommandError) -> Effect {
    let slot = try call.arguments.integer()
    guard slot >= 0, slot < Int64(keySlotCount) else { throw .invalid("Invalid slot") }
    var count = 0
    let isDone = call.walkKeys { key in
        if keySlot(of: key) == Int(slot) { count += 1 }
        return true
    }
    if !isDone { return .none }
    call.reply.integer(count)
    return .none
}

private func getKeys(_ call: inout Call) throws(CommandError) -> Effect {
    let slot = try call.arguments.integer()
    let countMax = try call.arguments.integer()
    guard slot >= 0, slot < Int64(keySlotCount), countMax >= 0 else {
        throw .invalid("Invalid slot or number of keys")
    }
    var found = ReplyWriter()
    var count: Int64 = 0
    let isDone = call.walkKeys { key in
        guard count < countMax else { return false }
        if keySlot(of: key) == Int(slot) {
            found.bulk(key)
            count += 1
        }
        return true
    }
    if !isDone { return .none }
    call.reply.array(Int(count))
    call.reply.buffer.append(found.buffer.view)
    return .none
}

private func help(_ call: inout Call) throws(CommandError) -> Effect {
    call.reply.help(
        "CLUSTER",
        [
            "COUNTKEYSINSLOT <slot>",
            "    Return the number of keys in <slot>.",
            "GETKEYSINSLOT <slot> <count>",
            "    Return key names stored by current node in a slot.",
            "INFO",
            "    Return information about the cluster.",
            "KEYSLOT <key>",
            "    Return the hash slot for <key>.",
            "LINKS",
            "    Return information about all network links between this node and its peers.",
            """
                Output format is an array where each array element is a map containing \
            attributes of a link
            """,
            "MYID",
            "    Return the node id.",
            "MYSHARDID",
            "    Return the node's shard id.",
            "NODES",
            "    Return cluster configuration seen by node. Output format:",
            """
                <id> <ip:port@bus-port[,hostname]> <flags> <master> <pings> <pongs> <epoch> \
            <link> <slot> ...
            """,
            "REPLICAS <node-id>",
            "    Return <node-id> replicas.",
            "SHARDS",
            "    Return information about slot range mappings and the nodes associated with them.",
            "SLOTS",
            "    Return information about slots range mappings. Each range is made of:",
            "    start, end, master and replicas IP addresses, ports and ids",
        ])
    return .none
}

/// Where the client that asks has reached this node: the one address of which that is known.
private struct Endpoint {
    let host: String
    let port: Int

    init(_ client: ClientAddresses, _ port: Int) {
        self.port = port
        guard !client.isUnixSocket, let colon = client.local.utf8.lastIndex(of: UInt8(ascii: ":"))
        else {
            host = "127.0.0.1"
            return
        }
        host = String(client.local[..<colon].filter { $0 != "[" && $0 != "]" })
    }
}

/// The one node.
private struct ClusterNode {
    let id = ServerContext.newRunID()
    let shardID = ServerContext.newRunID()

    static let stateText =
        [
            "cluster_state:ok", "cluster_slots_assigned:16384", "cluster_slots_ok:16384",
            "cluster_slots_pfail:0", "cluster_slots_fail:0", "cluster_known_nodes:1",
            "cluster_size:1", "cluster_current_epoch:1", "cluster_my_epoch:1",
            "cluster_stats_messages_sent:0", "cluster_stats_messages_received:0",
            "total_cluster_links_buffer_limit_exceeded:0",
        ].joined(separator: "\r\n") + "\r\n"

    /// The line of CLUSTER NODES.
    func line(at endpoint: Endpoint) -> String {
        "\(id) \(endpoint.host):\(endpoint.port)@\(endpoint.port + 10000) myself,master - 0 0 1 "
            + "connected 0-\(keySlotCount - 1)\n"
    }

    func replySlots(_ call: inout Call, _ endpoint: Endpoint) {
        call.reply.array(1)
        call.reply.array(3)
        call.reply.integer(0)
        call.reply.integer(keySlotCount - 1)
        call.reply.array(4)
        call.reply.bulk(endpoint.host)
        call.reply.integer(endpoint.port)
        call.reply.bulk(id)
        call.reply.array(0)
    }

    func replyShards(_ call: inout Call, _ endpoint: Endpoint) {
        call.reply.array(1)
        call.reply.map(2)
        call.reply.bulk("slots")
        call.reply.array(2)
        call.reply.integer(0)
        call.reply.integer(keySlotCount - 1)
        call.reply.bulk("nodes")
        call.reply.array(1)
        call.reply.map(7)
        call.reply.bulk("id")
        call.reply.bulk(id)
        call.reply.bulk("port")
        call.reply.integer(endpoint.port)
        call.reply.bulk("ip")
        call.reply.bulk(endpoint.host)
        call.reply.bulk("endpoint")
        call.reply.bulk(endpoint.host)
        call.reply.bulk("role")
        call.reply.bulk("master")
        call.reply.bulk("replication-offset")
        call.reply.integer(0)
        call.reply.bulk("health")
        call.reply.bulk("online")
    }
}
