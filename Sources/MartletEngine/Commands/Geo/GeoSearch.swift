//  GEOSEARCH, GEOSEARCHSTORE, and the older GEORADIUS family: places near to one.

import MartletBase

extension CommandGroup {
    static let geoSearch: CommandGroup = [
        Command(
            "GEOSEARCH", since: "6.2.0", group: .geo,
            syntax: "key <FROMMEMBER member | FROMLONLAT longitude latitude> " + areaSyntax
                + " [ASC | DESC] [COUNT count [ANY]] [WITHCOORD] [WITHDIST] [WITHHASH]",
            summary: "Queries a geospatial index for members inside an area of a box or a circle.",
            complexity: searchComplexity, arity: .atLeast(7),
            keys: [.one(at: 1, [.readOnly, .access])], access: .read, acl: [.geo]
        ) { (call) throws(CommandError) in
            let key = try call.arguments.key()
            return try search(&call, .search, in: key)
        },
        Command(
            "GEOSEARCHSTORE", since: "6.2.0", group: .geo,
            syntax: "destination source <FROMMEMBER member | FROMLONLAT longitude latitude> "
                + areaSyntax + " [ASC | DESC] [COUNT count [ANY]] [STOREDIST]",
            summary: "Queries a geospatial index for members inside an area of a box or a circle, "
                + "optionally stores the result.",
            complexity: searchComplexity, arity: .atLeast(8),
            keys: [.one(at: 1, [.overwrite, .update]), .one(at: 2, [.readOnly, .access])],
            access: .write, traits: .growsMemory, acl: [.geo]
        ) { (call) throws(CommandError) in
            let destination = try call.arguments.key()
            let key = try call.arguments.key()
            return try search(&call, .searchAndStore, in: key, storeAt: destination)
        },
        radius(
            "GEORADIUS", .place, isReadOnly: false, since: "3.2.0",
            "Queries a geospatial index for members within a distance from a coordinate, "
                + "optionally stores the result.",
            "`GEOSEARCH` and `GEOSEARCHSTORE` with the `BYRADIUS` argument"),
        radius(
            "GEORADIUS_RO", .place, isReadOnly: true, since: "3.2.10",
            "Returns members from a geospatial index that are within a distance from a coordinate.",
            "`GEOSEARCH` with the `BYRADIUS` argument"),
        radius(
            "GEORADIUSBYMEMBER", .member, isReadOnly: false, since: "3.2.0",
            "Queries a geospatial index for members within a distance from a member, optionally "
                + "stores the result.",
            "`GEOSEARCH` and `GEOSEARCHSTORE` with the `BYRADIUS` and `FROMMEMBER` arguments"),
        radius(
            "GEORADIUSBYMEMBER_RO", .member, isReadOnly: true, since: "3.2.10",
            "Returns members from a geospatial index that are within a distance from a member.",
            "`GEOSEARCH` with the `BYRADIUS` and `FROMMEMBER` arguments"),
    ]

    private static func radius(
        _ name: String, _ start: RadiusStart, isReadOnly: Bool, since: String, _ summary: String,
        _ replacement: String
    ) -> Command {
        let begin = start == .place ? "longitude latitude" : "member"
        let options = start == .place ? 6 : 5
        let stores = isReadOnly ? "" : " [STORE storekey | STOREDIST storedistkey]"
        let source = KeySpec.one(at: 1, [.readOnly, .access])
        return Command(
            name, since: since, group: .geo,
            syntax: "key \(begin) radius <M | KM | FT | MI> [WITHCOORD] [WITHDIST] [WITHHASH] "
                + "[COUNT count [ANY]] [ASC | DESC]" + stores,
            summary: summary,
            complexity: "O(N+log(M)) where N is the number of elements inside the bounding box of "
                + "the circular area delimited by center and radius and M is the number of items "
                + "inside the index.",
            arity: .atLeast(options),
            keys: isReadOnly
                ? [source]
                : [
                    source, .behind("store", from: options, [.overwrite, .update]),
                    .behind("storedist", from: options, [.overwrite, .update]),
                ],
            access: isReadOnly ? .read : .write,
            traits: isReadOnly ? [] : [.growsMemory, .movableKeys], acl: [.geo],
            deprecated: Deprecation(since: "6.2.0", replacedBy: replacement)
        ) { (call) throws(CommandError) in
            let key = try call.arguments.key()
            return try search(&call, .radius(start, stores: !isReadOnly), in: key)
        }
    }
}

private let areaSyntax =
    "<BYRADIUS radius <M | KM | FT | MI> | BYBOX width height <M | KM | FT | MI>>"
private let searchComplexity =
    "O(N+log(M)) where N is the number of elements in the grid-aligned bounding box area around "
    + "the shape provided as the filter and M is the number of items inside the shape"

