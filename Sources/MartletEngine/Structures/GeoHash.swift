//  Places on the earth as numbers that sort near places together: what a geospatial index keeps as
//  the scores of a sorted set, bit for bit as Redis does.
//
//  Longitude and latitude are each cut into 2^26 parts. The bits of the two numbers alternate,
//  longitude first (Morton 1966), which makes 52 bits: a double holds them exactly.
//
//         longitude   l25 l24 …  l0         -180 … 180 degrees
//         latitude    b25 b24 …  b0         -85.05112878 … 85.05112878, as Mercator maps end
//         number      l25 b25 l24 b24 …  l0 b0
//
//  The first 2 s bits name a cell of a grid of 2^s by 2^s: all places in it lie in one interval of
//  numbers. A search takes s so large that the area fits the cell of its centre and its eight
//  neighbours, walks their intervals, and measures each place that it meets.
//
//  Distances are great circles on a sphere (haversine). The earth has the radius that Redis gives it.

import Glibc

/// A place in degrees.
package struct GeoPoint: Equatable {
    package var longitude: Double
    package var latitude: Double

    package static let longitudeMax = 180.0
    package static let latitudeMax = 85.05112878

    package init(longitude: Double, latitude: Double) {
        self.longitude = longitude
        self.latitude = latitude
    }

    /// It lies where numbers can say so.
    package var isValid: Bool {
        abs(longitude) <= Self.longitudeMax && abs(latitude) <= Self.latitudeMax
    }

    // MARK: Numbers

    /// The score of the place.
    ///
    /// - Precondition: `isValid`.
    package var score: Double { Double(GeoCell(around: self, step: GeoCell.stepMax).bits) }

    /// The middle of the smallest cell of a score; of one that no place has, the place where Redis
    /// sees it.
    package init(score: Double) {
        let (low, high) = GeoCell(bits: score.geoBits, step: GeoCell.stepMax).corners
        longitude = ((low.longitude + high.longitude) / 2).clamped(Self.longitudeMax)
        latitude = ((low.latitude + high.latitude) / 2).clamped(Self.latitudeMax)
    }

    /// The standard geohash, eleven characters. The last is always 0: 52 bits are ten and a half.
    package var text: [UInt8] {
        let alphabet = Array("0123456789bcdefghjkmnpqrstuvwxyz".utf8)
        // By the standard, latitudes go from pole to pole.
        let bits = GeoCell(around: self, step: GeoCell.stepMax, latitudeMax: 90).bits
        return (1...11).map { number in
            number == 11 ? alphabet[0] : alphabet[Int((bits >> UInt64(52 - number * 5)) & 31)]
        }
    }

    // MARK: Distances

    /// Meters.
    private static let earthRadius = 6_372_797.560856

    /// The distance in meters.
    package func distance(to other: GeoPoint) -> Double {
        let v = sin((other.longitude.radians - longitude.radians) / 2)
        // On one meridian: exact, and cheaper.
        if v == 0 { return distance(toLatitude: other.latitude) }
        let u = sin((other.latitude.radians - latitude.radians) / 2)
        let a = u * u + cos(latitude.radians) * cos(other.latitude.radians) * v * v
        // Rounding may lead beyond 1 at the other end of the earth.
        return 2 * Self.earthRadius * asin(min(1, a.squareRoot()))
    }

    /// The distance in meters along the meridian.
    fileprivate func distance(toLatitude other: Double) -> Double {
        Self.earthRadius * abs(other.radians - latitude.radians)
    }

    /// Degrees of latitude that `meters` are.
    fileprivate static func degrees(_ meters: Double) -> Double {
        (meters / earthRadius).degrees
    }

    /// Degrees of longitude that `meters` are at a latitude.
    fileprivate static func degrees(_ meters: Double, atLatitude latitude: Double) -> Double {
        (meters / earthRadius / cos(latitude.radians)).degrees
    }
}

/// A cell of the grid of 2^step by 2^step.
struct GeoCell: Equatable {
    let bits: UInt64
    let step: Int

    static let stepMax = 26

    init(bits: UInt64, step: Int) {
        self.bits = bits
        self.step = step
    }

