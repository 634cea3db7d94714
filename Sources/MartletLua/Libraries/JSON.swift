//  cjson as Redis has it (lua-cjson 2.1): its settings, results and messages.
//
//  Raw memory: bytes of arguments belong to Lua and stand until the function returns; they are read
//  through `ByteCursor` or copied whole.

import CLuaShim

/// What scripts set with `cjson.encode_max_depth` and its like; valid until the script ends.
struct JSONSettings {
    /// How numbers that JSON does not know (NaN, infinity) are written.
    enum InvalidNumbers: Int {
        case refused
        case written
        case null
    }

    var encodeDepthMax = StandardLibraries.depthMax
    var decodeDepthMax = StandardLibraries.depthMax
    var encodeInvalidNumbers = InvalidNumbers.refused
    var decodesInvalidNumbers = true
    var numberPrecision = 14
    var keepsBuffer = true
    /// An array with less than one element in `sparseRatio` is sparse, from `sparseSafe` on.
    var convertsSparse = false
    var sparseRatio = 2
    var sparseSafe = 10

    mutating func configure(
        _ function: StandardLibraries.Function, _ call: LuaCall
    ) throws(LibraryError) {
        let countMax = function == .jsonEncodeSparseArray ? 3 : 1
        if call.argumentCount > countMax {
            throw .argument(countMax + 1, of: "?", "found too many arguments")
        }
        let results = call.results
        switch function {
        case .jsonEncodeMaxDepth:
            encodeDepthMax = try Self.integer(call, 1, encodeDepthMax, 1...Int(Int32.max))
            results.number(Double(encodeDepthMax))
        case .jsonDecodeMaxDepth:
            decodeDepthMax = try Self.integer(call, 1, decodeDepthMax, 1...Int(Int32.max))
            results.number(Double(decodeDepthMax))
        case .jsonEncodeNumberPrecision:
            numberPrecision = try Self.integer(call, 1, numberPrecision, 1...14)
            results.number(Double(numberPrecision))
        case .jsonEncodeInvalidNumbers:
            try setInvalidNumbers(call)
        case .jsonDecodeInvalidNumbers:
            decodesInvalidNumbers = try Self.boolean(call, decodesInvalidNumbers)
            results.boolean(decodesInvalidNumbers)
        case .jsonEncodeSparseArray:
            convertsSparse = try Self.boolean(call, convertsSparse)
            sparseRatio = try Self.integer(call, 2, sparseRatio, 0...Int(Int32.max))
            sparseSafe = try Self.integer(call, 3, sparseSafe, 0...Int(Int32.max))
            results.boolean(convertsSparse)
            results.number(Double(sparseRatio))
            results.number(Double(sparseSafe))
        default:
            keepsBuffer = try Self.boolean(call, keepsBuffer)
            results.boolean(keepsBuffer)
        }
    }

    private mutating func setInvalidNumbers(_ call: LuaCall) throws(LibraryError) {
        switch call.arguments.type(at: 1) {
        case .none, .null: break
        case .boolean: encodeInvalidNumbers = call.arguments.boolean(at: 1) ? .written : .refused
        default:
            let option = try call.option()
            switch option {
            case "off": encodeInvalidNumbers = .refused
            case "on": encodeInvalidNumbers = .written
            case "null": encodeInvalidNumbers = .null
            default: throw .argument(1, of: "?", "invalid option '\(option)'")
            }
        }
        if encodeInvalidNumbers == .null {
            call.results.string("null")
        } else {
            call.results.boolean(encodeInvalidNumbers == .written)
        }
    }

    private static func boolean(_ call: LuaCall, _ current: Bool) throws(LibraryError) -> Bool {
        switch call.arguments.type(at: 1) {
        case .none, .null: return current
        case .boolean: return call.arguments.boolean(at: 1)
        default:
            let option = try call.option()
            if option == "on" { return true }
            if option == "off" { return false }
            throw .argument(1, of: "?", "invalid option '\(option)'")
        }
    }

