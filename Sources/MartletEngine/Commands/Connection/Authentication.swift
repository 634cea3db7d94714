//  AUTH and HELLO: who a connection is, and which protocol it speaks.

import MartletBase
import Synchronization

extension CommandGroup {
    static let authentication: CommandGroup = [
        Command(
            "AUTH", since: "1.0.0", group: .connection, syntax: "[username] password",
            summary: "Authenticates the connection.",
            complexity: "O(N) where N is the number of passwords defined for the user",
            arity: .atLeast(2),
            traits: [.fast, .noScript, .loading, .stale, .noAuth, .allowBusy, .endsBatch],
            acl: [.connection], secrets: { [Int](1..<$0.count) }, run: auth),
        Command(
            "HELLO", since: "6.0.0", group: .connection,
            syntax: "[protover [AUTH username password] [SETNAME clientname]]",
            summary: "Handshakes with the Redis server.", arity: .atLeast(1),
            traits: [.fast, .noScript, .loading, .stale, .noAuth, .allowBusy, .endsBatch],
            acl: [.connection], secrets: secretsOfHello, run: hello),
    ]
}

private func auth(_ call: inout Call) throws(CommandError) -> Effect {
    if call.arguments.count > 3 { throw .syntax }
    if call.arguments.count == 2, unsafe !call.state.password.isRequired {
        throw .invalid(
            """
            AUTH <password> called without any password configured for the default user. \
            Are you sure your configuration is correct?
            """)
    }
    let user = call.arguments.count == 3 ? try call.arguments.next() : ByteView("default")
    try call.authenticate(user: user, password: try call.arguments.next())
    call.reply.ok()
    return .none
}

extension Call {
    /// Makes the connection an authenticated one of `user`.
    ///
    /// - Throws: `WRONGPASS`; a connection that was authenticated before stays so.
    fileprivate mutating func authenticate(
        user: ByteView, password: ByteView
    ) throws(CommandError) {
        guard user == ByteView("default"), unsafe state.password.admits(password) else {
            unsafe _ = state.deniedAuthentications.add(1, ordering: .relaxed)
            throw .coded("WRONGPASS invalid username-password pair or user is disabled.")
        }
        unsafe session.pointee.gate.remove(.unauthenticated)
    }
}

/// The numbers of user name and password behind AUTH, in requests that HELLO refuses too.
private func secretsOfHello(_ arguments: Arguments) -> [Int] {
    var secrets: [Int] = []
    var index = 2
    while index < arguments.count {
        if arguments[index].equalsIgnoringCase("auth") {
            secrets += (index + 1)..<min(index + 3, arguments.count)
            index += 2
        } else if arguments[index].equalsIgnoringCase("setname") {
            index += 1
        }
        index += 1
    }
    return secrets
}

/// What HELLO asks for; read as a whole before anything changes.
private struct Greeting {
    var isRESP3: Bool?
    var user: ByteView?
    var password = ByteView()
    var clientName: ByteView?

    init(reading call: inout Call) throws(CommandError) {
        if call.arguments.isAtEnd { return }
        let version = try call.arguments.integer(
            .invalid("Protocol version is not an integer or out of range"))
        guard version == 2 || version == 3 else {
            throw .coded("NOPROTO unsupported protocol version")
        }
        isRESP3 = version == 3
        while !call.arguments.isAtEnd {
            let option = try call.arguments.next()
            if option.equalsIgnoringCase("auth") && call.arguments.remaining >= 2 {
                user = try call.arguments.next()
                password = try call.arguments.next()
            } else if option.equalsIgnoringCase("setname") && call.arguments.remaining >= 1 {
                let name = try call.arguments.next()
                guard ClientRecord.isFitForLine(name) else { throw ClientRecord.unfitName }
                clientName = name
            } else {
                throw call.error("ERR Syntax error in HELLO option '", naming: option, "'")
            }
        }
    }
}

private func hello(_ call: inout Call) throws(CommandError) -> Effect {
    let greeting = try Greeting(reading: &call)
    if let user = greeting.user {
        try call.authenticate(user: user, password: greeting.password)
    }
    if unsafe call.session.pointee.gate.contains(.unauthenticated) {
        throw .coded(
            """
            NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO \
            <proto> AUTH <user> <pass> option can be used to authenticate the client and select the \
            RESP protocol version at the same time
            """)
    }
    if let name = greeting.clientName { call.setClientName(name) }
    if let isRESP3 = greeting.isRESP3 { call.speak(isRESP3: isRESP3) }

    call.reply.map(7)
    call.reply.bulk("server")
    call.reply.bulk("redis")
    call.reply.bulk("version")
    call.reply.bulk(RedisCompatibility.version)
    call.reply.bulk("proto")
    call.reply.integer(call.reply.isRESP3 ? 3 : 2)
    call.reply.bulk("id")
    call.reply.integer(call.record.id)
    call.reply.bulk("mode")
    call.reply.bulk("standalone")
    call.reply.bulk("role")
    call.reply.bulk("master")
    call.reply.bulk("modules")
    call.reply.array(0)
    return .none
}

extension Call {
    /// Changes the protocol of this and all later replies.
    mutating func speak(isRESP3: Bool) {
        unsafe session.pointee.isRESP3 = isRESP3
        reply.isRESP3 = isRESP3
        record.isRESP3.store(isRESP3, ordering: .relaxed)
        updateSubscriberMode()
    }

    /// Gives the client a name that was found fit; an empty one takes it away.
    func setClientName(_ name: ByteView) {
        let name = name.string
        unsafe state.clients.withTexts(record) { $0.name = name }
    }
}

extension ClientRecord {
    /// Whether a text can stand in CLIENT LIST, where blanks part the fields: printable ASCII only.
    static func isFitForLine(_ text: ByteView) -> Bool {
        for index in 0..<text.count where text[index] < 0x21 || text[index] > 0x7E { return false }
        return true
    }

    static var unfitName: CommandError {
        .invalid("Client names cannot contain spaces, newlines or special characters.")
    }
}
