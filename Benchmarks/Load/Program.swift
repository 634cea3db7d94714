//  The subcommands, and what happens when one fails.

import Glibc
import LoadGenerator

/// One subcommand: what it accepts and what it does.
struct Subcommand: Sendable {
    let name: String
    let summary: String
    /// What the help says above the options.
    let description: String
    let options: [OptionGroup]
    let run: @Sendable (Arguments) throws(BenchmarkError) -> Void
}

/// The subcommands, and what is said to whoever asks for help.
enum Program {
    static let subcommands = [
        runSubcommand, compareSubcommand, scalingSubcommand, memorySubcommand, idleSubcommand,
        expirySubcommand, fanOutSubcommand,
        reclaimSubcommand, evictionSubcommand, cacheSubcommand,
        logSubcommand, readersSubcommand, snapshotSubcommand, restartSubcommand,
        floorSubcommand, workloadsSubcommand,
    ]

    /// Runs the program and returns its exit status: 0, 1 for a failure, 2 for wrong usage.
    static func run(_ words: [String]) -> Int32 {
        endServersOnSignals()
        // A server that goes away is an error of `send`, not the end of the program.
        signal(SIGPIPE, SIG_IGN)
        do throws(BenchmarkError) {
            if words.first == "--help" || words.first == "-h" || words.first == "help" {
                print(help)
                return 0
            }
            let isNamed = words.first.map { !$0.hasPrefix("-") } ?? false
            let name = isNamed ? words[0] : "run"
            guard let subcommand = subcommands.first(where: { $0.name == name }) else {
                throw .usage(
                    "unknown subcommand '\(name)': there are "
                        + subcommands.map(\.name).joined(separator: ", "))
            }
            let rest = isNamed ? Array(words.dropFirst()) : words
            if rest.contains("--help") || rest.contains("-h") {
                print(subcommand.help)
                return 0
            }
            try subcommand.run(try Arguments(rest, subcommand.options))
            return 0
        } catch {
            printError("martlet-benchmark: \(error.message)")
            if case .usage = error {
                printError("martlet-benchmark --help says what there is")
                return 2
            }
            return 1
        }
    }

    private static var help: String {
        var text = """
            martlet-benchmark drives any server that speaks RESP, and compares several.

              martlet-benchmark [run] [options]      one workload against one server
              martlet-benchmark SUBCOMMAND [options]

            Subcommands, each with its own --help:

            """
        for subcommand in subcommands {
            text += "  " + padded(subcommand.name, 12) + subcommand.summary + "\n"
        }
        return text + "\n" + runSubcommand.help
    }
}

extension Subcommand {
    var help: String {
        var text = "martlet-benchmark \(name): \(summary)\n\n\(description)\n"
        for group in options {
            text += "\n\(group.title)\n"
            for option in group.options {
                let head = "  " + option.name + (option.value.map { " " + $0 } ?? "")
                let lines = option.help.split(separator: "\n", omittingEmptySubsequences: false)
                for (index, line) in lines.enumerated() {
                    let left = index == 0 ? head : ""
                    text += padded(left, 28) + (index == 0 && left.count >= 28 ? " " : "") + line
                    text += "\n"
                }
            }
        }
        return text
    }
}

/// Writes a line to the standard error.
func printError(_ text: String) { writeError(text + "\n") }

/// Writes to the standard error. A terminal that is gone is not worth failing for.
func writeError(_ text: String) {
    let bytes = Array(text.utf8)
    _ = unsafe write(2, bytes, bytes.count)
}
