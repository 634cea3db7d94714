//  What a request logs: as it came, or what its handler staged instead; and the position of the log that
//  its reply waits for.
//
//  A write's reply waits for its own unit, a read's for the last write to the bucket of its key, so that
//  nothing is ever read that a power cut can take back. Positions are counted under `appendfsync
//  always` alone: `EffectSinks.synchronous`.
//
//  Raw memory: the loop's effect buffer is used through the pointer that the call holds.

import MartletBase

extension Call {
    /// A command has ended: stages it, unless it has staged what is to be logged in its place, and
    /// appends the unit, unless a transaction goes on.
    mutating func log(_ effect: Effect) {
        let effects = unsafe keyspace.effects
        let changes = unsafe effect.isRecorded ? effects.pointee.changeCount : Int(effect.count)
        if unsafe !effects.pointee.staged.endCommand() && changes > 0 {
            unsafe effects.pointee.stage(
                arguments.all, count: arguments.count, database: keyspace.database, isOwn: false)
        }
        if keyspace.sinks.contains(.synchronous) { noteWrites(effect) }
        if !isUnitOpen { appendUnit(isWrite: changes > 0) }
    }

    /// Appends what is staged to the log as one unit. The shards of its keys are held.
    @inline(__always)
    mutating func appendUnit(isWrite: Bool) {
        let effects = unsafe keyspace.effects
        if unsafe effects.pointee.staged.isEmpty { return }
        // What expired without anybody's doing is no unit: it may be torn.
        let position = unsafe appender.append(effects.pointee.staged, isAtomic: actor != 0)
        if keyspace.sinks.contains(.synchronous) { settleWrites(at: position, isWrite) }
        unsafe effects.pointee.staged.removeAll()
    }

    /// Remembers which keys the command has written, until the position of its unit is known.
    @inline(never)
    private mutating func noteWrites(_ effect: Effect) {
        let effects = unsafe keyspace.effects
        for record in unsafe effects.pointee.records where record.event.isChange {
            unsafe effects.pointee.staged.noteWritten(record.keyHash)
        }
        if effect.count <= 0 { return }
        if effect.keyIndex > 0 {
            let key = unsafe keyspace.keyspace.pointee.key(arguments[Int(effect.keyIndex)])
            unsafe effects.pointee.staged.noteWritten(key.hash)
        } else if unsafe commands.rows[commandNumber].shape == .all {
            unsafe effects.pointee.staged.noteAllWritten()
        } else {
            let keyspace = unsafe keyspace.keyspace
            let arguments = arguments
            KeySpec.forEachKey(command.keys, arguments) { index, _ in
                let key = unsafe keyspace.pointee.key(arguments[index])
                unsafe effects.pointee.staged.noteWritten(key.hash)
            }
        }
    }

    /// The unit stands in the log: reads of its keys wait for it from now on.
    @inline(never)
    private mutating func settleWrites(at position: UInt64, _ isWrite: Bool) {
        logPosition = position
        let shards = unsafe keyspace.keyspace
        if unsafe keyspace.effects.pointee.staged.hasWrittenAll {
            unsafe shards.pointee.noteWrite(nil, at: position)
        } else {
            unsafe keyspace.effects.pointee.staged.forEachWritten { hash in
                unsafe shards.pointee.noteWrite(hash, at: position)
            }
        }
        // Not of a reply that is not there yet, or that goes to a client which waited.
        if isWrite && !isNested && followUp != .block {
            unsafe writes.append(LoggedWrite(arguments: arguments.all, position: position))
        }
    }

    /// The running command has read its keys, whose shards are held still: its reply waits for what was
    /// written to them last.
    mutating func awaitKeys() {
        let row = unsafe commands.rows + commandNumber
        let shards = unsafe keyspace.keyspace
        switch unsafe row.pointee.shape {
        case .none: return
        case .all, .walks: logPosition = max(logPosition, appender.end)
        case .one, .several:
            let known = arguments.knownKey
            if unsafe row.pointee.shape == .one && known.index != 0 {
                logPosition = max(logPosition, unsafe shards.pointee.lastWrite(known.hash))
                return
            }
            let command = command
            if let reaches = command.reachesUnnamedKeys, reaches(arguments) {
                logPosition = max(logPosition, appender.end)
                return
            }
            var latest = logPosition
            let arguments = arguments
            KeySpec.forEachKey(command.keys, arguments) { index, _ in
                let key = unsafe shards.pointee.key(arguments[index])
                latest = max(latest, unsafe shards.pointee.lastWrite(key.hash))
            }
            logPosition = latest
        }
    }
}
