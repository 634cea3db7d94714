//  Values from RDB bytes into a keyspace: every type that Redis and Valkey have ever written.
//
//  Everything is checked while it is read, always: sizes against the bytes that are there, packed
//  forms against themselves, members against those before, a stream's pending entries against its
//  consumers. What fails leaves a part of a value behind, under a key that the caller then forgets with
//  the whole keyspace: files are loaded into an empty one, RESTORE has one of its own.
//
//  Nothing here recurses: no value holds another one.

import MartletBase
import MartletEngine

/// What a value turned out to be.
enum RDBOutcome {
    case made
    /// A list, set, sorted set or hash without members: nothing was made.
    case empty
    /// A hash all of whose fields are past their deadline: nothing was made.
    case over
}

/// Reads values; what it needs for that is kept from one to the next.
struct RDBValueReader: ~Copyable {
    /// Fields whose deadline is past are left out.
    let dropsOver: Bool
    /// The bytes are Valkey's, who has one type number for itself.
    var isValkey = false

    private var first = ByteBuffer()
    private var second = ByteBuffer()
    private var blob = ByteBuffer()
    /// Decimal forms of a stream entry's integers.
    private var digits = ByteBuffer()
    private var texts: [StreamText] = []
    private var views: [ByteView] = []

    /// A name or value of a stream entry: bytes, or a place in `digits`.
    private enum StreamText {
        case bytes(ByteView)
        case digits(start: Int, end: Int)
    }

    init(dropsOver: Bool) { self.dropsOver = dropsOver }

    /// Makes the value that follows under a key, which does not exist. Its shard is held.
    ///
    /// - Throws: what is wrong with the bytes; a part of the value may stand under the key then.
    mutating func read(
        _ type: RDBType, _ input: inout RDBInput, _ key: Key, _ loader: inout ValueLoader
    ) throws(RDBError) -> RDBOutcome {
        do throws(Failure) {
            return try make(type, &input, key, &loader)
        } catch {
            switch error {
            case .input(let error): throw error
            case .packed: throw input.damaged("a packed form that breaks its own rules")
            case .command(let error):
                guard case .outOfMemory = error else {
                    throw input.damaged("a value that no key can have")
                }
                throw RDBError(.noMemory, at: input.offset)
            }
        }
    }

    /// The three kinds of errors that meet here.
    private enum Failure: Error {
        case input(RDBError)
        case packed
        case command(CommandError)
    }

    private mutating func make(
        _ type: RDBType, _ input: inout RDBInput, _ key: Key, _ loader: inout ValueLoader
    ) throws(Failure) -> RDBOutcome {
        switch type {
        case .string: return try string(&input, key, &loader)
        case .list: return try list(&input, key, &loader)
        case .listZiplist, .listQuicklist, .listQuicklist2:
            return try nodes(type, &input, key, &loader)
        case .set: return try set(&input, key, &loader)
        case .setIntset, .setListpack: return try packedSet(type, &input, key, &loader)
        case .zset, .zset2: return try sortedSet(type, &input, key, &loader)
        case .zsetZiplist, .zsetListpack: return try packedSortedSet(type, &input, key, &loader)
        case .hash: return try hash(&input, key, &loader)
        case .hashZipmap, .hashZiplist, .hashListpack:
            return try packedHash(type, &input, key, &loader)
        case .hashMetadata, .hashMetadataOfCandidate:
            return try timedHash(type, &input, key, &loader)
        case .hashListpackEx, .hashListpackExOfCandidate:
            return try timedListpack(type, &input, key, &loader)
        case .stream, .stream2, .stream3, .stream4, .stream5:
            return try stream(type, &input, key, &loader)
        case .module, .module2:
            throw .input(try Self.reading { () throws(RDBError) in try module(type, &input) })
        }
    }

    /// Runs what reads, and gives its error the kind that errors have here.
    @inline(__always)
    private static func reading<R>(_ body: () throws(RDBError) -> R) throws(Failure) -> R {
        do throws(RDBError) { return try body() } catch { throw .input(error) }
    }

    @inline(__always)
    private static func writing<R>(_ body: () throws(CommandError) -> R) throws(Failure) -> R {
        do throws(CommandError) { return try body() } catch { throw .command(error) }
    }

    @inline(__always)
    private static func unpacking<R>(_ body: () throws(PackedError) -> R) throws(Failure) -> R {
        do throws(PackedError) { return try body() } catch { throw .packed }
    }

