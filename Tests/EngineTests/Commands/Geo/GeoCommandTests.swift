//  The GEO commands through the executor: replies, errors, both forms of the sorted set, events.

import MartletBase
import Testing

@testable import MartletEngine

struct GeoCommandTests {
    @Test func `places are added, measured and found`() {
        expectTranscript(
            """
            > GEOADD g 13.361389 38.115556 Palermo 15.087269 37.502669 Catania  < (integer) 2
            > GEOADD g NX 1 1 Palermo                 < (integer) 0
            > GEOADD g XX CH 13.361389 38.115556 Palermo 1 1 other  < (integer) 0
            > GEODIST g Palermo Catania               < "166274.1516"
            > GEODIST g Palermo Catania km            < "166.2742"
            > GEODIST g Palermo nosuch                < (nil)
            > GEOHASH g Palermo nosuch                < ["sqc8b49rny0", (nil)]
            > GEOSEARCH g FROMLONLAT 15 37 BYRADIUS 200 km ASC WITHDIST
                < [["Catania", "56.4413"], ["Palermo", "190.4424"]]
            > GEOSEARCH g FROMMEMBER Palermo BYBOX 400 400 km DESC COUNT 1
                < ["Catania"]
            > GEOSEARCHSTORE d g FROMLONLAT 15 37 BYRADIUS 200 km STOREDIST  < (integer) 2
            > ZRANGE d 0 -1                           < ["Catania", "Palermo"]
            > GEORADIUS g 15 37 1 m STORE d           < (integer) 0
            > EXISTS d                                < (integer) 0
            > GEORADIUSBYMEMBER g Palermo 200 km STOREDIST STOREDIST  < (integer) 2
            > ZRANGE STOREDIST 0 -1                   < ["Palermo", "Catania"]
            > GEOADD g 181 0 x
                < (error) ERR invalid longitude,latitude pair 181.000000,0.000000
            > GEOADD g -0 86 x
                < (error) ERR invalid longitude,latitude pair -0.000000,86.000000
            > GEOSEARCH g FROMMEMBER nosuch BYRADIUS 1 m
                < (error) ERR could not decode requested zset member
            > geosearch g BYRADIUS 1 m ASC DESC ASC
                < (error) ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for geosearch
            > GEOSEARCH g FROMLONLAT 1 1 BYRADIUS 1e300 km ANY
                < (error) ERR the ANY argument requires COUNT argument
            """)
    }

    @Test func `a search finds what a look at every place finds, in both forms`() {
        let seed = testSeed()
        var random = Random(seed: seed)
        let server = CommandHarness()
        let client = server.client()
        for places in [20, 2_000] {
            client.run("DEL", "g")
            for index in 0..<places {
                let longitude = Double(random.index(below: 40_000)) / 1_000 - 20
                let latitude = Double(random.index(below: 40_000)) / 1_000 + 20
                client.run("GEOADD", "g", "\(longitude)", "\(latitude)", "p\(index)")
            }
            for _ in 0..<30 {
                let center = "p\(random.index(below: places))"
                let radius = 1 + random.index(below: 2_000)
                var expected: Set<String> = []
                for index in 0..<places {
                    guard let text = client.run("GEODIST", "g", center, "p\(index)", "km")?.text,
                        let distance = Double(text)
                    else { continue }
                    if distance < Double(radius) { expected.insert("p\(index)") }
                }
                let reply = client.run(
                    "GEOSEARCH", "g", "FROMMEMBER", center, "BYRADIUS", "\(radius)", "km")
                let found = reply?.elements?.compactMap(\.text) ?? []
                #expect(found.count == expected.count, "seed \(seed)")
                #expect(Set(found) == expected, "seed \(seed)")
                let some = client.run(
                    "GEOSEARCH", "g", "FROMMEMBER", center, "BYRADIUS", "\(radius)", "km", "COUNT",
                    "3", "ANY")
                #expect(some?.elements?.count == min(3, expected.count))
            }
        }
    }

    @Test func `scores that no place has do no harm`() {
        let client = CommandHarness().client()
        for (index, score) in ["-inf", "inf", "-5", "1.5", "1e300", "9007199254740993"].enumerated()
        {
            client.run("ZADD", "g", score, "m\(index)")
        }
        for index in 0..<6 {
            #expect(client.run("GEOPOS", "g", "m\(index)")?.elements?.count == 1)
            let found = client.run(
                "GEOSEARCH", "g", "FROMMEMBER", "m\(index)", "BYRADIUS", "30000", "km", "WITHHASH",
                "WITHDIST", "WITHCOORD")
            #expect(found?.elements != nil)
            let stored = client.run(
                "GEOSEARCHSTORE", "d", "g", "FROMMEMBER", "m\(index)", "BYBOX", "1e308", "1e308",
                "km", "STOREDIST")
            guard case .integer = stored else {
                Issue.record("a count: \(stored?.description ?? "nothing")")
                continue
            }
        }
    }
}
