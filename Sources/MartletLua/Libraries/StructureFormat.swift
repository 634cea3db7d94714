//  struct as Redis has it: numbers and strings in and out of fixed layouts.

/// A format like `>I2c10s`: byte order, alignment, and one letter for each field.
struct StructureFormat {
    private static let integerBytesMax = 32
    private static let alignmentMax = 8

    private var format: ByteCursor
    private let function: String
    private var isBigEndian = false
    private var alignment = 1

    private init(_ call: LuaCall, _ function: String) throws(LibraryError) {
        self.function = function
        format = unsafe ByteCursor(try call.text(at: 1, of: function))
    }

    /// Digits that follow, or `absent` when there are none.
    private mutating func number(_ absent: Int) throws(LibraryError) -> Int {
        let digits = UInt8(ascii: "0")...UInt8(ascii: "9")
        guard digits.contains(format.peek()) else { return absent }
        var value = 0
        while digits.contains(format.peek()), let digit = format.next() {
            let digitValue = Int(digit - UInt8(ascii: "0"))
            if value > (Int(Int32.max) - digitValue) / 10 {
                throw LibraryError("integral size overflow")
            }
            value = value * 10 + digitValue
        }
        return value
    }

    /// Bytes that the field takes; 0 when that depends on its value or it is none.
    private mutating func size(of option: UInt8) throws(LibraryError) -> Int {
        switch option {
        case UInt8(ascii: "b"), UInt8(ascii: "B"), UInt8(ascii: "x"): return 1
        case UInt8(ascii: "h"), UInt8(ascii: "H"): return 2
        case UInt8(ascii: "f"): return 4
        case UInt8(ascii: "l"), UInt8(ascii: "L"), UInt8(ascii: "T"), UInt8(ascii: "d"): return 8
        case UInt8(ascii: "c"): return try number(1)
        case UInt8(ascii: "i"), UInt8(ascii: "I"):
            let size = try number(4)
            if size > Self.integerBytesMax {
                throw LibraryError(
                    "integral size \(size) is larger than limit of \(Self.integerBytesMax)")
            }
            return size
        default: return 0
        }
    }

    /// Bytes of padding before a field of `size` that would start at `offset`.
    private func padding(_ option: UInt8, size: Int, offset: Int) -> Int {
        if size == 0 || option == UInt8(ascii: "c") { return 0 }
        let unit = min(size, alignment)
        return (unit - (offset & (unit - 1))) & (unit - 1)
    }

    /// Takes an option that is no field.
    private mutating func control(_ option: UInt8) throws(LibraryError) {
        switch option {
        case UInt8(ascii: " "): return
        case UInt8(ascii: ">"): isBigEndian = true
        case UInt8(ascii: "<"): isBigEndian = false
        case UInt8(ascii: "!"):
            let value = try number(Self.alignmentMax)
            if value <= 0 || value & (value - 1) != 0 {
                throw LibraryError("alignment \(value) is not a power of 2")
            }
            alignment = value
        default:
            let letter = String(decoding: [option], as: UTF8.self)
            throw .argument(1, of: function, "invalid format option '\(letter)'")
        }
    }

    // MARK: The three functions

    /// struct.pack(format, values ...): appends the bytes to `output`.
    static func pack(
        _ call: LuaCall, into output: inout [UInt8], _ runtime: LuaRuntime
    ) throws(LibraryError) {
        var format = try StructureFormat(call, "pack")
        var argument = 2
        var steps = 0
        while let option = format.format.next() {
            try runtime.account(step: &steps, bytes: output.count)
            let size = try format.size(of: option)
            let padding = format.padding(option, size: size, offset: output.count)
            output.append(contentsOf: repeatElement(0, count: padding))
            switch option {
            case UInt8(ascii: "b"), UInt8(ascii: "B"), UInt8(ascii: "h"), UInt8(ascii: "H"),
                UInt8(ascii: "l"), UInt8(ascii: "L"), UInt8(ascii: "T"), UInt8(ascii: "i"),
                UInt8(ascii: "I"):
                let number = try call.number(at: argument, of: "pack")
                output.append(
                    integer: integer(number), size: size, bigEndian: format.isBigEndian)
                argument += 1
            case UInt8(ascii: "x"): output.append(0)
            case UInt8(ascii: "f"):
                let number = Float(try call.number(at: argument, of: "pack"))
                output.append(
                    integer: UInt64(number.bitPattern), size: 4, bigEndian: format.isBigEndian)
                argument += 1
            case UInt8(ascii: "d"):
                let number = try call.number(at: argument, of: "pack")
                output.append(
                    integer: number.bitPattern, size: 8, bigEndian: format.isBigEndian)
                argument += 1
            case UInt8(ascii: "c"), UInt8(ascii: "s"):
                let text = try unsafe call.text(at: argument, of: "pack")
                argument += 1
                let length = size == 0 ? text.count : size
                if text.count < length {
                    throw .argument(argument, of: "pack", "string too short")
                }
                unsafe output.append(contentsOf: text[..<length])
                if option == UInt8(ascii: "s") { output.append(0) }
            default: try format.control(option)
            }
        }
    }

