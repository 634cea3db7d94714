//  maxmemory: which keys go, what is refused, and what everybody is told of it.

import MartletBase
import Testing

@testable import MartletEngine

extension CommandHarness {
    /// Puts a limit in force.
    fileprivate func limit(_ bytesMax: Int, _ policy: String, samples: Int = 5) {
        state.settings.eviction.samples.store(samples, ordering: .relaxed)
        state.setEviction(
            bytesMax: bytesMax, policy: EvictionPolicy(name: policy) ?? EvictionPolicy(.none))
        state.settings.version.wrappingAdd(1, ordering: .relaxed)
    }

    fileprivate var usedBytes: Int { state.weigh(EvictionPolicy(.lru)).usedBytes }

    /// Lets the loop do what it does between events until it has nothing left to do.
    fileprivate func settle() {
        for _ in 0..<1000 {
            time.advance(milliseconds: 1)
            if idle() == .max { return }
        }
    }

    fileprivate var evictedCount: Int { Int(state.statistics[0][.evicted]) }
}

struct EvictionTests {
    private let server = CommandHarness()

    private func name(_ index: Int) -> String { "key:\(index)" }

    /// Sets keys of about 150 bytes.
    private func fill(_ client: HarnessClient, _ range: Range<Int>, _ more: String...) {
        for index in range {
            client.run(["SET", name(index), String(repeating: "v", count: 100)] + more)
        }
    }

    /// How many of these keys are there.
    private func count(_ client: HarnessClient, _ indexes: some Sequence<Int>) -> Int {
        indexes.count { client.run("EXISTS", name($0)) == .integer(1) }
    }

    /// Puts a limit in force that lets about `share` of what is used stay, and waits until it is kept.
    private func shrink(to share: Double, _ policy: String) {
        server.limit(Int(Double(server.usedBytes) * share), policy)
        server.settle()
    }

    @Test func `the least recently used keys go first`() {
        let client = server.client()
        server.limit(1 << 30, "allkeys-lru")
        fill(client, 0..<3000)
        server.time.advance(milliseconds: 60_000)
        for index in stride(from: 0, to: 3000, by: 2) { client.run("GET", name(index)) }
        server.time.advance(milliseconds: 60_000)
        shrink(to: 0.7, "allkeys-lru")
        #expect(server.evictedCount > 600)
        #expect(count(client, stride(from: 0, to: 3000, by: 2)) >= 1470)
        server.checkPartitions()
    }

    @Test func `moments count for the least recently used`() {
        let client = server.client()
        server.limit(1 << 30, "allkeys-lru")
        fill(client, 0..<1000)
        server.time.advance(milliseconds: 500)
        for index in 0..<500 { client.run("GET", name(index)) }
        shrink(to: 0.75, "allkeys-lru")
        #expect(count(client, 0..<500) >= 480)
    }

    @Test func `the least frequently used keys go first`() {
        let client = server.client()
        server.state.settings.eviction.logFactor.store(1, ordering: .relaxed)
        server.limit(1 << 30, "allkeys-lfu")
        fill(client, 0..<2000)
        for _ in 0..<20 { for index in 0..<1000 { client.run("GET", name(index)) } }
        // Used last, but once.
        for index in 1000..<2000 { client.run("GET", name(index)) }
        shrink(to: 0.7, "allkeys-lfu")
        #expect(count(client, 0..<1000) >= 970)
        #expect(count(client, 1000..<2000) <= 500)
    }

    @Test func `reads are no modifications`() {
        let client = server.client()
        server.limit(1 << 30, "allkeys-lrm")
        fill(client, 0..<2000)
        server.time.advance(milliseconds: 60_000)
        for index in 0..<1000 { client.run("APPEND", name(index), "x") }
        server.time.advance(milliseconds: 60_000)
        for index in 1000..<2000 { client.run("GET", name(index)) }
        shrink(to: 0.7, "allkeys-lrm")
        #expect(count(client, 0..<1000) >= 970)
    }