    private func damage(_ input: borrowing RDBInput, _ reason: StaticString) -> Failure {
        .input(input.damaged(reason))
    }

    /// Reads a string and keeps it where the next one does not touch it.
    @inline(__always)
    private static func keep(
        _ input: inout RDBInput, in room: inout ByteBuffer, _ other: inout ByteBuffer
    ) throws(Failure) -> ByteView {
        do throws(RDBError) {
            let view = try input.string(&other)
            room.removeAll()
            room.append(view)
        } catch {
            throw .input(error)
        }
        return room.view
    }

    // MARK: Strings

    private mutating func string(
        _ input: inout RDBInput, _ key: Key, _ loader: inout ValueLoader
    ) throws(Failure) -> RDBOutcome {
        let value: ByteView
        do throws(RDBError) { value = try input.string(&first) } catch { throw .input(error) }
        do throws(CommandError) {
            try loader.keys.setString(key, value, expiry: .clear)
        } catch {
            throw .command(error)
        }
        return .made
    }

    // MARK: Lists

    private mutating func list(
        _ input: inout RDBInput, _ key: Key, _ loader: inout ValueLoader
    ) throws(Failure) -> RDBOutcome {
        let count = try Self.reading { () throws(RDBError) in try input.count() }
        if count == 0 { return .empty }
        var list = try Self.writing { () throws(CommandError) in try loader.keys.list(key) }
        for _ in 0..<count {
            let element: ByteView
            do throws(RDBError) { element = try input.string(&first) } catch { throw .input(error) }
            try Self.push(ListElement(element), to: &list, loader.limits)
        }
        return .made
    }

    @inline(__always)
    private static func push(
        _ element: ListElement, to list: inout ListValue, _ limits: ValueLimits
    ) throws(Failure) {
        var bytes = 11
        if case .bytes(let text) = element { bytes = text.count }
        list.willGrow(by: 1, bytes: bytes, limits.lists)
        do throws(CommandError) {
            try list.push(element, atFront: false)
        } catch {
            throw .command(error)
        }
    }

    /// Ziplists, listpacks, and elements too large for either.
    private mutating func nodes(
        _ type: RDBType, _ input: inout RDBInput, _ key: Key, _ loader: inout ValueLoader
    ) throws(Failure) -> RDBOutcome {
        var list = try Self.writing { () throws(CommandError) in try loader.keys.list(key) }
        var nodes = 1
        if type != .listZiplist {
            nodes = try Self.reading { () throws(RDBError) in try input.count() }
        }
        for _ in 0..<nodes {
            var isPlain = false
            if type == .listQuicklist2 {
                let container = try Self.reading { () throws(RDBError) in try input.number() }
                guard container == 1 || container == 2 else {
                    throw damage(input, "a list's node that is neither plain nor packed")
                }
                isPlain = container == 1
            }
            let bytes: ByteView
            do throws(RDBError) { bytes = try input.string(&blob) } catch { throw .input(error) }
            if isPlain {
                // Not as an integer, even if it spells one: nothing is that long.
                try Self.push(ListElement(bytes), to: &list, loader.limits)
            } else if type == .listQuicklist2 {
                var reader = try Self.unpacking { () throws(PackedError) in
                    try ListpackReader(bytes)
                }
                while let element = try Self.unpacking({ () throws(PackedError) in
                    try reader.next()
                }) {
                    try Self.push(element, to: &list, loader.limits)
                }
            } else {
                var reader = try Self.unpacking { () throws(PackedError) in
                    try ZiplistReader(bytes)
                }
                while let element = try Self.unpacking({ () throws(PackedError) in
                    try reader.next()
                }) {
                    try Self.push(element, to: &list, loader.limits)
                }
            }
        }
        return list.isEmpty ? .empty : .made
    }

    // MARK: Sets

    private mutating func set(
        _ input: inout RDBInput, _ key: Key, _ loader: inout ValueLoader
    ) throws(Failure) -> RDBOutcome {
        let count = try Self.reading { () throws(RDBError) in try input.count() }
        if count == 0 { return .empty }
        var set = try Self.writing { () throws(CommandError) in try loader.keys.set(key) }
        if count > max(loader.limits.sets.integersMax, loader.limits.sets.packed.entriesMax) {
            try Self.writing { () throws(CommandError) in try set.beginLarge() }
        }
        for _ in 0..<count {
            let member: ByteView
            do throws(RDBError) { member = try input.string(&first) } catch { throw .input(error) }
            if try !Self.add(member, to: &set, loader.limits) {
                throw damage(input, "a set has a member twice")
            }
        }
        return .made
    }

