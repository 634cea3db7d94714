//  What several Z commands read alike: intervals of scores and members, ranges of ranks, LIMIT.

import MartletBase

/// What a part of a sorted set is chosen by.
enum SortedSetSelection {
    /// From one index to another, both included; negative ones count from the end.
    case indexes(Int64, Int64)
    case scores(ScoreRange)
    case members(MemberRange)

    enum Kind {
        case indexes
        case scores
        case members
    }

    /// Reads the two ends of a range, `first` being the lower one.
    init(_ kind: Kind, _ first: ByteView, _ second: ByteView) throws(CommandError) {
        switch kind {
        case .indexes:
            guard let start = first.parseInteger(), let stop = second.parseInteger() else {
                throw .notInteger
            }
            self = .indexes(start, stop)
        case .scores: self = .scores(try ScoreRange(first, second))
        case .members: self = .members(try MemberRange(first, second))
        }
    }

    /// The ranks that are chosen; `reversed` says that indexes count from the highest score.
    func ranks(in set: SortedSetValue, reversed: Bool = false) -> Range<Int> {
        switch self {
        case .scores(let range): return set.ranks(range)
        case .members(let range): return set.ranks(range)
        case .indexes(let start, let stop):
            let count = Int64(set.count)
            let first = max(0, start < 0 ? start + count : start)
            let last = min(count - 1, stop < 0 ? stop + count : stop)
            if first > last { return 0..<0 }
            return reversed
                ? Int(count - 1 - last)..<Int(count - first) : Int(first)..<Int(last + 1)
        }
    }
}

extension ScoreRange {
    /// Reads `min` and `max`: numbers, an opening parenthesis before those that are not included.
    init(_ min: ByteView, _ max: ByteView) throws(CommandError) {
        let (low, excludesLow) = try Self.bound(min)
        let (high, excludesHigh) = try Self.bound(max)
        self.init(min: low, max: high, excludesMin: excludesLow, excludesMax: excludesHigh)
    }

    private static func bound(_ text: ByteView) throws(CommandError) -> (Double, Bool) {
        let excludes = !text.isEmpty && text[0] == UInt8(ascii: "(")
        let number = excludes ? text.slice(1, text.count) : text
        guard let value = number.parseDoubleLoosely() else {
            throw .invalid("min or max is not a float")
        }
        return (value, excludes)
    }
}

extension MemberRange {
    /// Reads `min` and `max`: `-`, `+`, `[member` or `(member`.
    init(_ min: ByteView, _ max: ByteView) throws(CommandError) {
        self.init(min: try Self.bound(min), max: try Self.bound(max))
    }

    private static func bound(_ text: ByteView) throws(CommandError) -> MemberBound {
        if !text.isEmpty {
            switch text[0] {
            case UInt8(ascii: "-") where text.count == 1: return .lowest
            case UInt8(ascii: "+") where text.count == 1: return .highest
            case UInt8(ascii: "["): return .including(text.slice(1, text.count))
            case UInt8(ascii: "("): return .excluding(text.slice(1, text.count))
            default: break
            }
        }
        throw .invalid("min or max not valid string range item")
    }
}

/// LIMIT: how many to leave out, and how many to take; all for a negative count.
struct SelectionLimit {
    var offset: Int64 = 0
    var count: Int64 = -1

    /// The part of `ranks` that is left, whose first ones stand at the end when `reversed`.
    func applied(to ranks: Range<Int>, reversed: Bool) -> Range<Int> {
        if offset < 0 || offset >= Int64(ranks.count) { return 0..<0 }
        let skipped = Int(offset)
        let left = ranks.count - skipped
        let taken = count < 0 ? left : Int(min(count, Int64(left)))
        if reversed {
            let end = ranks.upperBound - skipped
            return (end - taken)..<end
        }
        let start = ranks.lowerBound + skipped
        return start..<(start + taken)
    }
}

extension ReplyWriter {
    /// The members of a range of ranks, with scores if wanted: pairs in RESP3, in RESP2 one array.
    mutating func members(
        of set: SortedSetValue, _ ranks: Range<Int>, reversed: Bool, withScores: Bool
    ) {
        if !withScores {
            array(ranks.count)
            set.forEach(in: ranks, reversed: reversed) { member, _ in bulk(member) }
            return
        }
        array(isRESP3 ? ranks.count : ranks.count * 2)
        set.forEach(in: ranks, reversed: reversed) { member, score in
            if isRESP3 { array(2) }
            bulk(member)
            double(score)
        }
    }
}