    private static func integer(
        _ call: LuaCall, _ index: Int, _ current: Int, _ range: ClosedRange<Int>
    ) throws(LibraryError) -> Int {
        let type = call.arguments.type(at: index)
        if type == .none || type == .null { return current }
        let value = try call.number(at: index, of: "?")
        guard value >= Double(range.lowerBound), value <= Double(range.upperBound) else {
            throw .argument(
                index, of: "?",
                "expected integer between \(range.lowerBound) and \(range.upperBound)")
        }
        return Int(value)
    }
}

/// Writes one value as JSON.
struct JSONEncoder {
    let settings: JSONSettings
    let reader: LuaReader
    var output: [UInt8]
    let runtime: LuaRuntime
    private var steps = 0

    init(settings: JSONSettings, reader: LuaReader, output: [UInt8], runtime: LuaRuntime) {
        self.settings = settings
        self.reader = reader
        self.output = output
        self.runtime = runtime
    }

    /// Appends the value at `index`, which counts from 1; its tables may not be in `depth` others.
    mutating func encode(valueAt index: Int, depth: Int) throws(LibraryError) {
        try runtime.account(step: &steps, bytes: output.count)
        switch reader.type(at: index) {
        case .null: append("null")
        case .boolean: append(reader.boolean(at: index) ? "true" : "false")
        case .number: try append(number: reader.number(at: index))
        case .bytes: append(stringAt: index)
        case .table: try append(tableAt: index, depth: depth + 1)
        case .lightUserdata where reader.isNull(at: index): append("null")
        default: throw refusal(index, "type not supported")
        }
    }

    private func refusal(_ index: Int, _ reason: String) -> LibraryError {
        let call = LuaCall(arguments: reader, argumentCount: 0, results: runtime.arguments)
        return LibraryError("Cannot serialise \(call.typeName(at: index)): \(reason)")
    }