    @inline(__always)
    private static func add(
        _ member: ByteView, to set: inout SetValue, _ limits: ValueLimits
    ) throws(Failure) -> Bool {
        do throws(CommandError) {
            return try set.add(member, limits: limits.sets)
        } catch {
            throw .command(error)
        }
    }

    private mutating func packedSet(
        _ type: RDBType, _ input: inout RDBInput, _ key: Key, _ loader: inout ValueLoader
    ) throws(Failure) -> RDBOutcome {
        let bytes: ByteView
        do throws(RDBError) { bytes = try input.string(&blob) } catch { throw .input(error) }
        var set = try Self.writing { () throws(CommandError) in try loader.keys.set(key) }
        if type == .setIntset {
            var reader = try Self.unpacking { () throws(PackedError) in try IntsetReader(bytes) }
            while let integer = try Self.unpacking({ () throws(PackedError) in try reader.next() })
            {
                _ = try integer.withDecimal { (text) throws(Failure) in
                    try Self.add(text, to: &set, loader.limits)
                }
            }
            return set.isEmpty ? .empty : .made
        }
        var reader = try Self.unpacking { () throws(PackedError) in try ListpackReader(bytes) }
        while let element = try Self.unpacking({ () throws(PackedError) in try reader.next() }) {
            let isNew = try element.withText { (text) throws(Failure) in
                try Self.add(text, to: &set, loader.limits)
            }
            if !isNew { throw damage(input, "a set has a member twice") }
        }
        return set.isEmpty ? .empty : .made
    }

    // MARK: Sorted sets

    private mutating func sortedSet(
        _ type: RDBType, _ input: inout RDBInput, _ key: Key, _ loader: inout ValueLoader
    ) throws(Failure) -> RDBOutcome {
        let count = try Self.reading { () throws(RDBError) in try input.count() }
        if count == 0 { return .empty }
        var set = loader.keys.newSortedSet()
        for index in 0..<count {
            let member = try Self.keep(&input, in: &first, &second)
            let score = try Self.reading { () throws(RDBError) in
                try Self.score(&input, isText: type == .zset)
            }
            if score.isNaN { throw damage(input, "a score that is not a number") }
            set.add(member, score)
            if set.count != index + 1 { throw damage(input, "a sorted set has a member twice") }
        }
        do throws(CommandError) {
            try loader.keys.setSortedSet(key, set, limits: loader.limits.sortedSets)
        } catch {
            throw .command(error)
        }
        return .made
    }

    private static func score(
        _ input: inout RDBInput, isText: Bool
    ) throws(RDBError) -> Double {
        if !isText { return Double(bitPattern: try input.littleEndian(8)) }
        switch try input.byte() {
        case RDBFormat.zsetDoubleNaN: return .nan
        case RDBFormat.zsetDoublePositiveInfinity: return .infinity
        case RDBFormat.zsetDoubleNegativeInfinity: return -.infinity
        case let length: return try input.take(Int(length)).parseDouble() ?? .nan
        }
    }

    private mutating func packedSortedSet(
        _ type: RDBType, _ input: inout RDBInput, _ key: Key, _ loader: inout ValueLoader
    ) throws(Failure) -> RDBOutcome {
        let bytes: ByteView
        do throws(RDBError) { bytes = try input.string(&blob) } catch { throw .input(error) }
        var set = loader.keys.newSortedSet()
        var reader = try PairReader(bytes, isZiplist: type == .zsetZiplist)
        var count = 0
        while let (member, element) = try reader.next() {
            var score: Double
            switch element {
            case .integer(let integer): score = Double(integer)
            case .bytes(let text): score = text.parseDouble() ?? .nan
            }
            if score.isNaN { throw damage(input, "a score that is not a number") }
            if score.isZero { score = 0 }
            member.withText { set.add($0, score) }
            count += 1
            if set.count != count { throw damage(input, "a sorted set has a member twice") }
        }
        if count == 0 { return .empty }
        do throws(CommandError) {
            try loader.keys.setSortedSet(key, set, limits: loader.limits.sortedSets)
        } catch {
            throw .command(error)
        }
        return .made
    }

