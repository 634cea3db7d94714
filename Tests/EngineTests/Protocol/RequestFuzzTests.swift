//  Mutated requests through parser and executor in this process: long runs go under the address
//  sanitizer (`make fuzz`). Tests/Wire/mutation.py does the same to a live server.
//
//      MARTLET_FUZZ_FRAMES   how many requests (2 000)
//      MARTLET_TEST_SEED     replays a failure

import Glibc
import MartletBase
import Testing

@testable import MartletEngine

struct RequestFuzzTests {
    @Test func `mutated requests neither trap nor leave a connection unanswered`() {
        let seed = testSeed()
        // A trap would end the process without any other word.
        print("mutated requests: MARTLET_TEST_SEED=\(seed)")
        var frames = FrameSource(seed: seed)
        var random = Random(seed: seed &+ 1)
        var server = CommandHarness()
        var client = server.client(isRESP3: false)
        var left = framesWanted()
        var sent = 0
        var answered = 0

        while left > 0 {
            // New values all the time, not one keyspace that only fills up.
            if sent >= 20_000 {
                server = CommandHarness()
                client = server.client()
                sent = 0
            }
            // A broken frame ends its connection, so deep pipelines are of whole ones.
            let isDeep = random.index(below: 50) == 0
            let wanted = isDeep ? 500 : 1 + random.index(below: 8)
            var burst: [UInt8] = []
            for _ in 0..<min(left, wanted) { burst += frames.next(isWhole: isDeep) }
            deliver(burst, to: client, &random)
            server.time.advance(milliseconds: Int64(random.index(below: 50)))
            // CLIENT PAUSE may stop every connection for years.
            server.state.endPause()
            sent += min(left, wanted)
            left -= min(left, wanted)

            let replies = client.replies()
            answered += replies.count
            if client.isClosed {
                // An error, or the OK of QUIT.
                let isExplained = replies.contains {
                    if case .error = $0 { true } else { $0 == .simple("OK") }
                }
                #expect(isExplained, "closed without an error; seed \(seed)")
            }
            // What a frame promises but does not bring swallows those after it: most bursts begin
            // on a new connection.
            if client.isClosed || client.isParked || random.index(below: 4) > 0 {
                client = server.client(isRESP3: random.index(below: 2) == 0)
                #expect(client.run("PING") == .simple("PONG"), "seed \(seed)")
            }
        }
        print("mutated requests: \(framesWanted()) sent, \(answered) replies")
    }

    /// Whole, byte by byte, or cut at any byte.
    private func deliver(_ bytes: [UInt8], to client: HarnessClient, _ random: inout Random) {
        var rest = bytes[...]
        let pieceMax = [bytes.count, 64, 7, 1][random.index(below: 4)]
        // Unread bytes are parsed from their start at each event, here as on a socket.
        let piecesMax = 200
        var pieces = 0
        while !rest.isEmpty && !client.isClosed {
            pieces += 1
            let size = pieces >= piecesMax ? rest.count : 1 + random.index(below: max(pieceMax, 1))
            client.send(Array(rest.prefix(size)))
            rest = rest.dropFirst(size)
        }
    }
}

private func framesWanted() -> Int {
    if let given = unsafe getenv("MARTLET_FUZZ_FRAMES"),
        let frames = unsafe Int(String(cString: given))
    {
        return frames
    }
    return 2_000
}

/// Requests of all commands, most of them damaged.
private struct FrameSource {
    private var random: Random
    private let commands: [Command]