    private mutating func append(_ text: StaticString) {
        unsafe output.append(
            contentsOf: UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
    }

    private mutating func append(number: Double) throws(LibraryError) {
        if number.isNaN || number.isInfinite {
            switch settings.encodeInvalidNumbers {
            case .refused: throw LibraryError("Cannot serialise number: must not be NaN or Inf")
            case .null: append("null")
            case .written: append(number.isNaN ? "nan" : number < 0 ? "-inf" : "inf")
            }
            return
        }
        output.append(digitsOf: number, precision: settings.numberPrecision)
    }

    private mutating func append(stringAt index: Int) {
        guard let bytes = unsafe reader.bytes(at: index) else { return }
        output.reserveCapacity(output.count + bytes.count + 2)
        output.append(UInt8(ascii: "\""))
        for index in 0..<bytes.count {
            let byte = unsafe bytes[index]
            switch byte {
            case UInt8(ascii: "\""): append("\\\"")
            case UInt8(ascii: "\\"): append("\\\\")
            case UInt8(ascii: "/"): append("\\/")
            case 8: append("\\b")
            case 9: append("\\t")
            case 10: append("\\n")
            case 12: append("\\f")
            case 13: append("\\r")
            case 0..<32, 127:
                append("\\u00")
                output.append(Self.digit(byte >> 4))
                output.append(Self.digit(byte & 15))
            default: output.append(byte)
            }
        }
        output.append(UInt8(ascii: "\""))
    }

    private static func digit(_ value: UInt8) -> UInt8 {
        value < 10 ? UInt8(ascii: "0") + value : UInt8(ascii: "a") + value - 10
    }

    private mutating func append(tableAt index: Int, depth: Int) throws(LibraryError) {
        if depth > min(settings.encodeDepthMax, StandardLibraries.depthMax) || !reader.reserve(8) {
            throw LibraryError("Cannot serialise, excessive nesting (\(depth))")
        }
        if let length = try arrayLength(tableAt: index), length > 0 {
            try append(arrayAt: index, length: length, depth: depth)
        } else {
            try append(objectAt: index, depth: depth)
        }
    }

    /// The greatest index when all keys are positive integers, 0 for an empty table; else nil.
    private mutating func arrayLength(tableAt index: Int) throws(LibraryError) -> Int? {
        var greatest = 0.0
        var count = 0.0
        reader.pushNil()
        while reader.pushNext(ofTableAt: index) {
            reader.pop()
            let key = reader.number(at: -1)
            if reader.type(at: -1) != .number || key < 1 || key != key.rounded(.down) {
                reader.pop()
                return nil
            }
            greatest = max(greatest, key)
            count += 1
            try runtime.account(step: &steps, bytes: output.count)
        }
        let ratio = Double(settings.sparseRatio)
        if ratio > 0, greatest > count * ratio, greatest > Double(settings.sparseSafe) {
            if settings.convertsSparse { return nil }
            throw LibraryError("Cannot serialise table: excessively sparse array")
        }
        return Int(exactly: greatest)
    }

    private mutating func append(
        arrayAt index: Int, length: Int, depth: Int
    ) throws(LibraryError) {
        output.append(UInt8(ascii: "["))
        var position = 1
        while position <= length {
            if position > 1 { output.append(UInt8(ascii: ",")) }
            reader.pushElement(position, ofTableAt: index)
            try encode(valueAt: reader.count, depth: depth)
            reader.pop()
            position += 1
        }
        output.append(UInt8(ascii: "]"))
    }

    private mutating func append(objectAt index: Int, depth: Int) throws(LibraryError) {
        output.append(UInt8(ascii: "{"))
        var isFirst = true
        reader.pushNil()
        while reader.pushNext(ofTableAt: index) {
            if !isFirst { output.append(UInt8(ascii: ",")) }
            isFirst = false
            let top = reader.count
            switch reader.type(at: top - 1) {
            case .number:
                output.append(UInt8(ascii: "\""))
                try append(number: reader.number(at: top - 1))
                output.append(UInt8(ascii: "\""))
            case .bytes: append(stringAt: top - 1)
            default: throw refusal(top - 1, "table key must be a number or string")
            }
            output.append(UInt8(ascii: ":"))
            try encode(valueAt: top, depth: depth)
            reader.pop()
        }
        output.append(UInt8(ascii: "}"))
    }
}

/// Reads one JSON text and writes what it says.
struct JSONDecoder {
    private enum Token {
        case objectBegin, objectEnd, arrayBegin, arrayEnd, colon, comma, end
        case string
        case number(Double)
        case boolean(Bool)
        case null
        case wrong(String)

        var name: String {
            switch self {
            case .objectBegin: "T_OBJ_BEGIN"
            case .objectEnd: "T_OBJ_END"
            case .arrayBegin: "T_ARR_BEGIN"
            case .arrayEnd: "T_ARR_END"
            case .colon: "T_COLON"
            case .comma: "T_COMMA"
            case .end: "T_END"
            case .string: "T_STRING"
            case .number: "T_NUMBER"
            case .boolean: "T_BOOLEAN"
            case .null: "T_NULL"
            case .wrong(let reason): reason
            }
        }
    }

    private let settings: JSONSettings
    private let writer: LuaWriter
    private let runtime: LuaRuntime
    private var cursor: ByteCursor
    /// Where the token began, or where it went wrong.
    private var tokenPosition = 0
    /// Bytes of the last string, its escapes resolved.
    private var string: [UInt8] = []
    private var steps = 0

    init(
        settings: JSONSettings, text: UnsafeRawBufferPointer, writer: LuaWriter,
        runtime: LuaRuntime
    ) {
        self.settings = settings
        self.writer = writer
        self.runtime = runtime
        cursor = unsafe ByteCursor(text)
    }

