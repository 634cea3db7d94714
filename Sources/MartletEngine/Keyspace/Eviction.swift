//  Which key goes when memory is full: the policies, what an entry remembers for them, and how
//  candidates are found.
//
//  An entry has 24 bits for its use (`Entry.access`):
//
//      clock policies      eighths of a second, modulo 2^24: 24 days
//      frequency policies  minutes, modulo 2^16, << 8 | logarithmic counter
//
//  Nobody keeps lists: a shard's table is sampled. Entries stand in the table by their hash, so those at
//  any place are a fair sample. What looked best of all samples lately is kept in a pool of candidates
//  (Redis does likewise since 3.0), which is looked at again before it goes. Keys with a deadline are
//  looked for in the expiry index where they are rare, and `volatile-ttl` takes what the index says.
//
//  The steps that evict are in Execution/EvictionCycle.swift.

import CSystem
import MartletBase

/// `maxmemory-policy`.
package struct EvictionPolicy: Equatable, Sendable {
    /// Which key goes first.
    package enum Order: UInt8, Sendable, CaseIterable {
        /// None: what needs memory is refused.
        case none
        /// The one not used for the longest time.
        case lru
        /// The one not written for the longest time.
        case lrm
        /// The one used least often.
        case lfu
        /// Any.
        case random
        /// The one that expires next.
        case ttl
    }

    package let order: Order
    /// Only keys with a deadline go.
    package let onlyVolatile: Bool

    package init(_ order: Order, onlyVolatile: Bool = false) {
        self.order = order
        self.onlyVolatile = onlyVolatile
    }

    /// The policy of this name, or nil.
    package init?(name: String) {
        let parts = name.split(separator: "-")
        if name == "noeviction" {
            self.init(.none)
            return
        }
        guard parts.count == 2, parts[0] == "allkeys" || parts[0] == "volatile" else { return nil }
        let onlyVolatile = parts[0] == "volatile"
        switch parts[1] {
        case "lru": self.init(.lru, onlyVolatile: onlyVolatile)
        case "lrm": self.init(.lrm, onlyVolatile: onlyVolatile)
        case "lfu": self.init(.lfu, onlyVolatile: onlyVolatile)
        case "random": self.init(.random, onlyVolatile: onlyVolatile)
        case "ttl" where onlyVolatile: self.init(.ttl, onlyVolatile: true)
        default: return nil
        }
    }

    init(word: Int) {
        self.init(
            Order(rawValue: UInt8(truncatingIfNeeded: word)) ?? .none,
            onlyVolatile: word & 256 != 0)
    }

    var word: Int { Int(order.rawValue) | (onlyVolatile ? 256 : 0) }

    /// Whether entries remember a frequency, not a time.
    package var usesFrequency: Bool { order == .lfu }
    /// Whether the time that entries remember decides.
    var usesClock: Bool { order == .lru || order == .lrm }
}

/// The time an entry was last used, as it remembers it.
package enum AccessClock {
    static let mask: UInt32 = 0xFF_FFFF
    static let ticksPerSecond: Int64 = 8

    /// The clock at a wall time.
    @inline(__always)
    static func at(_ milliseconds: Int64) -> UInt32 {
        UInt32(truncatingIfNeeded: milliseconds &* ticksPerSecond / 1000) & mask
    }

    /// The same to the whole second: entries read often are written once a second then.
    @inline(__always)
    static func atSecond(_ milliseconds: Int64) -> UInt32 {
        UInt32(truncatingIfNeeded: milliseconds / 1000 &* ticksPerSecond) & mask
    }

    /// For how long an entry was not used, in ticks; it wraps around after 24 days.
    @inline(__always)
    static func idleTicks(_ access: UInt32, at milliseconds: Int64) -> UInt32 {
        let idle = (at(milliseconds) &- access) & mask
        // A loop's time may be a little behind that of another one.
        return idle > mask - 16 ? 0 : idle
    }

    /// The same in seconds.
    package static func idleSeconds(_ access: UInt32, at milliseconds: Int64) -> Int {
        Int(idleTicks(access, at: milliseconds)) / Int(ticksPerSecond)
    }

    /// What an entry remembers that was not used for so long.
    static func used(secondsAgo seconds: UInt64, at milliseconds: Int64) -> UInt32 {
        let idle = min(seconds, UInt64(mask) / UInt64(ticksPerSecond) - 2) * UInt64(ticksPerSecond)
        return (at(milliseconds) &- UInt32(truncatingIfNeeded: idle)) & mask
    }
}

