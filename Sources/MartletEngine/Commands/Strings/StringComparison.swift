//  LCS: the longest common subsequence of two strings.
//
//  The classic table (Wagner and Fischer 1974) of (m + 1) * (n + 1) lengths; its size is checked before
//  it is allocated. Walked backward it yields the subsequence and its ranges, the last first.
//
//  Raw memory: the table is allocated for one command and freed with it. Rows and columns are counted
//  from the strings it was made for.

import Glibc
import MartletBase

extension CommandGroup {
    static let stringComparison: CommandGroup = [
        Command(
            "LCS", since: "7.0.0", group: .string,
            syntax: "key1 key2 [LEN] [IDX] [MINMATCHLEN min-match-len] [WITHMATCHLEN]",
            summary: "Finds the longest common substring.",
            complexity: "O(N*M) where N and M are the lengths of s1 and s2, respectively",
            arity: .atLeast(3), keys: [.pair(at: 1, [.readOnly, .access])],
            access: .read, acl: [.string], run: longestCommonSubsequence)
    ]
}

/// Lengths of common subsequences of all pairs of prefixes.
@safe
private struct PrefixLengths: ~Copyable {
    private let lengths: UnsafeMutablePointer<UInt32>
    private let columns: Int

    /// The table of two strings, or nil when the system has no memory for it.
    init?(_ first: ByteView, _ second: ByteView) {
        columns = second.count + 1
        let cells = (first.count + 1) * columns
        guard let memory = unsafe calloc(cells, MemoryLayout<UInt32>.stride) else { return nil }
        unsafe lengths = memory.bindMemory(to: UInt32.self, capacity: cells)
        for row in 0..<first.count {
            for column in 0..<second.count {
                let length =
                    first[row] == second[column]
                    ? self[row, column] + 1 : max(self[row, column + 1], self[row + 1, column])
                unsafe lengths[(row + 1) * columns + column + 1] = length
            }
        }
    }

    deinit { unsafe free(lengths) }

    /// The length for the first `row` and `column` bytes.
    subscript(row: Int, column: Int) -> UInt32 {
        unsafe lengths[row * columns + column]
    }
}

/// A run of bytes that both strings share.
private struct Match {
    var firstStart: Int
    var secondStart: Int
    var count: Int
}

private func longestCommonSubsequence(_ call: inout Call) throws(CommandError) -> Effect {
    let firstKey = try call.arguments.key()
    let secondKey = try call.arguments.key()
    // The keys come before the options, as in Redis.
    guard let first = try commonString(firstKey, &call),
        let second = try commonString(secondKey, &call)
    else { throw .invalid("The specified keys must contain string values") }
    var onlyLength = false
    var wantsMatches = false
    var countMin: Int64 = 0
    var withCounts = false
    while !call.arguments.isAtEnd {
        if call.arguments.skip("len") {
            onlyLength = true
        } else if call.arguments.skip("idx") {
            wantsMatches = true
        } else if call.arguments.skip("withmatchlen") {
            withCounts = true
        } else if call.arguments.skip("minmatchlen") {
            countMin = max(0, try call.arguments.integer())
        } else {
            throw .syntax
        }
    }
    if onlyLength && wantsMatches {
        throw .invalid("If you want both the length and indexes, please just use IDX.")
    }
    let (cells, isHuge) = (first.count + 1).multipliedReportingOverflow(by: second.count + 1)
    if isHuge || cells > Limits.replyBytesMax / MemoryLayout<UInt32>.stride {
        throw .invalid("Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len")
    }
    guard let lengths = PrefixLengths(first, second) else {
        throw .invalid("Insufficient memory, failed allocating transient memory for LCS")
    }
    let total = Int(lengths[first.count, second.count])
    if onlyLength {
        call.reply.integer(total)
        return .none
    }

    var common = [UInt8](repeating: 0, count: wantsMatches ? 0 : total)
    var matches: [Match] = []
    var left = total
    var row = first.count
    var column = second.count
    while row > 0 && column > 0 {
        if first[row - 1] == second[column - 1] {
            row -= 1
            column -= 1
            left -= 1
            if !wantsMatches {
                common[left] = first[row]
            } else if let last = matches.last, last.firstStart == row + 1,
                last.secondStart == column + 1
            {
                matches[matches.count - 1] = Match(
                    firstStart: row, secondStart: column, count: last.count + 1)
            } else {
                matches.append(Match(firstStart: row, secondStart: column, count: 1))
            }
        } else if lengths[row - 1, column] > lengths[row, column - 1] {
            row -= 1
        } else {
            column -= 1
        }
    }
    guard wantsMatches else {
        common.withView { call.reply.bulk($0) }
        return .none
    }
    matches.removeAll { $0.count < countMin }
    call.reply.map(2)
    call.reply.bulk("matches")
    call.reply.array(matches.count)
    for match in matches {
        call.reply.array(withCounts ? 3 : 2)
        for start in [match.firstStart, match.secondStart] {
            call.reply.array(2)
            call.reply.integer(start)
            call.reply.integer(start + match.count - 1)
        }
        if withCounts { call.reply.integer(match.count) }
    }
    call.reply.bulk("len")
    call.reply.integer(total)
    return .none
}

/// The string at a key, empty when it is missing; nil when the key holds something else.
private func commonString(_ key: Key, _ call: inout Call) throws(CommandError) -> ByteView? {
    guard let entry = call.keyspace.read(key) else { return ByteView() }
    guard entry.kind == .string else { return nil }
    return try call.keyspace.string(of: entry)
}
