//  A stream as commands see it: under a key, while its shard is held.
//
//  Raw memory: nothing here is owned; see `CollectionPlace`. Entries are lent until the stream next
//  changes.
//
//  Unlike other collections a stream has one form alone, and stays when its last entry goes: a key
//  may hold an empty one.

import MartletBase

/// The stream under a key, present or not.
@safe
package struct StreamValue {
    private var place: CollectionPlace

    fileprivate init(_ place: CollectionPlace) { self.place = place }

    /// The key does not exist.
    @inline(__always)
    package var isMissing: Bool { place.entry == nil }

    @inline(__always)
    private var stream: UnsafeMutablePointer<Stream> {
        guard let entry = place.entry else { preconditionFailure("the key exists") }
        return unsafe entry.structure.stream
    }

    /// Makes the key, which does not exist, with an empty stream.
    ///
    /// - Throws: `.outOfMemory`; nothing changed then.
    mutating func create() throws(CommandError) { try place.adopt(Structure(Stream())) }

    /// Removes the key: of a stream made for an entry that then found no memory.
    mutating func remove() { place.remove() }

    /// Lends the stream to be read.
    ///
    /// - Precondition: the key exists.
    @inline(__always)
    func read<R, E: Error>(_ body: (borrowing Stream) throws(E) -> R) throws(E) -> R {
        try unsafe body(stream.pointee)
    }

    /// Lends the stream to be changed, and counts what its memory became.
    ///
    /// - Precondition: the key exists.
    @inline(__always)
    func change<R, E: Error>(_ body: (inout Stream) throws(E) -> R) throws(E) -> R {
        let stream = unsafe stream
        let before = unsafe stream.pointee.bytes
        defer { unsafe place.countMemory(stream.pointee.bytes &- before) }
        return try unsafe body(&stream.pointee)
    }

    /// Checks the invariants; for tests.
    package func checkInvariants() {
        if !isMissing { unsafe stream.pointee.checkInvariants() }
    }
}

extension KeyAccess {
    /// The stream of a key, to be read; counts a hit or a miss.
    ///
    /// - Throws: `.wrongType`.
    @inline(__always)
    package func readStream(_ key: Key) throws(CommandError) -> StreamValue {
        StreamValue(try readPlace(key, .stream))
    }

    /// The stream of a key, to be written, or looked at without counting.
    ///
    /// - Throws: `.wrongType`.
    @inline(__always)
    package func stream(_ key: Key) throws(CommandError) -> StreamValue {
        StreamValue(try place(key, .stream))
    }
}

extension Entry {
    /// The entries in the way of DEBUG DIGEST, in which their order matters.
    func mixStream(into digest: inout DataDigest) {
        var total = digest
        func mix(_ element: ListElement) {
            switch element {
            case .bytes(let bytes): total.mix(bytes)
            case .integer(let integer): integer.withDecimal { total.mix($0) }
            }
        }
        unsafe structure.stream.pointee.walk(from: .zero, through: .max) { entry in
            "\(entry.id.milliseconds).\(entry.id.sequence)".withView { total.mix($0) }
            entry.forEachField { field, value in
                mix(field)
                mix(value)
            }
            return true
        }
        digest = total
    }
}
