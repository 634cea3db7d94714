//  A tracking client's command, and its loop's news: see Clients/Tracking.swift.
//
//  Raw memory: the session belongs to its connection and is touched on the loop's thread.

import MartletBase

extension Executor {
    /// A tracking client's command is about to run, its locks held: what has come in until now is to
    /// stand before its reply. Only taken here; it is told when the locks have been released.
    mutating func beginTracked() {
        let trackers = call.trackers
        if trackers.inbox.isEmpty { return }
        trackers.inbox.take(into: &trackers.taken)
        // The reply is written to a buffer of its own and follows what is told.
        swap(&call.reply.buffer, &trackers.earlier)
        trackers.isReplyApart = true
    }

    /// A tracking client's command has run, or stopped before it did; no lock is held.
    ///
    /// - Parameters:
    ///   - command: what it was.
    ///   - followUp: what became of it.
    ///   - before: where its reply begins, unless `beginTracked` has put it apart.
    mutating func endTracked(_ command: Command, _ followUp: FollowUp, from before: Int) {
        let trackers = call.trackers
        if trackers.isReplyApart {
            trackers.isReplyApart = false
            if !followUp.isRepeated { silence(from: 0) }
            swap(&call.reply.buffer, &trackers.earlier)
            trackers.tell(call.record, &call.reply.buffer)
            call.reply.buffer.append(trackers.earlier.view)
            trackers.earlier.removeAll()
        } else if !followUp.isRepeated {
            silence(from: before)
        }
        if !followUp.isRepeated {
            endReplyMode()
            endCaching(command)
        }
        // What the command itself has caused follows its reply.
        if !trackers.inbox.isEmpty {
            trackers.inbox.take(into: &trackers.taken)
            trackers.tell(call.record, &call.reply.buffer)
        }
    }

    /// CLIENT CACHING counts for one command or transaction; commands of CLIENT do not use it up.
    mutating func endCaching(_ command: Command?) {
        guard call.record.tracking.contains(.caching) else { return }
        if unsafe call.session.pointee.gate.contains(.inTransaction) { return }
        if let command, (command.parent ?? command).name == "CLIENT" { return }
        call.record.tracking.remove(.caching)
    }

    /// Tells the loop's clients what has come in, between their requests.
    package mutating func tellTrackers() {
        let trackers = call.trackers
        if trackers.inbox.isEmpty { return }
        trackers.inbox.take(into: &trackers.taken)
        tellTaken()
    }

    /// Tells what was taken out of the inbox, when no request is being served.
    mutating func tellTaken() {
        if call.trackers.taken.isEmpty { return }
        var nothing = ByteBuffer()
        call.trackers.tell(nil, &nothing)
    }

    /// A session will never come again.
    package mutating func forget(_ session: UnsafeMutablePointer<Session>) {
        call.trackers.stopTracking(unsafe session.pointee.record)
        unsafe call.state.forget(session)
    }
}