    /// Two elements at a time of a listpack or ziplist.
    private struct PairReader {
        private var listpack: ListpackReader?
        private var ziplist: ZiplistReader?

        init(_ bytes: ByteView, isZiplist: Bool) throws(Failure) {
            do throws(PackedError) {
                if isZiplist {
                    ziplist = try ZiplistReader(bytes)
                } else {
                    listpack = try ListpackReader(bytes)
                }
            } catch {
                throw .packed
            }
        }

        mutating func next() throws(Failure) -> (ListElement, ListElement)? {
            guard let one = try element() else { return nil }
            guard let other = try element() else { throw .packed }
            return (one, other)
        }

        mutating func element() throws(Failure) -> ListElement? {
            do throws(PackedError) {
                return listpack == nil ? try ziplist?.next() : try listpack?.next()
            } catch {
                throw .packed
            }
        }
    }

    // MARK: Hashes

    private mutating func hash(
        _ input: inout RDBInput, _ key: Key, _ loader: inout ValueLoader
    ) throws(Failure) -> RDBOutcome {
        let count = try Self.reading { () throws(RDBError) in try input.count() }
        if count == 0 { return .empty }
        var hash = try Self.writing { () throws(CommandError) in try loader.keys.hash(key) }
        if count > loader.limits.hashes.entriesMax {
            try Self.writing { () throws(CommandError) in
                try hash.create(
                    forFields: count, bytes: 0, longest: 0, limits: loader.limits.hashes)
            }
        }
        for _ in 0..<count {
            let field = try Self.keep(&input, in: &first, &second)
            let value: ByteView
            do throws(RDBError) { value = try input.string(&second) } catch { throw .input(error) }
            if try !Self.set(field, value, of: &hash, loader.limits) {
                throw damage(input, "a hash has a field twice")
            }
        }
        return .made
    }

    @inline(__always)
    private static func set(
        _ field: ByteView, _ value: ByteView, of hash: inout HashValue, _ limits: ValueLimits
    ) throws(Failure) -> Bool {
        do throws(CommandError) {
            return try hash.set(field, value, limits: limits.hashes)
        } catch {
            throw .command(error)
        }
    }

    private mutating func packedHash(
        _ type: RDBType, _ input: inout RDBInput, _ key: Key, _ loader: inout ValueLoader
    ) throws(Failure) -> RDBOutcome {
        let bytes: ByteView
        do throws(RDBError) { bytes = try input.string(&blob) } catch { throw .input(error) }
        var hash = try Self.writing { () throws(CommandError) in try loader.keys.hash(key) }
        let limits = loader.limits
        if type == .hashZipmap {
            var reader = try Self.unpacking { () throws(PackedError) in try ZipmapReader(bytes) }
            while let (field, value) = try Self.unpacking({ () throws(PackedError) in
                try reader.next()
            }) {
                if try !Self.set(field, value, of: &hash, limits) {
                    throw damage(input, "a hash has a field twice")
                }
            }
            return hash.isEmpty ? .empty : .made
        }
        var reader = try PairReader(bytes, isZiplist: type == .hashZiplist)
        while let (field, value) = try reader.next() {
            let isNew = try field.withText { (field) throws(Failure) in
                try value.withText { (value) throws(Failure) in
                    try Self.set(field, value, of: &hash, limits)
                }
            }
            if !isNew { throw damage(input, "a hash has a field twice") }
        }
        return hash.isEmpty ? .empty : .made
    }

    // MARK: Hashes with deadlines

    /// Sets a field with its deadline; what is over may be left out.
    private func set(
        _ field: ByteView, _ value: ByteView, _ deadline: Int64?, of hash: inout HashValue,
        _ input: borrowing RDBInput, _ loader: borrowing ValueLoader
    ) throws(Failure) {
        if let deadline {
            if deadline > FieldTime.latestMilliseconds {
                throw damage(input, "a deadline out of range")
            }
            if dropsOver && deadline <= loader.keys.nowMilliseconds { return }
        }
        if try !Self.set(field, value, of: &hash, loader.limits) {
            throw damage(input, "a hash has a field twice")
        }
        guard let deadline else { return }
        do throws(CommandError) {
            try hash.setDeadline(deadline, of: field, limits: loader.limits.hashes)
        } catch {
            throw .command(error)
        }
    }

