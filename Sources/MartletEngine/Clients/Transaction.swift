//  What a connection has queued between MULTI and EXEC.
//
//  Raw memory: a transaction stands in memory of its own, which its session or the loop's pool owns
//  and frees, and holds growing arrays that it owns. EXEC reads the arguments through views into
//  `bytes`, made when nothing is queued any more.

import MartletBase

/// An array that grows in raw memory: appending costs no uniqueness check and reading no reference
/// count.
///
/// - Invariant: `count` elements are initialised, and there is room for `capacity`.
@safe
struct GrowingArray<Element: BitwiseCopyable>: ~Copyable {
    private var elements: UnsafeMutablePointer<Element>?
    private(set) var count = 0
    private var capacity = 0

    init() { unsafe elements = nil }

    deinit { unsafe elements?.deallocate() }

    var capacityBytes: Int { capacity * MemoryLayout<Element>.stride }

    /// The first element; nil when there never was one.
    var base: UnsafeMutablePointer<Element>? { unsafe elements }

    @inline(__always)
    subscript(index: Int) -> Element {
        get {
            precondition(
                UInt(bitPattern: index) < UInt(bitPattern: count), "an element that is there")
            return unsafe elements.unsafelyUnwrapped[index]
        }
        set {
            precondition(
                UInt(bitPattern: index) < UInt(bitPattern: count), "an element that is there")
            unsafe elements.unsafelyUnwrapped[index] = newValue
        }
    }

    /// Takes an element out; the last one moves to its place.
    mutating func removeSwappingLast(at index: Int) {
        self[index] = self[count - 1]
        count &-= 1
        if count == 0 { removeAll(keeping: 0) }
    }

    @inline(__always)
    mutating func append(_ element: Element) {
        if count == capacity { grow() }
        unsafe (elements.unsafelyUnwrapped + count).initialize(to: element)
        count &+= 1
    }

    @inline(never)
    private mutating func grow() {
        let wanted = max(8, capacity * 2)
        let grown = UnsafeMutablePointer<Element>.allocate(capacity: wanted)
        if let old = unsafe elements {
            unsafe grown.update(from: old, count: count)
            unsafe old.deallocate()
        }
        unsafe elements = grown
        capacity = wanted
    }

    /// Forgets all elements, and gives the memory back if there was room for more than `kept`.
    mutating func removeAll(keeping kept: Int) {
        count = 0
        if capacity <= kept { return }
        unsafe elements?.deallocate()
        unsafe elements = nil
        capacity = 0
    }
}

/// Commands queued between MULTI and EXEC.
@safe
struct Transaction: ~Copyable {
    /// A queued command.
    struct Queued: BitwiseCopyable {
        /// Its number.
        let command: Int
        /// Where its arguments begin among those of all, and how many it has.
        let firstArgument: Int
        let argumentCount: Int
        /// Its first argument behind its name, or behind its subcommand's.
        let position: Int
        /// Number and hash of its first key; 0 when that is not known ahead.
        let firstKey: Int
        let hash: UInt64
    }

    private(set) var commands = GrowingArray<Queued>()
    private var ends = GrowingArray<Int>()
    private var bytes = ByteBuffer()
    private var views = GrowingArray<ByteView>()
    /// A command could not be queued: EXEC answers EXECABORT.
    var isAborted = false
    /// A queued command runs a script, or uses what is kept with the interpreter.
    var needsTurn = false

    /// Queues a request, whose bytes are copied.
    mutating func queue(_ command: Int, _ arguments: borrowing Arguments) {
        commands.append(
            Queued(
                command: command, firstArgument: ends.count, argumentCount: arguments.count,
                position: arguments.position, firstKey: arguments.knownKey.index,
                hash: arguments.knownKey.hash))
        for index in 0..<arguments.count {
            bytes.append(arguments[index])
            ends.append(bytes.count)
        }
    }

    /// Makes the arguments of all commands, valid until the transaction is next changed.
    mutating func makeViews() -> UnsafeMutablePointer<ByteView>? {
        views.removeAll(keeping: .max)
        let all = bytes.view
        var begin = 0
        for index in 0..<ends.count {
            views.append(all.slice(begin, ends[index]))
            begin = ends[index]
        }
        return unsafe views.base
    }

    /// Forgets the commands, and gives the memory of many back.
    mutating func reset() {
        commands.removeAll(keeping: 256)
        ends.removeAll(keeping: 1024)
        views.removeAll(keeping: 1024)
        if bytes.capacity > 16 * 1024 { bytes.release() } else { bytes.removeAll() }
        isAborted = false
        needsTurn = false
    }

    /// Bytes held for queued commands: CLIENT LIST's multi-mem.
    var memoryBytes: Int {
        bytes.capacity + commands.capacityBytes + ends.capacityBytes + views.capacityBytes
    }
}

/// Empty transactions of a loop: a connection between two of them holds no memory for the next one.
@safe
struct TransactionPool: ~Copyable {
    private var spare: [UnsafeMutablePointer<Transaction>] = unsafe []

    /// More than this many transactions are rarely open on one loop at a time.
    private static let countMax = 16

    deinit {
        for index in unsafe spare.indices { unsafe Self.free(spare[index]) }
    }

    mutating func take() -> UnsafeMutablePointer<Transaction> {
        if let transaction = unsafe spare.popLast() { return unsafe transaction }
        let transaction = UnsafeMutablePointer<Transaction>.allocate(capacity: 1)
        unsafe transaction.initialize(to: Transaction())
        return unsafe transaction
    }

    mutating func giveBack(_ transaction: UnsafeMutablePointer<Transaction>?) {
        guard let transaction = unsafe transaction else { return }
        if unsafe spare.count >= Self.countMax {
            unsafe Self.free(transaction)
        } else {
            unsafe transaction.pointee.reset()
            unsafe spare.append(transaction)
        }
    }

    static func free(_ transaction: UnsafeMutablePointer<Transaction>) {
        unsafe transaction.deinitialize(count: 1)
        unsafe transaction.deallocate()
    }
}
