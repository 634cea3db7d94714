//  XCFGSET, and IDMP of XADD: producers that send an entry again when they are not sure of it.
//
//  Raw memory: the texts of an entry are the request's, lent for the call.

import MartletBase

extension CommandGroup {
    static let streamProducers: CommandGroup = [
        Command(
            "XCFGSET", since: "8.6.0", group: .stream,
            syntax: "key [IDMP-DURATION idmp-duration] [IDMP-MAXSIZE idmp-maxsize]",
            summary: "Sets the IDMP configuration parameters for a stream.",
            arity: .atLeast(2), keys: [.one(at: 1, [.readWrite, .update])], access: .write,
            traits: .fast, acl: [.stream], run: xcfgset)
    ]
}

extension Call {
    /// How long and how many idempotent IDs are remembered unless a stream has its own limits.
    var producerLimits: IdempotentProducers.Limits {
        let settings = unsafe state.settings
        return IdempotentProducers.Limits(
            secondsMax: settings.streamProducerSecondsMax.load(ordering: .relaxed),
            countMax: settings.streamProducerCountMax.load(ordering: .relaxed))
    }
}

private func xcfgset(_ call: inout Call) throws(CommandError) -> Effect {
    let key = try call.arguments.key()
    if call.arguments.isAtEnd { throw .invalid("At least one parameter must be specified") }
    var secondsMax: Int?
    var countMax: Int?
    while !call.arguments.isAtEnd {
        if call.arguments.skip("idmp-duration") {
            let given = try call.arguments.integer()
            guard 1...86_400 ~= given else {
                throw .invalid("IDMP-DURATION must be between 1 and 86400 seconds")
            }
            secondsMax = Int(given)
        } else if call.arguments.skip("idmp-maxsize") {
            let given = try call.arguments.integer()
            guard 1...10_000 ~= given else {
                throw .invalid("IDMP-MAXSIZE must be between 1 and 10000 entries")
            }
            countMax = Int(given)
        } else {
            throw .syntax
        }
    }

    let value = try call.keyspace.stream(key)
    if value.isMissing { throw .noSuchKey }
    let settings = call.producerLimits
    value.change { stream in
        var limits = stream.producers.ownLimits ?? settings
        limits.secondsMax = secondsMax ?? limits.secondsMax
        limits.countMax = countMax ?? limits.countMax
        stream.producers.setLimits(limits, instead: settings)
    }

    call.reply.ok()
    return .unannounced
}

/// What IDMP or IDMPAUTO says of the one who adds an entry.
struct ProducerOptions {
    private(set) var producer: ByteView?
    /// Nil when it is to be made of the entry.
    private var given: ByteView?

    /// Reads one of them, if the next argument is one.
    ///
    /// - Returns: whether it was.
    mutating func read(_ arguments: inout Arguments) throws(CommandError) -> Bool {
        let operands = arguments.remaining - 1
        if operands >= 2 && arguments.skip("idmp") {
            try begin()
            let producer = try arguments.next()
            if producer.isEmpty { throw .invalid("IDMP requires a non-empty producer ID") }
            let given = try arguments.next()
            if given.isEmpty { throw .invalid("IDMP requires a non-empty idempotent ID") }
            (self.producer, self.given) = (producer, given)
        } else if operands >= 1 && arguments.skip("idmpauto") {
            try begin()
            let producer = try arguments.next()
            if producer.isEmpty { throw .invalid("IDMPAUTO requires a non-empty producer ID") }
            self.producer = producer
        } else {
            return false
        }
        return true
    }

    /// What the producer calls the entry of these names and values; nil without a producer.
    func idempotentID(_ texts: UnsafePointer<ByteView>, _ fieldCount: Int) -> [UInt8]? {
        if producer == nil { return nil }
        return unsafe given?.bytes
            ?? NewStreamEntry(.zero, texts, fieldCount: fieldCount).contentID()
    }

    private func begin() throws(CommandError) {
        if producer != nil {
            throw .invalid("syntax error, IDMP/IDMPAUTO specified multiple times")
        }
    }
}
