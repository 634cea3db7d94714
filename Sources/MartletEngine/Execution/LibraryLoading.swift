//  FUNCTION LOAD and RESTORE, run by the executor: slices of the libraries' texts, as of scripts, then the
//  instant in which they come into force.
//
//  A library has half a second, in which others are served. Until all texts are through no shard is held
//  and nothing is changed; then all shards are, so that a snapshot and the log have the libraries of one
//  point in time.
//
//  Snapshots and logs bring libraries at once, on the thread that reads them.
//
//  Raw memory: the unit is the executor's, used on its loop's thread; the keyspace is the engine's.

import CSystem
import Glibc
import MartletBase
import MartletLua

extension Executor {
    /// Goes on with the libraries of the open unit for a slice; answers whether that has ended, and the
    /// reply is written.
    mutating func resumeLoading(_ loader: LibraryLoader) -> Bool {
        lastTicks = martlet_ticks()
        do throws(ScriptRefusal) {
            if try !runTexts(of: loader, until: lastTicks &+ TickRate.perMillisecond) {
                unsafe unit.pointee.chosen.name = loader.name.storage
                return false
            }
            try takeOver(loader)
        } catch {
            loader.abandon()
            beginReply()
            call.commandNumber = unsafe unit.pointee.scriptCommand
            fail(call.error("ERR \(error.text)"))
        }
        unsafe unit.pointee.loader = nil
        closeScript()
        return true
    }

    /// Runs texts until all are through, or their slice is over.
    private mutating func runTexts(
        of loader: LibraryLoader, until end: UInt64
    ) throws(ScriptRefusal) -> Bool {
        while true {
            if unsafe unit.pointee.isNoted, unsafe call.state.scripts.running.isKilled {
                throw Self.killed
            }
            if !loader.isRunning {
                guard try loader.begin() else { return true }
            }
            let outcome = loader.resume()
            if outcome == .sliceOver || outcome == .suspended { return false }
            try loader.conclude(outcome)
            if loader.isSliced && martlet_ticks() >= end { return false }
        }
    }

    private static var killed: ScriptRefusal {
        ScriptRefusal(
            "Error registering functions: ERR Function killed by user with FUNCTION KILL.")
    }

    /// The libraries come into force, and into the log.
    private mutating func takeOver(_ loader: LibraryLoader) throws(ScriptRefusal) {
        let scripts = unsafe call.state.scripts
        let registry = try loader.registry(over: scripts.functions)
        if unsafe unit.pointee.isNoted, !scripts.running.noteWrite() { throw Self.killed }
        let isClaimed = holdAll()
        call.commandNumber = unsafe unit.pointee.scriptCommand
        call.keyspace.sinks = unsafe EffectSinks(rawValue: martlet_load_relaxed_32(sinks))
        scripts.replaceFunctions(by: registry)
        if call.keyspace.isLogging { log(loader) }
        ChangeLog.publish(.wholeDatabase(count: 1), &call, statistics.counts)
        if isClaimed { unsafe Router.unlock(.all, call.state.keyspace.pointee) }
        beginReply()
        if case .load = loader.policy {
            loader.name.withView { call.reply.bulk($0) }
        } else {
            call.reply.ok()
        }
    }

    /// Takes all shards: for as long as the unit goes on, or, while others may wait for what it has claimed,
    /// for the instant.
    ///
    /// - Returns: whether the caller has to unlock them.
    private mutating func holdAll() -> Bool {
        if unsafe unit.pointee.claim == nil {
            if case .all = unsafe unit.pointee.held { return false }
            if case .nothing = unsafe unit.pointee.held {
                guard unsafe Router.lock(.all, call.state.keyspace.pointee) else {
                    preconditionFailure("nothing is claimed while somebody has the turn")
                }
                unsafe unit.pointee.held = .all
                return false
            }
            claimHeld()
        }
        lockClaimed(.all)
        return true
    }

    /// Stages what makes the same libraries of those that are there, in place of the request.
    private mutating func log(_ loader: LibraryLoader) {
        call.keyspace.begin("FUNCTION", arguments: 4)
        let policy: StaticString
        switch loader.policy {
        case .load:
            call.keyspace.logged("LOAD")
            call.keyspace.logged("REPLACE")
            for text in loader.texts { text.withView { call.keyspace.logged($0) } }
            return
        case .join(let replaces): policy = replaces ? "REPLACE" : "APPEND"
        case .flush: policy = "FLUSH"
        }
        call.keyspace.logged("RESTORE")
        (loader.payload ?? Bytes()).withView { call.keyspace.logged($0) }
        call.keyspace.logged(policy)
    }
}

extension EngineState {
    /// The texts of all libraries. The caller holds all shards, or has the turn.
    package var libraryTexts: [Bytes] { scripts.functions.all.map(\.text) }

    /// Loads a library of a snapshot, on a thread that is no loop's.
    ///
    /// - Parameters:
    ///   - text: of the library.
    ///   - replaces: it takes the place of one of its name.
    /// - Throws: what is wrong with it; nothing was changed then.
    package func loadLibrary(_ text: ByteView, replaces: Bool) throws(ScriptRefusal) {
        beginTurn()
        defer { scripts.turn.unlock() }
        let loader = try LibraryLoader(
            [Bytes(text)], .load(replaces: replaces), isSliced: false, scripts)
        do throws(ScriptRefusal) {
            try loader.run()
            replaceLibraries(try loader.registry(over: scripts.functions))
        } catch {
            loader.abandon()
            throw error
        }
    }

    /// Gives up all libraries, on a thread that is no loop's. Nothing is logged of it.
    package func removeLibraries() {
        beginTurn()
        replaceLibraries(FunctionRegistry())
        scripts.turn.unlock()
    }

    /// Takes the turn while no script rests, before whoever waits in line: on a thread that is no loop's.
    func beginTurn() {
        scripts.turn.lock()
        while claimLine.isRunning {
            scripts.turn.unlock()
            usleep(1_000)
            scripts.turn.lock()
        }
    }

    private func replaceLibraries(_ registry: FunctionRegistry) {
        unsafe keyspace.pointee.lockAll()
        scripts.replaceFunctions(by: registry)
        unsafe keyspace.pointee.unlockAll()
    }
}
