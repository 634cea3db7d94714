//  Which arguments of a request are keys: for locking, COMMAND GETKEYS, and whoever else must know.

import MartletBase

extension KeySpec {
    /// Calls `body` with the number of every argument that is a key.
    ///
    /// Counts from the client are bounded by the arguments that are there: a request that claims
    /// more keys has none of that specification, and its handler answers with the error.
    ///
    /// - Parameters:
    ///   - specs: of the command.
    ///   - arguments: of the request.
    ///   - body: gets the argument's number and what the command does to the key.
    /// - Returns: false when a count is no number or claims more keys than there are arguments.
    @discardableResult
    package static func forEachKey(
        _ specs: [KeySpec], _ arguments: Arguments, _ body: (Int, KeyFlags) -> Void
    ) -> Bool {
        let count = arguments.count
        var isValid = true
        for spec in specs {
            // A shard channel goes to a slot as a key does, and is none.
            guard spec.first < count, !spec.flags.contains(.notKey) else { continue }
            switch spec.find {
            case .range(let last, let step):
                let end = last >= 0 ? spec.first + last : count + last
                for index in stride(from: spec.first, through: min(end, count - 1), by: step) {
                    body(index, spec.flags)
                }
            case .behind(let word):
                // Behind each of them: a key may be called like the word, so which one counts is for
                // the handler to say. A lock too many does no harm, one too few would.
                for index in spec.first..<(count - 1)
                where arguments[index].equalsIgnoringCase(word) {
                    body(index + 1, spec.flags)
                }
            case .halfBehind(let word):
                // Behind each of them, as above: a group may be called like the word.
                for index in spec.first..<(count - 1)
                where arguments[index].equalsIgnoringCase(word) {
                    let keys = (count - index - 1) / 2
                    for key in (index + 1)..<(index + 1 + keys) { body(key, spec.flags) }
                }
            case .counted(let countAt, let firstKey, let step):
                guard spec.first + countAt < count,
                    let claimed = arguments[spec.first + countAt].parseInteger(),
                    claimed >= 0, claimed <= Int64(count)
                else {
                    isValid = false
                    continue
                }
                let first = spec.first + firstKey
                let end = first + (Int(claimed) - 1) * step
                guard end < count else {
                    isValid = false
                    continue
                }
                for index in stride(from: first, through: end, by: step) {
                    body(index, spec.flags)
                }
            case .found(let find):
                if let index = find(arguments), index < count { body(index, spec.flags) }
            case .listed(_, let find):
                guard let keys = find(arguments) else {
                    isValid = false
                    continue
                }
                for index in keys.clamped(to: 1..<max(1, count)) { body(index, spec.flags) }
            case .unknown:
                break
            }
        }
        return isValid
    }
}