    private mutating func timedHash(
        _ type: RDBType, _ input: inout RDBInput, _ key: Key, _ loader: inout ValueLoader
    ) throws(Failure) -> RDBOutcome {
        let isValkeys = type == .hashMetadataOfCandidate && isValkey
        var earliest: UInt64 = 0
        if type == .hashMetadata {
            earliest = try Self.reading { () throws(RDBError) in try input.littleEndian(8) }
            if earliest > UInt64(Int64.max) { throw damage(input, "a deadline out of range") }
        }
        let count = try Self.reading { () throws(RDBError) in try input.count() }
        if count == 0 { return .empty }
        var hash = try Self.writing { () throws(CommandError) in try loader.keys.hash(key) }
        for _ in 0..<count {
            var mark: UInt64 = 0
            if !isValkeys { mark = try Self.reading { () throws(RDBError) in try input.number() } }
            let field = try Self.keep(&input, in: &first, &second)
            let value = try Self.keep(&input, in: &second, &blob)
            var deadline: Int64?
            if isValkeys {
                // -1 for none.
                mark = try Self.reading { () throws(RDBError) in try input.littleEndian(8) }
                mark = mark == UInt64.max ? 0 : mark
            } else if type == .hashMetadata && mark > 0 {
                let (sum, isLate) = earliest.addingReportingOverflow(mark - 1)
                mark = isLate ? .max : sum
            }
            if mark > 0 {
                deadline = Int64(exactly: mark)
                if deadline == nil { throw damage(input, "a deadline out of range") }
            }
            try set(field, value, deadline, of: &hash, input, loader)
        }
        return hash.isEmpty ? .over : .made
    }

    private mutating func timedListpack(
        _ type: RDBType, _ input: inout RDBInput, _ key: Key, _ loader: inout ValueLoader
    ) throws(Failure) -> RDBOutcome {
        if type == .hashListpackEx {
            _ = try Self.reading { () throws(RDBError) in try input.littleEndian(8) }
        }
        let bytes: ByteView
        do throws(RDBError) { bytes = try input.string(&blob) } catch { throw .input(error) }
        var reader = try PairReader(bytes, isZiplist: false)
        var hash = try Self.writing { () throws(CommandError) in try loader.keys.hash(key) }
        var count = 0
        while let (field, value) = try reader.next() {
            guard case .integer(let mark) = try reader.element(), mark >= 0 else {
                throw damage(input, "a deadline out of range")
            }
            try field.withText { (field) throws(Failure) in
                try value.withText { (value) throws(Failure) in
                    try set(field, value, mark == 0 ? nil : mark, of: &hash, input, loader)
                }
            }
            count += 1
        }
        return count == 0 ? .empty : hash.isEmpty ? .over : .made
    }

    // MARK: Streams

    private mutating func stream(
        _ type: RDBType, _ input: inout RDBInput, _ key: Key, _ loader: inout ValueLoader
    ) throws(Failure) -> RDBOutcome {
        var stream = try Self.writing { () throws(CommandError) in try loader.keys.stream(key) }
        try Self.writing { () throws(CommandError) in try stream.begin() }
        let blocks = try Self.reading { () throws(RDBError) in try input.count() }
        for _ in 0..<blocks {
            let name = try Self.keep(&input, in: &first, &second)
            guard name.count == 16 else { throw damage(input, "a stream's block without an ID") }
            let master = StreamID(name.slice(0, 8).bigEndian, name.slice(8, 16).bigEndian)
            let bytes: ByteView
            do throws(RDBError) { bytes = try input.string(&blob) } catch { throw .input(error) }
            try entries(bytes, master, stream, input, loader.limits)
        }
        do throws(RDBError) {
            try counters(type, stream, &input)
            let groups = try input.count()
            for _ in 0..<groups { try group(type, stream, &input) }
            if type == .stream4 || type == .stream5 {
                try producers(stream, &input, loader.limits)
            }
        } catch {
            throw .input(error)
        }
        return .made
    }

