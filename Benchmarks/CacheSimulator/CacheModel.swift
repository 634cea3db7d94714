//  A cache of so many bytes that holds no values: what the policies are compared on.
//
//  Keys are numbers, so that lists and counters are arrays (KeyLists.swift). A model knows nothing of
//  time: `simulate` takes out what has expired before the next request comes.

/// A replacement policy over keys of different sizes.
package protocol CacheModel {
    /// Asks for a key, and keeps it when it was not there, if the policy wants to.
    ///
    /// - Parameters:
    ///   - key: its number.
    ///   - bytes: what it takes when it is kept.
    ///   - index: the request's number.
    /// - Returns: whether it was there.
    mutating func request(_ key: Int, bytes: Int, at index: Int) -> Bool

    /// Takes out a key that has expired; it may be gone.
    mutating func remove(_ key: Int)

    /// What it holds, at most its capacity.
    var usedBytes: Int { get }
}

/// Requests and how many of them were hits, by number and by bytes of the values.
package struct HitCount: Equatable, Sendable {
    package var requests = 0
    package var hits = 0
    package var requestBytes = 0
    package var hitBytes = 0
    /// Replies that were errors: over the wire alone.
    package var errors = 0

    package init() {}

    package var objectRatio: Double { requests == 0 ? 0 : Double(hits) / Double(requests) }
    package var byteRatio: Double {
        requestBytes == 0 ? 0 : Double(hitBytes) / Double(requestBytes)
    }

    mutating func note(_ request: TraceRequest, isHit: Bool) {
        let bytes = Int(request.valueBytes)
        requests += 1
        requestBytes += bytes
        if isHit {
            hits += 1
            hitBytes += bytes
        }
    }
}

/// How a trace is played.
package struct PlayRules: Sendable {
    /// What a kept key takes beyond its own bytes and those of its value.
    package var entryOverheadBytes = 48
    /// So many requests in the beginning fill the cache and are not counted.
    package var uncountedRequests = 0
    /// How fast time passes.
    package var requestsPerSecond = 50_000.0

    package init() {}

    /// The number of the first request that a value set by this one does not live to see.
    func deadline(_ request: TraceRequest, at index: Int) -> Int {
        request.lifetimeMilliseconds == 0
            ? .max
            : index + max(1, Int(Double(request.lifetimeMilliseconds) * requestsPerSecond / 1000))
    }

    func entryBytes(_ request: TraceRequest, of trace: Trace) -> Int {
        entryOverheadBytes + trace.keyBytes(Int(request.key)) + Int(request.valueBytes)
    }
}

/// Plays a trace on a model.
///
/// A value has the size and the lifetime of the request that set it; a hit changes neither.
///
/// - Complexity: O(requests) and what the model takes; O(log keys) more for a value with a TTL.
package func simulate(
    _ model: inout some CacheModel, _ trace: Trace, _ rules: PlayRules
) -> HitCount {
    var count = HitCount()
    let hasLifetimes = trace.hasLifetimes
    var expiring = KeyHeap(keyCount: hasLifetimes ? trace.keyCount : 0)
    for (index, request) in trace.requests.enumerated() {
        let key = Int(request.key)
        while hasLifetimes, let first = expiring.first, expiring.priority(first) <= UInt64(index) {
            expiring.remove(first)
            model.remove(first)
        }
        let isHit = model.request(key, bytes: rules.entryBytes(request, of: trace), at: index)
        if index >= rules.uncountedRequests { count.note(request, isHit: isHit) }
        if hasLifetimes && !isHit {
            expiring.remove(key)
            let deadline = rules.deadline(request, at: index)
            if deadline != .max { expiring.insert(key, priority: UInt64(deadline)) }
        }
    }
    return count
}

/// The models by name.
package enum CachePolicy: String, CaseIterable, Sendable {
    case lru = "LRU"
    case lfu = "LFU"
    case s3FIFO = "S3-FIFO"
    case sieve = "SIEVE"
    case wTinyLFU = "W-TinyLFU"
    case belady = "Belady"

    /// Plays a trace on a cache of this policy with `capacity` bytes.
    package func simulate(_ trace: Trace, capacity: Int, _ rules: PlayRules) -> HitCount {
        let keyCount = trace.keyCount
        func play(_ model: some CacheModel) -> HitCount {
            var model = model
            return CacheSimulator.simulate(&model, trace, rules)
        }
        switch self {
        case .lru: return play(LRUModel(keyCount: keyCount, capacity: capacity))
        case .lfu: return play(LFUModel(keyCount: keyCount, capacity: capacity))
        case .s3FIFO: return play(S3FIFOModel(keyCount: keyCount, capacity: capacity))
        case .sieve: return play(SieveModel(keyCount: keyCount, capacity: capacity))
        case .wTinyLFU: return play(WTinyLFUModel(keyCount: keyCount, capacity: capacity))
        case .belady: return play(BeladyModel(trace, capacity: capacity, rules))
        }
    }
}
