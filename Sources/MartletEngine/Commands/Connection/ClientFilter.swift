//  Which clients CLIENT KILL means: the conditions of Redis 8 and those that Valkey 9 adds, each of
//  which Valkey also has with `NOT-` in front.

import MartletBase
import Synchronization

/// Conditions on clients; all must hold.
struct ClientFilter {
    private enum Condition {
        case ids([Int64])
        case kind(ClientKind)
        case user(String)
        case address(String)
        case localAddress(String)
        case host(String)
        case name(String)
        case libraryName(String)
        case libraryVersion(String)
        case flags(String)
        case database(Int)
        case followsRedirects
        case ageSecondsMin(Int64)
        case idleSecondsMin(Int64)
    }

    private var conditions: [(wanted: Bool, condition: Condition)] = []
    private(set) var sparesCaller = true

    init(reading call: inout Call) throws(CommandError) {
        if call.arguments.remaining == 1 {
            // The old form names one address, and may mean the caller.
            conditions.append((true, .address(try call.arguments.next().string)))
            sparesCaller = false
            return
        }
        while !call.arguments.isAtEnd {
            let option = try call.arguments.next()
            if call.arguments.isAtEnd { throw .syntax }
            if option.equalsIgnoringCase("skipme") {
                if call.arguments.skip("yes") {
                    sparesCaller = true
                } else if call.arguments.skip("no") {
                    sparesCaller = false
                } else {
                    throw .syntax
                }
                continue
            }
            let isNegated =
                option.count > 4 && option.slice(0, 4).equalsIgnoringCase("not-")
            let name = isNegated ? option.slice(4, option.count) : option
            let condition = try Self.condition(name, isNegated: isNegated, &call)
            conditions.append((!isNegated, condition))
        }
    }

    private static func condition(
        _ name: ByteView, isNegated: Bool, _ call: inout Call
    ) throws(CommandError) -> Condition {
        if name.equalsIgnoringCase("id") { return .ids(try ids(&call)) }
        if name.equalsIgnoringCase("type") {
            let value = try call.arguments.next()
            guard let kind = ClientKind(value) else {
                throw call.error("ERR Unknown client type '", naming: value, "'")
            }
            return .kind(kind)
        }
        if name.equalsIgnoringCase("user") {
            let value = try call.arguments.next()
            guard value == ByteView("default") else {
                throw call.error("ERR No such user '", naming: value, "'")
            }
            return .user(value.string)
        }
        if name.equalsIgnoringCase("flags") {
            let value = try call.arguments.next()
            guard value.string.allSatisfy("AbBcdeEiIMNOPrRStTuUx".contains) else {
                throw call.error(
                    "ERR Unknown flags found in the provided filter: ", naming: value, "")
            }
            return .flags(value.string)
        }
        if name.equalsIgnoringCase("capa") {
            let value = try call.arguments.next()
            guard value == ByteView("r") else {
                throw call.error(
                    "ERR Unknown capa found in the provided filter: ", naming: value, "")
            }
            return .followsRedirects
        }
        if name.equalsIgnoringCase("db") {
            let value = try call.arguments.integer(.invalid("DB is not an integer or out of range"))
            let count = call.keyspace.databaseCount
            guard value >= 0 && value < Int64(count) else {
                throw call.error("ERR DB number should be between 0 and \(count - 1)")
            }
            return .database(Int(value))
        }
        if name.equalsIgnoringCase("addr") { return .address(try call.arguments.next().string) }
        if name.equalsIgnoringCase("laddr") {
            return .localAddress(try call.arguments.next().string)
        }
        if name.equalsIgnoringCase("ip") { return .host(try call.arguments.next().string) }
        if name.equalsIgnoringCase("name") { return .name(try call.arguments.next().string) }
        if name.equalsIgnoringCase("lib-name") {
            return .libraryName(try call.arguments.next().string)
        }
        if name.equalsIgnoringCase("lib-ver") {
            return .libraryVersion(try call.arguments.next().string)
        }
        // A least age or idle time has no opposite.
        if isNegated { throw .syntax }
        if name.equalsIgnoringCase("maxage") {
            let value = try call.arguments.integer(
                .invalid("maxage is not an integer or out of range"))
            if value <= 0 { throw .invalid("maxage should be greater than 0") }
            return .ageSecondsMin(value)
        }
        if name.equalsIgnoringCase("idle") {
            let value = try call.arguments.integer(
                .invalid("idle is not an integer or out of range"))
            if value <= 0 { throw .invalid("idle should be greater than 0") }
            return .idleSecondsMin(value)
        }
        throw .syntax
    }

    /// One ID or several, up to what is no number.
    private static func ids(_ call: inout Call) throws(CommandError) -> [Int64] {
        let error = CommandError.invalid("client-id should be greater than 0")
        var ids = [try call.arguments.integer(error)]
        while !call.arguments.isAtEnd,
            let more = call.arguments[call.arguments.position].parseInteger()
        {
            ids.append(more)
            call.arguments.position += 1
        }
        for id in ids where id < 1 { throw error }
        return ids
    }

    func matches(
        _ record: ClientRecord, _ texts: ClientRecord.Texts, nowMilliseconds: Int64
    ) -> Bool {
        conditions.allSatisfy { wanted, condition in
            Self.holds(condition, record, texts, nowMilliseconds) == wanted
        }
    }

    private static func holds(
        _ condition: Condition, _ record: ClientRecord, _ texts: ClientRecord.Texts, _ now: Int64
    ) -> Bool {
        switch condition {
        case .ids(let ids): return ids.contains(record.id)
        case .kind(let kind): return record.kind == kind
        case .user(let user): return texts.user == user
        case .address(let address): return record.addresses.peer == address
        case .localAddress(let address): return record.addresses.local == address
        case .host(let host): return record.addresses.host == host
        case .name(let name): return texts.name == name
        case .libraryName(let name): return texts.libraryName == name
        case .libraryVersion(let version): return texts.libraryVersion == version
        case .flags(let flags):
            let own = record.flags
            return flags.allSatisfy { own.contains($0) }
        case .database(let number): return record.database.load(ordering: .relaxed) == number
        case .followsRedirects: return texts.followsRedirects
        // Whole seconds, as CLIENT LIST shows them.
        case .ageSecondsMin(let seconds):
            return now / 1000 - record.createdMilliseconds / 1000 >= seconds
        case .idleSecondsMin(let seconds):
            let active = record.lastActiveMilliseconds.load(ordering: .relaxed)
            return now / 1000 - active / 1000 >= seconds
        }
    }
}

extension ClientAddresses {
    /// The peer's address without its port.
    fileprivate var host: String {
        guard let colon = peer.lastIndex(of: ":") else { return peer }
        var host = peer[..<colon]
        if host.hasPrefix("[") && host.hasSuffix("]") { host = host.dropFirst().dropLast() }
        return String(host)
    }
}
