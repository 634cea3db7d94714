//  Large values of a snapshot, whose records are made of their nodes while commands go on: elements come
//  in no particular order, some from whoever is about to change them.
//
//  What stands behind the blocks of a stream, its groups above all, is written when the record begins
//  and kept until its end.

import MartletBase
import MartletEngine

extension RDBSnapshotEncoder {
    package func begin(
        _ entry: Entry, into buffer: inout ByteBuffer
    ) -> (any SnapshotPieces)? {
        if entry.isOver(at: nowMilliseconds) { return nil }
        var type = RDBType.hash
        var earliest: Int64 = 0
        if entry.kind != .hash {
            type = entry.rdbType(at: nowMilliseconds)
        } else if let deadline = entry.earliestFieldDeadline(after: nowMilliseconds) {
            type = .hashMetadata
            earliest = deadline
        }
        let pieces = RDBPieces(entry, as: type, earliest, self)
        var output = RDBOutput(compresses: compresses)
        output.exchangeBuffer(with: &buffer)
        defer { output.exchangeBuffer(with: &buffer) }
        output.append(keyOf: entry, as: type, use: use.of(entry))
        switch type {
        case .list: output.append(length: entry.elementCount)
        case .set: output.append(length: entry.memberCount)
        case .zset2: output.append(length: entry.scoredMemberCount)
        case .hash: output.append(length: entry.fieldCount(at: nowMilliseconds))
        case .hashMetadata:
            output.append64(UInt64(bitPattern: earliest))
            output.append(length: entry.fieldCount(at: nowMilliseconds))
        default: output.append(length: entry.streamContents.blockCount)
        }
        return pieces
    }
}

/// The elements of one record.
final class RDBPieces: SnapshotPieces {
    private let type: RDBType
    private let nowMilliseconds: Int64
    /// What the deadlines of fields count from.
    private let earliestDeadline: Int64
    private var output: RDBOutput
    private var tail = ByteBuffer()

    fileprivate init(
        _ entry: Entry, as type: RDBType, _ earliestDeadline: Int64, _ encoder: RDBSnapshotEncoder
    ) {
        self.type = type
        nowMilliseconds = encoder.nowMilliseconds
        output = RDBOutput(compresses: encoder.compresses)
        self.earliestDeadline = earliestDeadline
        if entry.kind == .stream {
            output.exchangeBuffer(with: &tail)
            output.append(tailOf: entry.streamContents, as: type)
            output.exchangeBuffer(with: &tail)
        }
    }

    private func write(to buffer: inout ByteBuffer, _ body: (inout RDBOutput) -> Void) {
        output.exchangeBuffer(with: &buffer)
        body(&output)
        output.exchangeBuffer(with: &buffer)
    }

    func append(element: ListElement, to buffer: inout ByteBuffer) {
        write(to: &buffer) { $0.append(element: element) }
    }

    func append(member: ByteView, to buffer: inout ByteBuffer) {
        write(to: &buffer) { $0.append(string: member) }
    }

    func append(member: ByteView, score: Double, to buffer: inout ByteBuffer) {
        write(to: &buffer) { $0.append(member: member, score: score) }
    }

    func append(field: ByteView, value: ByteView, deadline: Int64?, to buffer: inout ByteBuffer) {
        // Not counted at the beginning either.
        if let deadline, deadline <= nowMilliseconds { return }
        write(to: &buffer) { output in
            if type == .hashMetadata {
                output.append(number: deadline.map { UInt64($0 - earliestDeadline) + 1 } ?? 0)
            }
            output.append(string: field)
            output.append(string: value)
        }
    }

    func append(block: StreamBlockContents, to buffer: inout ByteBuffer) {
        write(to: &buffer) { $0.append(block: block) }
    }

    func end(_ buffer: inout ByteBuffer) { buffer.append(tail.view) }
}
