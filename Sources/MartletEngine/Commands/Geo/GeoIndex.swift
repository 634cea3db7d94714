//  GEOADD, GEOPOS, GEOHASH, GEODIST: places as members of a sorted set.

import MartletBase

extension CommandGroup {
    static let geoIndex: CommandGroup = [
        Command(
            "GEOADD", since: "3.2.0", group: .geo,
            syntax: "key [NX | XX] [CH] longitude latitude member [longitude latitude member ...]",
            summary: "Adds one or more members to a geospatial index. The key is created if it "
                + "doesn't exist.",
            complexity: "O(log(N)) for each item added, where N is the number of elements in the "
                + "sorted set.",
            arity: .atLeast(5), keys: [.one(at: 1, [.readWrite, .update])], access: .write,
            traits: .growsMemory, acl: [.geo], run: geoadd),
        question(
            "GEODIST", "key member1 member2 [M | KM | FT | MI]",
            "Returns the distance between two members of a geospatial index.", .atLeast(4),
            complexity: "O(1)", run: geodist),
        question(
            "GEOHASH", "key [member [member ...]]",
            "Returns members from a geospatial index as geohash strings.", .atLeast(2),
            complexity: "O(1) for each member requested.", run: geohash),
        question(
            "GEOPOS", "key [member [member ...]]",
            "Returns the longitude and latitude of members from a geospatial index.", .atLeast(2),
            complexity: "O(1) for each member requested.", run: geopos),
    ]

    private static func question(
        _ name: String, _ syntax: String, _ summary: String, _ arity: Arity, complexity: String,
        run: @escaping Handler
    ) -> Command {
        Command(
            name, since: "3.2.0", group: .geo, syntax: syntax, summary: summary,
            complexity: complexity, arity: arity, keys: [.one(at: 1, [.readOnly, .access])],
            access: .read, acl: [.geo], run: run)
    }
}

/// A unit of length.
enum LengthUnit {
    /// Meters of the unit that stands next.
    static func meters(_ arguments: inout Arguments) throws(CommandError) -> Double {
        if arguments.skip("m") { return 1 }
        if arguments.skip("km") { return 1000 }
        if arguments.skip("ft") { return 0.3048 }
        if arguments.skip("mi") { return 1609.34 }
        throw .invalid("unsupported unit provided. please use M, KM, FT, MI")
    }
}

extension Call {
    /// Reads longitude and latitude.
    ///
    /// - Throws: also when they are beyond what an index takes.
    mutating func geoPoint() throws(CommandError) -> GeoPoint {
        let longitude = try arguments.double()
        let latitude = try arguments.double()
        let point = GeoPoint(longitude: longitude, latitude: latitude)
        if !point.isValid {
            var text = ByteBuffer()
            text.append(fixedPoint: longitude, decimals: 6)
            text.append(UInt8(ascii: ","))
            text.append(fixedPoint: latitude, decimals: 6)
            errorDetail.removeAll()
            errorDetail.append("ERR invalid longitude,latitude pair ")
            errorDetail.append(text.view)
            throw .detailed
        }
        return point
    }
}

extension ReplyWriter {
    /// A distance, with four decimals.
    mutating func distance(_ distance: Double) {
        var text = ByteBuffer()
        text.append(fixedPoint: distance, decimals: 4)
        bulk(text.view)
    }

    /// Longitude and latitude.
    mutating func point(_ point: GeoPoint) {
        array(2)
        double(point.longitude)
        double(point.latitude)
    }
}

private func geoadd(_ call: inout Call) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    var rule: ScoreRule = []
    var countsMoved = false
    while true {
        if call.arguments.skip("nx") {
            rule.insert(.onlyNew)
        } else if call.arguments.skip("xx") {
            rule.insert(.onlyExisting)
        } else if call.arguments.skip("ch") {
            countsMoved = true
        } else {
            break
        }
    }
    if call.arguments.isAtEnd || call.arguments.remaining % 3 != 0
        || rule.isSuperset(of: [.onlyNew, .onlyExisting])
    {
        throw .syntax
    }
    // All of them, so that a GEOADD that fails has changed nothing.
    let first = call.arguments.position
    while !call.arguments.isAtEnd {
        _ = try call.geoPoint()
        _ = try call.arguments.next()
    }
    call.arguments.position = first

    var set = try call.keyspace.sortedSet(key)
    let limits = call.sortedSetLimits
    var added = 0
    var moved = 0
    while !call.arguments.isAtEnd {
        let point = try call.geoPoint()
        let member = try call.arguments.next()
        switch try set.place(member, point.score, rule: rule, limits: limits) {
        case .added: added += 1
        case .moved: moved += 1
        case .unchanged, .refused, .notNumber: break
        }
    }

    call.reply.integer(countsMoved ? added + moved : added)
    return .changed(.zadd, count: added + moved)
}

private func geodist(_ call: inout Call) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    let one = try call.arguments.next()
    let other = try call.arguments.next()
    if call.arguments.remaining > 1 { throw .syntax }
    let unit = call.arguments.isAtEnd ? 1 : try LengthUnit.meters(&call.arguments)
    let set = try call.keyspace.readSortedSet(key)
    if let start = set.score(of: one), let end = set.score(of: other) {
        call.reply.distance(GeoPoint(score: start).distance(to: GeoPoint(score: end)) / unit)
    } else {
        call.reply.null()
    }
    return .none
}

private func geohash(_ call: inout Call) throws(CommandError) -> Effect {
    let set = try call.keyspace.readSortedSet(try call.arguments.key())
    call.reply.array(call.arguments.remaining)
    while !call.arguments.isAtEnd {
        if let score = set.score(of: try call.arguments.next()) {
            GeoPoint(score: score).text.withView { call.reply.bulk($0) }
        } else {
            call.reply.null()
        }
    }
    return .none
}

private func geopos(_ call: inout Call) throws(CommandError) -> Effect {
    let set = try call.keyspace.readSortedSet(try call.arguments.key())
    call.reply.array(call.arguments.remaining)
    while !call.arguments.isAtEnd {
        if let score = set.score(of: try call.arguments.next()) {
            call.reply.point(GeoPoint(score: score))
        } else {
            call.reply.nullArray()
        }
    }
    return .none
}
