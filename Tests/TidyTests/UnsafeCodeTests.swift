//  Where raw memory may be touched, and what each such place must say first.

import Testing

struct UnsafeCodeTests {
    /// The files that name pointers or are full of `unsafe`. Each opens with a paragraph "Raw memory: ..." that says who
    /// allocates, who frees, what bounds hold and which thread may touch it.
    static let rawMemoryFiles: Set<String> = [
        "Sources/MartletBase/ByteBuffer.swift",
        "Sources/MartletBase/ByteView.swift",
        "Sources/MartletBase/Clock.swift",
        "Sources/MartletBase/Hash.swift",
        "Sources/MartletBase/MutableBytes.swift",
        "Sources/MartletBase/Number.swift",
        "Sources/MartletBase/Random.swift",
        "Sources/MartletEngine/Clients/Scripts.swift",
        "Sources/MartletEngine/Execution/ScriptCalls.swift",
        "Sources/MartletEngine/Execution/ScriptRunner.swift",
        "Sources/MartletEngine/Execution/ScriptTurns.swift",
        "Sources/MartletEngine/Execution/ScriptUnit.swift",
        "Sources/MartletEngine/Execution/ScriptValues.swift",
        "Sources/MartletEngine/Keyspace/CollectionPlace.swift",
        "Sources/MartletEngine/Keyspace/Collections.swift",
        "Sources/MartletEngine/Keyspace/Effect.swift",
        "Sources/MartletEngine/Keyspace/Entry.swift",
        "Sources/MartletEngine/Keyspace/Expiry.swift",
        "Sources/MartletEngine/Keyspace/GroupValue.swift",
        "Sources/MartletEngine/Keyspace/HashValue.swift",
        "Sources/MartletEngine/Keyspace/KeyAccess.swift",
        "Sources/MartletEngine/Keyspace/KeyWalk.swift",
        "Sources/MartletEngine/Keyspace/KeyWeighing.swift",
        "Sources/MartletEngine/Keyspace/ListValue.swift",
        "Sources/MartletEngine/Keyspace/LogQueue.swift",
        "Sources/MartletEngine/Keyspace/StagedCommands.swift",
        "Sources/MartletEngine/Keyspace/Partition.swift",
        "Sources/MartletEngine/Keyspace/Quiescence.swift",
        "Sources/MartletEngine/Keyspace/Reclaimer.swift",
        "Sources/MartletEngine/Keyspace/SegmentPool.swift",
        "Sources/MartletEngine/Keyspace/SetValue.swift",
        "Sources/MartletEngine/Keyspace/Shard.swift",
        "Sources/MartletEngine/Keyspace/ShardLock.swift",
        "Sources/MartletEngine/Keyspace/Slabs.swift",
        "Sources/MartletEngine/Keyspace/SnapshotSaver.swift",
        "Sources/MartletEngine/Keyspace/SortedSetValue.swift",
        "Sources/MartletEngine/Keyspace/StreamValue.swift",
        "Sources/MartletEngine/Keyspace/Table.swift",
        "Sources/MartletEngine/Keyspace/TrackedKeys.swift",
        "Sources/MartletEngine/Keyspace/ValueBuilding.swift",
        "Sources/MartletEngine/Keyspace/ValueReading.swift",
        "Sources/MartletEngine/Keyspace/WatchTable.swift",
        "Sources/MartletEngine/Structures/ConsumerGroup.swift",
        "Sources/MartletEngine/Structures/ConsumerGroups.swift",
        "Sources/MartletEngine/Structures/IntegerSet.swift",
        "Sources/MartletEngine/Structures/List.swift",
        "Sources/MartletEngine/Structures/ListRecords.swift",
        "Sources/MartletEngine/Structures/MemberStore.swift",
        "Sources/MartletEngine/Structures/MemberTable.swift",
        "Sources/MartletEngine/Structures/NameDirectory.swift",
        "Sources/MartletEngine/Structures/NodeMemory.swift",
        "Sources/MartletEngine/Structures/PackedHash.swift",
        "Sources/MartletEngine/Structures/PackedList.swift",
        "Sources/MartletEngine/Structures/PackedSet.swift",
        "Sources/MartletEngine/Structures/PackedSortedSet.swift",
        "Sources/MartletEngine/Structures/PendingEntries.swift",
        "Sources/MartletEngine/Structures/RankTree.swift",
        "Sources/MartletEngine/Structures/Stream.swift",
        "Sources/MartletEngine/Structures/StreamBlock.swift",
        "Sources/MartletEngine/Protocol/Arguments.swift",
        "Sources/MartletEngine/Protocol/RequestParser.swift",
        "Sources/MartletEngine/Clients/ClientRegistry.swift",
        "Sources/MartletEngine/Clients/EngineState.swift",
        "Sources/MartletEngine/Clients/FanOut.swift",
        "Sources/MartletEngine/Clients/PubSub.swift",
        "Sources/MartletEngine/Clients/Session.swift",
        "Sources/MartletEngine/Clients/Statistics.swift",
        "Sources/MartletEngine/Clients/Topic.swift",
        "Sources/MartletEngine/Clients/Transaction.swift",
        "Sources/MartletEngine/Clients/Waiter.swift",
        "Sources/MartletEngine/Commands/Call.swift",
        "Sources/MartletEngine/Commands/Invalidating.swift",
        "Sources/MartletEngine/Commands/CommandTable.swift",
        "Sources/MartletEngine/Commands/Streams/StreamProducers.swift",
        "Sources/MartletEngine/Commands/Strings/StringComparison.swift",
        "Sources/MartletEngine/Execution/Admission.swift",
        "Sources/MartletEngine/Execution/EvictionCycle.swift",
        "Sources/MartletEngine/Execution/Executor.swift",
        "Sources/MartletEngine/Execution/Logging.swift",
        "Sources/MartletEngine/Execution/LogReplay.swift",
        "Sources/MartletEngine/Execution/Serving.swift",
        "Sources/MartletEngine/Execution/Tracked.swift",
        "Sources/MartletEngine/Execution/TransactionRunner.swift",
        "Sources/MartletLua/Libraries/ByteCursor.swift",
        "Sources/MartletLua/Libraries/JSON.swift",
        "Sources/MartletLua/Libraries/StandardLibraries.swift",
        "Sources/MartletLua/LuaRuntime.swift",
        "Sources/MartletLua/LuaValues.swift",
        "Sources/MartletPersistence/RDB/RDBParallel.swift",
        "Sources/MartletPersistence/Log/LogWriter.swift",
        "Sources/MartletTransport/Connection.swift",
        "Sources/MartletTransport/ConnectionHandler.swift",
        "Sources/MartletTransport/ConnectionReference.swift",
        "Sources/MartletTransport/ConnectionServing.swift",
        "Sources/MartletTransport/EventLoop.swift",
        "Sources/MartletTransport/HeldReplies.swift",
        "Sources/MartletTransport/Listener.swift",
        "Sources/MartletTransport/LoopCounters.swift",
        "Sources/MartletTransport/Mailbox.swift",
        "Sources/MartletTransport/OutgoingSocket.swift",
        "Sources/MartletTransport/SocketAddress.swift",
        "Sources/MartletTransport/WithheldReplies.swift",
        "Sources/MartletServer/Detachment.swift",
        "Sources/MartletServer/Locked.swift",
        "Sources/MartletServer/Serving/BlockedClients.swift",
        "Sources/MartletServer/Serving/LoopHandler.swift",
        "Sources/MartletServer/SystemFile.swift",
        "Benchmarks/LoadGenerator/Endpoint.swift",
        "Benchmarks/LoadGenerator/FloorServer.swift",
        "Benchmarks/LoadGenerator/Histogram.swift",
        "Benchmarks/LoadGenerator/KeyChooser.swift",
        "Benchmarks/LoadGenerator/ReplyScanner.swift",
        "Benchmarks/LoadGenerator/RequestMix.swift",
        "Benchmarks/LoadGenerator/SpawnedServer.swift",
        "Benchmarks/LoadGenerator/Worker.swift",
    ]

