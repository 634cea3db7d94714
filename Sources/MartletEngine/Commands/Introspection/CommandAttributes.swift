//  What COMMAND INFO says of a command, derived from its declaration: flags, ACL categories, the old
//  first-last-step form of its keys. Names and their order are Redis'.

extension Command {
    /// The flags, in Redis' words. What only concerns us, or what Redis hides, has none.
    var flagNames: [StaticString] {
        var names: [StaticString] = []
        if access == .write { names.append("write") }
        if access == .read { names.append("readonly") }
        for (trait, name) in Self.namedTraits where traits.contains(trait) { names.append(name) }
        if movesKeys { names.append("movablekeys") }
        if traits.contains(.allowBusy) { names.append("allow_busy") }
        return names
    }

    private static let namedTraits: [(Traits, StaticString)] = [
        (.growsMemory, "denyoom"), (.admin, "admin"), (.pubsub, "pubsub"), (.noScript, "noscript"),
        (.blocking, "blocking"), (.loading, "loading"), (.stale, "stale"),
        (.skipMonitor, "skip_monitor"), (.skipSlowlog, "skip_slowlog"), (.asking, "asking"),
        (.fast, "fast"), (.noAuth, "no_auth"), (.noMandatoryKeys, "no_mandatory_keys"),
        (.noAsyncLoading, "no_async_loading"), (.noMulti, "no_multi"),
    ]

    /// The ACL categories: those that follow from access and traits, and the declared ones.
    var categoryNames: [StaticString] {
        var names: Set<String> = Set(acl.map(\.rawValue))
        if access == .write { names.insert("write") }
        if access == .read && !acl.contains(.scripting) { names.insert("read") }
        if traits.contains(.admin) { names.formUnion(["admin", "dangerous"]) }
        if traits.contains(.pubsub) { names.insert("pubsub") }
        if traits.contains(.blocking) { names.insert("blocking") }
        names.insert(traits.contains(.fast) ? "fast" : "slow")
        return Self.categoryOrder.filter { names.contains($0.description) }
    }

    /// All ACL categories, in Redis' order.
    static let categoryOrder: [StaticString] = [
        "keyspace", "read", "write", "set", "sortedset", "list", "hash", "string", "bitmap",
        "hyperloglog", "geo", "stream", "pubsub", "admin", "fast", "slow", "blocking", "dangerous",
        "connection", "transaction", "scripting",
    ]

    // MARK: Keys

    /// First key, last key and step, for clients older than key specifications; zeros without keys.
    ///
    /// Specifications that follow each other argument by argument are one range; any other is left
    /// out, and then `movesKeys` is true.
    var keyRange: (first: Int, last: Int, step: Int) {
        if keys.count == 1, case .range(let last, let step) = keys[0].find {
            return (keys[0].first, last < 0 ? last : keys[0].first + last, step)
        }
        var first = Int.max
        var last = 0
        for (spec, previousLast) in plainRanges {
            first = min(first, spec.first)
            // From the end counts as later than any number from the start.
            if last >= 0 { last = previousLast < 0 ? previousLast : max(last, previousLast) }
        }
        return first == .max ? (0, 0, 0) : (first, last, 1)
    }

    /// Not every key is within `keyRange`.
    var movesKeys: Bool {
        if traits.contains(.movableKeys) { return true }
        if keys.contains(where: { $0.flags.contains(.incomplete) }) { return true }
        if keys.count == 1, case .range = keys[0].find { return false }
        return plainRanges.count < keys.count
    }

    /// Ranges of step 1 that stand alone or right behind the one before, with their last argument.
    private var plainRanges: [(spec: KeySpec, last: Int)] {
        var ranges: [(KeySpec, Int)] = []
        var previousLast = 0
        for spec in keys {
            let end: Int? =
                switch spec.find {
                case .range(let last, 1): last
                case .listed(nil, _): 0
                default: nil
                }
            guard let last = end, previousLast == 0 || previousLast == spec.first - 1 else {
                previousLast = 0
                continue
            }
            previousLast = last < 0 ? last : spec.first + last
            ranges.append((spec, previousLast))
        }
        return ranges
    }
}

extension KeyFlags {
    /// The flags, in Redis' words and order.
    var names: [StaticString] {
        Self.named.filter { contains($0.0) }.map(\.1)
    }

    private static let named: [(KeyFlags, StaticString)] = [
        (.readOnly, "RO"), (.readWrite, "RW"), (.overwrite, "OW"), (.remove, "RM"),
        (.access, "access"), (.update, "update"), (.insert, "insert"), (.delete, "delete"),
        (.notKey, "not_key"), (.incomplete, "incomplete"), (.variable, "variable_flags"),
    ]
}
