//  Values between Lua and RESP, both ways, by the rules of Redis.
//
//      reply                       in Lua                              in Lua             the script's reply
//      :1                          1                                   1.9                :1
//      $ bulk                      'bulk'                              'text'             $ bulk
//      +OK                         {ok='OK'}                           {ok='text'}        +text
//      -CODE text                  raised, or {err='CODE text'}        {err='CODE text'}  -CODE text
//      *2                          {first, second}                     {first, second}    *2, up to the first nil
//      $-1, *-1                    false                               false, nil         null
//      _                           nil                                 true               :1, or #t after setresp(3)
//      %1 of RESP3                 {map={key=value}}                   {map={}}, {set={}}, {double=1.5},
//      ~1                          {set={member=true}}                 {big_number='1'}, {verbatim_string=
//      ,1.5                        {double=1.5}                            {format='txt', string='...'}}:
//      (1                          {big_number='1'}                                       of that type, or what
//      =txt:...                    {verbatim_string={string=, format=}}                   RESP2 has in its place
//      |1                          passed over
//
//  A status, an error or a big number becomes a line of the protocol here and nowhere else: the writer
//  takes line ends out, and what stands behind a zero byte is left out as in Redis.
//
//  Raw memory: bytes of Lua's are read while the value they belong to stays where it is.

import MartletBase
import MartletLua

/// A reply on its way into Lua.
struct ReplyToLua {
    private let bytes: ByteView
    private var offset: Int
    private let names: ScriptNames
    private let writer: LuaWriter

    /// A command's reply, whole and well-formed: it was written by a `ReplyWriter`.
    init(_ bytes: ByteView, _ names: ScriptNames, _ writer: LuaWriter) {
        self.bytes = bytes
        offset = 0
        self.names = names
        self.writer = writer
    }

    /// Writes the value that the reply is.
    ///
    /// - Complexity: O(bytes); recursion as deep as the reply, of our own making, nests.
    mutating func convert() {
        guard offset < bytes.count else {
            writer.null()
            return
        }
        let type = bytes[offset]
        offset += 1
        switch type {
        case UInt8(ascii: "$"):
            let count = number()
            if count < 0 { writer.boolean(false) } else { string(Int(count)) }
        case UInt8(ascii: ":"): writer.number(Double(number()))
        case UInt8(ascii: "+"):
            writer.record(1)
            writer.name(names.ok)
            lineAsString()
        case UInt8(ascii: "-"):
            writer.record(2)
            writer.name(names.err)
            lineAsString()
            writer.name(names.ignoresStatistics)
            writer.boolean(true)
        case UInt8(ascii: "*"), UInt8(ascii: ">"):
            let count = number()
            if count < 0 {
                writer.boolean(false)
            } else {
                writer.array(Int(count))
                for _ in 0..<count { convert() }
            }
        case UInt8(ascii: "%"):
            let count = Int(number())
            writer.record(1)
            writer.name(names.map)
            writer.record(count)
            for _ in 0..<(2 * count) { convert() }
        case UInt8(ascii: "~"):
            let count = Int(number())
            writer.record(1)
            writer.name(names.set)
            writer.record(count)
            for _ in 0..<count {
                convert()
                writer.boolean(true)
            }
        case UInt8(ascii: "_"):
            _ = line()
            writer.null()
        case UInt8(ascii: "#"):
            let text = line()
            writer.boolean(text.count > 0 && text[0] == UInt8(ascii: "t"))
        case UInt8(ascii: ","):
            writer.record(1)
            writer.name(names.double)
            writer.number(line().parseDouble() ?? 0)
        case UInt8(ascii: "("):
            writer.record(1)
            writer.name(names.bigNumber)
            lineAsString()
        case UInt8(ascii: "="):
            let count = Int(number())
            let text = take(count)
            writer.record(1)
            writer.name(names.verbatim)
            writer.record(2)
            writer.name(names.format)
            write(text.slice(0, min(3, text.count)))
            writer.name(names.string)
            write(text.slice(min(4, text.count), text.count))
        case UInt8(ascii: "|"):
            for _ in 0..<(2 * number()) { pass() }
            convert()
        default:
            writer.null()
            offset = bytes.count
        }
    }

