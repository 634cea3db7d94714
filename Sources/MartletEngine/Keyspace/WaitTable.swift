//  Who waits for which key of a shard, in order of arrival. Used under the shard's lock.
//
//  A wait that has ended stands here until its own loop takes it off, which is soon; whoever
//  serves a key skips it.

import MartletBase

/// The waits for keys of one shard.
struct WaitTable {
    /// The line at one key.
    private struct Line {
        let database: Int
        let key: KeyCopy
        /// By ascending ticket; nil where somebody left. Those before `first` have left.
        var places: [(ticket: UInt64, wait: Wait?)] = []
        var first = 0
        var count = 0
        /// How many of them look themselves whether there is something.
        var lookingCount = 0

        /// The first place whose ticket is not less.
        ///
        /// - Complexity: O(log n), n = those in line.
        func index(from ticket: UInt64) -> Int {
            var low = first
            var high = places.count
            while low < high {
                let middle = (low + high) / 2
                if places[middle].ticket < ticket { low = middle + 1 } else { high = middle }
            }
            return low
        }

        mutating func leave(_ ticket: UInt64) {
            let index = index(from: ticket)
            guard index < places.count, places[index].ticket == ticket,
                places[index].wait != nil
            else { return }
            if places[index].wait?.looksItself == true { lookingCount -= 1 }
            places[index].wait = nil
            count -= 1
            while first < places.count && places[first].wait == nil { first += 1 }
            if places.count > 2 * count + 16 {
                places.removeAll { $0.wait == nil }
                first = 0
            }
        }
    }

    /// Lines by the hash of their key, in which few have a namesake.
    private var lines: [UInt64: [Line]] = [:]

    var isEmpty: Bool { lines.isEmpty }

    private func index(_ key: Key, _ database: Int) -> Int? {
        lines[key.hash]?.firstIndex { $0.database == database && $0.key.key.bytes == key.bytes }
    }

    /// Whether somebody stands at a key.
    func isAwaited(_ key: Key, _ database: Int) -> Bool { index(key, database) != nil }

    /// Whether somebody stands at a key who may want to know that it is gone.
    func isWatched(_ key: Key, _ database: Int) -> Bool {
        guard let index = index(key, database) else { return false }
        return lines[key.hash]?[index].lookingCount != 0
    }

    /// Puts a wait at the end of a key's line. Its ticket is the latest.
    ///
    /// - Returns: whether it is the first there.
    mutating func add(_ wait: Wait, at key: KeyCopy) -> Bool {
        let hash = key.key.hash
        let known = index(key.key, wait.database)
        let index = known ?? lines[hash, default: []].count
        if known == nil {
            lines[hash, default: []].append(Line(database: wait.database, key: key))
        }
        lines[hash]?[index].places.append((wait.ticket, wait))
        lines[hash]?[index].count += 1
        if wait.looksItself { lines[hash]?[index].lookingCount += 1 }
        return known == nil
    }

    /// Takes a wait off a key's line, if it stands there.
    ///
    /// - Returns: whether nobody is left there.
    mutating func remove(_ wait: Wait, at key: KeyCopy) -> Bool {
        let hash = key.key.hash
        guard let index = index(key.key, wait.database) else { return false }
        lines[hash]?[index].leave(wait.ticket)
        if lines[hash]?[index].count != 0 { return false }
        lines[hash]?.remove(at: index)
        if lines[hash]?.isEmpty == true { lines[hash] = nil }
        return true
    }

    /// The next in a key's line behind a ticket.
    func next(at key: Key, _ database: Int, after ticket: UInt64) -> Wait? {
        guard let index = index(key, database), let line = lines[key.hash]?[index] else {
            return nil
        }
        var place = line.index(from: ticket + 1)
        while place < line.places.count {
            if let wait = line.places[place].wait { return wait }
            place += 1
        }
        return nil
    }

    /// The keys of a database that somebody waits for.
    func awaitedKeys(in database: Int) -> [KeyCopy] {
        lines.values.flatMap { $0 }.filter { $0.database == database }.map(\.key)
    }
}
