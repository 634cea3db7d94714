//  Options on the command line: declared once, so that help and checks cannot disagree.

import LoadGenerator

/// One option. Without `value` it is a switch.
struct Option: Sendable {
    let name: String
    let value: String?
    let help: String

    /// An option with a value, called `value` in the help.
    init(_ name: String, _ value: String, _ help: String) {
        self.name = name
        self.value = value
        self.help = help
    }

    /// A switch.
    init(_ name: String, _ help: String) {
        self.name = name
        value = nil
        self.help = help
    }
}

/// Options that belong together, under one heading of the help text.
struct OptionGroup: Sendable {
    let title: String
    let options: [Option]

    init(_ title: String, _ options: [Option]) {
        self.title = title
        self.options = options
    }
}

/// What was given, by the option's name, in the order given.
struct Arguments {
    private var values: [String: [String]] = [:]

    /// Reads `--name value`, `--name=value` and switches.
    ///
    /// - Throws: `.usage` for an unknown option or a missing value.
    init(_ words: [String], _ groups: [OptionGroup]) throws(BenchmarkError) {
        let options = groups.flatMap(\.options)
        var at = 0
        while at < words.count {
            let parts = words[at].split(
                separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            let name = parts.first.map(String.init) ?? ""
            at += 1
            guard let option = options.first(where: { $0.name == name }) else {
                throw .usage("unknown option '\(words[at - 1])'")
            }
            guard option.value != nil else {
                if parts.count > 1 { throw .usage("\(name) takes no value") }
                values[name, default: []].append("")
                continue
            }
            if parts.count > 1 {
                values[name, default: []].append(String(parts[1]))
            } else {
                guard at < words.count else { throw .usage("\(name) wants a value") }
                values[name, default: []].append(words[at])
                at += 1
            }
        }
    }

    func has(_ name: String) -> Bool { values[name] != nil }

    func text(_ name: String) -> String? { values[name]?.last }

    func texts(_ name: String) -> [String] { values[name] ?? [] }

    /// A whole number; `k` and `m` after it stand for thousands and millions.
    func integer(
        _ name: String, _ standard: Int, in range: ClosedRange<Int>
    ) throws(BenchmarkError) -> Int {
        guard let text = text(name) else { return standard }
        var digits = text[...]
        var factor = 1
        if let last = text.last, "kK".contains(last) { factor = 1000 }
        if let last = text.last, "mM".contains(last) { factor = 1_000_000 }
        if factor > 1 { digits = digits.dropLast() }
        guard let number = Int(digits), number <= Int.max / factor,
            range.contains(number * factor)
        else {
            throw .usage(
                "\(name) must be a whole number between \(range.lowerBound) and "
                    + "\(range.upperBound), not '\(text)'")
        }
        return number * factor
    }

    func number(
        _ name: String, _ standard: Double, in range: ClosedRange<Double>
    ) throws(BenchmarkError) -> Double {
        guard let text = text(name) else { return standard }
        guard let number = Double(text), range.contains(number) else {
            throw .usage(
                "\(name) must be a number between \(short(range.lowerBound)) and "
                    + "\(short(range.upperBound)), not '\(text)'")
        }
        return number
    }

    /// One of `choices`; the first is the standard.
    func choice(_ name: String, _ choices: [String]) throws(BenchmarkError) -> String {
        guard let text = text(name) else { return choices[0] }
        guard choices.contains(text) else {
            throw .usage("\(name) must be one of \(choices.joined(separator: ", ")), not '\(text)'")
        }
        return text
    }

    /// A list of whole numbers separated by commas.
    func integers(
        _ name: String, _ standard: [Int], in range: ClosedRange<Int>
    ) throws(BenchmarkError) -> [Int] {
        guard let text = text(name) else { return standard }
        var numbers: [Int] = []
        for part in text.split(separator: ",", omittingEmptySubsequences: false) {
            guard let number = Int(part), range.contains(number) else {
                throw .usage(
                    "\(name) must be numbers between \(range.lowerBound) and "
                        + "\(range.upperBound), separated by commas, not '\(text)'")
            }
            numbers.append(number)
        }
        return numbers
    }

    func cpus(_ name: String) throws(BenchmarkError) -> CPUList? {
        guard let text = text(name) else { return nil }
        return try CPUList(parsing: text)
    }
}
