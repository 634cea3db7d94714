//  martlet-micro: the processor time of single stages and single operations.
//
//      martlet-micro [WORD ...] [--rounds N] [--milliseconds N] [--csv]
//
//  Runs the stages whose names hold one of the words, or all of them, and prints the median, the
//  least and the most nanoseconds per operation over the rounds. To add stages, write a table like
//  `baseStages` in a file of its own and name it below.

import Glibc

let stageTables: [(area: String, stages: [Stage])] = [
    ("base", baseStages)
]

private var words: [String] = []
private var rounds = 9
private var roundMilliseconds = 20
private var isCSV = false

private var arguments = CommandLine.arguments.dropFirst()
while let argument = arguments.popFirst() {
    switch argument {
    case "--rounds":
        rounds = positiveNumber(arguments.popFirst(), of: argument)
    case "--milliseconds":
        roundMilliseconds = positiveNumber(arguments.popFirst(), of: argument)
    case "--csv":
        isCSV = true
    case _ where argument.hasPrefix("-"):
        stop("martlet-micro: no option \(argument); there are --rounds, --milliseconds, --csv")
    default:
        words.append(argument.lowercased())
    }
}

if isCSV {
    print("area,stage,median_ns,min_ns,max_ns")
} else {
    print(row("ns per operation", ["median", "min", "max"]))
}
for (area, stages) in stageTables {
    for stage in stages {
        let title = "\(area): \(stage.name)"
        let isWanted = words.isEmpty || words.contains { title.lowercased().contains($0) }
        if !isWanted { continue }
        let times = stage.measure(rounds: rounds, roundMilliseconds: roundMilliseconds)
        let figures = [times[times.count / 2], times[0], times[times.count - 1]].map(inHundredths)
        if isCSV {
            print("\(area),\"\(stage.name)\",\(figures.joined(separator: ","))")
        } else {
            print(row(title, figures))
        }
    }
}

private func row(_ title: String, _ figures: [String]) -> String {
    let padding = String(repeating: " ", count: max(1, 48 - title.count))
    let columns = figures.map { String(repeating: " ", count: max(1, 10 - $0.count)) + $0 }
    return title + padding + columns.joined()
}

private func inHundredths(_ value: Double) -> String {
    let hundredths = Int((value * 100).rounded())
    let fraction = hundredths % 100
    return "\(hundredths / 100).\(fraction < 10 ? "0" : "")\(fraction)"
}

private func positiveNumber(_ text: String?, of option: String) -> Int {
    guard let text, let number = Int(text), number > 0 else {
        stop("martlet-micro: \(option) takes a positive number")
    }
    return number
}

private func stop(_ message: String) -> Never {
    // Not through `stderr`, which Swift holds to be shared mutable state.
    let line = Array((message + "\n").utf8)
    unsafe line.withUnsafeBytes { bytes in _ = unsafe write(2, bytes.baseAddress, bytes.count) }
    exit(2)
}
