//  Results as text, CSV and JSON.

import Glibc
import LoadGenerator

/// How results are printed.
enum Format: String {
    case text
    case csv
    case json

    init(_ arguments: Arguments) throws(BenchmarkError) {
        let name = try arguments.choice("--format", ["text", "csv", "json"])
        self = Format(rawValue: name) ?? .text
    }
}

/// One value of a record.
enum Value {
    case text(String)
    case integer(Int)
    case number(Double, digits: Int)
    case records([Record])
    /// Not measured: empty in CSV, null in JSON.
    case missing

    static func number(_ value: Double?, digits: Int) -> Value {
        value.map { .number($0, digits: digits) } ?? .missing
    }
}

/// Named values in their order.
struct Record {
    var fields: [(name: String, value: Value)] = []

    mutating func add(_ name: String, _ value: Value) { fields.append((name, value)) }
}

/// Prints records as CSV, a header first, or as a JSON array; nested records only in JSON.
func printRecords(_ records: [Record], _ format: Format) {
    switch format {
    case .text: break
    case .csv:
        guard let first = records.first else { return }
        let names = first.fields.filter { if case .records = $0.value { false } else { true } }
            .map(\.name)
        print(names.joined(separator: ","))
        for record in records {
            let cells = names.map { name in
                record.fields.first { $0.name == name }.map { csv($0.value) } ?? ""
            }
            print(cells.joined(separator: ","))
        }
    case .json:
        print(
            "["
                + records.map { "\n  " + json(.records([$0]), single: true) }
                .joined(separator: ",") + "\n]")
    }
}

private func csv(_ value: Value) -> String {
    switch value {
    case .text(let text):
        let isPlain = !text.contains { ",\"\n\r".contains($0) }
        return isPlain
            ? text
            : "\""
                + text.split(separator: "\"", omittingEmptySubsequences: false)
                .joined(separator: "\"\"") + "\""
    case .integer(let number): return String(number)
    case .number(let number, let digits): return fixed(number, digits)
    case .records, .missing: return ""
    }
}

private func json(_ value: Value, single: Bool = false) -> String {
    switch value {
    case .text(let text): return quoted(text)
    case .integer(let number): return String(number)
    case .number(let number, let digits):
        return number.isFinite ? fixed(number, digits) : "null"
    case .missing: return "null"
    case .records(let records):
        let objects = records.map { record in
            "{"
                + record.fields.map { quoted($0.name) + ": " + json($0.value) }
                .joined(separator: ", ") + "}"
        }
        return single ? objects.joined() : "[" + objects.joined(separator: ", ") + "]"
    }
}

private func quoted(_ text: String) -> String {
    var result = "\""
    for scalar in text.unicodeScalars {
        switch scalar {
        case "\"": result += "\\\""
        case "\\": result += "\\\\"
        case "\n": result += "\\n"
        case "\r": result += "\\r"
        case "\t": result += "\\t"
        default:
            if scalar.value < 32 {
                let digits = String(scalar.value, radix: 16)
                result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            } else {
                result.unicodeScalars.append(scalar)
            }
        }
    }
    return result + "\""
}

/// A table in text, columns as wide as their widest cell; the first is aligned to the left.
struct TextTable {
    var rows: [[String]] = []

    mutating func add(_ cells: [String]) { rows.append(cells) }

    func print() {
        var widths: [Int] = []
        for row in rows {
            for (index, cell) in row.enumerated() {
                if index == widths.count { widths.append(0) }
                widths[index] = max(widths[index], cell.count)
            }
        }
        for row in rows {
            var line = ""
            for (index, cell) in row.enumerated() {
                let room = String(repeating: " ", count: widths[index] - cell.count)
                line += index == 0 ? cell + room : "  " + room + cell
            }
            while line.last == " " { line.removeLast() }
            Swift.print(line)
        }
    }
}

/// `value` with `digits` digits after the point.
func fixed(_ value: Double, _ digits: Int) -> String {
    guard value.isFinite else { return "-" }
    var buffer = [CChar](repeating: 0, count: 400)
    let length = unsafe withVaList([Int32(digits), value]) {
        unsafe vsnprintf(&buffer, 400, "%.*f", $0)
    }
    return String(
        decoding: buffer.prefix(max(0, Int(length))).map { UInt8(bitPattern: $0) }, as: UTF8.self)
}

/// `value` without a fraction of zero.
func short(_ value: Double) -> String {
    value == value.rounded() && value.magnitude < 1e15 ? String(Int(value)) : String(value)
}

/// A whole number with its thousands apart.
func grouped(_ number: Int) -> String {
    var digits = Array(String(number.magnitude))
    var at = digits.count - 3
    while at > 0 {
        digits.insert(" ", at: at)
        at -= 3
    }
    return (number < 0 ? "-" : "") + String(digits)
}

/// Nanoseconds as milliseconds.
func milliseconds(_ nanoseconds: UInt64) -> Double { Double(nanoseconds) / 1e6 }

func padded(_ text: String, _ width: Int) -> String {
    text + String(repeating: " ", count: max(0, width - text.count))
}

func percent(_ share: Double, _ digits: Int = 0) -> String { fixed(share * 100, digits) + " %" }

/// The middle of `values`, the mean of both when there are two; nil without any.
func middle(_ values: [Double]) -> Double? {
    guard !values.isEmpty else { return nil }
    let sorted = values.sorted()
    let middle = sorted.count / 2
    return sorted.count % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}
