//  Values that give way to others whole, as under SET or a destination of SUNIONSTORE: told as
//  `overwritten`, and as `type_changed` where the new value is of another type.
//
//  A value that is changed, however much, is not replaced: INCR, APPEND, PFADD.

import MartletBase

extension KeyAccess {
    /// The type of the value that a write is about to replace: nil when there is none, and while
    /// nobody wants to know.
    @inline(__always)
    package func kindReplaced(_ key: Key) -> ValueKind? {
        kindReplaced(key, inDatabase: database)
    }

    /// The same in another database.
    @inline(__always)
    func kindReplaced(_ key: Key, inDatabase other: Int) -> ValueKind? {
        sinks.contains(.replacements) ? find(key, inDatabase: other)?.kind : nil
    }

    /// Notes that a value of type `old`, if there was one, gave way to one of type `new`.
    @inline(__always)
    func noteReplacement(of old: ValueKind?, by new: ValueKind, _ key: Key) {
        if let old { noteReplacement(of: old, by: new, key, inDatabase: database) }
    }

    @inline(never)
    private func noteReplacement(
        of old: ValueKind, by new: ValueKind, _ key: Key, inDatabase other: Int
    ) {
        unsafe effects.pointee.append(.overwritten, key, database: other, sinks: sinks, count: 0)
        if old == new { return }
        unsafe effects.pointee.append(.typeChanged, key, database: other, sinks: sinks, count: 0)
    }

    /// Notes that a value of type `old`, if there was one, gave way to the one that the key has now.
    package func noteReplacement(of old: ValueKind?, _ key: Key, inDatabase other: Int) {
        guard let old, let new = find(key, inDatabase: other)?.kind else { return }
        noteReplacement(of: old, by: new, key, inDatabase: other)
    }

    /// Sets a key to a string that takes the place of what was there.
    @inline(__always)
    func replaceString(
        _ key: Key, _ value: ByteView, expiry: ExpiryChange
    ) throws(CommandError) {
        if sinks.contains(.replacements) {
            try replaceStringAloud(key, value, expiry: expiry)
        } else {
            try setString(key, value, expiry: expiry)
        }
    }

    @inline(never)
    private func replaceStringAloud(
        _ key: Key, _ value: ByteView, expiry: ExpiryChange
    ) throws(CommandError) {
        let old = kindReplaced(key)
        try setString(key, value, expiry: expiry)
        noteReplacement(of: old, by: .string, key)
    }
}