    /// Passes over one value.
    private mutating func pass() {
        guard offset < bytes.count else { return }
        let type = bytes[offset]
        offset += 1
        switch type {
        case UInt8(ascii: "$"), UInt8(ascii: "="): _ = take(Int(number()))
        case UInt8(ascii: "*"), UInt8(ascii: "~"), UInt8(ascii: ">"):
            for _ in 0..<max(0, number()) { pass() }
        case UInt8(ascii: "%"), UInt8(ascii: "|"):
            for _ in 0..<(2 * max(0, number())) { pass() }
        default: _ = line()
        }
    }

    /// The rest of the line; its end is passed over.
    private mutating func line() -> ByteView {
        let begin = offset
        let end = bytes.firstIndex(of: 0x0D, from: begin) ?? bytes.count
        offset = min(end + 2, bytes.count)
        return bytes.slice(begin, end)
    }

    /// The integer that the line is.
    @inline(__always)
    private mutating func number() -> Int64 {
        var value: Int64 = 0
        var isNegative = false
        while offset < bytes.count {
            let byte = bytes[offset]
            offset &+= 1
            if byte == 0x0D { break }
            if byte == UInt8(ascii: "-") {
                isNegative = true
            } else {
                value = value &* 10 &+ Int64(byte &- 0x30)
            }
        }
        offset = min(offset &+ 1, bytes.count)
        return isNegative ? 0 &- value : value
    }

    /// So many bytes; the line end behind them is passed over.
    private mutating func take(_ count: Int) -> ByteView {
        let end = min(bytes.count, offset + max(0, count))
        let taken = bytes.slice(offset, end)
        if count >= 0 { offset = min(end + 2, bytes.count) }
        return taken
    }

    @inline(__always)
    private mutating func string(_ count: Int) { write(take(count)) }

    private mutating func lineAsString() { write(line()) }

    @inline(__always)
    private func write(_ text: ByteView) {
        unsafe writer.bytes(UnsafeRawBufferPointer(start: text.address, count: text.count))
    }
}

extension LuaReader {
    /// The bytes of a string, lent while it stays where it is; nil for all else.
    @inline(__always)
    func view(at index: Int) -> ByteView? {
        guard let bytes = unsafe bytes(at: index) else { return nil }
        guard let base = bytes.baseAddress else { return ByteView() }
        return unsafe ByteView(base, count: bytes.count)
    }

    /// The same up to a zero byte, where Redis takes a text to end.
    func line(at index: Int) -> ByteView? {
        view(at: index).map { $0.slice(0, $0.firstIndex(of: 0) ?? $0.count) }
    }
}

/// A script's value on its way to the client.
struct LuaToReply {
    private let reader: LuaReader
    private let names: ScriptNames
    /// The script has called `setresp(3)`: booleans stay what they are.
    private let keepsBooleans: Bool
    /// The error it writes was counted when it happened.
    private(set) var isCounted = false
    private(set) var isError = false
    private var depth = 0

    init(_ reader: LuaReader, _ names: ScriptNames, keepsBooleans: Bool) {
        self.reader = reader
        self.names = names
        self.keepsBooleans = keepsBooleans
    }

    /// Writes the value on top, and takes it away.
    ///
    /// - Complexity: O(values).
    mutating func convert(to reply: inout ReplyWriter) {
        defer { reader.pop() }
        switch reader.type(at: -1) {
        case .bytes: reply.bulk(bytes(at: -1))
        case .number: reply.integer(Self.integer(reader.number(at: -1)))
        case .boolean:
            let value = reader.boolean(at: -1)
            if keepsBooleans {
                reply.boolean(value)
            } else if value {
                reply.integer(1)
            } else {
                reply.null()
            }
        case .table:
            guard depth < Limits.nestingMax, reader.reserve(6) else {
                reply.error("ERR reached lua stack limit")
                return
            }
            depth += 1
            table(to: &reply)
            depth -= 1
        default: reply.null()
        }
    }