    /// Reads the whole text.
    mutating func decode() throws(LibraryError) {
        if cursor.count >= 2, cursor.peek(0) == 0 || cursor.peek(1) == 0 {
            throw LibraryError("JSON parser does not support UTF-16 or UTF-32")
        }
        try value(nextToken(), depth: 0)
        let token = nextToken()
        guard case .end = token else { throw unexpected(token, "the end") }
    }

    private func unexpected(_ token: Token, _ expected: String) -> LibraryError {
        LibraryError(
            "Expected \(expected) but found \(token.name) at character \(tokenPosition + 1)")
    }

    private mutating func value(_ token: Token, depth: Int) throws(LibraryError) {
        try runtime.account(step: &steps, bytes: 0)
        switch token {
        case .string: writer.bytes(string)
        case .number(let number): writer.number(number)
        case .boolean(let boolean): writer.boolean(boolean)
        case .null: writer.userdataNull()
        case .objectBegin: try object(depth: depth + 1)
        case .arrayBegin: try array(depth: depth + 1)
        default: throw unexpected(token, "value")
        }
    }

    private func descend(_ depth: Int) throws(LibraryError) {
        if depth > min(settings.decodeDepthMax, StandardLibraries.depthMax) {
            throw LibraryError(
                "Found too many nested data structures (\(depth)) at character \(cursor.position)")
        }
    }

    private mutating func object(depth: Int) throws(LibraryError) {
        try descend(depth)
        let opening = writer.openRecord()
        var count = 0
        var token = nextToken()
        if case .objectEnd = token {
            writer.closeRecord(opening, count: 0)
            return
        }
        while true {
            guard case .string = token else { throw unexpected(token, "object key string") }
            writer.bytes(string)
            token = nextToken()
            guard case .colon = token else { throw unexpected(token, "colon") }
            try value(nextToken(), depth: depth)
            count += 1
            token = nextToken()
            if case .objectEnd = token { break }
            guard case .comma = token else { throw unexpected(token, "comma or object end") }
            token = nextToken()
        }
        writer.closeRecord(opening, count: count)
    }

    private mutating func array(depth: Int) throws(LibraryError) {
        try descend(depth)
        let opening = writer.openArray()
        var count = 0
        var token = nextToken()
        if case .arrayEnd = token {
            writer.closeArray(opening, count: 0)
            return
        }
        while true {
            try value(token, depth: depth)
            count += 1
            token = nextToken()
            if case .arrayEnd = token { break }
            guard case .comma = token else { throw unexpected(token, "comma or array end") }
            token = nextToken()
        }
        writer.closeArray(opening, count: count)
    }

    private mutating func nextToken() -> Token {
        while cursor.isAtSpace { cursor.skip() }
        tokenPosition = cursor.position
        let byte = cursor.peek()
        switch byte {
        case 0: return .end
        case UInt8(ascii: "{"): return single(.objectBegin)
        case UInt8(ascii: "}"): return single(.objectEnd)
        case UInt8(ascii: "["): return single(.arrayBegin)
        case UInt8(ascii: "]"): return single(.arrayEnd)
        case UInt8(ascii: ":"): return single(.colon)
        case UInt8(ascii: ","): return single(.comma)
        case UInt8(ascii: "\""): return stringToken()
        case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"):
            if !settings.decodesInvalidNumbers, isInvalidNumber { return .wrong("invalid number") }
            return numberToken()
        case UInt8(ascii: "t") where spells("true"): return .boolean(true)
        case UInt8(ascii: "f") where spells("false"): return .boolean(false)
        case UInt8(ascii: "n") where spells("null"): return .null
        case UInt8(ascii: "+"), UInt8(ascii: "i"), UInt8(ascii: "I"), UInt8(ascii: "n"),
            UInt8(ascii: "N"):
            if settings.decodesInvalidNumbers, isInvalidNumber { return numberToken() }
            return .wrong("invalid token")
        default: return .wrong("invalid token")
        }
    }

