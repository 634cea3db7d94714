//  cmsgpack as Redis has it (lua-cmsgpack 0.4): MessagePack in and out.

/// Writes values as MessagePack.
struct MessagePacker {
    /// Tables in that many others become nil, as in Redis.
    private static let levelMax = 16

    let reader: LuaReader
    var output: [UInt8]
    let runtime: LuaRuntime
    private var steps = 0

    init(reader: LuaReader, output: [UInt8], runtime: LuaRuntime) {
        self.reader = reader
        self.output = output
        self.runtime = runtime
    }

    /// Appends the value at `index`, which counts from 1.
    mutating func pack(valueAt index: Int, level: Int) throws(LibraryError) {
        try runtime.account(step: &steps, bytes: output.count)
        switch reader.type(at: index) {
        case .bytes: append(stringAt: index)
        case .boolean: output.append(reader.boolean(at: index) ? 0xC3 : 0xC2)
        case .number: append(number: reader.number(at: index))
        case .table where level < Self.levelMax: try append(tableAt: index, level: level)
        default: output.append(0xC0)
        }
    }

    private mutating func append(_ tag: UInt8, _ value: UInt64, size: Int) {
        output.append(tag)
        output.append(integer: value, size: size, bigEndian: true)
    }

    private mutating func append(stringAt index: Int) {
        guard let bytes = unsafe reader.bytes(at: index) else { return }
        let count = UInt64(bytes.count)
        switch count {
        case 0..<32: output.append(0xA0 | UInt8(count))
        case 32...0xFF: append(0xD9, count, size: 1)
        case 0x100...0xFFFF: append(0xDA, count, size: 2)
        default: append(0xDB, count, size: 4)
        }
        unsafe output.append(contentsOf: bytes)
    }

    private mutating func append(number: Double) {
        guard let integer = Int64(exactly: number) else {
            let single = Float(number)
            if Double(single) == number {
                append(0xCA, UInt64(single.bitPattern), size: 4)
            } else {
                append(0xCB, number.bitPattern, size: 8)
            }
            return
        }
        let bits = UInt64(bitPattern: integer)
        switch integer {
        case 0...0x7F: output.append(UInt8(integer))
        case 0x80...0xFF: append(0xCC, bits, size: 1)
        case 0x100...0xFFFF: append(0xCD, bits, size: 2)
        case 0x10000...0xFFFF_FFFF: append(0xCE, bits, size: 4)
        case 0x1_0000_0000...Int64.max: append(0xCF, bits, size: 8)
        case -32..<0: output.append(UInt8(truncatingIfNeeded: bits))
        case -0x80 ..< -32: append(0xD0, bits, size: 1)
        case -0x8000 ..< -0x80: append(0xD1, bits, size: 2)
        case -0x8000_0000 ..< -0x8000: append(0xD2, bits, size: 4)
        default: append(0xD3, bits, size: 8)
        }
    }

    private mutating func append(tableAt index: Int, level: Int) throws(LibraryError) {
        if !reader.reserve(8) { throw LibraryError("nested too deeply") }
        let (count, isArray) = try shape(tableAt: index)
        let size = UInt64(count)
        switch size {
        case 0..<16: output.append((isArray ? 0x90 : 0x80) | UInt8(size))
        case 16...0xFFFF: append(isArray ? 0xDC : 0xDE, size, size: 2)
        default: append(isArray ? 0xDD : 0xDF, size, size: 4)
        }
        if isArray {
            var position = 1
            while position <= count {
                reader.pushElement(position, ofTableAt: index)
                try pack(valueAt: reader.count, level: level + 1)
                reader.pop()
                position += 1
            }
            return
        }
        reader.pushNil()
        while reader.pushNext(ofTableAt: index) {
            let top = reader.count
            try pack(valueAt: top - 1, level: level + 1)
            try pack(valueAt: top, level: level + 1)
            reader.pop()
        }
    }

    /// How many fields there are, and whether their keys are 1 to that count.
    private mutating func shape(
        tableAt index: Int
    ) throws(LibraryError) -> (count: Int, isArray: Bool) {
        var count = 0
        var greatest = 0.0
        var areIndexes = true
        reader.pushNil()
        while reader.pushNext(ofTableAt: index) {
            reader.pop()
            count += 1
            let key = reader.number(at: -1)
            if reader.type(at: -1) == .number, key > 0, key == key.rounded(.down) {
                greatest = max(greatest, key)
            } else {
                areIndexes = false
            }
            try runtime.account(step: &steps, bytes: output.count)
        }
        return (count, areIndexes && greatest == Double(count))
    }
}

/// Reads MessagePack and writes the values it stands for.
struct MessageUnpacker {
    private let writer: LuaWriter
    private let runtime: LuaRuntime
    private var cursor: ByteCursor
    private var steps = 0

    private init(_ cursor: ByteCursor, _ writer: LuaWriter, _ runtime: LuaRuntime) {
        self.cursor = cursor
        self.writer = writer
        self.runtime = runtime
    }

