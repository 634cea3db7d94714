//  A snapshot's records, made in pieces between commands, are a file that brings its state back.

import MartletBase
import MartletPersistence
import Testing

@testable import MartletEngine

struct SnapshotPiecesTests {
    @Test(arguments: [0, 16 * 1024]) func `large values come back as they were at the beginning`(
        pieceBytesMin: Int
    ) throws {
        let store = Store()
        store.fill()
        store.fillNewest()
        store.run("SELECT", "0")
        store.fillLarge()
        let expected = store.readOut
        let now = store.time.clock.wallMilliseconds()
        let begun = Snapshot.begin(
            store.state, RDBSnapshotEncoder(compresses: true, at: now),
            pieceBytesMin: pieceBytesMin)
        let snapshot = try #require(begun)

        var file: [UInt8] = []
        var writer = RDBWriter { file += $0.bytes }
        writer.begin(version: "7.2.0", at: now, usedBytes: 1, isBase: false)
        var database = -1
        var random = Random(seed: 7)
        while true {
            let number = random.index(below: 2_000)
            store.changeLarge(number)
            store.line("HDEL large:t field-\(number / 2)")
            if number % 50 == 0 { store.line("RENAME large:h moved:h\(number)") }
            if number % 61 == 0 { store.line("DEL large:z") }
            let (runs, isOver) = snapshot.step(groups: 3)
            for run in runs {
                if run.database != database {
                    database = run.database
                    writer.database(database, keys: 0, keysWithDeadline: 0)
                }
                writer.keys(run.bytes.view, count: 0)
            }
            if isOver { break }
        }
        try writer.end()
        store.checkInvariants()

        let other = Store(shards: 8)
        _ = try other.load(file)
        other.checkInvariants()
        #expect(other.readOut == expected)
    }
}
