//  The keyspace events by name and class: what notify-keyspace-events chooses from.

/// The classes of events, and where they are published.
package struct EventClasses: OptionSet, Sendable {
    package let rawValue: UInt32
    package init(rawValue: UInt32) { self.rawValue = rawValue }

    /// What CONFIG knows the classes by, in the order of their bits.
    package static let letters = "Ag$lshzxeKEtmdnoc"

    package init(letter: Character) {
        var bit: UInt32 = 1
        for each in Self.letters {
            if each == letter { break }
            bit <<= 1
        }
        rawValue = bit
    }

    static let generic = EventClasses(rawValue: 1 << 1)
    static let string = EventClasses(rawValue: 1 << 2)
    static let list = EventClasses(rawValue: 1 << 3)
    static let set = EventClasses(rawValue: 1 << 4)
    static let hash = EventClasses(rawValue: 1 << 5)
    static let sortedSet = EventClasses(rawValue: 1 << 6)
    static let expired = EventClasses(rawValue: 1 << 7)
    static let evicted = EventClasses(rawValue: 1 << 8)
    /// To `__keyspace@<db>__:<key>`, with the event for a message.
    static let toKeyspace = EventClasses(rawValue: 1 << 9)
    /// To `__keyevent@<db>__:<event>`, with the key for a message.
    static let toKeyEvent = EventClasses(rawValue: 1 << 10)
    static let stream = EventClasses(rawValue: 1 << 11)
    static let miss = EventClasses(rawValue: 1 << 12)
    static let new = EventClasses(rawValue: 1 << 14)
    static let overwritten = EventClasses(rawValue: 1 << 15)
    static let typeChanged = EventClasses(rawValue: 1 << 16)
}

/// What happened to a key.
package enum KeyEvent: UInt8 {
    case none
    case del
    case expire
    case persist
    case renameFrom
    case renameTo
    case copyTo
    case moveFrom
    case moveTo
    case restore
    case set
    case append
    case setrange
    case incrby
    case incrbyfloat
    case setbit
    case pfadd
    case lpush
    case rpush
    case lpop
    case rpop
    case linsert
    case lset
    case lrem
    case ltrim
    case sortstore
    case sadd
    case srem
    case spop
    case sunionstore
    case sinterstore
    case sdiffstore
    case hset
    case hincrby
    case hincrbyfloat
    case hdel
    case hexpire
    case hpersist
    case hexpired
    case zadd
    case zincr
    case zrem
    case zremrangebyscore
    case zremrangebyrank
    case zremrangebylex
    case zpopmin
    case zpopmax
    case zrangestore
    case zunionstore
    case zinterstore
    case zdiffstore
    case geosearchstore
    case georadiusstore
    case xadd
    case xdel
    case xtrim
    case xsetid
    case xgroupCreate
    case xgroupSetID
    case xgroupDestroy
    case xgroupCreateConsumer
    case xgroupDelConsumer
    /// What a group has handed out, and to whom. Redis has no event for it.
    case groupChange
    /// A stream without entries was made for a group. The group has an event, this has none.
    case streamMade
    case expired
    case evicted
    case created
    case missed
    case overwritten
    case typeChanged

    /// The event's class and its name.
    package var announcement: (eventClass: EventClasses, name: StaticString) {
        switch self {
        case .none: ([], "")
        case .del: (.generic, "del")
        case .expire: (.generic, "expire")
        case .persist: (.generic, "persist")
        case .renameFrom: (.generic, "rename_from")
        case .renameTo: (.generic, "rename_to")
        case .copyTo: (.generic, "copy_to")
        case .moveFrom: (.generic, "move_from")
        case .moveTo: (.generic, "move_to")
        case .restore: (.generic, "restore")
        case .set: (.string, "set")
        case .append: (.string, "append")
        case .setrange: (.string, "setrange")
        case .incrby: (.string, "incrby")
        case .incrbyfloat: (.string, "incrbyfloat")
        case .setbit: (.string, "setbit")
        case .pfadd: (.string, "pfadd")
        case .lpush: (.list, "lpush")
        case .rpush: (.list, "rpush")
        case .lpop: (.list, "lpop")
        case .rpop: (.list, "rpop")
        case .linsert: (.list, "linsert")
        case .lset: (.list, "lset")
        case .lrem: (.list, "lrem")
        case .ltrim: (.list, "ltrim")
        case .sortstore: (.list, "sortstore")
        case .sadd: (.set, "sadd")
        case .srem: (.set, "srem")
        case .spop: (.set, "spop")
        case .sunionstore: (.set, "sunionstore")
        case .sinterstore: (.set, "sinterstore")
        case .sdiffstore: (.set, "sdiffstore")
        case .hset: (.hash, "hset")
        case .hincrby: (.hash, "hincrby")
        case .hincrbyfloat: (.hash, "hincrbyfloat")
        case .hdel: (.hash, "hdel")
        case .hexpire: (.hash, "hexpire")
        case .hpersist: (.hash, "hpersist")
        case .hexpired: (.hash, "hexpired")
        case .zadd: (.sortedSet, "zadd")
        case .zincr: (.sortedSet, "zincr")
        case .zrem: (.sortedSet, "zrem")
        case .zremrangebyscore: (.sortedSet, "zremrangebyscore")
        case .zremrangebyrank: (.sortedSet, "zremrangebyrank")
        case .zremrangebylex: (.sortedSet, "zremrangebylex")
        case .zpopmin: (.sortedSet, "zpopmin")
        case .zpopmax: (.sortedSet, "zpopmax")
        case .zrangestore: (.sortedSet, "zrangestore")
        case .zunionstore: (.sortedSet, "zunionstore")
        case .zinterstore: (.sortedSet, "zinterstore")
        case .zdiffstore: (.sortedSet, "zdiffstore")
        case .geosearchstore: (.sortedSet, "geosearchstore")
        case .georadiusstore: (.sortedSet, "georadiusstore")
        case .xadd: (.stream, "xadd")
        case .xdel: (.stream, "xdel")
        case .xtrim: (.stream, "xtrim")
        case .xsetid: (.stream, "xsetid")
        case .xgroupCreate: (.stream, "xgroup-create")
        case .xgroupSetID: (.stream, "xgroup-setid")
        case .xgroupDestroy: (.stream, "xgroup-destroy")
        case .xgroupCreateConsumer: (.stream, "xgroup-createconsumer")
        case .xgroupDelConsumer: (.stream, "xgroup-delconsumer")
        case .groupChange, .streamMade: ([], "")
        case .expired: (.expired, "expired")
        case .evicted: (.evicted, "evicted")
        case .created: (.new, "new")
        case .missed: (.miss, "keymiss")
        case .overwritten: (.overwritten, "overwritten")
        case .typeChanged: (.typeChanged, "type_changed")
        }
    }

    /// Nobody did it: time passed.
    var isExpiry: Bool { self == .expired || self == .hexpired }

    /// What a group has read is no part of a stream's value, and neither is what its next ID follows
    /// upon: WATCH does not look at it.
    var isUnwatched: Bool {
        switch self {
        case .xgroupCreate, .xgroupSetID, .xgroupDestroy, .xgroupCreateConsumer,
            .xgroupDelConsumer, .groupChange, .xsetid:
            true
        default: false
        }
    }

    /// The key is another one now, for those who watch it or wait for it.
    @inline(__always)
    var isChange: Bool {
        switch self {
        case .created, .missed, .overwritten, .typeChanged: false
        default: true
        }
    }
}