    /// One block: see `RDBOutput.append(block:)` for the layout.
    private mutating func entries(
        _ bytes: ByteView, _ master: StreamID, _ stream: StreamValue,
        _ input: borrowing RDBInput, _ limits: ValueLimits
    ) throws(Failure) {
        var reader = try ListpackIntegers(bytes)
        let living = try reader.integer()
        let deleted = try reader.integer()
        let nameCount = try reader.integer()
        // Each name takes a byte at least.
        guard living >= 0, deleted >= 0, nameCount >= 0, nameCount <= bytes.count else {
            throw .packed
        }
        digits.removeAll()
        var names: [StreamText] = []
        for _ in 0..<nameCount { names.append(keep(try reader.element())) }
        let namesEnd = digits.count
        guard try reader.integer() == 0 else { throw .packed }
        var found = (living: 0, deleted: 0)
        while let first = try reader.optionalElement() {
            guard case .integer(let flags) = first, 0...3 ~= flags else { throw .packed }
            let milliseconds =
                master.milliseconds &+ UInt64(bitPattern: Int64(try reader.integer()))
            let sequence = master.sequence &+ UInt64(bitPattern: Int64(try reader.integer()))
            let sharesNames = flags & 2 != 0
            var fieldCount = nameCount
            if !sharesNames { fieldCount = try reader.integer() }
            guard fieldCount >= 0, fieldCount <= bytes.count else { throw .packed }
            digits.truncate(to: namesEnd)
            texts.removeAll(keepingCapacity: true)
            for index in 0..<fieldCount {
                texts.append(sharesNames ? names[index] : keep(try reader.element()))
                texts.append(keep(try reader.element()))
            }
            guard try reader.integer() == (sharesNames ? fieldCount + 3 : 2 * fieldCount + 4)
            else { throw .packed }
            if flags & 1 != 0 {
                found.deleted += 1
                continue
            }
            found.living += 1
            views.removeAll(keepingCapacity: true)
            for text in texts {
                switch text {
                case .bytes(let view): views.append(view)
                case .digits(let start, let end): views.append(digits.view.slice(start, end))
                }
            }
            let isAdded = try Self.writing { () throws(CommandError) in
                try stream.append(StreamID(milliseconds, sequence), views, limits.streams)
            }
            if !isAdded { throw damage(input, "a stream's entries are not in order") }
        }
        guard found.living == living, found.deleted == deleted else {
            throw damage(input, "a stream's block has other entries than it says")
        }
    }

    private mutating func keep(_ element: ListElement) -> StreamText {
        switch element {
        case .bytes(let view): return .bytes(view)
        case .integer(let integer):
            let start = digits.count
            digits.append(decimal: integer)
            return .digits(start: start, end: digits.count)
        }
    }

    /// A listpack of which much must be integers.
    private struct ListpackIntegers {
        private var reader: ListpackReader

        init(_ bytes: ByteView) throws(Failure) {
            do throws(PackedError) { reader = try ListpackReader(bytes) } catch { throw .packed }
        }

        mutating func optionalElement() throws(Failure) -> ListElement? {
            do throws(PackedError) { return try reader.next() } catch { throw .packed }
        }

        mutating func element() throws(Failure) -> ListElement {
            guard let element = try optionalElement() else { throw .packed }
            return element
        }

        mutating func integer() throws(Failure) -> Int {
            guard case .integer(let integer) = try element() else { throw .packed }
            return Int(integer)
        }
    }

    private func counters(
        _ type: RDBType, _ stream: StreamValue, _ input: inout RDBInput
    ) throws(RDBError) {
        let count = try input.number()
        guard count == UInt64(stream.count) else {
            throw input.damaged("a stream has other entries than it says")
        }
        let lastID = try input.id()
        var maxDeletedID = StreamID.zero
        var added = count
        if type != .stream {
            // The first entry's, which is known.
            _ = try input.id()
            maxDeletedID = try input.id()
            added = try input.number()
        }
        guard stream.settle(lastID: lastID, entriesAdded: added, maxDeletedID: maxDeletedID) else {
            throw input.damaged("a stream's counters do not go together")
        }
    }