    /// The cell a place lies in.
    init(around point: GeoPoint, step: Int, latitudeMax: Double = GeoPoint.latitudeMax) {
        let parts = Double(UInt64(1) << UInt64(step))
        let longitudeMax = GeoPoint.longitudeMax
        let column = (point.longitude + longitudeMax) / (longitudeMax * 2) * parts
        let row = (point.latitude + latitudeMax) / (latitudeMax * 2) * parts
        bits = UInt64(column).spread << 1 | UInt64(row).spread
        self.step = step
    }

    /// Its south western and its north eastern corner.
    var corners: (low: GeoPoint, high: GeoPoint) {
        let parts = Double(UInt64(1) << UInt64(step))
        let column = Double((bits >> 1).gathered)
        let row = Double(bits.gathered)
        let width = GeoPoint.longitudeMax * 2
        let height = GeoPoint.latitudeMax * 2
        return (
            GeoPoint(
                longitude: column / parts * width - GeoPoint.longitudeMax,
                latitude: row / parts * height - GeoPoint.latitudeMax),
            GeoPoint(
                longitude: (column + 1) / parts * width - GeoPoint.longitudeMax,
                latitude: (row + 1) / parts * height - GeoPoint.latitudeMax)
        )
    }

    /// The cell so many columns to the east and rows to the north; around the edges of the map.
    func neighbour(east: Int, north: Int) -> GeoCell {
        let mask = UInt64(1) << UInt64(step) &- 1
        var column = (bits >> 1).gathered
        var row = bits.gathered
        // What is not moved stays as it is: the places at 180 degrees are beyond the last column.
        if east != 0 { column = (column &+ UInt64(bitPattern: Int64(east))) & mask }
        if north != 0 { row = (row &+ UInt64(bitPattern: Int64(north))) & mask }
        return GeoCell(bits: column.spread << 1 | row.spread, step: step)
    }

    /// The scores of the places in it.
    var scores: ScoreRange {
        let shift = UInt64(52 - step * 2)
        return ScoreRange(
            min: Double(bits << shift), max: Double((bits + 1) << shift), excludesMax: true)
    }
}

