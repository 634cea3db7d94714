//  One loop's tracking clients, and how they are told. Used on the loop's thread.
//
//  News for one client is a push of its own; keys under a prefix are gathered as long as the inbox was
//  not looked into, and told in one push, in order of their bytes.

import MartletBase

/// The clients of one loop that keep copies of keys.
final class LoopTrackers {
    /// The listeners of one prefix, and the keys changed under it since they were last told.
    private struct Prefix {
        var listeners: [ClientRecord] = []
        /// By key, who changed it; 0 when that was nobody, or several.
        var changes: [Bytes: Int64] = [:]
    }

    private var clients: [Int64: ClientRecord] = [:]
    private var prefixes: [Bytes: Prefix] = [:]
    /// Lengths of all prefixes, ascending.
    private var lengths: [Int] = []
    /// Prefixes of each broadcasting client.
    private var prefixesOfClient: [Int64: [Bytes]] = [:]
    private let state: EngineState
    private let loop: Int
    /// News that the running command or transaction has caused, to be posted with its end.
    var caused = Invalidations()
    /// News taken out of the inbox and not told yet.
    var taken = Invalidations()
    /// Replies written before a command that found news: see `Executor.beginTracked`.
    var earlier = ByteBuffer()
    /// Such a command runs: its reply stands alone in the call's buffer.
    var isReplyApart = false

    init(state: EngineState, loop: Int) {
        self.state = state
        self.loop = loop
    }

    var inbox: InvalidationInbox { state.tracking.inboxes[loop] }

    // MARK: Who tracks

    /// Prefixes a client listens to, in order.
    func prefixes(of record: ClientRecord) -> [Bytes] { prefixesOfClient[record.id] ?? [] }

    /// Lets a client track, or go on tracking in another way.
    ///
    /// - Parameters:
    ///   - record: the client.
    ///   - options: `.on` among them.
    ///   - redirect: the client that gets the news instead; 0 for none.
    ///   - added: in broadcasting mode, prefixes that overlap with none that it has.
    func track(
        _ record: ClientRecord, _ options: TrackingOptions, redirect: Int64, adding added: [Bytes]
    ) {
        let old = record.tracking
        record.redirect.store(redirect, ordering: .relaxed)
        for prefix in added {
            prefixes[prefix, default: Prefix()].listeners.append(record)
            prefixesOfClient[record.id, default: []].append(prefix)
            prefixesOfClient[record.id]?.sort()
            state.tracking.addPrefix(prefix)
        }
        if !added.isEmpty { updateLengths() }
        if options.contains(.broadcast) && !old.contains(.broadcast) {
            inbox.broadcastCount.add(1, ordering: .relaxed)
        }
        record.tracking = options
        if old.contains(.on) { return }
        clients[record.id] = record
        inbox.trackerCount.add(1, ordering: .relaxed)
        state.changeTrackingClientCount(by: 1)
    }

    /// Ends a client's tracking. What is remembered for it is forgotten when it is next written.
    func stopTracking(_ record: ClientRecord) {
        let old = record.tracking
        guard old.contains(.on) else { return }
        for prefix in prefixesOfClient.removeValue(forKey: record.id) ?? [] {
            prefixes[prefix]?.listeners.removeAll { $0 === record }
            if prefixes[prefix]?.listeners.isEmpty == true { prefixes[prefix] = nil }
            state.tracking.removePrefix(prefix)
        }
        updateLengths()
        if old.contains(.broadcast) { inbox.broadcastCount.subtract(1, ordering: .relaxed) }
        record.tracking = []
        record.redirect.store(0, ordering: .relaxed)
        clients[record.id] = nil
        inbox.trackerCount.subtract(1, ordering: .relaxed)
        state.changeTrackingClientCount(by: -1)
    }

    private func updateLengths() { lengths = Set(prefixes.keys.map(\.count)).sorted() }

    // MARK: Telling