    @Test func `a write to a collection is a modification`() {
        let client = server.client()
        server.limit(1 << 30, "allkeys-lrm")
        client.run("HSET", "h", "f", "v")
        server.time.advance(milliseconds: 60_000)
        client.run("HGET", "h", "f")
        #expect(client.run("OBJECT", "IDLETIME", "h") == .integer(60))
        client.run("HSET", "h", "f", "w")
        #expect(client.run("OBJECT", "IDLETIME", "h") == .integer(0))
    }

    @Test(arguments: ["volatile-lru", "volatile-lfu", "volatile-lrm", "volatile-random"])
    func `only keys with a deadline go`(policy: String) {
        let client = server.client()
        fill(client, 0..<500)
        fill(client, 500..<1000, "EX", "10000")
        shrink(to: 0.85, policy)
        #expect(count(client, 0..<500) == 500)
        let left = count(client, 500..<1000)
        #expect(left > 100 && left < 450)
        server.checkPartitions()
        // With nothing left to evict, what needs memory is refused.
        server.limit(server.usedBytes / 3, policy)
        server.settle()
        #expect(count(client, 500..<1000) == 0)
        #expect(
            client.run("SET", "k", "v")
                == .error("OOM command not allowed when used memory > 'maxmemory'."))
        #expect(client.run("GET", "k") == .null)
    }

    @Test func `few keys with a deadline are found among many without`() {
        let client = server.client()
        fill(client, 0..<5000)
        fill(client, 5000..<5050, "EX", "10000")
        server.limit(server.usedBytes - 5_000, "volatile-lru")
        server.settle()
        #expect(count(client, 0..<5000) == 5000)
        let left = count(client, 5000..<5050)
        #expect(left < 30 && left > 5)
    }

    @Test func `what expires next goes first`() {
        let client = server.client()
        for index in 0..<1000 {
            client.run(
                "SET", name(index), String(repeating: "v", count: 100), "EX", "\(100 + index)")
        }
        shrink(to: 0.7, "volatile-ttl")
        #expect(server.evictedCount > 200)
        let evicted = server.evictedCount
        // Those that went are those that expire next, but for a few.
        #expect(count(client, 0..<evicted) <= evicted / 10)
    }

    @Test func `chance lets any key go`() {
        let client = server.client()
        fill(client, 0..<2000)
        shrink(to: 0.5, "allkeys-random")
        let left = count(client, 0..<1000)
        let others = count(client, 1000..<2000)
        #expect(left > 300 && others > 300)
        #expect(abs(left - others) < 150)
    }

    @Test func `keys of all databases go`() {
        let client = server.client()
        fill(client, 0..<500)
        client.run("SELECT", "5")
        fill(client, 0..<500)
        server.time.advance(milliseconds: 5000)
        shrink(to: 0.5, "allkeys-lru")
        let here = count(client, 0..<500)
        client.run("SELECT", "0")
        let there = count(client, 0..<500)
        #expect(here > 50 && there > 50)
    }

    @Test func `writes go on at the limit and what is used stays below`() {
        let client = server.client()
        server.limit(400_000, "allkeys-lru")
        for index in 0..<10_000 {
            #expect(
                client.run("SET", name(index), String(repeating: "v", count: index % 400))
                    == .simple("OK"))
            server.time.advance(milliseconds: 1)
        }
        #expect(server.usedBytes < 405_000)
        #expect(server.evictedCount > 5000)
        #expect(count(client, 9500..<10_000) > 450)
        server.checkPartitions()
    }

    @Test func `without eviction what needs memory is refused, and what frees it is not`() {
        let client = server.client()
        let refusal = Reply.error("OOM command not allowed when used memory > 'maxmemory'.")
        fill(client, 0..<100)
        server.limit(server.usedBytes - 1000, "noeviction")
        #expect(client.run("SET", "k", "v") == refusal)
        #expect(client.run("LPUSH", "l", "v") == refusal)
        #expect(client.run("GET", name(1)) != .null)
        #expect(client.run("MULTI") == .simple("OK"))
        #expect(client.run("SET", "k", "v") == refusal)
        #expect(
            client.run("EXEC")
                == .error("EXECABORT Transaction discarded because of previous errors."))
        for index in 0..<20 { client.run("DEL", name(index)) }
        #expect(client.run("SET", "k", "v") == .simple("OK"))
        // A queue that was made while there was room.
        client.run("MULTI")
        client.run("SET", "k", "w")
        server.limit(1000, "noeviction")
        #expect(
            client.run("EXEC")
                == .error(
                    "EXECABORT Transaction discarded because of: OOM command not allowed when "
                        + "used memory > 'maxmemory'."))
        server.limit(0, "noeviction")
        #expect(client.run("SET", "k", "v") == .simple("OK"))
    }

    @Test func `evicted keys are deleted in the log`() {
        let client = server.client()
        server.setLog(.on)
        fill(client, 0..<50)
        _ = server.logged()
        shrink(to: 0.8, "allkeys-random")
        let gone = (0..<50).filter { client.run("EXISTS", name($0)) == .integer(0) }
        #expect(!gone.isEmpty)
        #expect(Set(server.logged()) == Set(gone.map { "DEL \(name($0))" }))
    }

    @Test func `evicted keys are told to those who listen, and end transactions`() {
        let client = server.client()
        let listener = server.client()
        server.state.notify(
            of: [EventClasses(letter: "E"), EventClasses(letter: "e")])
        listener.run("SUBSCRIBE", "__keyevent@0__:evicted")
        client.run("SET", "k", String(repeating: "v", count: 500))
        client.run("WATCH", "k")
        client.run("MULTI")
        client.run("PING")
        server.limit(server.usedBytes - 100, "allkeys-lru")
        server.settle()
        server.deliverMessages()
        #expect(
            listener.replies() == [
                .array([.bulk("message"), .bulk("__keyevent@0__:evicted"), .bulk("k")])
            ])
        server.limit(0, "noeviction")
        #expect(client.run("EXEC") == .null)
    }

    @Test func `frequencies are counted, kept by writes and told`() {
        let client = server.client()
        server.limit(0, "allkeys-lfu")
        client.run("SET", "k", "v")
        #expect(client.run("OBJECT", "FREQ", "k") == .integer(5))
        for _ in 0..<200 { client.run("GET", "k") }
        guard case .integer(let often) = client.run("OBJECT", "FREQ", "k") else {
            Issue.record("a number")
            return
        }
        #expect(often > 6 && often < 40)
        for value in ["w", "12", String(repeating: "x", count: 5000), "again"] {
            client.run("SET", "k", value)
            guard case .integer(let now) = client.run("OBJECT", "FREQ", "k") else { return }
            #expect(now >= often && now <= often + 4)
        }
        server.time.advance(milliseconds: 2 * 60_000)
        guard case .integer(let later) = client.run("OBJECT", "FREQ", "k") else { return }
        #expect(later <= often + 2 && later >= often - 2)
        #expect(client.run("OBJECT", "IDLETIME", "k")?.text?.hasPrefix("ERR An LFU") == true)
        server.limit(0, "allkeys-lru")
        #expect(client.run("OBJECT", "FREQ", "k")?.text?.hasPrefix("ERR An LFU") == true)
    }

    @Test func `NO-TOUCH leaves frequencies alone, and TOUCH does not`() {
        let client = server.client()
        server.limit(0, "allkeys-lfu")
        server.state.settings.eviction.logFactor.store(0, ordering: .relaxed)
        server.limit(0, "allkeys-lfu")
        client.run("SET", "k", "v")
        client.run("CLIENT", "NO-TOUCH", "ON")
        client.run("GET", "k")
        #expect(client.run("OBJECT", "FREQ", "k") == .integer(5))
        client.run("TOUCH", "k")
        #expect(client.run("OBJECT", "FREQ", "k") == .integer(6))
        client.run("CLIENT", "NO-TOUCH", "OFF")
        client.run("GET", "k")
        #expect(client.run("OBJECT", "FREQ", "k") == .integer(7))
        client.run("GET", "k")
        #expect(client.run("OBJECT", "FREQ", "k") == .integer(8))
    }

    @Test func `what is used returns to where it was`() {
        let client = server.client()
        let before = server.usedBytes
        fill(client, 0..<2000, "EX", "1000")
        for index in 0..<200 {
            client.run("ZADD", "z", "\(index)", "member:\(index)")
            client.run("HSET", "h", "field:\(index)", String(repeating: "v", count: 100))
            client.run("XADD", "x", "*", "field", "\(index)")
            client.run("RPUSH", "l", String(repeating: "e", count: 100))
            client.run("SADD", "s", "member:\(index)")
        }
        #expect(server.usedBytes > before + 300_000)
        client.run("FLUSHALL")
        // Wheels stay where they are.
        #expect(server.usedBytes <= before + 16 * 4000)
    }

    @Test func `a policy has the name it was made of`() {
        for name in ["allkeys-ttl", "volatile", "lru", "", "allkeys-lru-x", "noeviction-lru"] {
            #expect(EvictionPolicy(name: name) == nil)
        }
        for order in EvictionPolicy.Order.allCases {
            for onlyVolatile in [false, true] {
                let policy = EvictionPolicy(order, onlyVolatile: onlyVolatile)
                #expect(EvictionPolicy(word: policy.word) == policy)
            }
        }
    }

    @Test func `tenacity means what it means to Redis`() {
        #expect(EvictionCycle.microseconds(tenacity: 0) == 0)
        #expect(EvictionCycle.microseconds(tenacity: 10) == 500)
        #expect(EvictionCycle.microseconds(tenacity: 11) == 575)
        #expect(EvictionCycle.microseconds(tenacity: 100) == .max)
    }
}