    private mutating func group(
        _ type: RDBType, _ stream: StreamValue, _ input: inout RDBInput
    ) throws(RDBError) {
        first.removeAll()
        first.append(try input.string(&second))
        let lastDeliveredID = try input.id()
        var read: Int64?
        if type != .stream {
            let number = try input.number()
            guard number == UInt64.max || number <= UInt64(Int64.max) else {
                throw input.damaged("a group has read more entries than there can be")
            }
            read = number == UInt64.max ? nil : Int64(number)
        }
        guard
            stream.addGroup(first.view, lastDeliveredID: lastDeliveredID, entriesRead: read),
            let group = stream.group(named: first.view)
        else { throw input.damaged("a stream has a group twice") }
        try pending(of: group, &input)
        let consumers = try input.count()
        for _ in 0..<consumers { try consumer(of: group, type, &input) }
        var released = 0
        if type == .stream5 {
            released = try input.count()
            for _ in 0..<released {
                guard let entry = group.pending(try input.rawID()), entry.consumer == 0 else {
                    throw input.damaged("an entry that was given back is not pending")
                }
                group.release(entry)
            }
        }
        guard group.releasedCount == released else {
            throw input.damaged("a pending entry has no consumer")
        }
    }

    private func pending(
        of group: GroupValue, _ input: inout RDBInput
    ) throws(RDBError) {
        let count = try input.count()
        for _ in 0..<count {
            let id = try input.rawID()
            let delivered = Int64(bitPattern: try input.littleEndian(8))
            let deliveries = Int64(clamping: try input.number())
            if group.pending(id) != nil { throw input.damaged("an entry is pending twice") }
            group.put(
                PendingEntry(
                    id: id, deliveredMilliseconds: max(0, delivered), deliveryCount: deliveries),
                nil)
        }
    }

    private mutating func consumer(
        of group: GroupValue, _ type: RDBType, _ input: inout RDBInput
    ) throws(RDBError) {
        first.removeAll()
        first.append(try input.string(&second))
        let seen = max(0, Int64(bitPattern: try input.littleEndian(8)))
        // What older types do not say is taken to be the same.
        var active: Int64? = seen
        if type != .stream && type != .stream2 {
            let time = Int64(bitPattern: try input.littleEndian(8))
            active = time < 0 ? nil : time
        }
        if group.consumer(named: first.view) != nil {
            throw input.damaged("a group has a consumer twice")
        }
        let consumer = group.addConsumer(first.view, nowMilliseconds: seen)
        consumer.activeMilliseconds = active
        let count = try input.count()
        for _ in 0..<count {
            guard let entry = group.pending(try input.rawID()) else {
                throw input.damaged("a consumer holds an entry that is not pending")
            }
            guard entry.consumer == 0 else {
                throw input.damaged("two consumers hold one entry")
            }
            group.put(entry, consumer)
        }
    }

    private mutating func producers(
        _ stream: StreamValue, _ input: inout RDBInput, _ limits: ValueLimits
    ) throws(RDBError) {
        var record = ProducerRecord()
        record.secondsMax = Int(clamping: try input.number())
        record.countMax = Int(clamping: try input.number())
        let producers = try input.count()
        for _ in 0..<producers {
            let name = try input.string(&second).bytes
            let count = try input.count()
            var entries: [(idempotentID: [UInt8], id: StreamID)] = []
            for _ in 0..<count {
                let idempotentID = try input.string(&second).bytes
                entries.append((idempotentID, try input.id()))
            }
            record.producers.append((name, entries))
        }
        record.addedCount = try input.number()
        record.duplicateCount = try input.number()
        guard stream.remember(record, limits) else {
            throw input.damaged("what a stream remembers of producers contradicts itself")
        }
    }

    // MARK: Modules

    /// The error that names the module whose value stands there.
    private func module(_ type: RDBType, _ input: inout RDBInput) throws(RDBError) -> RDBError {
        let offset = input.offset
        if type == .module {
            return RDBError(.unsupported("a value of a module of Redis 4.0 candidates"), at: offset)
        }
        let name = moduleName(try input.number())
        return RDBError(.unsupported("a value of module type '\(name)'"), at: offset)
    }
}

/// The name of a module type: nine characters of six bits, above the version.
func moduleName(_ id: UInt64) -> String {
    let letters = Array(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".utf8)
    let name = (0..<9).map { letters[Int(id >> UInt64(58 - 6 * $0) & 63)] }
    return String(decoding: name, as: UTF8.self)
}

extension ListElement {
    /// Lends the bytes, of an integer its decimal form.
    @inline(__always)
    func withText<R, E: Error>(_ body: (ByteView) throws(E) -> R) throws(E) -> R {
        switch self {
        case .bytes(let bytes): try body(bytes)
        case .integer(let integer): try integer.withDecimal(body)
        }
    }
}