    /// Tells the loop's clients what was taken out of the inbox.
    ///
    /// - Parameters:
    ///   - served: the client whose request is being served; nil for none.
    ///   - output: where its bytes go.
    func tell(_ served: ClientRecord?, _ output: inout ByteBuffer) {
        var hasBroadcasts = false
        for record in taken.records {
            switch record.kind {
            case .key:
                guard let client = clients[record.tracker.client], isConcerned(client, record)
                else {
                    continue
                }
                tell(client, .keys([Bytes(taken.key(record))]), served, &output)
            case .everything:
                for client in clients.values.sorted(by: { $0.id < $1.id }) {
                    tell(client, .everything, served, &output)
                }
            case .broadcast:
                note(taken.key(record), writer: record.writer)
                hasBroadcasts = true
            }
        }
        taken.removeAll()
        if hasBroadcasts { tellListeners(served, &output) }
    }

    /// A client that changed to broadcasting mode gets nothing that it remembered before, and one
    /// without loops nothing that it did itself.
    private func isConcerned(_ client: ClientRecord, _ record: Invalidations.Record) -> Bool {
        let options = client.tracking
        if options.contains(.broadcast) { return false }
        return !(options.contains(.noLoop) && record.writer == client.id)
    }

    /// Notes a changed key for the listeners of its prefixes.
    private func note(_ key: ByteView, writer: Int64) {
        let all = key.bytes
        for length in lengths {
            if length > all.count { break }
            let prefix = Bytes(Array(all[..<length]))
            guard prefixes[prefix] != nil else { continue }
            let known = prefixes[prefix]?.changes[Bytes(all)]
            prefixes[prefix]?.changes[Bytes(all)] = known == nil || known == writer ? writer : 0
        }
    }

    private func tellListeners(_ served: ClientRecord?, _ output: inout ByteBuffer) {
        for prefix in prefixes.keys.sorted() {
            guard let changes = prefixes[prefix]?.changes, !changes.isEmpty else { continue }
            prefixes[prefix]?.changes = [:]
            let keys = changes.keys.sorted()
            for client in prefixes[prefix]?.listeners ?? [] {
                if client.tracking.contains(.noLoop) {
                    let others = keys.filter { changes[$0] != client.id }
                    if !others.isEmpty { tell(client, .keys(others), served, &output) }
                } else {
                    tell(client, .keys(keys), served, &output)
                }
            }
        }
    }

    private enum News {
        case keys([Bytes])
        case everything
    }

    /// Tells one client, or the one that its news is redirected to.
    private func tell(
        _ client: ClientRecord, _ news: News, _ served: ClientRecord?, _ output: inout ByteBuffer
    ) {
        var target = client
        let redirect = client.redirect.load(ordering: .relaxed)
        var push = ReplyWriter()
        if redirect != 0 {
            guard let other = state.clients.record(redirect) else {
                client.tracking.insert(.brokenRedirect)
                guard client.isRESP3.load(ordering: .relaxed) else { return }
                push.isRESP3 = true
                push.push(2)
                push.bulk("tracking-redir-broken")
                push.integer(redirect)
                send(push.buffer.view, to: client, served, &output)
                return
            }
            target = other
        }
        push.isRESP3 = target.isRESP3.load(ordering: .relaxed)
        if push.isRESP3 {
            push.push(2)
            push.bulk("invalidate")
        } else if redirect != 0 && target.subscriptionCount > 0 {
            push.array(3)
            push.bulk("message")
            push.bulk("__redis__:invalidate")
        } else {
            // RESP2 knows no pushes: who has nobody else to tell is told nothing.
            return
        }
        switch news {
        case .everything:
            push.null()
        case .keys(let keys):
            push.array(keys.count)
            for key in keys { key.withView { push.bulk($0) } }
        }
        send(push.buffer.view, to: target, served, &output)
    }

    private func send(
        _ bytes: ByteView, to target: ClientRecord, _ served: ClientRecord?,
        _ output: inout ByteBuffer
    ) {
        if target === served {
            output.append(bytes)
        } else {
            state.tracking.send.call(PushedBytes(record: target, loop: loop, bytes: bytes))
        }
    }
}