    /// Closures that are lent a pointer for the length of a call (`withUnsafeBytes`) are not among
    /// them.
    private static let pointers: Set<String> = [
        "UnsafePointer", "UnsafeMutablePointer", "UnsafeRawPointer", "UnsafeMutableRawPointer",
        "UnsafeBufferPointer", "UnsafeMutableBufferPointer", "UnsafeRawBufferPointer",
        "UnsafeMutableRawBufferPointer",
    ]

    /// Elsewhere `unsafe` marks a call of C or of a primitive in a listed file: now and then.
    private static let marksPerHundredLinesMax = 15

    private static func touchesRawMemory(_ file: SourceFile) -> Bool {
        let words = file.tokens.filter { $0.kind == .word }
        let marks = words.count { $0.text == "unsafe" }
        return marks * 100 > max(100, file.lines.count) * marksPerHundredLinesMax
            || words.contains { pointers.contains($0.text) }
    }

    @Test func `raw memory is touched in the listed files only, and in all of them`() {
        let paths = Set(Repository.sources.filter(Self.touchesRawMemory).map(\.path))
        for path in paths.subtracting(Self.rawMemoryFiles).sorted() {
            Issue.record("\(path) names pointers or is full of unsafe: list and explain it")
        }
        for path in Self.rawMemoryFiles.subtracting(paths).sorted() {
            Issue.record("\(path) is listed and hardly unsafe")
        }
    }

    @Test func `a file with raw memory says first how it is owned`() {
        for file in Repository.sources where Self.rawMemoryFiles.contains(file.path) {
            #expect(
                file.opening.contains { $0.contains(/[Rr]aw memory/) },
                "\(file.path): who allocates, who frees, which bounds, which thread?")
        }
    }

    @Test func `what the compiler does not check carries its proof`() {
        for file in Repository.sources {
            let claims =
                file.occurrences(of: "@", "unchecked", "Sendable")
                + file.occurrences(of: "nonisolated", "(", "unsafe", ")")
                + file.occurrences(of: "unowned", "(", "unsafe", ")")
            for claim in claims {
                #expect(
                    file.hasComment(near: claim.line), "\(file.place(claim)): why is this safe?")
            }
        }
    }
}