    /// cmsgpack.unpack(bytes), unpack_one(bytes, offset), unpack_limit(bytes, limit, offset).
    static func unpack(
        _ function: StandardLibraries.Function, _ call: LuaCall, _ runtime: LuaRuntime
    ) throws(LibraryError) {
        let name = function == .messageUnpack ? "unpack" : "unpack_limit"
        let bytes = try unsafe call.text(at: 1, of: name)
        var limit: Int64 = 0
        var offset: Int64 = 0
        if function == .messageUnpackOne {
            limit = 1
            offset = try integer(call, 2, absent: 0, name)
        } else if function == .messageUnpackLimit {
            limit = try integer(call, 2, absent: 1, name)
            offset = try integer(call, 3, absent: 0, name)
        }
        let length = Int64(bytes.count)
        if limit < 0 || offset < 0 {
            throw LibraryError(
                "Invalid request to unpack with offset of \(offset) and limit of \(length).")
        }
        if offset > length {
            throw LibraryError("Start offset \(offset) greater than input length \(length).")
        }
        let takesAll = limit == 0 && offset == 0
        // The place where the next value starts comes first: read once, to know it.
        var unpacker = unsafe MessageUnpacker(
            ByteCursor(bytes, at: Int(offset)), call.results, runtime)
        let place = takesAll ? nil : call.results.openNumber()
        var count: Int64 = 0
        while unpacker.cursor.left > 0, takesAll || count < limit {
            try unpacker.value(depth: 0)
            count += 1
            if count > 7000 { throw LibraryError("too many results") }
        }
        if let place {
            let next = unpacker.cursor.left == 0 ? -1 : Double(unpacker.cursor.position)
            call.results.closeNumber(place, next)
        }
    }

    private static func integer(
        _ call: LuaCall, _ index: Int, absent: Int64, _ name: String
    ) throws(LibraryError) -> Int64 {
        let type = call.arguments.type(at: index)
        if type == .none || type == .null { return absent }
        return try call.number(at: index, of: name).truncatedInteger
    }

    private static let missing = LibraryError("Missing bytes in input.")

    private mutating func integer(_ size: Int) throws(LibraryError) -> UInt64 {
        guard let value = cursor.integer(size: size, bigEndian: true) else { throw Self.missing }
        return value
    }

    private mutating func string(_ length: UInt64) throws(LibraryError) {
        guard let bytes = unsafe cursor.take(Int(truncatingIfNeeded: length)) else {
            throw Self.missing
        }
        unsafe writer.bytes(bytes)
    }

    private mutating func array(_ count: UInt64, _ depth: Int) throws(LibraryError) {
        let opening = writer.openArray()
        for _ in 0..<count { try value(depth: depth + 1) }
        writer.closeArray(opening, count: Int(truncatingIfNeeded: count))
    }

    private mutating func map(_ count: UInt64, _ depth: Int) throws(LibraryError) {
        let opening = writer.openRecord()
        for _ in 0..<count {
            let isNull = cursor.left > 0 && cursor.peek() == 0xC0
            if isNull { throw LibraryError("table index is nil") }
            try value(depth: depth + 1)
            try value(depth: depth + 1)
        }
        writer.closeRecord(opening, count: Int(truncatingIfNeeded: count))
    }

    private mutating func value(depth: Int) throws(LibraryError) {
        try runtime.account(step: &steps, bytes: 0)
        if depth > StandardLibraries.depthMax { throw LibraryError("nested too deeply") }
        guard let tag = cursor.next() else { throw Self.missing }
        switch tag {
        case 0x00...0x7F: writer.number(Double(tag))
        case 0xE0...0xFF: writer.number(Double(Int8(bitPattern: tag)))
        case 0x80...0x8F: try map(UInt64(tag & 15), depth)
        case 0x90...0x9F: try array(UInt64(tag & 15), depth)
        case 0xA0...0xBF: try string(UInt64(tag & 31))
        case 0xC0: writer.null()
        case 0xC2: writer.boolean(false)
        case 0xC3: writer.boolean(true)
        case 0xCA: writer.number(Double(Float(bitPattern: UInt32(try integer(4)))))
        case 0xCB: writer.number(Double(bitPattern: try integer(8)))
        case 0xCC: writer.number(Double(try integer(1)))
        case 0xCD: writer.number(Double(try integer(2)))
        case 0xCE: writer.number(Double(try integer(4)))
        case 0xCF: writer.number(Double(try integer(8)))
        case 0xD0: writer.number(Double(Int8(truncatingIfNeeded: try integer(1))))
        case 0xD1: writer.number(Double(Int16(truncatingIfNeeded: try integer(2))))
        case 0xD2: writer.number(Double(Int32(truncatingIfNeeded: try integer(4))))
        case 0xD3: writer.number(Double(Int64(bitPattern: try integer(8))))
        case 0xD9: try string(try integer(1))
        case 0xDA: try string(try integer(2))
        case 0xDB: try string(try integer(4))
        case 0xDC: try array(try integer(2), depth)
        case 0xDD: try array(try integer(4), depth)
        case 0xDE: try map(try integer(2), depth)
        case 0xDF: try map(try integer(4), depth)
        default: throw LibraryError("Bad data format in input.")
        }
    }
}
