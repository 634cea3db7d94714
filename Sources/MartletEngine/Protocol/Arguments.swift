//  A cursor over the arguments of one request, with typed reads.
//
//  Handlers read from here and nowhere else. Reading beyond the last argument is a syntax error of
//  the client's, never a trap.
//
//  Raw memory: the views are the argument store's, lent for one request; every index is checked
//  against their count.

import MartletBase

/// The arguments of a request, read in order; the command's name is number 0 and already read, and
/// so is a subcommand's, number 1.
@safe
package struct Arguments {
    private var views: UnsafeMutablePointer<ByteView>
    /// All arguments, the name included.
    package private(set) var count: Int
    /// The number of the next argument to read.
    package var position = 1
    /// Number and hash of the first key, which the batch has computed.
    private var firstKeyIndex: Int
    private var firstKeyHash: UInt64
    private let hashKey: HashKey

    @inline(__always)
    init(
        _ views: UnsafeMutablePointer<ByteView>, count: Int, firstKeyIndex: Int,
        firstKeyHash: UInt64, hashKey: HashKey
    ) {
        unsafe self.views = views
        self.count = count
        self.firstKeyIndex = firstKeyIndex
        self.firstKeyHash = firstKeyHash
        self.hashKey = hashKey
    }

    /// Number and hash of the first key, if the batch has computed them; else 0.
    var knownKey: (index: Int, hash: UInt64) { (firstKeyIndex, firstKeyHash) }

    /// Begins another request: as `init` with the same hash key.
    @inline(__always)
    mutating func begin(
        _ views: UnsafeMutablePointer<ByteView>, count: Int, firstKeyIndex: Int,
        firstKeyHash: UInt64
    ) {
        unsafe self.views = views
        self.count = count
        position = 1
        self.firstKeyIndex = firstKeyIndex
        self.firstKeyHash = firstKeyHash
    }

    /// The argument `index`, the name being 0. Out of range is our own error.
    @inline(__always)
    package subscript(index: Int) -> ByteView {
        precondition(UInt(bitPattern: index) < UInt(bitPattern: count), "an argument that is there")
        return unsafe views[index]
    }

    /// The arguments from `index` on as a request of their own, `index` being its name.
    ///
    /// - Precondition: `index < count`.
    package func suffix(from index: Int) -> Arguments {
        precondition(index >= 0 && index < count, "a request has a name")
        return unsafe Arguments(
            views + index, count: count - index, firstKeyIndex: 0, firstKeyHash: 0,
            hashKey: hashKey)
    }

    /// All of them, `count` in a row.
    @inline(__always)
    var all: UnsafePointer<ByteView> { unsafe UnsafePointer(views) }

    /// Those still to be read, in a row of `remaining`.
    @inline(__always)
    var rest: UnsafePointer<ByteView> { unsafe UnsafePointer(views + position) }

    /// How many arguments are still to be read.
    @inline(__always)
    package var remaining: Int { count &- position }

    @inline(__always)
    package var isAtEnd: Bool { position >= count }

    /// The next argument.
    @inline(__always)
    package mutating func next() throws(CommandError) -> ByteView {
        guard position < count else { throw .syntax }
        position &+= 1
        return unsafe views[position &- 1]
    }

    /// Whether the next argument begins with a digit, and so is no option.
    @inline(__always)
    package var beginsWithDigit: Bool {
        guard position < count else { return false }
        let argument = unsafe views[position]
        return !argument.isEmpty && argument[0] &- 0x30 <= 9
    }

    /// The next argument as a key.
    @inline(__always)
    package mutating func key() throws(CommandError) -> Key {
        let index = position
        let bytes = try next()
        if index == firstKeyIndex { return Key(bytes, hash: firstKeyHash) }
        return Key(bytes, hash: hash(bytes))
    }

    /// Out of line: in each handler it would crowd out what runs more often.
    @inline(never)
    private func hash(_ bytes: ByteView) -> UInt64 { hashKey.hash(bytes) }

    /// The next argument as a signed integer.
    @inline(__always)
    package mutating func integer(
        _ error: CommandError = .notInteger
    ) throws(CommandError) -> Int64 {
        guard let value = try next().parseInteger() else { throw error }
        return value
    }

    /// The next argument as a double; never NaN.
    package mutating func double() throws(CommandError) -> Double {
        guard let value = try next().parseDouble() else { throw .notFloat }
        return value
    }

    /// Whether the next argument is `word` (lower case) in any case; it is read if so.
    @inline(__always)
    package mutating func skip(_ word: StaticString) -> Bool {
        guard position < count, self[position].equalsIgnoringCase(word) else { return false }
        position &+= 1
        return true
    }
}
