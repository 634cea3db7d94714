//  Values as the commands that make them: the records of a log's base where `aof-use-rdb-preamble` is off.
//
//      SET key value                                            PEXPIREAT key deadline behind each,
//      RPUSH key element ...          at most 64 at once         where there is one
//      SADD key member ...
//      ZADD key score member ...
//      HSET key field value ...       HPEXPIREAT key deadline FIELDS 1 field
//      XADD key id field value ...    XSETID key last ENTRIESADDED n MAXDELETEDID id
//                                     XGROUP CREATE, XGROUP CREATECONSUMER,
//                                     XCLAIM key group consumer 0 id TIME t RETRYCOUNT n JUSTID FORCE
//
//  What a stream has that no command makes (pending entries that are deleted or nobody's, idempotent
//  producers) goes with all of it into one RESTORE. Every command is whole where it is appended, so that
//  a record may go on in any chunk.

import MartletBase
import MartletEngine

/// Makes records of commands.
package struct CommandSnapshotEncoder: SnapshotEncoder {
    let nowMilliseconds: Int64

    /// - Parameter nowMilliseconds: wall clock at the snapshot's point in time: what is over then is left
    ///   out.
    package init(at nowMilliseconds: Int64) { self.nowMilliseconds = nowMilliseconds }

    package func encode(_ entry: Entry, into buffer: inout ByteBuffer) {
        if entry.isOver(at: nowMilliseconds) { return }
        let pieces = CommandPieces(entry, at: nowMilliseconds)
        switch entry.kind {
        case .string:
            buffer.beginCommand("SET", entry.keyView, arguments: 1)
            entry.withString { buffer.append(argument: $0) }
        case .list: entry.forEachElement { pieces.append(element: $0, to: &buffer) }
        case .set: entry.forEachMember { pieces.append(member: $0, to: &buffer) }
        case .sortedSet:
            entry.forEachScoredMember { pieces.append(member: $0, score: $1, to: &buffer) }
        case .hash:
            entry.forEachField(at: nowMilliseconds) {
                pieces.append(field: $0, value: $1, deadline: $2, to: &buffer)
            }
        case .stream:
            if entry.streamContents.needsRestoring {
                buffer.beginCommand("RESTORE", entry.keyView, arguments: 2)
                buffer.append(argument: "0")
                var output = RDBOutput()
                buffer.append(
                    argument: RDBPayload.write(entry, at: nowMilliseconds, to: &output))
            } else {
                entry.streamContents.forEachBlock { pieces.append(block: $0, to: &buffer) }
                pieces.prepareTail(of: entry)
            }
        }
        pieces.end(&buffer)
    }

    package func begin(
        _ entry: Entry, into buffer: inout ByteBuffer
    ) -> (any SnapshotPieces)? {
        if entry.isOver(at: nowMilliseconds) { return nil }
        let pieces = CommandPieces(entry, at: nowMilliseconds)
        if entry.kind == .stream {
            if entry.streamContents.needsRestoring { return nil }
            pieces.prepareTail(of: entry)
        }
        return pieces
    }
}

extension StreamContents {
    /// It has what no command makes.
    fileprivate var needsRestoring: Bool {
        if producers != nil { return true }
        for index in 0..<groupCount {
            let group = group(at: index)
            if group.releasedCount > 0 { return true }
            if group.pendingCount == 0 || entriesAdded == UInt64(count) { continue }
            var lacksEntry = false
            group.forEachPending { if !lacksEntry && !contains($0.id) { lacksEntry = true } }
            if lacksEntry { return true }
        }
        return false
    }
}

/// The commands of one value.
///
/// Elements are gathered until a command has enough of them. Those of a list are gathered within a node,
/// whose bytes stand together; the others may stand anywhere.
final class CommandPieces: SnapshotPieces {
    private let kind: ValueKind
    private let nowMilliseconds: Int64
    private let deadline: Int64?
    private var key = ByteBuffer()
    /// Arguments of the command that is gathered.
    private var arguments = ByteBuffer()
    private var argumentCount = 0
    private var elementCount = 0
    /// Commands that follow upon it.
    private var following = ByteBuffer()
    /// What stands behind the entries of a stream.
    private var tail = ByteBuffer()

    /// Redis, too, puts so many elements into a command.
    private static let elementsMax = 64
    /// A command that has so many bytes gets no more elements.
    private static let bytesMax = 64 * 1024

    init(_ entry: Entry, at nowMilliseconds: Int64) {
        kind = entry.kind
        self.nowMilliseconds = nowMilliseconds
        deadline = entry.expiryMilliseconds
        key.append(entry.keyView)
    }

    private func endElement(_ count: Int, _ buffer: inout ByteBuffer) {
        argumentCount += count
        elementCount += 1
        if elementCount >= Self.elementsMax || arguments.count >= Self.bytesMax {
            flush(to: &buffer)
        }
    }

    private func flush(to buffer: inout ByteBuffer) {
        if elementCount == 0 { return }
        let name: StaticString =
            switch kind {
            case .list: "RPUSH"
            case .set: "SADD"
            case .sortedSet: "ZADD"
            case .hash: "HSET"
            case .string, .stream: preconditionFailure("elements are those of collections")
            }
        buffer.beginCommand(name, key.view, arguments: argumentCount)
        buffer.append(arguments.view)
        buffer.append(following.view)
        arguments.removeAll()
        following.removeAll()
        argumentCount = 0
        elementCount = 0
    }

    // MARK: Elements

    func append(element: ListElement, to buffer: inout ByteBuffer) {
        arguments.append(argument: element)
        endElement(1, &buffer)
    }