    /// The bits of a number as an integer of 64 bits.
    private static func integer(_ number: Double) -> UInt64 {
        if number >= 0x1p64 { return 0 }
        return number >= 0 ? UInt64(number) : UInt64(bitPattern: number.truncatedInteger)
    }

    /// struct.unpack(format, bytes, start): writes the values and the place after the last.
    static func unpack(_ call: LuaCall, _ runtime: LuaRuntime) throws(LibraryError) {
        var format = try StructureFormat(call, "unpack")
        let text = try unsafe call.text(at: 2, of: "unpack")
        let type = call.arguments.type(at: 3)
        let start =
            type == .none || type == .null
            ? 1 : (try call.number(at: 3, of: "unpack")).truncatedInteger
        let tooShort = LibraryError.argument(2, of: "unpack", "data string too short")
        if start > Int64.min, start < 1 {
            throw .argument(3, of: "unpack", "offset must be 1 or greater")
        }
        guard start >= 1, start - 1 <= Int64(text.count) else { throw tooShort }
        var data = unsafe ByteCursor(text, at: Int(start - 1))
        var count = 0
        var last: Double?
        var steps = 0
        while let option = format.format.next() {
            try runtime.account(step: &steps, bytes: 0)
            var size = try format.size(of: option)
            let padding = format.padding(option, size: size, offset: data.position)
            guard padding <= data.left, size <= data.left - padding else { throw tooShort }
            data.skip(padding)
            var value: Double?
            switch option {
            case UInt8(ascii: "b"), UInt8(ascii: "B"), UInt8(ascii: "h"), UInt8(ascii: "H"),
                UInt8(ascii: "l"), UInt8(ascii: "L"), UInt8(ascii: "T"), UInt8(ascii: "i"),
                UInt8(ascii: "I"):
                guard let bits = data.integer(size: size, bigEndian: format.isBigEndian) else {
                    throw tooShort
                }
                let isSigned = option >= UInt8(ascii: "a")
                value = isSigned ? signed(bits, size: size) : Double(bits)
            case UInt8(ascii: "x"): data.skip(1)
            case UInt8(ascii: "f"):
                guard let bits = data.integer(size: 4, bigEndian: format.isBigEndian) else {
                    throw tooShort
                }
                value = Double(Float(bitPattern: UInt32(truncatingIfNeeded: bits)))
            case UInt8(ascii: "d"):
                guard let bits = data.integer(size: 8, bigEndian: format.isBigEndian) else {
                    throw tooShort
                }
                value = Double(bitPattern: bits)
            case UInt8(ascii: "c"):
                if size == 0 {
                    guard let length = last else {
                        throw LibraryError("format 'c0' needs a previous size")
                    }
                    guard length >= 0, length <= Double(data.left) else { throw tooShort }
                    size = Int(length)
                    call.results.takeBackNumber()
                    count -= 1
                }
                guard let bytes = unsafe data.take(size) else { throw tooShort }
                unsafe call.results.bytes(bytes)
                count += 1
            case UInt8(ascii: "s"):
                guard let length = data.offsetOfZero(), let bytes = unsafe data.take(length) else {
                    throw LibraryError("unfinished string in data")
                }
                unsafe call.results.bytes(bytes)
                data.skip(1)
                count += 1
            default:
                try format.control(option)
                continue
            }
            last = value
            if let value {
                call.results.number(value)
                count += 1
            }
            if count > 7000 { throw LibraryError("too many results") }
        }
        call.results.number(Double(data.position + 1))
    }

    /// An integer of `size` bytes as a signed one.
    private static func signed(_ bits: UInt64, size: Int) -> Double {
        if size == 0 { return 0 }
        let shift = size < 8 ? UInt64(64 - size * 8) : 0
        return Double(Int64(bitPattern: bits << shift) >> Int64(shift))
    }

    /// struct.size(format): the bytes that it takes.
    static func size(_ call: LuaCall) throws(LibraryError) {
        var format = try StructureFormat(call, "size")
        var total = 0
        while let option = format.format.next() {
            let size = try format.size(of: option)
            total += format.padding(option, size: size, offset: total)
            if option == UInt8(ascii: "s") {
                throw .argument(1, of: "size", "option 's' has no fixed size")
            }
            if option == UInt8(ascii: "c"), size == 0 {
                throw .argument(1, of: "size", "option 'c0' has no fixed size")
            }
            total += size
            let isLetter = UInt8(ascii: "a")...UInt8(ascii: "z") ~= option | 0x20
            if !isLetter { try format.control(option) }
        }
        call.results.number(Double(total))
    }
}

extension [UInt8] {
    /// Appends the lower bits of `integer` in `size` bytes.
    mutating func append(integer: UInt64, size: Int, bigEndian: Bool) {
        for step in 0..<size {
            let place = bigEndian ? size - 1 - step : step
            append(place < 8 ? UInt8(truncatingIfNeeded: integer >> UInt64(place * 8)) : 0)
        }
    }
}
