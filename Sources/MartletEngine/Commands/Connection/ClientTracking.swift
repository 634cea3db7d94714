//  CLIENT TRACKING, CACHING, TRACKINGINFO and GETREDIR: client-side caching, as Redis describes it. What
//  becomes of it is in Clients/Tracking.swift.

import MartletBase
import Synchronization

extension CommandGroup {
    private static let traits: Traits = [.noScript, .loading, .stale]

    static let clientTracking: [Command] = [
        Command(
            "CACHING", since: "6.0.0", group: .connection, syntax: "YES | NO",
            summary: "Instructs the server whether to track the keys in the next request.",
            arity: .exactly(3), traits: traits, acl: [.connection], run: caching),
        Command(
            "GETREDIR", since: "6.0.0", group: .connection,
            summary: "Returns the client ID to which the connection's tracking notifications are "
                + "redirected.",
            arity: .exactly(2), traits: traits, acl: [.connection], run: getRedirect),
        Command(
            "TRACKING", since: "6.0.0", group: .connection,
            syntax: "ON | OFF [REDIRECT client-id] [PREFIX prefix [PREFIX prefix ...]] [BCAST] "
                + "[OPTIN] [OPTOUT] [NOLOOP]",
            summary: "Controls server-assisted client-side caching for the connection.",
            complexity: "O(1). Some options may introduce additional complexity.",
            arity: .atLeast(3), traits: traits, acl: [.connection], run: tracking),
        Command(
            "TRACKINGINFO", since: "6.2.0", group: .connection,
            summary: "Returns information about server-assisted client-side caching for the "
                + "connection.",
            arity: .exactly(2), traits: traits, acl: [.connection], run: trackingInfo),
    ]
}

// MARK: - TRACKING

/// What CLIENT TRACKING asks for.
private struct TrackingRequest {
    var isOn = false
    var options: TrackingOptions = []
    var redirect: Int64 = 0
    var prefixes: [Bytes] = []

    init(reading call: inout Call) throws(CommandError) {
        // The options are looked at before ON and OFF, as in Redis.
        let switchIndex = call.arguments.position
        call.arguments.position += 1
        while !call.arguments.isAtEnd {
            if call.arguments.remaining > 1 && call.arguments.skip("redirect") {
                if redirect != 0 {
                    throw .invalid("A client can only redirect to a single other client")
                }
                redirect = try call.arguments.integer()
                if unsafe call.state.clients.record(redirect) == nil {
                    throw .invalid("The client ID you want redirect to does not exist")
                }
            } else if call.arguments.remaining > 1 && call.arguments.skip("prefix") {
                prefixes.append(Bytes(try call.arguments.next()))
            } else if call.arguments.skip("bcast") {
                options.insert(.broadcast)
            } else if call.arguments.skip("optin") {
                options.insert(.optIn)
            } else if call.arguments.skip("optout") {
                options.insert(.optOut)
            } else if call.arguments.skip("noloop") {
                options.insert(.noLoop)
            } else {
                throw .syntax
            }
        }
        let wanted = call.arguments[switchIndex]
        isOn = wanted.equalsIgnoringCase("on")
        if !isOn && !wanted.equalsIgnoringCase("off") { throw .syntax }
    }

    /// Whether the options go together, and with how the client tracks already.
    func check(_ old: TrackingOptions) throws(CommandError) {
        if !options.contains(.broadcast) && !prefixes.isEmpty {
            throw .invalid("PREFIX option requires BCAST mode to be enabled")
        }
        if old.contains(.on) && old.contains(.broadcast) != options.contains(.broadcast) {
            throw .invalid(
                """
                You can't switch BCAST mode on/off before disabling tracking for this client, and \
                then re-enabling it with a different mode.
                """)
        }
        if options.contains(.broadcast) && !options.isDisjoint(with: [.optIn, .optOut]) {
            throw .invalid("OPTIN and OPTOUT are not compatible with BCAST")
        }
        if options.isSuperset(of: [.optIn, .optOut]) {
            throw .invalid("You can't specify both OPTIN mode and OPTOUT mode")
        }
        if options.contains(.optIn) && old.contains(.optOut)
            || options.contains(.optOut) && old.contains(.optIn)
        {
            throw .invalid(
                """
                You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and \
                then re-enabling it with a different mode.
                """)
        }
    }
}