    func endNode(_ buffer: inout ByteBuffer) { flush(to: &buffer) }

    func append(member: ByteView, to buffer: inout ByteBuffer) {
        arguments.append(argument: member)
        endElement(1, &buffer)
    }

    func append(member: ByteView, score: Double, to buffer: inout ByteBuffer) {
        var text = ByteBuffer()
        text.append(double: score)
        arguments.append(argument: text.view)
        arguments.append(argument: member)
        endElement(2, &buffer)
    }

    func append(field: ByteView, value: ByteView, deadline: Int64?, to buffer: inout ByteBuffer) {
        if let deadline {
            if deadline <= nowMilliseconds { return }
            following.beginCommand("HPEXPIREAT", key.view, arguments: 4)
            following.append(decimalArgument: deadline)
            following.append(argument: "FIELDS")
            following.append(argument: "1")
            following.append(argument: field)
        }
        arguments.append(argument: field)
        arguments.append(argument: value)
        endElement(2, &buffer)
    }

    func append(block: StreamBlockContents, to buffer: inout ByteBuffer) {
        block.forEachEntry { entry in
            buffer.beginCommand("XADD", key.view, arguments: 1 + 2 * entry.fieldCount)
            buffer.append(argument: entry.id)
            entry.forEachField { field, value in
                buffer.append(argument: field)
                buffer.append(argument: value)
            }
        }
    }

    func end(_ buffer: inout ByteBuffer) {
        flush(to: &buffer)
        buffer.append(tail.view)
        if let deadline {
            buffer.beginCommand("PEXPIREAT", key.view, arguments: 1)
            buffer.append(decimalArgument: deadline)
        }
    }

    // MARK: Streams

    /// Makes what stands behind the entries of a stream: counters and groups.
    func prepareTail(of entry: Entry) {
        let stream = entry.streamContents
        if stream.count == 0 {
            // An entry that goes at once makes the empty stream.
            tail.beginCommand("XADD", key.view, arguments: 5)
            tail.append(argument: "MAXLEN")
            tail.append(argument: "0")
            tail.append(argument: max(stream.lastID, StreamID(0, 1)))
            tail.append(argument: "x")
            tail.append(argument: "y")
        }
        tail.beginCommand("XSETID", key.view, arguments: 5)
        tail.append(argument: stream.lastID)
        tail.append(argument: "ENTRIESADDED")
        tail.append(decimalArgument: Int64(clamping: stream.entriesAdded))
        tail.append(argument: "MAXDELETEDID")
        tail.append(argument: stream.maxDeletedID)
        for index in 0..<stream.groupCount { appendGroup(stream.group(at: index)) }
    }

    private func appendGroup(_ group: GroupContents) {
        tail.beginCommand(
            "XGROUP", subcommand: "CREATE", key.view, arguments: group.entriesRead == nil ? 2 : 4)
        tail.append(argument: group.name)
        tail.append(argument: group.lastDeliveredID)
        if let read = group.entriesRead {
            tail.append(argument: "ENTRIESREAD")
            tail.append(decimalArgument: read)
        }
        for index in 0..<group.consumerCount {
            tail.beginCommand("XGROUP", subcommand: "CREATECONSUMER", key.view, arguments: 2)
            tail.append(argument: group.name)
            tail.append(argument: group.consumer(at: index).name)
        }
        group.forEachPending { entry in
            guard let consumer = group.consumerName(of: entry) else { return }
            tail.beginCommand("XCLAIM", key.view, arguments: 10)
            tail.append(argument: group.name)
            tail.append(argument: consumer)
            tail.append(argument: "0")
            tail.append(argument: entry.id)
            tail.append(argument: "TIME")
            tail.append(decimalArgument: entry.lastDeliveredMilliseconds)
            tail.append(argument: "RETRYCOUNT")
            tail.append(decimalArgument: entry.deliveryCount)
            tail.append(argument: "JUSTID")
            tail.append(argument: "FORCE")
        }
    }
}

// MARK: Commands

extension ByteBuffer {
    /// Begins a command on a key, behind which so many arguments follow.
    fileprivate mutating func beginCommand(
        _ name: StaticString, subcommand: StaticString? = nil, _ key: ByteView, arguments: Int
    ) {
        appendLength(UInt8(ascii: "*"), arguments + (subcommand == nil ? 2 : 3))
        append(argument: ByteView(name))
        if let subcommand { append(argument: ByteView(subcommand)) }
        append(argument: key)
    }

    fileprivate mutating func append(argument bytes: ByteView) {
        appendLength(UInt8(ascii: "$"), bytes.count)
        append(bytes)
        append("\r\n" as StaticString)
    }

    fileprivate mutating func append(argument word: StaticString) {
        append(argument: ByteView(word))
    }

    fileprivate mutating func append(argument element: ListElement) {
        switch element {
        case .bytes(let bytes): append(argument: bytes)
        case .integer(let integer): append(decimalArgument: integer)
        }
    }

    fileprivate mutating func append(decimalArgument value: Int64) {
        value.withDecimal { append(argument: $0) }
    }

    fileprivate mutating func append(argument id: StreamID) {
        var text = ByteBuffer(capacity: 48)
        text.append(unsignedDecimal: id.milliseconds)
        text.append(UInt8(ascii: "-"))
        text.append(unsignedDecimal: id.sequence)
        append(argument: text.view)
    }

    private mutating func appendLength(_ marker: UInt8, _ count: Int) {
        append(marker)
        append(decimal: Int64(count))
        append("\r\n" as StaticString)
    }
}
