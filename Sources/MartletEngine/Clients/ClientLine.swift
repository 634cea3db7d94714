//  A client in the words of CLIENT LIST and CLIENT INFO, and the kinds of clients they tell apart.
//
//  Numbers are read relaxed while the client's own loop writes them: each is true of some recent
//  moment, all of them together need not be of the same.

import MartletBase

/// The kinds of clients that CLIENT LIST and CLIENT KILL tell apart.
enum ClientKind {
    case normal
    case primary
    case replica
    case subscriber

    init?(_ name: ByteView) {
        if name.equalsIgnoringCase("normal") {
            self = .normal
        } else if name.equalsIgnoringCase("master") || name.equalsIgnoringCase("primary") {
            self = .primary
        } else if name.equalsIgnoringCase("replica") || name.equalsIgnoringCase("slave") {
            self = .replica
        } else if name.equalsIgnoringCase("pubsub") {
            self = .subscriber
        } else {
            return nil
        }
    }
}

extension ClientRecord {
    /// The kind of client. A monitor is a normal one, as in Redis.
    var kind: ClientKind {
        subscriptionCount > 0 ? .subscriber : .normal
    }

    /// Channels, shard channels and patterns together.
    package var subscriptionCount: Int {
        channels.load(ordering: .relaxed) + patterns.load(ordering: .relaxed)
            + shardChannels.load(ordering: .relaxed)
    }

    /// Where invalidations go: 0 to the client itself, -1 when it does not track.
    var trackingRedirect: Int {
        tracking.contains(.on) ? Int(redirect.load(ordering: .relaxed)) : -1
    }

    /// One letter for each condition the client is in, in Redis' order, or `N`.
    var flags: String {
        let gate = SessionGate(rawValue: gate.load(ordering: .relaxed))
        var flags = ""
        if gate.contains(.monitor) { flags += "O" }
        if subscriptionCount > 0 { flags += "P" }
        if gate.contains(.inTransaction) { flags += "x" }
        if gate.contains(.blocked) { flags += "b" }
        if tracking.contains(.on) { flags += "t" }
        if tracking.contains(.brokenRedirect) { flags += "R" }
        if tracking.contains(.broadcast) { flags += "B" }
        if isWatchTouched { flags += "d" }
        if addresses.isUnixSocket { flags += "U" }
        if isExemptFromEviction.load(ordering: .relaxed) { flags += "e" }
        if gate.contains(.noTouch) { flags += "T" }
        return flags.isEmpty ? "N" : flags
    }

    /// Appends the client's line, without a line end.
    ///
    /// - Parameters:
    ///   - line: where it goes.
    ///   - texts: the record's own, read under the registry's lock.
    ///   - commandName: the last command, `container|subcommand`; nil before the first one.
    ///   - argumentBytes: what the running command's arguments take; 0 for a client that runs none.
    ///   - nowMilliseconds: the wall clock.
    func appendLine(
        to line: inout ByteBuffer, _ texts: Texts, commandName: String?, argumentBytes: Int,
        nowMilliseconds: Int64
    ) {
        func field(_ name: StaticString, _ value: Int) {
            line.append(name)
            line.append(decimal: Int64(value))
        }
        func field(_ name: StaticString, _ value: String) {
            line.append(name)
            line.append(value)
        }
        func seconds(since moment: Int64) -> Int { Int(max(0, nowMilliseconds - moment) / 1000) }

        let queryBytes = queryBytes.load(ordering: .relaxed)
        let queryCapacity = queryCapacity.load(ordering: .relaxed)
        let outputBytes = outputBytes.load(ordering: .relaxed)
        let transactionBytes = transactionBytes.load(ordering: .relaxed)
        field("id=", Int(id))
        field(" addr=", addresses.peer)
        field(" laddr=", addresses.local)
        field(" fd=", Int(addresses.descriptor))
        field(" name=", texts.name)
        field(" age=", seconds(since: createdMilliseconds))
        field(" idle=", seconds(since: lastActiveMilliseconds.load(ordering: .relaxed)))
        field(" flags=", flags)
        // Valkey's field; Redis has none, so it is shown to those who sent Valkey's command.
        if texts.followsRedirects { field(" capa=", "r") }
        field(" db=", database.load(ordering: .relaxed))
        field(" sub=", channels.load(ordering: .relaxed))
        field(" psub=", patterns.load(ordering: .relaxed))
        field(" ssub=", shardChannels.load(ordering: .relaxed))
        field(" multi=", queuedCommands.load(ordering: .relaxed))
        field(" watch=", watchedKeys.load(ordering: .relaxed))
        field(" qbuf=", queryBytes)
        field(" qbuf-free=", max(0, queryCapacity - queryBytes))
        field(" argv-mem=", argumentBytes)
        field(" multi-mem=", transactionBytes)
        // Replies go into a buffer of the loop's; only what the socket has not taken is the client's.
        field(" rbs=", 0)
        field(" rbp=", 0)
        field(" obl=", 0)
        field(" oll=", outputBytes > 0 ? 1 : 0)
        field(" omem=", outputBytes)
        field(
            " tot-mem=",
            Self.fixedBytes + max(queryBytes, queryCapacity) + argumentBytes + transactionBytes
                + outputBytes)
        field(" events=", outputBytes > 0 ? "rw" : "r")
        field(" cmd=", commandName ?? "NULL")
        field(" user=", texts.user)
        field(" redir=", trackingRedirect)
        field(" resp=", isRESP3.load(ordering: .relaxed) ? 3 : 2)
        field(" lib-name=", texts.libraryName)
        field(" lib-ver=", texts.libraryVersion)
        field(" io-thread=", loop)
        field(" tot-net-in=", netInputBytes.load(ordering: .relaxed))
        field(" tot-net-out=", netOutputBytes.load(ordering: .relaxed))
        field(" tot-cmds=", commandCount.load(ordering: .relaxed))
    }

    /// What any connection takes: session, record with its texts, and the transport's slot.
    static let fixedBytes = 1_024
}