/// What stands behind the key of GEORADIUS and its kin.
private enum RadiusStart {
    case place
    case member
}

private enum SearchForm: Equatable {
    case search
    case searchAndStore
    case radius(RadiusStart, stores: Bool)
}

private enum Order {
    case none
    case ascending
    case descending
}

/// A search as it was asked for.
private struct SearchRequest {
    private(set) var center: GeoPoint?
    private var shape: GeoArea.Shape?
    /// Meters of the unit.
    private(set) var unit = 1.0
    private(set) var order = Order.none
    /// How many places are wanted; 0 for all.
    private(set) var count: Int64 = 0
    /// The first ones that are met will do.
    private(set) var takesAny = false
    private(set) var withDistance = false
    private(set) var withHash = false
    private(set) var withPoint = false
    private(set) var destination: Key?
    private(set) var storesDistance = false
    private var isFromMember = false

    /// Where to look; the centre is missing only when the set is.
    var area: GeoArea? {
        guard let center, let shape else { return nil }
        return GeoArea(center: center, shape: shape)
    }

    init(
        reading call: inout Call, _ form: SearchForm, _ set: SortedSetValue, storeAt key: Key?
    ) throws(CommandError) {
        destination = key
        if case .radius(let start, _) = form {
            try readRadius(&call, start, set)
        }
        while !call.arguments.isAtEnd { try readOption(&call, form, set) }
        try check(&call, form)
    }

    /// Reads what GEORADIUS and its kin have at fixed places.
    private mutating func readRadius(
        _ call: inout Call, _ start: RadiusStart, _ set: SortedSetValue
    ) throws(CommandError) {
        switch start {
        case .place: center = try call.geoPoint()
        case .member:
            try readMember(&call.arguments, set)
            if set.isEmpty {
                // Neither number nor unit matter, as in Redis.
                _ = try call.arguments.next()
                _ = try call.arguments.next()
                return
            }
        }
        try readCircle(&call.arguments)
    }

    private mutating func readMember(
        _ arguments: inout Arguments, _ set: SortedSetValue
    ) throws(CommandError) {
        let member = try arguments.next()
        isFromMember = true
        if set.isEmpty { return }
        guard let score = set.score(of: member) else {
            throw .invalid("could not decode requested zset member")
        }
        center = GeoPoint(score: score)
    }

    private mutating func readCircle(_ arguments: inout Arguments) throws(CommandError) {
        guard let radius = try arguments.next().parseDouble() else {
            throw .invalid("need numeric radius")
        }
        if radius < 0 { throw .invalid("radius cannot be negative") }
        unit = try LengthUnit.meters(&arguments)
        shape = .circle(radius: radius * unit)
    }

    private mutating func readBox(_ arguments: inout Arguments) throws(CommandError) {
        guard let width = try arguments.next().parseDouble() else {
            throw .invalid("need numeric width")
        }
        guard let height = try arguments.next().parseDouble() else {
            throw .invalid("need numeric height")
        }
        if width < 0 || height < 0 { throw .invalid("height or width cannot be negative") }
        unit = try LengthUnit.meters(&arguments)
        shape = .box(width: width * unit, height: height * unit)
    }

    private mutating func readOption(
        _ call: inout Call, _ form: SearchForm, _ set: SortedSetValue
    ) throws(CommandError) {
        let isSearch = form == .search || form == .searchAndStore
        // With the option's own word.
        let remaining = call.arguments.remaining
        if call.arguments.skip("withdist") {
            withDistance = true
        } else if call.arguments.skip("withhash") {
            withHash = true
        } else if call.arguments.skip("withcoord") {
            withPoint = true
        } else if call.arguments.skip("any") {
            takesAny = true
        } else if call.arguments.skip("asc") {
            order = .ascending
        } else if call.arguments.skip("desc") {
            order = .descending
        } else if remaining > 1 && call.arguments.skip("count") {
            count = try call.arguments.integer()
            if count <= 0 { throw .invalid("COUNT must be > 0") }
        } else if form == .searchAndStore && call.arguments.skip("storedist") {
            storesDistance = true
        } else if case .radius(_, stores: true) = form, remaining > 1,
            call.arguments.skip("store")
        {
            destination = try call.arguments.key()
            storesDistance = false
        } else if case .radius(_, stores: true) = form, remaining > 1,
            call.arguments.skip("storedist")
        {
            destination = try call.arguments.key()
            storesDistance = true
        } else if isSearch && remaining > 1 && (isFromMember || center == nil)
            && call.arguments.skip("frommember")
        {
            try readMember(&call.arguments, set)
        } else if isSearch && remaining > 2 && !isFromMember && call.arguments.skip("fromlonlat") {
            center = try call.geoPoint()
        } else if isSearch && remaining > 2 && !isBox && call.arguments.skip("byradius") {
            try readCircle(&call.arguments)
        } else if isSearch && remaining > 3 && (shape == nil || isBox)
            && call.arguments.skip("bybox")
        {
            try readBox(&call.arguments)
        } else {
            throw .syntax
        }
    }

