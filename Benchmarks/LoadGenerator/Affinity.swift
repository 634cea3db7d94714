//  Which CPUs a thread runs on, and how many files a process may open.

import CSystem
import Glibc

/// A list of CPUs, as `0`, `0,2` or `0-3` spell it.
package struct CPUList: Sendable, Equatable {
    package let numbers: [Int]

    /// - Throws: `.usage` when it is no such list.
    package init(parsing text: String) throws(BenchmarkError) {
        var numbers: [Int] = []
        for part in text.split(separator: ",", omittingEmptySubsequences: false) {
            let bounds = part.split(separator: "-", omittingEmptySubsequences: false).map {
                Int($0) ?? -1
            }
            guard let low = bounds.first, let high = bounds.last, bounds.count <= 2, low >= 0,
                low <= high, high < 1024
            else { throw .usage("'\(text)' is not a list of CPUs such as 0 or 0,2 or 0-3") }
            numbers += Array(low...high)
        }
        self.numbers = numbers
    }

    /// A list of one CPU.
    package init(_ number: Int) { numbers = [number] }

    /// Binds the calling thread, and what it starts from now on, to these CPUs.
    ///
    /// - Throws: `.system` when none of them exists.
    package func bindCallingThread() throws(BenchmarkError) {
        try bind { mask in
            for number in numbers { mask[number / 64] |= 1 << UInt64(number % 64) }
        }
    }

    /// Lets the calling thread run anywhere again.
    package static func releaseCallingThread() {
        // All CPUs are always legal, so there is nothing to report.
        try? CPUList(0).bind { mask in
            for index in mask.indices { mask[index] = .max }
        }
    }

    private func bind(_ fill: (inout [UInt64]) -> Void) throws(BenchmarkError) {
        var mask = [UInt64](repeating: 0, count: 16)
        fill(&mask)
        let status = unsafe mask.withUnsafeBytes { raw in
            let set = unsafe raw.baseAddress.unsafelyUnwrapped.assumingMemoryBound(
                to: cpu_set_t.self)
            return unsafe sched_setaffinity(0, raw.count, set)
        }
        guard status == 0 else {
            throw .system(
                call: "binding to CPU \(numbers.map { String($0) }.joined(separator: ","))",
                errorNumber: errno)
        }
    }
}

/// Raises the number of files this process and its children may open, as far as allowed.
///
/// - Throws: `.measurement` when fewer than `needed` are allowed.
package func raiseOpenFiles(needed: Int) throws(BenchmarkError) {
    var limit = rlimit()
    unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    if limit.rlim_cur < limit.rlim_max {
        limit.rlim_cur = limit.rlim_max
        unsafe setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    }
    guard limit.rlim_cur >= rlim_t(needed) else {
        throw .measurement(
            "\(needed) open files are needed, the system allows \(limit.rlim_cur): raise ulimit -n")
    }
}
