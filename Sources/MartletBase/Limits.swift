//  Every bound of the server, named with its unit, each with the reason for its value.
//
//  Where a configuration directive can move a bound, this is the default. How the bounds must stand
//  to each other is asserted by `checkRelations()`, which a test and the start of the server run.

/// The bounds.
package enum Limits {
    // MARK: Requests

    /// The longest argument, in bytes; `proto-max-bulk-len`.
    package static let bulkBytesMax = 512 * 1_024 * 1_024

    /// The longest string value, in bytes: what one argument can carry, for APPEND and SETRANGE too.
    package static let stringBytesMax = bulkBytesMax

    /// The longest inline request or header line (`*3`, `$5`), in bytes.
    package static let inlineBytesMax = 64 * 1_024

    /// The most arguments of one request. Redis 7.0 and later take `INT_MAX`; memory for them is
    /// claimed as they arrive, never by this count.
    package static let argumentsMax = Int(Int32.max)

    /// An argument of at least this many bytes gets a buffer of its own size, read straight into it.
    package static let bigArgumentBytesMin = 32 * 1_024

    /// What one client may have sent and not yet had executed, in bytes; `client-query-buffer-limit`.
    package static let queryBufferBytesMax = 1_024 * 1_024 * 1_024

    // MARK: Requests before authentication (CVE-2021-32675, CVE-2025-21605)

    /// The most arguments of one request of a client that has yet to authenticate.
    package static let preauthArgumentsMax = 10

    /// The longest argument of such a client, in bytes.
    package static let preauthBulkBytesMax = 16_384

    /// What such a client may have sent and not yet had executed, in bytes.
    package static let preauthQueryBytesMax = 1_024 * 1_024

    /// Replies that such a client may leave unread, in bytes.
    package static let preauthOutputBytesMax = 1_024

    // MARK: Connections

    /// The most clients at once; `maxclients`.
    package static let clientsMax = 10_000

    /// File descriptors kept for listeners, logs, files and the loops themselves.
    package static let reservedDescriptors = 32

    /// Connections the kernel holds for us before we accept them; `tcp-backlog`.
    package static let listenBacklog = 511

    /// Idle seconds after which the kernel probes a connection; `tcp-keepalive`.
    package static let keepaliveSeconds = 300

    /// Connections accepted in one pass of a loop, so that a storm leaves time for the others.
    package static let acceptsPerPass = 1_000

    // MARK: Keyspace

    /// Databases that SELECT chooses from; `databases`.
    package static let databases = 16

    /// The most databases that may be configured: each costs every shard a pointer.
    package static let databasesMax = 16_384

    /// Cluster slots a key can hash to.
    package static let keySlots = keySlotCount

    /// The last moment a TTL can end at, in milliseconds since 1970: later ones would overflow when
    /// the clock is added.
    package static let expiryMillisecondsMax = Int64.max

    // MARK: Work of one command

    /// Pattern bytes compared again by one glob match before it counts as an attack; some tens of
    /// milliseconds. No pattern that means something comes near.
    package static let globStepsMax = 16 * 1_024 * 1_024

    /// The longest reply that one command may build when its size is not that of stored data, in
    /// bytes: repeated members of SRANDMEMBER and its like (CVE-2023-22458).
    package static let replyBytesMax = 256 * 1_024 * 1_024

    /// How deep replies, scripts' tables and JSON may nest.
    package static let nestingMax = 1_000

    /// Functions of one library. Each takes some hundred bytes that the interpreter's limit does not
    /// count.
    package static let libraryFunctionsMax = 65_536

    // MARK: Numbers as text

    /// The most bytes a signed 64-bit integer takes: `-9223372036854775808`.
    package static let integerDigitsMax = 20

    /// The most bytes a double takes in its shortest form: sign, 17 digits and seven zeros.
    package static let doubleBytesMax = 25

    /// The most bytes a long double takes with 17 decimals.
    package static let longDoubleBytesMax = 5 * 1_024

    /// Whether the bounds stand to each other as the code assumes.
    package static func checkRelations() {
        precondition(stringBytesMax <= bulkBytesMax, "an argument can carry any string value")
        precondition(bulkBytesMax < queryBufferBytesMax, "a query buffer holds any argument")
        precondition(bulkBytesMax <= Int(UInt32.max), "sizes of values fit 32 bits in an entry")
        precondition(inlineBytesMax <= preauthQueryBytesMax, "one line fits even before AUTH")
        precondition(
            preauthArgumentsMax * preauthBulkBytesMax <= preauthQueryBytesMax,
            "one legal request fits before AUTH")
        precondition(preauthBulkBytesMax <= bulkBytesMax, "AUTH never narrows a limit")
        precondition(preauthArgumentsMax <= argumentsMax, "AUTH never narrows a limit")
        precondition(bigArgumentBytesMin <= bulkBytesMax, "a big argument is a legal one")
        precondition(reservedDescriptors < clientsMax, "most descriptors are for clients")
        precondition(databases <= databasesMax, "the default is allowed")
        precondition(keySlots & (keySlots - 1) == 0, "slots are taken by masking")
        precondition(keySlots == 16_384, "clients compute the slots themselves")
        precondition(replyBytesMax <= bulkBytesMax, "a computed reply is no longer than a value")
        precondition(
            String(Int64.min).utf8.count == integerDigitsMax, "the longest integer fits its field")
    }
}