    private var isBox: Bool {
        if case .box = shape { return true }
        return false
    }

    private mutating func check(_ call: inout Call, _ form: SearchForm) throws(CommandError) {
        if destination != nil && (withDistance || withHash || withPoint) {
            if form == .searchAndStore {
                throw .invalid(
                    "GEOSEARCHSTORE is not compatible with WITHDIST, WITHHASH and WITHCOORD options"
                )
            }
            throw .invalid(
                """
                STORE option in GEORADIUS is not compatible with WITHDIST, WITHHASH and WITHCOORD \
                options
                """)
        }
        if form == .search || form == .searchAndStore {
            if center == nil && !isFromMember {
                throw named(&call, "exactly one of FROMMEMBER or FROMLONLAT can be specified for ")
            }
            if shape == nil {
                throw named(&call, "exactly one of BYRADIUS and BYBOX can be specified for ")
            }
        }
        if takesAny && count == 0 { throw .invalid("the ANY argument requires COUNT argument") }
        // The nearest ones are meant.
        if count > 0 && order == .none && !takesAny { order = .ascending }
    }

    /// The error that ends with the command's name as the client wrote it.
    private func named(_ call: inout Call, _ text: StaticString) -> CommandError {
        call.errorDetail.removeAll()
        call.errorDetail.append("ERR ")
        call.errorDetail.append(text)
        call.errorDetail.append(call.arguments[0])
        return .detailed
    }
}

/// A place that was found.
private struct FoundPlace {
    let member: ByteView
    let score: Double
    let point: GeoPoint
    let meters: Double
}

/// The places of an area in the order in which they are met, the first `countMax` at most.
private func places(in area: GeoArea, of set: SortedSetValue, countMax: Int) -> [FoundPlace] {
    var found: [FoundPlace] = []
    for scores in area.scores {
        let ranks = set.ranks(scores)
        var low = ranks.lowerBound
        while low < ranks.upperBound && found.count < countMax {
            // In pieces: a walk cannot be left, and ANY needs no more than a few.
            let high = min(ranks.upperBound, low + 64)
            set.forEach(in: low..<high, reversed: false) { member, score in
                let point = GeoPoint(score: score)
                guard found.count < countMax, let meters = area.distance(to: point) else { return }
                found.append(
                    FoundPlace(member: member, score: score, point: point, meters: meters))
            }
            low = high
        }
    }
    return found
}

private func search(
    _ call: inout Call, _ form: SearchForm, in key: Key, storeAt destination: Key? = nil
) throws(CommandError) -> Effect {
    let set = try call.keyspace.readSortedSet(key)
    let request = try SearchRequest(reading: &call, form, set, storeAt: destination)
    var found: [FoundPlace] = []
    if !set.isEmpty, let area = request.area {
        found = places(
            in: area, of: set, countMax: request.takesAny ? Int(request.count) : .max)
    }
    switch request.order {
    case .none: break
    case .ascending: found.sort { $0.meters < $1.meters }
    case .descending: found.sort { $0.meters > $1.meters }
    }
    if request.count > 0 && found.count > Int(request.count) {
        found.removeLast(found.count - Int(request.count))
    }

    if let destination = request.destination {
        return try store(&call, found, request, at: destination, form)
    }
    let extras = [request.withDistance, request.withHash, request.withPoint].count { $0 }
    call.reply.array(found.count)
    for place in found {
        if extras > 0 { call.reply.array(1 + extras) }
        call.reply.bulk(place.member)
        if request.withDistance { call.reply.distance(place.meters / request.unit) }
        // Of an area, so it has 54 bits at most; another's fraction is cut off, as in Redis.
        if request.withHash { call.reply.integer(Int64(place.score)) }
        if request.withPoint { call.reply.point(place.point) }
    }
    return .none
}

private func store(
    _ call: inout Call, _ found: [FoundPlace], _ request: SearchRequest, at destination: Key,
    _ form: SearchForm
) throws(CommandError) -> Effect {
    var result = call.keyspace.newSortedSet()
    for place in found {
        result.add(
            place.member, request.storesDistance ? place.meters / request.unit : place.score)
    }
    let count = result.count
    if count > 0 {
        try call.keyspace.setSortedSet(destination, result, limits: call.sortedSetLimits)
    }
    call.reply.integer(count)
    if count == 0 {
        if !call.keyspace.remove(destination) { return .none }
        call.keyspace.record(.del, destination)
    } else {
        call.keyspace.record(
            form == .searchAndStore ? .geosearchstore : .georadiusstore, destination, count: count)
    }
    return .recorded
}
