//  Owned bytes, off the hot path: names in registries, configuration values, what a blocked client
//  keeps of its request. And the comparison of secrets.

/// Bytes of their own: copied once from a view, compared and hashed by value.
///
/// Hashing is Swift's, seeded anew by each process.
@usableFromInline
package struct Bytes: Hashable, Comparable, Sendable, CustomStringConvertible {
    package var storage: [UInt8]

    package init(_ storage: [UInt8] = []) {
        self.storage = storage
    }

    /// A copy of what the view shows.
    package init(_ view: ByteView) {
        storage = view.bytes
    }

    package init(_ text: String) {
        storage = Array(text.utf8)
    }

    package init(_ literal: StaticString) {
        storage = ByteView(literal).bytes
    }

    package var count: Int { storage.count }

    package var isEmpty: Bool { storage.isEmpty }

    /// The bytes as text, broken UTF-8 replaced.
    package var string: String { String(decoding: storage, as: UTF8.self) }

    @usableFromInline
    package var description: String { string }

    /// Lends the bytes as a view for the length of `body`.
    package func withView<R, E: Error>(_ body: (ByteView) throws(E) -> R) throws(E) -> R {
        try storage.withView(body)
    }

    /// Order of the bytes as unsigned numbers, a prefix before what it begins.
    @usableFromInline
    package static func < (left: Bytes, right: Bytes) -> Bool {
        left.withView { left in right.withView { left.compare($0) < 0 } }
    }
}

extension ByteView {
    /// Whether two secrets are the same, in a time that depends on their lengths only, so that a
    /// wrong guess does not tell how much of it was right.
    @inline(never)
    package func equalsInConstantTime(_ other: ByteView) -> Bool {
        if count != other.count { return false }
        var difference: UInt8 = 0
        for index in 0..<count { difference |= self[index] ^ other[index] }
        return difference == 0
    }
}
