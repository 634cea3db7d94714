//  The RDB format: snapshots on disk, the base of an append-only directory, DUMP payloads.
//
//         0  magic      9 bytes   REDIS and four digits, or VALKEY and three: the version
//         9  records    each begins with a byte: an opcode, or the type of a value
//         …  checksum   8 bytes   little-endian CRC-64 of all before, 0 for none; from version 5 on
//
//         opcode              what follows
//         243  key meta       refused: no server writes it for a plain key
//         244  slot info      3 lengths, for clusters; passed over
//         245  function       a string: the source of a library
//         246  the same of 7.0 release candidates
//         247  module aux     refused, with the module's name
//         248  idle           a length: seconds, for the next key
//         249  frequency      1 byte, for the next key
//         250  aux            2 strings: a name and a value
//         251  resize         2 lengths: keys, and keys with a deadline
//         252  deadline       8 bytes, little-endian milliseconds, for the next key
//         253  the same       4 bytes, seconds
//         254  database       a length
//         255  end
//         0…   type, then the key as a string, then the value
//
//  A *length* is 1, 2, 5 or 9 bytes, the upper two bits of the first say which; 11 there stands for
//  a string in a short form:
//
//         00······                    6 bits
//         01······ ········           14 bits, big-endian
//         10000000 4 bytes            32 bits, big-endian        10000001 8 bytes   64 bits
//         11000000 1, 11000001 2, 11000010 4 bytes: the string is this integer, little-endian
//         11000011 length, length, bytes: an LZF-compressed string, its size and the original's
//
//  What Martlet writes is version 10 and the oldest type that holds all of a value, so that Redis 7.0
//  and everything since can load it: streams are written as type 19, sets as 2 or 11. Two things have
//  no such form, and a file that has them loads in newer servers alone: fields with deadlines are
//  written as types 24 and 25 (Redis 7.4), streams with producers, or with pending entries that are
//  nobody's, as 26 and 27 (Redis 8.6). Type 19 has one time for a consumer, not two: when it last got
//  something is read back as when it last asked.
//
//  Collections that stand in nodes are written member by member (types 1, 2, 4, 5), small ones as
//  one listpack. So a large value can be written piece by piece, in any order of its nodes.

/// Numbers of the format.
package enum RDBFormat {
    /// What files say they are.
    package static let version = 10
    /// The newest version of Redis' whose magic is accepted. What newer types it brings is told when
    /// one is met.
    package static let versionMax = 16
    /// Valkey counts from here.
    package static let valkeyVersionMin = 80
    package static let valkeyVersionMax = 89

    /// Whether files and payloads of a version are read.
    package static func isKnown(version: Int) -> Bool {
        1...versionMax ~= version || valkeyVersionMin...valkeyVersionMax ~= version
    }

    /// Which version knows the type, for DUMP payloads.
    package static func version(of type: RDBType) -> Int {
        switch type {
        case .hashMetadata, .hashListpackEx: 12
        case .stream4: 13
        case .stream5: 14
        default: version
        }
    }

    static let zsetDoubleNaN: UInt8 = 253
    static let zsetDoublePositiveInfinity: UInt8 = 254
    static let zsetDoubleNegativeInfinity: UInt8 = 255
}

/// What a record is that is no key.
enum RDBOpcode: UInt8 {
    case keyMeta = 243
    case slotInfo = 244
    case function = 245
    case functionOfCandidate = 246
    case moduleAux = 247
    case idle = 248
    case frequency = 249
    case aux = 250
    case resize = 251
    case expireMilliseconds = 252
    case expireSeconds = 253
    case selectDatabase = 254
    case end = 255
}

/// How a value is written.
package enum RDBType: UInt8 {
    case string = 0
    case list = 1
    case set = 2
    /// Scores as text.
    case zset = 3
    case hash = 4
    /// Scores as doubles.
    case zset2 = 5
    case module = 6
    case module2 = 7
    case hashZipmap = 9
    case listZiplist = 10
    case setIntset = 11
    case zsetZiplist = 12
    case hashZiplist = 13
    case listQuicklist = 14
    case stream = 15
    case hashListpack = 16
    case zsetListpack = 17
    case listQuicklist2 = 18
    case stream2 = 19
    case setListpack = 20
    case stream3 = 21
    /// Valkey's hash with deadlines has this number too: the file's magic tells.
    case hashMetadataOfCandidate = 22
    case hashListpackExOfCandidate = 23
    case hashMetadata = 24
    case hashListpackEx = 25
    case stream4 = 26
    case stream5 = 27
}
