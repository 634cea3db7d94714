//  What a stage is, and how its time is taken.

import MartletBase

/// One stage of the hot path or one operation of a structure, run alone.
struct Stage: Sendable {
    let name: String

    /// Prepares, then runs the given number of operations between `start` and `stop` of the watch;
    /// returns something that depends on all of them, so that the compiler leaves none out.
    let run: @Sendable (_ operations: Int, _ watch: inout Stopwatch) -> UInt64

    init(_ name: String, run: @escaping @Sendable (Int, inout Stopwatch) -> UInt64) {
        self.name = name
        self.run = run
    }

    /// Nanoseconds of processor time per operation, one figure a round, ascending.
    func measure(rounds: Int, roundMilliseconds: Int) -> [Double] {
        let roundNanoseconds = Int64(roundMilliseconds) * 1_000_000
        // Grow until a round is long enough; that warms caches and predictors, too.
        var operations = 1
        while true {
            let used = time(operations)
            if used >= roundNanoseconds / 2 || operations >= 1 << 32 { break }
            operations *= used < roundNanoseconds / 16 ? 8 : 2
        }
        return (0..<rounds).map { _ in Double(time(operations)) / Double(operations) }.sorted()
    }

    private func time(_ operations: Int) -> Int64 {
        var watch = Stopwatch()
        let result = run(operations, &watch)
        keep(result)
        return watch.nanoseconds
    }
}

/// Processor time of this thread: what other processes do does not count.
struct Stopwatch {
    private(set) var nanoseconds: Int64 = 0
    private var startedAt: Int64 = 0

    mutating func start() { startedAt = Clock.threadNanoseconds() }

    mutating func stop() { nanoseconds += Clock.threadNanoseconds() - startedAt }
}

/// Takes a result so that the work behind it is not optimised away.
@inline(never)
func keep(_ value: UInt64) {
    // A value that no stage gives; the compiler cannot know.
    if value == 0x5EED_5EED_5EED_5EED { print("") }
}

/// Equally long texts side by side in memory, as keys and numbers in a request buffer are.
struct Samples: ~Copyable {
    private var buffer = ByteBuffer()
    private var ends: [Int] = []

    /// As many texts as `texts` has; a power of two, so that an index is masked.
    init(_ texts: [String]) {
        precondition(texts.count & (texts.count - 1) == 0, "the count is a power of two")
        for text in texts {
            buffer.append(text)
            ends.append(buffer.count)
        }
    }

    /// The text at `index`, counted on from the start when there are no more.
    @inline(__always)
    subscript(index: Int) -> ByteView {
        let place = index & (ends.count &- 1)
        return buffer.view.slice(place == 0 ? 0 : ends[place - 1], ends[place])
    }
}