    /// A number as Redis truncates it; what no integer holds is the least one, as on x86-64.
    private static func integer(_ number: Double) -> Int64 {
        number > -0x1p63 && number < 0x1p63 ? Int64(number) : .min
    }

    private func bytes(at index: Int) -> ByteView { reader.view(at: index) ?? ByteView() }

    private func line(at index: Int) -> ByteView { reader.line(at: index) ?? ByteView() }

    /// Writes the table on top, which stays there.
    private mutating func table(to reply: inout ReplyWriter) {
        let index = reader.count
        if field(names.err, is: .bytes) {
            reader.pushField(names.ignoresStatistics, ofTableAt: index)
            isCounted = reader.boolean(at: -1)
            reader.pop()
            isError = depth == 1
            reply.error(line(at: -1))
        } else if field(names.ok, is: .bytes) {
            reply.simple(line(at: -1))
        } else if field(names.double, is: .number) {
            reply.double(reader.number(at: -1))
        } else if field(names.map, is: .table) {
            members(to: &reply, hasValues: true)
        } else if field(names.set, is: .table) {
            members(to: &reply, hasValues: false)
        } else if field(names.bigNumber, is: .bytes) {
            reply.bigNumber(line(at: -1))
        } else if field(names.verbatim, is: .table), verbatim(to: &reply) {
        } else {
            array(index, to: &reply)
            return
        }
        reader.pop()
    }

    /// Pushes a field of the table on top if it is of that type.
    private func field(_ name: LuaName, is type: LuaType) -> Bool {
        reader.pushField(name, ofTableAt: reader.count)
        if reader.type(at: -1) == type { return true }
        reader.pop()
        return false
    }

    /// Writes the keys of the table on top, and the values if it is a map.
    private mutating func members(to reply: inout ReplyWriter, hasValues: Bool) {
        let table = reader.count
        var count = 0
        reader.pushNil()
        while reader.pushNext(ofTableAt: table) {
            reader.pop()
            count += 1
        }
        if hasValues { reply.map(count) } else { reply.set(count) }
        reader.pushNil()
        while reader.pushNext(ofTableAt: table) {
            key(to: &reply)
            if hasValues { convert(to: &reply) } else { reader.pop() }
        }
    }

    /// Writes the key below the value on top. The walk needs it, so it stays. A key that is a table, which
    /// nothing that came from a reply has, is null.
    private func key(to reply: inout ReplyWriter) {
        switch reader.type(at: -2) {
        case .bytes: reply.bulk(bytes(at: -2))
        case .number: reply.integer(Self.integer(reader.number(at: -2)))
        case .boolean: reply.boolean(reader.boolean(at: -2))
        default: reply.null()
        }
    }

    /// Writes the verbatim string that the table on top is; false when it is none, and it is popped.
    private func verbatim(to reply: inout ReplyWriter) -> Bool {
        if field(names.format, is: .bytes) {
            let format = line(at: -1)
            reader.pushField(names.string, ofTableAt: reader.count - 1)
            if reader.type(at: -1) == .bytes {
                reply.verbatim(bytes(at: -1), format: format)
                reader.pop(2)
                return true
            }
            reader.pop(2)
        }
        reader.pop()
        return false
    }

    /// Writes the elements of the table at `index`, up to the first nil.
    private mutating func array(_ index: Int, to reply: inout ReplyWriter) {
        // Counted first: to put the header in front later would move all of it, once for each level.
        var count = 0
        while true {
            reader.pushElement(count + 1, ofTableAt: index)
            defer { reader.pop() }
            if reader.type(at: -1) == .null { break }
            count += 1
        }
        reply.array(count)
        for position in 0..<count {
            reader.pushElement(position + 1, ofTableAt: index)
            convert(to: &reply)
        }
    }
}
