//  INFO: which sections are wanted, and their order.

import MartletBase
import MartletEngine

extension CommandGroup {
    static func info(_ context: ServerContext) -> CommandGroup {
        [
            Command(
                "INFO", since: "1.0.0", group: .server, syntax: "[section [section ...]]",
                summary: "Returns information and statistics about the server.",
                arity: .atLeast(1), traits: [.loading, .stale, .walksShards], acl: [.dangerous],
                tips: [
                    "nondeterministic_output", "request_policy:all_shards",
                    "response_policy:special",
                ]
            ) { (call) throws(CommandError) in
                let names = (1..<call.arguments.count).map { call.arguments[$0].string }
                let wanted = InfoSection.wanted(names)
                call.reply.verbatim(InfoText.text(wanted, context, isHeld: call.isNested))
                return .none
            }
        ]
    }
}

/// The sections, in the order in which they are shown.
enum InfoSection: String, CaseIterable {
    case server, clients, memory, persistence, stats, replication, cpu, modules, commandstats
    case errorstats, latencystats, cluster, keyspace

    /// Sections that are long, and shown only to who asks for them or for all.
    private static let onRequest: Set<InfoSection> = [.commandstats, .latencystats]

    /// The sections that these names ask for; none asks for the usual ones, and a name that no
    /// section has for nothing, as in Redis.
    static func wanted(_ names: [String]) -> Set<InfoSection> {
        let usual = Set(allCases).subtracting(onRequest)
        if names.isEmpty { return usual }
        var wanted: Set<InfoSection> = []
        for name in names {
            switch name.lowercased() {
            case "default": wanted.formUnion(usual)
            // Redis tells them apart by what modules add.
            case "all", "everything": wanted.formUnion(allCases)
            case let name:
                if let section = InfoSection(rawValue: name) { wanted.insert(section) }
            }
        }
        return wanted
    }

    var title: String {
        self == .cpu ? "CPU" : rawValue.prefix(1).uppercased() + rawValue.dropFirst()
    }
}

/// INFO's text: `# Section`, then `name:value` lines; an empty line between sections.
struct InfoText {
    private(set) var text = ""

    static func text(
        _ wanted: Set<InfoSection>, _ context: ServerContext, isHeld: Bool
    ) -> String {
        var info = InfoText()
        let facts = InfoFacts(context, wanted, isHeld: isHeld)
        for section in InfoSection.allCases where wanted.contains(section) {
            if !info.text.isEmpty { info.text += "\r\n" }
            info.text += "# \(section.title)\r\n"
            info.append(section, facts)
        }
        return info.text
    }

    mutating func add(_ name: String, _ value: String) {
        text += name
        text += ":"
        text += value
        text += "\r\n"
    }

    mutating func add(_ name: String, _ value: some BinaryInteger) { add(name, String(value)) }

    mutating func add(_ name: String, _ value: Bool) { add(name, value ? "1" : "0") }

    /// A number with so many decimals.
    mutating func add(_ name: String, _ value: Double, decimals: Int) {
        add(name, decimal(value, decimals))
    }

    /// A count of bytes, and the same for people.
    mutating func add(bytes name: String, _ value: Int) {
        add(name, value)
        add(name + "_human", readable(bytes: value))
    }
}

/// A number in decimal notation, rounded to `decimals` digits behind the point.
func decimal(_ value: Double, _ decimals: Int) -> String {
    var scale = 1.0
    for _ in 0..<decimals { scale *= 10 }
    let scaled = (value.magnitude * scale).rounded()
    guard scaled < 9e18 else { return value < 0 ? "-inf" : "inf" }
    let digits = String(Int64(scaled))
    let padded = String(repeating: "0", count: max(0, decimals + 1 - digits.utf8.count)) + digits
    let sign = value < 0 && scaled != 0 ? "-" : ""
    if decimals == 0 { return sign + padded }
    return "\(sign)\(padded.dropLast(decimals)).\(padded.suffix(decimals))"
}

/// A count of bytes with a unit, as Redis shows it: `895.02K`.
func readable(bytes: Int) -> String {
    let units = ["K", "M", "G", "T", "P"]
    if bytes < 1024 { return "\(bytes)B" }
    var value = Double(bytes) / 1024
    var unit = 0
    while value >= 1024 && unit < units.count - 1 {
        value /= 1024
        unit += 1
    }
    return decimal(value, 2) + units[unit]
}
