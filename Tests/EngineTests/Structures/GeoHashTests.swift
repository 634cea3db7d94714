//  Places as numbers: known values, and searches against a look at every place.

import MartletBase
import Testing

@testable import MartletEngine

private func randomPoint(_ random: inout Random, around center: GeoPoint? = nil) -> GeoPoint {
    func uniform(_ limit: Double) -> Double {
        (Double(random.index(below: 1 << 30)) / Double(1 << 29) - 1) * limit
    }
    guard let center else { return GeoPoint(longitude: uniform(180), latitude: uniform(85)) }
    return GeoPoint(
        longitude: max(-180, min(180, center.longitude + uniform(3))),
        latitude: max(-85, min(85, center.latitude + uniform(3))))
}

struct GeoHashTests {
    @Test func `places have the scores, texts and distances that Redis gives them`() {
        let palermo = GeoPoint(longitude: 13.361389, latitude: 38.115556)
        let catania = GeoPoint(longitude: 15.087269, latitude: 37.502669)
        #expect(palermo.score == 3_479_099_956_230_698)
        #expect(catania.score == 3_479_447_370_796_909)
        let back = GeoPoint(score: palermo.score)
        #expect(back.longitude == 13.361389338970184)
        #expect(back.latitude == 38.1155563954963)
        #expect(back.text == Array("sqc8b49rny0".utf8))
        let distance = back.distance(to: GeoPoint(score: catania.score))
        #expect(abs(distance - 166_274.1516) < 0.0001)
        #expect(back.distance(to: back) == 0)
        let antipode = GeoPoint(longitude: 0, latitude: 0).distance(
            to: GeoPoint(longitude: 180, latitude: 0))
        #expect(abs(antipode - 20_020_734.0) < 1)
    }

    @Test func `scores that no place has lead somewhere all the same`() {
        let scores = [
            -1, -0.5, -.infinity, .infinity, 1e300, -1e300, 9_223_372_036_854_775_808,
            18_446_744_073_709_551_616, 4_503_599_627_370_496, .leastNonzeroMagnitude,
        ]
        for score in scores {
            let point = GeoPoint(score: score)
            #expect(point.isValid, "\(score)")
            #expect(point.text.count == 11)
        }
    }

    @Test func `a place and its score agree to less than a meter`() {
        var random = Random(seed: testSeed())
        for _ in 0..<2_000 {
            let point = randomPoint(&random)
            #expect(point.distance(to: GeoPoint(score: point.score)) < 1)
            #expect(GeoPoint(score: point.score).score == point.score)
        }
    }

    @Test func `the cells of an area hold every place in it, once`() {
        let seed = testSeed()
        var random = Random(seed: seed)
        for round in 0..<300 {
            // Small areas need places near them; at the poles and far apart anything goes.
            let center = randomPoint(&random)
            let points = (0..<300).map { index in
                randomPoint(&random, around: index % 2 == 0 ? center : nil)
            }
            let size = [1, 100, 10_000, 300_000, 2_000_000][random.index(below: 5)]
            let width = Double(1 + random.index(below: size))
            let height = Double(1 + random.index(below: size))
            let shape: GeoArea.Shape =
                round % 2 == 0 ? .circle(radius: width) : .box(width: width, height: height)
            let area = GeoArea(center: center, shape: shape)
            let cells = area.scores
            #expect(cells.count <= 9)
            // Beyond the poles and the 180th meridian Redis does not look either.
            if abs(center.latitude) > 60 || abs(center.longitude) > 140 { continue }
            for point in points {
                let score = point.score
                let holders = cells.count { !$0.isBelow(score) && !$0.isAbove(score) }
                #expect(holders <= 1, "seed \(seed)")
                if area.distance(to: GeoPoint(score: score)) != nil {
                    #expect(holders == 1, "\(center) \(shape) \(point), seed \(seed)")
                }
            }
        }
    }
}