/// A circle or a box around a place.
package struct GeoArea {
    /// In meters.
    package enum Shape {
        case circle(radius: Double)
        case box(width: Double, height: Double)
    }

    package let center: GeoPoint
    package let shape: Shape

    package init(center: GeoPoint, shape: Shape) {
        self.center = center
        self.shape = shape
    }

    /// How far a place in the area is from its centre, in meters; nil when it is not in the area.
    package func distance(to point: GeoPoint) -> Double? {
        switch shape {
        case .circle(let radius):
            let distance = center.distance(to: point)
            return distance > radius ? nil : distance
        case .box(let width, let height):
            if point.distance(toLatitude: center.latitude) > height / 2 { return nil }
            let across = GeoPoint(longitude: center.longitude, latitude: point.latitude)
            if point.distance(to: across) > width / 2 { return nil }
            return center.distance(to: point)
        }
    }

    /// The scores among which those of all places in the area are, in the order in which Redis looks
    /// through them: the centre's cell, then the neighbours that the area reaches.
    package var scores: [ScoreRange] {
        let bounds = bounds
        var cell = GeoCell(around: center, step: step)
        let north = cell.neighbour(east: 0, north: 1).corners.high.latitude
        let south = cell.neighbour(east: 0, north: -1).corners.low.latitude
        let east = cell.neighbour(east: 1, north: 0).corners.high.longitude
        let west = cell.neighbour(east: -1, north: 0).corners.low.longitude
        // The estimate of the step is rough: are nine cells enough?
        let isTooSmall =
            north < bounds.high.latitude || south > bounds.low.latitude
            || east < bounds.high.longitude || west > bounds.low.longitude
        if isTooSmall && cell.step > 1 { cell = GeoCell(around: center, step: cell.step - 1) }

        let (low, high) = cell.corners
        // Of coarse cells the neighbours are needed in any case.
        let omits = cell.step >= 2
        let omitsSouth = omits && low.latitude < bounds.low.latitude
        let omitsNorth = omits && high.latitude > bounds.high.latitude
        let omitsWest = omits && low.longitude < bounds.low.longitude
        let omitsEast = omits && high.longitude > bounds.high.longitude
        var cells = [cell]
        for (east, north) in Self.neighbours {
            if east < 0 && omitsWest || east > 0 && omitsEast || north < 0 && omitsSouth
                || north > 0 && omitsNorth
            {
                continue
            }
            let next = cell.neighbour(east: east, north: north)
            // In a grid of two or four cells neighbours meet again.
            if !cells.contains(next) { cells.append(next) }
        }
        return cells.map(\.scores)
    }

    /// North, south, east, west, and the corners.
    private static let neighbours: [(east: Int, north: Int)] = [
        (0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1),
    ]

    /// What surrounds the area, by its south western and north eastern corner.
    private var bounds: (low: GeoPoint, high: GeoPoint) {
        let (width, height) =
            switch shape {
            case .circle(let radius): (radius, radius)
            case .box(let width, let height): (width / 2, height / 2)
            }
        let north = GeoPoint.degrees(height)
        // The side nearer to the pole is the wider one in degrees.
        let widest = center.latitude < 0 ? center.latitude - north : center.latitude + north
        let east = GeoPoint.degrees(width, atLatitude: widest)
        return (
            GeoPoint(longitude: center.longitude - east, latitude: center.latitude - north),
            GeoPoint(longitude: center.longitude + east, latitude: center.latitude + north)
        )
    }

    /// The finest grid whose cells are as large as the area's radius, roughly.
    private var step: Int {
        var radius =
            switch shape {
            case .circle(let radius): radius
            case .box(let width, let height):
                (width / 2 * (width / 2) + height / 2 * (height / 2)).squareRoot()
            }
        if radius == 0 { return GeoCell.stepMax }
        var step = 1
        while radius < Self.mercatorMax {
            radius *= 2
            step += 1
        }
        // Cells next to the centre's must reach beyond the area.
        step -= 2
        // Towards the poles, cells are narrower than at the equator.
        if abs(center.latitude) > 66 { step -= 1 }
        if abs(center.latitude) > 80 { step -= 1 }
        return max(1, min(step, GeoCell.stepMax))
    }

    /// Half the length of the equator on a Mercator map, in meters.
    private static let mercatorMax = 20_037_726.37
}

extension Double {
    fileprivate var radians: Double { self * (.pi / 180) }
    fileprivate var degrees: Double { self / (.pi / 180) }

    fileprivate func clamped(_ limit: Double) -> Double {
        Swift.max(-limit, Swift.min(self, limit))
    }

    /// The bits of a score. One that is no such number is converted as x86-64 does in C, where Redis
    /// has it so.
    fileprivate var geoBits: UInt64 {
        let half = 9_223_372_036_854_775_808.0
        if self < half { return UInt64(bitPattern: self < -half ? .min : Int64(self)) }
        let rest = self - half
        return UInt64(bitPattern: rest < half ? Int64(rest) : .min) ^ (1 << 63)
    }
}

extension UInt64 {
    /// The low 32 bits, each followed by a zero bit: bit i moves to bit 2 i.
    fileprivate var spread: UInt64 {
        var bits = self & 0xFFFF_FFFF
        bits = (bits | bits << 16) & 0x0000_FFFF_0000_FFFF
        bits = (bits | bits << 8) & 0x00FF_00FF_00FF_00FF
        bits = (bits | bits << 4) & 0x0F0F_0F0F_0F0F_0F0F
        bits = (bits | bits << 2) & 0x3333_3333_3333_3333
        return (bits | bits << 1) & 0x5555_5555_5555_5555
    }

    /// Every second bit, from bit 0 on: the inverse.
    fileprivate var gathered: UInt64 {
        var bits = self & 0x5555_5555_5555_5555
        bits = (bits | bits >> 1) & 0x3333_3333_3333_3333
        bits = (bits | bits >> 2) & 0x0F0F_0F0F_0F0F_0F0F
        bits = (bits | bits >> 4) & 0x00FF_00FF_00FF_00FF
        bits = (bits | bits >> 8) & 0x0000_FFFF_0000_FFFF
        return (bits | bits >> 16) & 0xFFFF_FFFF
    }
}
