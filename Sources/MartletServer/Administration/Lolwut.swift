//  LOLWUT: a drawing, new each time, and the version. A flock of martlets: birds that never land.

import MartletBase
import MartletEngine

extension CommandGroup {
    static func lolwut(_ context: ServerContext) -> CommandGroup {
        [
            Command(
                "LOLWUT", since: "5.0.0", group: .server, syntax: "[VERSION version]",
                summary: "Displays computer art and the Redis version", arity: .atLeast(1),
                access: .read, traits: .fast, run: drawFlock)
        ]
    }
}

private func drawFlock(_ call: inout Call) throws(CommandError) -> Effect {
    var size: [Int64] = [66, 12]
    if call.arguments.remaining >= 2, call.arguments.skip("version") {
        // There is one drawing, whatever the version asked for; what follows is columns and rows.
        _ = try call.arguments.integer()
        for index in 0..<2 where !call.arguments.isAtEnd {
            size[index] = try call.arguments.integer()
        }
    }
    var random = Random.seededFromSystem()
    let drawing = Flock.draw(
        columns: Int(min(max(size[0], 8), 160)), rows: Int(min(max(size[1], 3), 60)), &random)
    call.reply.verbatim(
        "\(drawing)\nMartlet ver. \(Version.text), Redis ver. \(RedisCompatibility.version)\n")
    return .none
}

/// A flock over hills: birds nearer to the viewer are larger, and lower.
enum Flock {
    private static let birds: [[Character]] = [
        Array("."), Array("v"), Array("^v^"), Array("~\\v/~"),
    ]

    static func draw(columns: Int, rows: Int, _ random: inout Random) -> String {
        var cells = Array(
            repeating: Array(repeating: Character(" "), count: columns), count: rows)
        for column in 0..<columns { cells[rows - 1][column] = "_" }
        var column = random.index(below: 8)
        while column + 4 < columns {
            // A hill: its slopes rise out of the ground line.
            cells[rows - 1][column] = "/"
            cells[rows - 1][column + 3] = "\\"
            cells[rows - 1][column + 1] = " "
            cells[rows - 1][column + 2] = " "
            cells[rows - 2][column + 1] = "_"
            cells[rows - 2][column + 2] = "_"
            column += 6 + random.index(below: 12)
        }
        for row in 0..<(rows - 2) {
            let size = min(birds.count - 1, row * birds.count / max(rows - 2, 1))
            for _ in 0..<(1 + random.index(below: max(columns / 16, 1))) {
                let bird = birds[random.index(below: size + 1)]
                guard columns > bird.count else { continue }
                let place = random.index(below: columns - bird.count)
                for (index, character) in bird.enumerated() {
                    cells[row][place + index] = character
                }
            }
        }
        return cells.map { row in
            var line = String(row)
            while line.last == " " { line.removeLast() }
            return line + "\n"
        }.joined()
    }
}