struct EvictionPoolTests {
    private func candidate(_ score: UInt64, _ hash: UInt64) -> EvictionCandidate {
        EvictionCandidate(score: score, hash: hash, address: 0, shard: 0, database: 0)
    }

    @Test func `the pool keeps the best and gives the best first`() {
        var random = Random(seed: testSeed())
        var pool = EvictionPool()
        var all: [UInt64] = []
        for hash in 0..<1000 {
            let score = random.next() % 5000
            all.append(score)
            if pool.admits(score) { pool.add(candidate(score, UInt64(hash))) }
        }
        all.sort(by: >)
        for index in 0..<EvictionPool.countMax {
            #expect(pool.removeBest()?.score == all[index])
        }
        #expect(pool.isEmpty)
    }

    @Test func `no key is in the pool twice`() {
        var pool = EvictionPool()
        pool.add(candidate(1, 7))
        pool.add(candidate(2, 7))
        #expect(pool.count == 1)
    }
}

struct AccessTests {
    @Test func `idle times survive the clock's turn`() {
        // 2^24 ticks after a multiple of them.
        let turn = (Int64(1) << 24) * 125 * 1000
        for now in [turn - 1000, turn, turn + 1000, turn + 500_000] {
            let access = AccessClock.used(secondsAgo: 300, at: now)
            #expect(AccessClock.idleSeconds(access, at: now) == 300)
            #expect(AccessClock.idleSeconds(AccessClock.at(now), at: now) == 0)
            #expect(AccessClock.idleSeconds(AccessClock.at(now + 200), at: now) == 0)
        }
        let longAgo = AccessClock.used(secondsAgo: .max, at: turn)
        #expect(AccessClock.idleSeconds(longAgo, at: turn) > 2_000_000)
    }

    @Test func `the counter grows as Redis' does`() {
        // redis.conf: at a factor of 10, 100 hits give 10, 1000 give 18, 100 000 give 142.
        var random = Random(seed: testSeed())
        let frequency = AccessFrequency(logFactor: 10, decayMinutes: 1)
        for (hits, low, high) in [(100, 8, 13), (1000, 14, 24), (100_000, 125, 160)] {
            var access = AccessFrequency.access(counter: AccessFrequency.initial, at: 0)
            for _ in 0..<hits { access = frequency.used(access, at: 0, &random) }
            let counter = Int(frequency.counter(access, at: 0))
            #expect(counter >= low && counter <= high)
        }
        let access = AccessFrequency.access(counter: 20, at: 0)
        #expect(frequency.counter(access, at: 5 * 60_000) == 15)
        #expect(frequency.counter(access, at: 500 * 60_000) == 0)
        let lasting = AccessFrequency(logFactor: 10, decayMinutes: 0)
        #expect(lasting.counter(access, at: 500 * 60_000) == 20)
    }
}
