//  A command's declaration as COMMAND INFO and COMMAND DOCS send it. Fields, their order and their
//  types are Redis'.

extension ReplyWriter {
    /// The ten fields of COMMAND INFO.
    mutating func information(_ command: Command) {
        let range = command.keyRange
        array(10)
        bulk(command.fullName)
        integer(command.arity.number)
        names(command.flagNames)
        integer(range.first)
        integer(range.last)
        integer(range.step)
        names(command.categoryNames, prefix: "@")
        set(command.tips.count)
        for tip in command.tips { bulk(tip) }
        set(command.keys.count)
        for spec in command.keys { keySpec(spec) }
        // As Redis: an empty set where there are none, an array otherwise.
        if command.subcommands.isEmpty { set(0) } else { array(command.subcommands.count) }
        for subcommand in command.subcommands { information(subcommand) }
    }

    /// A set of words.
    mutating func names(_ names: [StaticString], prefix: StaticString = "") {
        set(names.count)
        for name in names {
            buffer.append("+")
            buffer.append(prefix)
            buffer.append(name)
            buffer.append("\r\n")
        }
    }

    private mutating func keySpec(_ spec: KeySpec) {
        map(spec.notes == nil ? 3 : 4)
        if let notes = spec.notes {
            bulk("notes")
            bulk(notes)
        }
        bulk("flags")
        names(spec.flags.names)
        bulk("begin_search")
        switch spec.find {
        case .range, .counted, .listed(nil, _):
            typed("index", [("index", spec.first)])
        case .behind(let word), .halfBehind(let word), .listed(let word?, _):
            map(2)
            bulk("type")
            bulk("keyword")
            bulk("spec")
            map(2)
            bulk("keyword")
            bulk("\(word)".uppercased())
            bulk("startfrom")
            integer(spec.first)
        case .found, .unknown:
            typed("unknown", [])
        }
        bulk("find_keys")
        switch spec.find {
        case .behind: typed("range", [("lastkey", 0), ("keystep", 1), ("limit", 0)])
        case .halfBehind: typed("range", [("lastkey", -1), ("keystep", 1), ("limit", 2)])
        case .found, .unknown: typed("unknown", [])
        case .listed(let word, _):
            typed("range", [("lastkey", word == nil ? 0 : -1), ("keystep", 1), ("limit", 0)])
        case .range(let last, let step):
            typed("range", [("lastkey", last), ("keystep", step), ("limit", 0)])
        case .counted(let countAt, let firstKey, let step):
            typed("keynum", [("keynumidx", countAt), ("firstkey", firstKey), ("keystep", step)])
        }
    }

    private mutating func typed(_ type: StaticString, _ fields: [(StaticString, Int)]) {
        map(2)
        bulk("type")
        bulk(type)
        bulk("spec")
        map(fields.count)
        for (name, value) in fields {
            bulk(name)
            integer(value)
        }
    }

    // MARK: DOCS

    /// The map of COMMAND DOCS.
    mutating func documentation(_ command: Command) {
        let arguments =
            command.subcommands.isEmpty && !command.syntax.isEmpty
            ? CommandSyntax(command).arguments() : []
        var fields = 3
        if !command.complexity.isEmpty { fields += 1 }
        if command.deprecated != nil { fields += 3 }
        if !arguments.isEmpty { fields += 1 }
        if !command.subcommands.isEmpty { fields += 1 }

        map(fields)
        field("summary", command.summary)
        field("since", command.since)
        field("group", command.group.rawValue)
        if !command.complexity.isEmpty { field("complexity", command.complexity) }
        if let deprecated = command.deprecated {
            bulk("doc_flags")
            names(["deprecated"])
            field("deprecated_since", deprecated.since)
            field("replaced_by", deprecated.replacedBy)
        }
        if !arguments.isEmpty {
            bulk("arguments")
            self.arguments(arguments)
        }
        if !command.subcommands.isEmpty {
            bulk("subcommands")
            map(command.subcommands.count)
            for subcommand in command.subcommands {
                bulk(subcommand.fullName)
                documentation(subcommand)
            }
        }
    }

    private mutating func field(_ name: StaticString, _ text: String) {
        bulk(name)
        bulk(text)
    }

    private mutating func arguments(_ arguments: [DocumentedArgument]) {
        array(arguments.count)
        for argument in arguments { self.argument(argument) }
    }

    private mutating func argument(_ argument: DocumentedArgument) {
        var flags: [StaticString] = []
        if argument.isOptional { flags.append("optional") }
        if argument.isMultiple { flags.append("multiple") }
        if argument.repeatsToken { flags.append("multiple_token") }
        let isLeaf = argument.children.isEmpty
        var fields = 2
        if isLeaf { fields += 1 }
        if argument.keySpec != nil { fields += 1 }
        if argument.token != nil { fields += 1 }
        if !flags.isEmpty { fields += 1 }
        if !isLeaf { fields += 1 }

        map(fields)
        field("name", argument.name)
        field("type", argument.kind.rawValue)
        if isLeaf { field("display_text", argument.name) }
        if let spec = argument.keySpec {
            bulk("key_spec_index")
            integer(spec)
        }
        if let token = argument.token { field("token", token) }
        if !flags.isEmpty {
            bulk("flags")
            names(flags)
        }
        if !isLeaf {
            bulk("arguments")
            arguments(argument.children)
        }
    }
}
