//  CLIENT: a connection's own name, kind and manners, and the list of all connections. KILL and PAUSE,
//  which reach into other connections, have a file of their own.

import MartletBase
import Synchronization

extension CommandGroup {
    private static let traits: Traits = [.noScript, .loading, .stale]
    private static let adminTraits: Traits = [.admin, .noScript, .loading, .stale]
    private static let onAllNodes = ["request_policy:all_nodes", "response_policy:all_succeeded"]

    static let client: CommandGroup = [
        Command(
            "CLIENT", since: "2.4.0", group: .connection,
            summary: "A container for client connection commands.",
            subcommands: ownConnection + clientControl + clientTracking)
    ]

    private static let ownConnection: [Command] = [
        Command(
            "CAPA", since: "8.0.0", group: .connection, syntax: "capability [capability ...]",
            summary: "A client claims its capability.", arity: .atLeast(3),
            traits: traits.union(.allowBusy), acl: [.connection], run: capa),
        Command(
            "GETNAME", since: "2.6.9", group: .connection,
            summary: "Returns the name of the connection.", arity: .exactly(2), traits: traits,
            acl: [.connection], run: getName),
        Command(
            "HELP", since: "5.0.0", group: .connection,
            summary: "Returns helpful text about the different subcommands.", arity: .exactly(2),
            traits: [.loading, .stale], acl: [.connection], run: help),
        Command(
            "ID", since: "5.0.0", group: .connection,
            summary: "Returns the unique client ID of the connection.", arity: .exactly(2),
            traits: traits, acl: [.connection], run: id),
        Command(
            "INFO", since: "6.2.0", group: .connection,
            summary: "Returns information about the connection.", arity: .exactly(2),
            traits: traits, acl: [.connection], tips: ["nondeterministic_output"], run: info),
        Command(
            "LIST", since: "2.4.0", group: .connection,
            syntax: "[TYPE <NORMAL | MASTER | REPLICA | PUBSUB>] [ID client-id [client-id ...]]",
            summary: "Lists open connections.",
            complexity: "O(N) where N is the number of client connections", arity: .atLeast(2),
            traits: adminTraits, acl: [.connection], tips: ["nondeterministic_output"], run: list),
        Command(
            "NO-EVICT", since: "7.0.0", group: .connection, syntax: "ON | OFF",
            summary: "Sets the client eviction mode of the connection.", arity: .exactly(3),
            traits: adminTraits, acl: [.connection], run: noEvict),
        Command(
            "NO-TOUCH", since: "7.2.0", group: .connection, syntax: "ON | OFF",
            summary: "Controls whether commands sent by the client affect the LRU/LFU of accessed "
                + "keys.", arity: .exactly(3), traits: traits, acl: [.connection], run: noTouch),
        Command(
            "REPLY", since: "3.2.0", group: .connection, syntax: "ON | OFF | SKIP",
            summary: "Instructs the server whether to reply to commands.", arity: .exactly(3),
            traits: traits, acl: [.connection], run: reply),
        Command(
            "SETINFO", since: "7.2.0", group: .connection,
            syntax: "LIB-NAME libname | LIB-VER libver",
            summary: "Sets information specific to the client or connection.",
            arity: .exactly(4), traits: traits, acl: [.connection], tips: onAllNodes,
            run: setInfo),
        Command(
            "SETNAME", since: "2.6.9", group: .connection, syntax: "connection-name",
            summary: "Sets the connection name.", arity: .exactly(3), traits: traits,
            acl: [.connection], tips: onAllNodes, run: setName),
    ]
}

private func capa(_ call: inout Call) throws(CommandError) -> Effect {
    // Capabilities that this server knows nothing of are not refused: newer clients claim them.
    var followsRedirects = false
    while !call.arguments.isAtEnd {
        if try call.arguments.next().equalsIgnoringCase("redirect") { followsRedirects = true }
    }
    if followsRedirects {
        unsafe call.state.clients.withTexts(call.record) { $0.followsRedirects = true }
    }
    call.reply.ok()
    return .none
}