    /// Numbers at the limits, options and patterns: what decides about an argument's way.
    private static let values =
        [
            "", "0", "-0", "1", "-1", "2", "10", "1.5", "-1e-7", "1e308", "inf", "-inf", "nan",
            "4294967296",
            "2147483648", "9223372036854775807", "-9223372036854775808", "9223372036854775808",
            "18446744073709551615", "99999999999999999999999", "(1", "[a", "-", "+", "*", "[a-",
            "\\", "?[^x]*",
            "\r\n", "\0", "KEYS", "~",
        ]
            + """
            nx xx gt lt ch incr get ex px exat pxat keepttl persist enx match count type \
            limit withscores byscore bylex rev weights aggregate sum min max store byint \
            byfloat lbound ubound saturate left right before after and or xor not list help
            """
        .split(separator: " ").map(String.init)
    private static let lengths = [
        "0", "-1", "1", "2", "99", "65536", "536870912", "536870913", "2147483647", "4294967296",
        "9223372036854775807", "-9223372036854775808", "", "x", "+1", "00", "1 ",
    ]

    init(seed: UInt64) {
        random = Random(seed: seed)
        // QUIT would end most of the deep pipelines early.
        commands = CommandTable(groups: EngineCommands.groups).all.filter { $0.name != "QUIT" }
    }

    /// One request; a whole one is odd in its arguments only.
    mutating func next(isWhole: Bool) -> [UInt8] {
        if isWhole { return HarnessClient.request(command()) }
        if random.index(below: 20) == 0 { return garbage() }
        let arguments = command()
        if random.index(below: 12) == 0 { return inline(arguments) }
        var frame = HarnessClient.request(arguments)
        // Half of them stay valid frames, whose arguments alone are odd.
        for _ in 0..<[0, 0, 0, 1, 1, 2][random.index(below: 6)] { damage(&frame) }
        return frame
    }

    private mutating func command() -> [[UInt8]] {
        let command = commands[random.index(below: commands.count)]
        var arguments = command.fullName.split(separator: "|").map { Array($0.utf8) }
        let fitting =
            switch command.arity {
            case .exactly(let count): count
            case .atLeast(let count): count + random.index(below: 7)
            }
        // Now and then the number of arguments is wrong.
        let count = random.index(below: 12) == 0 ? random.index(below: 8) : fitting
        while arguments.count < count { arguments.append(argument()) }
        return arguments
    }

    private mutating func argument() -> [UInt8] {
        switch random.index(below: 8) {
        case 0...3: Array("k\(random.index(below: 12))".utf8)
        case 4: random.bytes(random.index(below: 80))
        default: Array(pick(Self.values).utf8)
        }
    }

    private mutating func inline(_ arguments: [[UInt8]]) -> [UInt8] {
        Array(arguments.joined(separator: [0x20]))
            + Array(pick(["\r\n", "\n", "\"\r\n", "'\r\n"]).utf8)
    }

    private mutating func garbage() -> [UInt8] {
        random.bytes(random.index(below: 40)) + Array(pick(["\r\n", "\n", ""]).utf8)
    }

    private mutating func damage(_ frame: inout [UInt8]) {
        guard !frame.isEmpty else { return }
        let at = random.index(below: frame.count)
        switch random.index(below: 6) {
        case 0: frame.removeSubrange(at...)
        case 1: frame[at] ^= 1 << UInt8(random.index(below: 8))
        case 2: frame.insert(contentsOf: random.bytes(1 + random.index(below: 4)), at: at)
        case 3: frame.removeSubrange(at..<min(frame.count, at + 1 + random.index(below: 4)))
        default: changeLength(&frame, near: at)
        }
    }

    /// Another number behind the next `*` or `$`.
    private mutating func changeLength(_ frame: inout [UInt8], near at: Int) {
        let marks = [UInt8(ascii: "*"), UInt8(ascii: "$")]
        let mark = frame[at...].firstIndex { marks.contains($0) } ?? 0
        guard let end = frame[mark...].firstIndex(of: 0x0D), end > mark else { return }
        frame.replaceSubrange(mark + 1..<end, with: Array(pick(Self.lengths).utf8))
    }

    private mutating func pick(_ texts: [String]) -> String {
        texts[random.index(below: texts.count)]
    }
}
