//  What runs under one turn: a script, or a transaction with scripts in it; from its first slice to its
//  last.
//
//      short     the locks of the declared keys are held, as those of any command; most scripts end here
//      claimed   it met another key, or its slice was over: what it holds are claims, and locks for the
//                length of each command it calls
//      resting   between two slices: its loop serves others, and what it has gathered stands here
//
//  Raw memory: one unit for each executor, used on its loop's thread. The session is the client's, which
//  may end while the unit rests: it is looked up anew then. A transaction that outlasts its first slice
//  is owned by the unit and freed with its end.

import MartletBase

/// A script, or a transaction with scripts, under way.
@safe
struct ScriptUnit: ~Copyable {
    // MARK: What it holds

    /// The locks that are held, while it is short.
    var held = LockPlan.nothing
    /// What it has claimed, from then on.
    var claim: Claim?

    // MARK: Who asked

    /// The client's record; the client may be gone.
    private(set) var caller: ClientRecord?
    private(set) var callerID: Int64 = 0
    /// The client's session during the first slice.
    var session: UnsafeMutablePointer<Session>?
    /// Its reply is in RESP3.
    private(set) var isRESP3 = false
    /// It remembers what it reads, or may: CLIENT TRACKING.
    private(set) var isTracking = false
    /// The database it has selected.
    var database = 0
    /// The command that brought the unit: EVAL, FCALL, EXEC.
    private(set) var commandNumber = 0
    private(set) var beginTicks: UInt64 = 0
    /// Where its reply begins in the call's buffer.
    var replyStart = 0
    /// What it waits for once the first slice is over; nil before.
    var waiter: Waiter?

    // MARK: The script that runs

    /// It has begun and not ended.
    var isOpen = false
    /// What it is.
    var chosen = ChosenScript()
    /// The command that brought it.
    var scriptCommand = 0
    var isReadOnly = false
    var allowsOOM = false
    /// There was no memory when the unit began.
    var isOutOfMemory = false
    /// What runs it.
    var interpreter: Interpreter?
    /// What brings libraries, in place of a script.
    var loader: LibraryLoader?
    var sliceBeginTicks: UInt64 = 0
    /// It has called a command that is declared to write.
    var hasWritten = false
    /// Others may ask about it: see `RunningScript`.
    var isNoted = false
    /// RESP version of what its calls return.
    var speaksRESP3 = false
    /// The database that it has selected for itself.
    var selected = 0
    /// Where the replies to its calls begin in the call's buffer.
    var replyBegin = 0
    /// Monotonic time of its first rest.
    var noticedNanoseconds: Int64 = 0

    // MARK: A transaction

    /// Nil outside of one.
    var transaction: UnsafeMutablePointer<Transaction>?
    var ownsTransaction = false
    var views: UnsafeMutablePointer<ByteView>?
    /// The queued command that comes next.
    var nextIndex = 0

    // MARK: While it rests, what is its own; while it goes on after that, what is its loop's

    var isResting = false
    var context = ScriptContext()
    /// What the slow log shows of it.
    var shown: [[UInt8]] = []

    init() {
        unsafe session = nil
        unsafe transaction = nil
        unsafe views = nil
    }

    deinit {
        if ownsTransaction, let transaction = unsafe transaction {
            unsafe TransactionPool.free(transaction)
        }
    }

    /// Another unit begins.
    mutating func begin(
        _ number: Int, of session: UnsafeMutablePointer<Session>, isRESP3: Bool, database: Int,
        ticks: UInt64
    ) {
        caller = unsafe session.pointee.record
        callerID = unsafe session.pointee.record.id
        unsafe self.session = session
        isTracking = unsafe session.pointee.gate.contains(.tracking)
        self.isRESP3 = isRESP3
        self.database = database
        commandNumber = number
        beginTicks = ticks
        held = .nothing
        nextIndex = 0
    }

    /// It has ended.
    mutating func end() {
        caller = nil
        waiter = nil
        isResting = false
        freeTransaction()
        unsafe transaction = nil
        if !shown.isEmpty { shown = [] }
    }

    private mutating func freeTransaction() {
        if ownsTransaction, let transaction = unsafe transaction {
            unsafe TransactionPool.free(transaction)
        }
        ownsTransaction = false
    }
}

/// What a loop's call has gathered for a unit.
struct ScriptContext: ~Copyable {
    var nowMilliseconds: Int64 = 0
    var leavesNoTrace = false
    var keepsExpired = false
    var effects = EffectBuffer()
    var caused = Invalidations()
    var ready: [ReadyKey] = []
    var hasReadyKeys = false
    var pushes = ByteBuffer()
    var logPosition: UInt64 = 0
    var reply = ByteBuffer()
}