private func getName(_ call: inout Call) throws(CommandError) -> Effect {
    let name = unsafe call.state.clients.withTexts(call.record) { $0.name }
    if name.isEmpty { call.reply.null() } else { call.reply.bulk(name) }
    return .none
}

private func setName(_ call: inout Call) throws(CommandError) -> Effect {
    let name = try call.arguments.next()
    guard ClientRecord.isFitForLine(name) else { throw ClientRecord.unfitName }
    call.setClientName(name)
    call.reply.ok()
    return .none
}

private func id(_ call: inout Call) throws(CommandError) -> Effect {
    call.reply.integer(call.record.id)
    return .none
}

private func noEvict(_ call: inout Call) throws(CommandError) -> Effect {
    if call.arguments.skip("on") {
        call.setEvictionExemption(true)
    } else if call.arguments.skip("off") {
        call.setEvictionExemption(false)
    } else {
        throw .syntax
    }
    call.reply.ok()
    return .none
}

extension Call {
    /// Lets the connection stay, or go, when all clients together hold too much memory.
    func setEvictionExemption(_ isExempt: Bool) {
        if record.isExemptFromEviction.exchange(isExempt, ordering: .relaxed) == isExempt { return }
        unsafe state.evictionExemptionChanged.call(record)
    }
}

private func noTouch(_ call: inout Call) throws(CommandError) -> Effect {
    if call.arguments.skip("on") {
        unsafe call.session.pointee.gate.insert(.noTouch)
    } else if call.arguments.skip("off") {
        unsafe call.session.pointee.gate.remove(.noTouch)
    } else {
        throw .syntax
    }
    call.reply.ok()
    return .none
}

private func reply(_ call: inout Call) throws(CommandError) -> Effect {
    if call.arguments.skip("on") {
        unsafe call.session.pointee.gate.subtract([.repliesOff, .skipNextReply])
        call.reply.ok()
    } else if call.arguments.skip("off") {
        unsafe call.session.pointee.gate.insert(.repliesOff)
    } else if call.arguments.skip("skip") {
        if unsafe !call.session.pointee.gate.contains(.repliesOff) {
            unsafe call.session.pointee.gate.insert(.skipArmed)
        }
    } else {
        throw .syntax
    }
    return .none
}

private func setInfo(_ call: inout Call) throws(CommandError) -> Effect {
    let option = try call.arguments.next()
    let value = try call.arguments.next()
    let isName = option.equalsIgnoringCase("lib-name")
    guard isName || option.equalsIgnoringCase("lib-ver") else {
        throw call.error("ERR Unrecognized option '", naming: option, "'")
    }
    guard ClientRecord.isFitForLine(value) else {
        throw call.error(
            "ERR \(option.string) cannot contain spaces, newlines or special characters.")
    }
    let text = value.string
    unsafe call.state.clients.withTexts(call.record) { texts in
        if isName { texts.libraryName = text } else { texts.libraryVersion = text }
    }
    call.reply.ok()
    return .none
}

// MARK: - Lines

private func info(_ call: inout Call) throws(CommandError) -> Effect {
    var text = ByteBuffer()
    call.appendLine(of: call.record, to: &text)
    text.append(UInt8(ascii: "\n"))
    call.reply.verbatim(text.view)
    return .none
}

private func list(_ call: inout Call) throws(CommandError) -> Effect {
    var kind: ClientKind?
    var ids: [Int64]?
    if call.arguments.count == 4 && call.arguments.skip("type") {
        let name = try call.arguments.next()
        kind = ClientKind(name)
        if kind == nil { throw call.error("ERR Unknown client type '", naming: name, "'") }
    } else if call.arguments.count > 3 && call.arguments.skip("id") {
        var wanted: [Int64] = []
        while !call.arguments.isAtEnd {
            wanted.append(try call.arguments.integer(.invalid("Invalid client ID")))
        }
        ids = wanted
    } else if !call.arguments.isAtEnd {
        throw .syntax
    }

    let clients = unsafe call.state.clients
    let records = ids?.compactMap { clients.record($0) } ?? clients.all()
    var text = ByteBuffer()
    for record in records where kind == nil || record.kind == kind {
        call.appendLine(of: record, to: &text)
        text.append(UInt8(ascii: "\n"))
    }
    call.reply.verbatim(text.view)
    return .none
}