/// How often an entry was used lately: a counter that grows ever more slowly and is taken back with time.
///
/// - Source: the logarithmic counter of Morris 1978, as Redis 4.0 has it: a use adds one with
///   probability 1 / (n * factor + 1), n being the counter less that of a new key; each period without
///   use takes one away.
package struct AccessFrequency: Sendable {
    /// What a new key begins with: it is not to go before it was used.
    package static let initial: UInt8 = 5

    /// `lfu-log-factor`.
    var logFactor = 10
    /// `lfu-decay-time`; 0 for no decay.
    var decayMinutes = 1

    @inline(__always)
    static func minutes(at milliseconds: Int64) -> UInt32 {
        UInt32(truncatingIfNeeded: milliseconds / 60_000) & 0xFFFF
    }

    /// What an entry remembers whose counter is `counter` now.
    static func access(counter: UInt8, at milliseconds: Int64) -> UInt32 {
        minutes(at: milliseconds) << 8 | UInt32(counter)
    }

    /// The counter as it is now, the time since the last use taken into account.
    package func counter(_ access: UInt32, at milliseconds: Int64) -> UInt8 {
        let counter = Int(access & 0xFF)
        if decayMinutes == 0 { return UInt8(counter) }
        let elapsed = Int((Self.minutes(at: milliseconds) &- (access >> 8)) & 0xFFFF)
        return UInt8(max(0, counter - elapsed / decayMinutes))
    }

    /// What an entry remembers after one more use.
    func used(_ access: UInt32, at milliseconds: Int64, _ random: inout Random) -> UInt32 {
        var counter = counter(access, at: milliseconds)
        if counter < 255 {
            let above = max(0, Int(counter) - Int(Self.initial))
            let chance = 1 / (Double(above) * Double(logFactor) + 1)
            if random.nextUnit() < chance { counter += 1 }
        }
        return Self.access(counter: counter, at: milliseconds)
    }
}

/// What lookups leave in entries, beyond the clock that most leave.
enum AccessTrace {
    /// The clock.
    case clock
    /// The clock, if the command writes.
    case clockOfWrites
    /// A use is counted.
    case frequency
}

/// A key that may go.
struct EvictionCandidate {
    /// The greater, the sooner.
    let score: UInt64
    let hash: UInt64
    /// Where its entry was.
    let address: UInt
    let shard: Int
    let database: Int
}

/// The best candidates seen lately, the best one last.
///
/// - Invariant: ordered by score, no key twice.
/// - Complexity: O(`countMax`) to add one.
struct EvictionPool {
    /// Redis keeps 16. More make the choice better, as what was seen and not taken is not forgotten.
    static let countMax = 128
    private var candidates: [EvictionCandidate] = []

    var isEmpty: Bool { candidates.isEmpty }
    var count: Int { candidates.count }

    /// Whether a candidate with this score would be kept.
    func admits(_ score: UInt64) -> Bool {
        candidates.count < Self.countMax || score > candidates[0].score
    }

    mutating func add(_ candidate: EvictionCandidate) {
        for known in candidates where known.hash == candidate.hash { return }
        if candidates.count == Self.countMax { candidates.removeFirst() }
        var low = 0
        var high = candidates.count
        while low < high {
            let middle = (low + high) / 2
            if candidates[middle].score < candidate.score {
                low = middle + 1
            } else {
                high = middle
            }
        }
        candidates.insert(candidate, at: low)
    }

    mutating func removeBest() -> EvictionCandidate? { candidates.popLast() }

    mutating func removeAll() { candidates.removeAll(keepingCapacity: true) }
}

/// How candidates are compared.
struct EvictionScale {
    let policy: EvictionPolicy
    let frequency: AccessFrequency
    let nowMilliseconds: Int64

    /// How soon an entry should go: the greater, the sooner. Entries that may not go have none.
    @inline(__always)
    func score(_ entry: Entry) -> UInt64? {
        if policy.onlyVolatile && !entry.header.hasExpiry { return nil }
        switch policy.order {
        case .none: return nil
        case .random: return 0
        case .lru, .lrm:
            // The time itself, not how long ago that is: candidates of different times are compared.
            let used =
                nowMilliseconds * AccessClock.ticksPerSecond / 1000
                - Int64(AccessClock.idleTicks(entry.access, at: nowMilliseconds))
            return UInt64(Int64.max - max(0, used))
        case .lfu:
            // Of those used as often, the one whose last use is longer ago.
            let access = entry.access
            let minutes = (AccessFrequency.minutes(at: nowMilliseconds) &- (access >> 8)) & 0xFFFF
            return UInt64(255 - frequency.counter(access, at: nowMilliseconds)) << 16
                | UInt64(minutes)
        case .ttl:
            // Deadlines of clients may be negative: they have passed.
            guard let deadline = entry.expiryMilliseconds else { return nil }
            return UInt64(Int64.max - max(0, deadline))
        }
    }
}

extension Partition {
    /// Keys that may go.
    func evictableCount(_ policy: EvictionPolicy) -> Int {
        policy.onlyVolatile ? expiry.count : count
    }

    /// Below one key in so many with a deadline, the expiry index is walked instead of the table.
    private static let sparseShare = 16

    /// Calls `body` for up to `countMax` keys that may go, of those at a place chosen by chance.
    func sample(
        _ policy: EvictionPolicy, _ random: inout Random, _ countMax: Int, _ body: (Entry) -> Void
    ) {
        if evictableCount(policy) == 0 { return }
        if policy.order == .ttl {
            expiry.forEachSoon(slabs, countMax, body)
            return
        }
        if policy.onlyVolatile && expiry.count * Self.sparseShare < count {
            expiry.forEachSomewhere(slabs, random.next(), countMax, body)
            return
        }
        let place = random.next()
        if policy.onlyVolatile {
            var left = countMax
            table.sample(place, countMax: countMax * Self.sparseShare) { entry in
                if left > 0 && entry.header.hasExpiry {
                    left -= 1
                    body(entry)
                }
            }
        } else {
            table.sample(place, countMax: countMax, body)
        }
    }
}