    private mutating func single(_ token: Token) -> Token {
        cursor.skip()
        return token
    }

    private mutating func spells(_ word: StaticString) -> Bool {
        for index in 0..<word.utf8CodeUnitCount
        where unsafe cursor.peek(index) != word.utf8Start[index] { return false }
        cursor.skip(word.utf8CodeUnitCount)
        return true
    }

    private mutating func numberToken() -> Token {
        guard let number = cursor.number() else { return .wrong("invalid number") }
        return .number(number)
    }

    /// Whether a number that JSON does not know stands here: hexadecimal, with a leading zero or
    /// plus, infinite or not a number.
    private var isInvalidNumber: Bool {
        if cursor.peek() == UInt8(ascii: "+") { return true }
        let start = cursor.peek() == UInt8(ascii: "-") ? 1 : 0
        let second = cursor.peek(start + 1)
        if cursor.peek(start) == UInt8(ascii: "0") {
            return second | 0x20 == UInt8(ascii: "x")
                || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(second)
        }
        let letters = (0..<3).map { cursor.peek(start + $0) | 0x20 }
        return letters == Array("inf".utf8) || letters == Array("nan".utf8)
    }

    private mutating func stringToken() -> Token {
        cursor.skip()
        string.removeAll(keepingCapacity: true)
        while true {
            var byte = cursor.peek()
            if byte == UInt8(ascii: "\"") { break }
            if byte == 0 { return wrongHere("unexpected end of string") }
            if byte == UInt8(ascii: "\\") {
                switch cursor.peek(1) {
                case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"):
                    byte = cursor.peek(1)
                case UInt8(ascii: "b"): byte = 8
                case UInt8(ascii: "t"): byte = 9
                case UInt8(ascii: "n"): byte = 10
                case UInt8(ascii: "f"): byte = 12
                case UInt8(ascii: "r"): byte = 13
                case UInt8(ascii: "u"):
                    if !takeUnicodeEscape() { return wrongHere("invalid unicode escape code") }
                    continue
                default: return wrongHere("invalid escape code")
                }
                cursor.skip()
            }
            string.append(byte)
            cursor.skip()
        }
        cursor.skip()
        return .string
    }

    private mutating func wrongHere(_ reason: String) -> Token {
        tokenPosition = cursor.position
        return .wrong(reason)
    }

    /// The four hexadecimal digits at `offset`.
    private func hexadecimal(at offset: Int) -> UInt32? {
        var value: UInt32 = 0
        for index in 0..<4 {
            let byte = cursor.peek(offset + index)
            switch byte {
            case UInt8(ascii: "0")...UInt8(ascii: "9"):
                value = value << 4 | UInt32(byte - UInt8(ascii: "0"))
            case UInt8(ascii: "a")...UInt8(ascii: "f"):
                value = value << 4 | UInt32(byte - UInt8(ascii: "a") + 10)
            case UInt8(ascii: "A")...UInt8(ascii: "F"):
                value = value << 4 | UInt32(byte - UInt8(ascii: "A") + 10)
            default: return nil
            }
        }
        return value
    }

    private mutating func takeUnicodeEscape() -> Bool {
        guard var scalar = hexadecimal(at: 2) else { return false }
        var length = 6
        if scalar & 0xF800 == 0xD800 {
            guard scalar & 0x400 == 0, cursor.peek(6) == UInt8(ascii: "\\"),
                cursor.peek(7) == UInt8(ascii: "u"), let low = hexadecimal(at: 8),
                low & 0xFC00 == 0xDC00
            else { return false }
            scalar = 0x10000 + ((scalar & 0x3FF) << 10 | low & 0x3FF)
            length = 12
        }
        guard let unicode = Unicode.Scalar(scalar) else { return false }
        string.append(contentsOf: UTF8.encode(unicode) ?? UTF8.encodedReplacementCharacter)
        cursor.skip(length)
        return true
    }
}