extension Call {
    /// Appends a client's line; one's own is not idle and shows what the running command takes.
    fileprivate func appendLine(of record: ClientRecord, to text: inout ByteBuffer) {
        let now = keyspace.nowMilliseconds
        var argumentBytes = 0
        if record === self.record {
            record.lastActiveMilliseconds.store(now, ordering: .relaxed)
            for index in 0..<arguments.count { argumentBytes += arguments[index].count }
        }
        let number = record.lastCommand.load(ordering: .relaxed)
        let name = number < 0 ? nil : unsafe commands.all[number].fullName
        let texts = unsafe state.clients.withTexts(record) { $0 }
        record.appendLine(
            to: &text, texts, commandName: name, argumentBytes: argumentBytes,
            nowMilliseconds: now)
    }
}

private func help(_ call: inout Call) throws(CommandError) -> Effect {
    call.reply.help(
        "CLIENT",
        [
            "CACHING (YES|NO)",
            "    Enable/disable tracking of the keys for next command in OPTIN/OPTOUT modes.",
            "CAPA <option> [<option> ...]",
            "    Claim capabilities of the client. Options are:",
            "    * REDIRECT",
            "      The client can handle redirection to another server.",
            "GETNAME",
            "    Return the name of the current connection.",
            "GETREDIR",
            "    Return the client ID we are redirecting to when tracking is enabled.",
            "ID",
            "    Return the ID of the current connection.",
            "INFO",
            "    Return information about the current client connection.",
            "KILL <ip:port>",
            "    Kill connection made from <ip:port>.",
            "KILL <option> <value> [<option> <value> [...]]",
            "    Kill connections. Options are:",
            "    * ADDR (<ip:port>|<unixsocket>:0)",
            "      Kill connections made from the specified address",
            "    * LADDR (<ip:port>|<unixsocket>:0)",
            "      Kill connections made to specified local address",
            "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
            "      Kill connections by type.",
            "    * USER <username>",
            "      Kill connections authenticated by <username>.",
            "    * SKIPME (YES|NO)",
            "      Skip killing current connection (default: yes).",
            "    * ID <client-id> [<client-id>...]",
            "      Kill connections by client id.",
            "    * MAXAGE <maxage>",
            "      Kill connections older than the specified age.",
            "    * IDLE <idle>",
            "      Kill connections idle for at least so many seconds.",
            "    * NAME, LIB-NAME, LIB-VER, FLAGS, DB, CAPA, IP",
            "      Kill connections by these fields of CLIENT LIST.",
            "    * NOT-ID, NOT-TYPE, NOT-USER, ...",
            "      Kill connections that an option without NOT- leaves out.",
            "LIST [options ...]",
            "    Return information about client connections. Options:",
            "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
            "      Return clients of specified type.",
            "    * ID <client-id> [<client-id> ...]",
            "      Return clients with the specified IDs.",
            "NO-EVICT (ON|OFF)",
            "    Protect current client connection from eviction.",
            "NO-TOUCH (ON|OFF)",
            "    Will not touch LRU/LFU stats when this mode is on.",
            "PAUSE <timeout> [WRITE|ALL]",
            "    Suspend all, or just write, clients for <timeout> milliseconds.",
            "REPLY (ON|OFF|SKIP)",
            "    Control the replies sent to the current connection.",
            "SETINFO <option> <value>",
            "    Set client meta attr. Options are:",
            "    * LIB-NAME: the client lib name.",
            "    * LIB-VER: the client lib version.",
            "SETNAME <name>",
            "    Assign the name <name> to the current connection.",
            "TRACKING (ON|OFF) [REDIRECT <id>] [BCAST] [PREFIX <prefix> [...]]",
            "         [OPTIN] [OPTOUT] [NOLOOP]",
            "    Control server assisted client side caching.",
            "TRACKINGINFO",
            "    Report tracking status for the current connection.",
            "UNPAUSE",
            "    Stop the current client pause, resuming traffic.",
        ])
    return .none
}
