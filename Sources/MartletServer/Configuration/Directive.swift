//  What a directive of the configuration is: its names, the values it takes, when it may change.
//
//  `DirectiveTable` declares every directive once, in one row; the readers of files, environment
//  and command line, and CONFIG GET, SET and REWRITE, know nothing else about any of them.

/// One name of the configuration, with everything the server knows about it.
package struct Directive: Sendable {
    package let name: String
    /// Other names of the same directive: older ones, and those of other servers.
    package let aliases: [String]
    package let kind: Kind
    package let initial: ConfigurationValue
    package let traits: Traits
    package let standing: Standing

    /// What values a directive takes, and how they are written.
    package enum Kind: Sendable, Equatable {
        /// `yes` or `no`.
        case boolean
        case integer(ClosedRange<Int>)
        /// File permissions: written and shown in base 8.
        case octal(ClosedRange<Int>)
        /// A count of bytes: a number with an optional unit, `64mb`.
        case memory(ClosedRange<Int>)
        /// A count of bytes, or a part of the memory limit, `5%`.
        case memoryOrPercent
        /// A count of bytes, a part of what the container or machine has, `75%`, or `auto`.
        case memoryLimit
        /// One of these words, in any case.
        case choice([String])
        /// One or more of these words; the first of them stands for none of the others.
        case choices([String])
        /// Any bytes but control characters.
        case text
        /// The name of a file inside of the data directory: no slash.
        case fileName
        /// Space-separated words: addresses, protocol versions, a module and its arguments.
        case words(ClosedRange<Int>)
        /// A fixed number of integers.
        case integers(count: Int, within: ClosedRange<Int>)
        /// Seconds and changes, in pairs.
        case savePoints
        /// Class, hard limit, soft limit, seconds, in fours.
        case outputBufferLimits
        case percentiles
        case keyspaceEvents
    }

    package struct Traits: OptionSet, Sendable {
        package let rawValue: Int

        package init(rawValue: Int) { self.rawValue = rawValue }

        /// Fixed from the start on.
        package static let immutable = Traits(rawValue: 1)
        /// Changed by CONFIG SET only where `enable-protected-configs` allows it.
        package static let protected = Traits(rawValue: 2)
        /// Left out of CONFIG GET unless asked for by its full name.
        package static let hidden = Traits(rawValue: 4)
        /// Its value is a secret: no log line, error or report shows it.
        package static let secret = Traits(rawValue: 8)
        /// Each line adds to the ones before: `loadmodule`, `user`, `rename-command`.
        package static let repeats = Traits(rawValue: 16)
        /// Known to files alone: neither CONFIG GET nor CONFIG SET has it.
        package static let fileOnly = Traits(rawValue: 32)
    }

    /// Whether the feature that a directive steers exists.
    package enum Standing: Sendable, Equatable {
        case inForce
        /// The feature is missing: a value other than Martlet's own is warned of and not taken.
        case awaiting(String)
        /// The feature is missing, and to start without it would lose data or open a door.
        case refused(String)
        /// Taken and shown, but there is nothing to steer, for this reason.
        case withoutEffect(String)
    }

    /// Declares a directive.
    ///
    /// - Precondition: `initial`, written as in a file, is a value of `kind`; a test holds the
    ///   whole table against this.
    init(
        _ name: String, alias aliases: String..., kind: Kind, initial: ConfigurationValue,
        traits: Traits = [], standing: Standing = .inForce
    ) {
        self.name = name
        self.aliases = aliases
        self.kind = kind
        self.initial = initial
        self.traits = traits
        self.standing = standing
    }

    /// Whether a line gives several words, so that a value with spaces is split.
    var takesSeveralWords: Bool {
        switch kind {
        case .boolean, .integer, .octal, .memory, .memoryOrPercent, .memoryLimit, .choice, .text,
            .fileName:
            false
        case .keyspaceEvents: false
        case .choices, .words, .integers, .savePoints, .outputBufferLimits, .percentiles: true
        }
    }

    /// What the directive takes, as a phrase for error messages.
    var allowed: String {
        switch kind {
        case .boolean: "yes or no"
        case .integer(let range): "an integer between \(range.lowerBound) and \(range.upperBound)"
        case .octal(let range):
            "an octal number between \(String(range.lowerBound, radix: 8)) and "
                + String(range.upperBound, radix: 8)
        case .memory(let range):
            "a number of bytes from \(range.lowerBound), with an optional unit: "
                + "b, k, kb, m, mb, g, gb"
        case .memoryOrPercent:
            "a number of bytes with an optional unit (b, k, kb, m, mb, g, gb), or 0% to 100%"
        case .memoryLimit:
            "a number of bytes with an optional unit (b, k, kb, m, mb, g, gb), 0% to 100% of what "
                + "the container or machine has, or auto"
        case .choice(let words): "one of \(words.joined(separator: ", "))"
        case .choices(let words): "one or more of \(words.joined(separator: ", "))"
        case .text: "text without control characters"
        case .fileName: "a file name without a slash"
        case .words(let count):
            count.upperBound == .max
                ? "words separated by blanks"
                : "\(count.lowerBound) to \(count.upperBound) words separated by blanks"
        case .integers(let count, let range):
            "\(count) integers between \(range.lowerBound) and \(range.upperBound)"
        case .savePoints: "\"\" or pairs of seconds and changes: 3600 1 300 100"
        case .outputBufferLimits:
            "class (normal, replica, pubsub), hard limit, soft limit, soft seconds: "
                + "replica 256mb 64mb 60"
        case .percentiles: "\"\" or numbers between 0 and 100: 50 99 99.9"
        case .keyspaceEvents: "\"\" or letters of \(KeyspaceEvents.letters)"
        }
    }
}