private func tracking(_ call: inout Call) throws(CommandError) -> Effect {
    let request = try TrackingRequest(reading: &call)
    if !request.isOn {
        call.trackers.stopTracking(call.record)
        unsafe call.session.pointee.gate.remove(.tracking)
        call.reply.ok()
        return .none
    }
    let old = call.record.tracking
    try request.check(old)
    var added = request.prefixes
    if request.options.contains(.broadcast) {
        try call.checkOverlap(added)
        let known = call.trackers.prefixes(of: call.record)
        // Without a prefix all keys are meant.
        if added.isEmpty && !known.contains(Bytes()) { added = [Bytes()] }
    }
    call.trackers.track(
        call.record, request.options.union(.on), redirect: request.redirect, adding: added)
    unsafe call.session.pointee.gate.insert(.tracking)
    call.reply.ok()
    return .none
}

extension Call {
    /// Prefixes of one client may not overlap: it would be told twice of one key.
    fileprivate mutating func checkOverlap(_ added: [Bytes]) throws(CommandError) {
        for (index, prefix) in added.enumerated() {
            for known in trackers.prefixes(of: record) where Self.overlap(known, prefix) {
                throw overlapError(prefix, "an existing", known)
            }
            for other in added[(index + 1)...] where Self.overlap(prefix, other) {
                throw overlapError(prefix, "another provided", other)
            }
        }
    }

    private static func overlap(_ one: Bytes, _ other: Bytes) -> Bool {
        one.storage.starts(with: other.storage) || other.storage.starts(with: one.storage)
    }

    private mutating func overlapError(
        _ prefix: Bytes, _ which: StaticString, _ other: Bytes
    ) -> CommandError {
        errorDetail.removeAll()
        errorDetail.append("ERR Prefix '")
        prefix.withView { errorDetail.append($0.slice(0, $0.firstIndex(of: 0) ?? $0.count)) }
        errorDetail.append("' overlaps with ")
        errorDetail.append(which)
        errorDetail.append(" prefix '")
        other.withView { errorDetail.append($0.slice(0, $0.firstIndex(of: 0) ?? $0.count)) }
        errorDetail.append("'. Prefixes for a single client must not overlap.")
        return .detailed
    }
}

// MARK: - CACHING

private func caching(_ call: inout Call) throws(CommandError) -> Effect {
    let options = call.record.tracking
    if !options.contains(.on) {
        throw .invalid(
            """
            CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or \
            OPTOUT mode enabled
            """)
    }
    if call.arguments.skip("yes") {
        if !options.contains(.optIn) {
            throw .invalid(
                "CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.")
        }
    } else if call.arguments.skip("no") {
        if !options.contains(.optOut) {
            throw .invalid(
                "CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.")
        }
    } else {
        throw .syntax
    }
    call.record.tracking.insert(.caching)
    call.reply.ok()
    return .none
}

// MARK: - Asking

private func getRedirect(_ call: inout Call) throws(CommandError) -> Effect {
    call.reply.integer(call.record.trackingRedirect)
    return .none
}

private func trackingInfo(_ call: inout Call) throws(CommandError) -> Effect {
    let options = call.record.tracking
    var flags: [StaticString] = [options.contains(.on) ? "on" : "off"]
    if options.contains(.broadcast) { flags.append("bcast") }
    if options.contains(.optIn) {
        flags.append("optin")
        if options.contains(.caching) { flags.append("caching-yes") }
    }
    if options.contains(.optOut) {
        flags.append("optout")
        if options.contains(.caching) { flags.append("caching-no") }
    }
    if options.contains(.noLoop) { flags.append("noloop") }
    if options.contains(.brokenRedirect) { flags.append("broken_redirect") }

    call.reply.map(3)
    call.reply.bulk("flags")
    call.reply.set(flags.count)
    for flag in flags { call.reply.bulk(flag) }
    call.reply.bulk("redirect")
    call.reply.integer(call.record.trackingRedirect)
    call.reply.bulk("prefixes")
    let prefixes = call.trackers.prefixes(of: call.record)
    call.reply.array(prefixes.count)
    for prefix in prefixes { prefix.withView { call.reply.bulk($0) } }
    return .none
}
