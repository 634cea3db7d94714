//  Integers and doubles from and to decimal bytes, by the rules that clients know from Redis.
//
//  Reading is strict: all bytes, one spelling. Integers are on the hot path both ways; doubles are
//  quick when they have few digits, and right always.
//
//  Raw memory: views and buffers are read and written inside their counts, for the length of the
//  call; nothing is allocated or kept.

import CSystem
import Glibc

// MARK: - Integers from bytes

extension ByteView {
    /// The byte at an index known to be inside.
    @inlinable @inline(__always)
    func unchecked(_ index: Int) -> UInt8 {
        assert(index >= 0 && index < count)
        return unsafe address.load(fromByteOffset: index, as: UInt8.self)
    }

    /// Whether `parseInteger` may find an integer here: a look at length and first byte.
    @inlinable @inline(__always)
    package var mayBeInteger: Bool {
        if count == 0 || count > 20 { return false }
        let first = unchecked(0)
        return first &- 0x30 <= 9 || first == 0x2D
    }

    /// The integer that all of these bytes spell, or nil.
    ///
    /// One spelling per number: no plus sign, no blanks, no leading zeros, no `-0`. A value that
    /// reads back as the same bytes can be stored as an integer.
    @inlinable
    package func parseInteger() -> Int64? {
        if count == 0 || count > 20 { return nil }
        let isNegative = unchecked(0) == 0x2D
        let digits = isNegative ? slice(1, count) : self
        guard let magnitude = digits.parseMagnitude() else { return nil }
        if isNegative {
            if magnitude == 0 || magnitude > 1 << 63 { return nil }
            return 0 &- Int64(truncatingIfNeeded: magnitude)
        }
        return magnitude < 1 << 63 ? Int64(truncatingIfNeeded: magnitude) : nil
    }

    /// The unsigned integer that all of these bytes spell, by the same strict rules, or nil.
    @inlinable
    package func parseUnsigned() -> UInt64? {
        if count < 20 { return parseMagnitude() }
        if count > 20 { return nil }
        // Twenty digits are the only length that can overflow.
        guard let head = slice(0, 19).parseMagnitude() else { return nil }
        let digit = UInt64(unchecked(19) &- 0x30)
        if digit > 9 { return nil }
        let (tenfold, isTooBig) = head.multipliedReportingOverflow(by: 10)
        let (value, isTooBigNow) = tenfold.addingReportingOverflow(digit)
        return isTooBig || isTooBigNow ? nil : value
    }

    /// Up to 19 digits, which always fit, without a leading zero.
    @inlinable @inline(__always)
    func parseMagnitude() -> UInt64? {
        if count == 0 || count > 19 { return nil }
        var value = UInt64(unchecked(0) &- 0x30)
        if value > 9 || (value == 0 && count > 1) { return nil }
        var index = 1
        while index < count {
            let digit = UInt64(unchecked(index) &- 0x30)
            if digit > 9 { return nil }
            value = value &* 10 &+ digit
            index &+= 1
        }
        return value
    }

    /// The unsigned integer that these bytes spell for C's `strtoull`: leading zeros, blanks and a
    /// plus sign are allowed. Stream IDs and SCAN cursors are read so.
    package func parseUnsignedLoosely() -> UInt64? {
        var start = 0
        while start < count && isBlank(self[start]) { start += 1 }
        if start < count && self[start] == UInt8(ascii: "+") { start += 1 }
        if start == count { return nil }
        var value: UInt64 = 0
        for index in start..<count {
            let digit = UInt64(self[index] &- 0x30)
            if digit > 9 { return nil }
            let (tenfold, isTooBig) = value.multipliedReportingOverflow(by: 10)
            let (sum, isTooBigNow) = tenfold.addingReportingOverflow(digit)
            if isTooBig || isTooBigNow { return nil }
            value = sum
        }
        return value
    }
}

/// Whether C's `isspace` holds for the byte.
@inlinable @inline(__always)
package func isBlank(_ byte: UInt8) -> Bool {
    byte == 0x20 || (byte >= 0x09 && byte <= 0x0D)
}

// MARK: - Integers to bytes

/// The number of decimal digits of `value`, 1 for zero.
@inlinable @inline(__always)
package func decimalDigitCount(_ value: UInt64) -> Int {
    var count = 1
    var rest = value
    while true {
        if rest < 10 { return count }
        if rest < 100 { return count &+ 1 }
        if rest < 1_000 { return count &+ 2 }
        if rest < 10_000 { return count &+ 3 }
        rest /= 10_000
        count &+= 4
    }
}

/// Writes the `digits` decimal digits of `value` at `address`.
///
/// - Precondition: `digits == decimalDigitCount(value)`, and `address` is writable for as many bytes.
@inlinable @inline(__always)
package func writeDecimal(_ value: UInt64, digits: Int, to address: UnsafeMutableRawPointer) {
    let pairs: StaticString = """
        00010203040506070809101112131415161718192021222324252627282930313233343536373839\
        40414243444546474849505152535455565758596061626364656667686970717273747576777879\
        8081828384858687888990919293949596979899
        """
    let table = unsafe UnsafeRawPointer(pairs.utf8Start)
    var rest = value
    var end = digits
    // Two digits a division: it is the slow part.
    while rest >= 100 {
        let pair = Int(truncatingIfNeeded: rest % 100)
        rest /= 100
        end &-= 2
        unsafe address.storeBytes(
            of: table.loadUnaligned(fromByteOffset: pair &* 2, as: UInt16.self),
            toByteOffset: end, as: UInt16.self)
    }
    if rest >= 10 {
        let pair = Int(truncatingIfNeeded: rest)
        unsafe address.storeBytes(
            of: table.loadUnaligned(fromByteOffset: pair &* 2, as: UInt16.self), as: UInt16.self)
    } else {
        unsafe address.storeBytes(of: UInt8(truncatingIfNeeded: rest) &+ 0x30, as: UInt8.self)
    }
}

extension Int64 {
    /// Lends the number's decimal form for the length of `body`.
    @inlinable @inline(__always)
    package func withDecimal<R, E: Error>(_ body: (ByteView) throws(E) -> R) throws(E) -> R {
        // Twenty characters at most.
        var room: (UInt64, UInt64, UInt64) = (0, 0, 0)
        let digits = decimalDigitCount(magnitude)
        return try unsafe withUnsafeMutableBytes(of: &room) { (room) throws(E) -> R in
            guard let base = room.baseAddress else { return try body(ByteView()) }
            unsafe base.storeBytes(of: 0x2D, as: UInt8.self)
            let sign = self < 0 ? 1 : 0
            unsafe writeDecimal(magnitude, digits: digits, to: base + sign)
            return unsafe try body(ByteView(base, count: sign + digits))
        }
    }
}

extension ByteBuffer {
    /// Appends the integer in decimal.
    @inlinable @inline(__always)
    package mutating func append(decimal value: Int64) {
        if value < 0 { append(0x2D as UInt8) }
        append(unsignedDecimal: value.magnitude)
    }

    /// Appends the integer in decimal.
    @inlinable @inline(__always)
    package mutating func append(unsignedDecimal value: UInt64) {
        if value < 10 {
            append(UInt8(truncatingIfNeeded: value) &+ 0x30)
            return
        }
        let digits = decimalDigitCount(value)
        unsafe writeDecimal(value, digits: digits, to: writable(digits))
        commit(digits)
    }
}

// MARK: - Doubles from bytes

extension ByteView {
    /// The double that all of these bytes spell for C's `strtod`, or nil.
    ///
    /// Infinities (`inf`, `+inf`, `-Infinity`, in any case) and hexadecimal floats are numbers;
    /// `nan`, leading blanks, and decimals beyond the range of a double, great or small, are not.
    package func parseDouble() -> Double? {
        if let value = parseShortDecimal() { return value }
        if isEmpty || isBlank(self[0]) { return nil }
        return unsafe withUnsafeTemporaryAllocation(
            of: CChar.self, capacity: count + 1
        ) { copy -> Double? in
            guard let base = copy.baseAddress else { return nil }
            unsafe memcpy(base, address, count)
            unsafe base[count] = 0
            var end: UnsafeMutablePointer<CChar>?
            errno = 0
            let value = unsafe strtod(base, &end)
            if unsafe end != base + count || value.isNaN { return nil }
            if errno == ERANGE && (value.isInfinite || value.isZero) { return nil }
            return value
        }
    }

    /// The double that these bytes spell by the rules of sorted sets' score ranges: what stands before
    /// the first zero byte counts, nothing at all is 0, what is too large is infinite. Nil when
    /// anything else is left over, it begins with a blank, is hexadecimal, or is not a number.
    package func parseDoubleLoosely() -> Double? {
        if let value = parseShortDecimal() { return value }
        if !isEmpty && isBlank(self[0]) || firstIndex(of: 0x78) != nil
            || firstIndex(of: 0x58) != nil
        {
            return nil
        }
        return unsafe withUnsafeTemporaryAllocation(
            of: CChar.self, capacity: count + 1
        ) { copy -> Double? in
            guard let base = copy.baseAddress else { return nil }
            unsafe memcpy(base, address, count)
            unsafe base[count] = 0
            var end: UnsafeMutablePointer<CChar>?
            let value = unsafe strtod(base, &end)
            guard let end = unsafe end, unsafe end.pointee == 0, !value.isNaN else { return nil }
            return value
        }
    }

    /// A decimal of at most 15 digits whose power of ten is exact, or nil: then one rounding
    /// division or multiplication gives the nearest double.
    ///
    /// - Source: Clinger, How to Read Floating Point Numbers Accurately, 1990.
    private func parseShortDecimal() -> Double? {
        guard count > 0 else { return nil }
        let isNegative = unchecked(0) == UInt8(ascii: "-")
        var index = isNegative ? 1 : 0
        // 15 digits, a point: longer ones are left to strtod.
        if count &- index > 16 { return nil }
        let first = index
        var digits: UInt64 = 0
        if count &- index >= 8, let eight = eightDigits(at: index) {
            digits = eight
            index &+= 8
        }
        var point = -1
        while index < count {
            let digit = UInt64(unchecked(index) &- 0x30)
            if digit <= 9 {
                digits = digits &* 10 &+ digit
            } else if unchecked(index) == UInt8(ascii: "."), point < 0 {
                point = index
            } else {
                return nil
            }
            index &+= 1
        }
        let digitCount = count &- first &- (point < 0 ? 0 : 1)
        if digitCount == 0 || digitCount > 15 { return nil }
        var value = Double(digits)
        if point >= 0 { value /= exactPowerOfTen(count &- 1 &- point) }
        return isNegative ? -value : value
    }

    /// The number that eight bytes from `index` on spell, or nil when they are not all digits: each
    /// step joins neighbours, ten times the earlier plus the later, in all places of a word at once.
    @inline(__always)
    private func eightDigits(at index: Int) -> UInt64? {
        assert(index >= 0 && index + 8 <= count)
        var word = unsafe address.loadUnaligned(fromByteOffset: index, as: UInt64.self)
        word = word.littleEndian
        let high = word & 0xF0F0_F0F0_F0F0_F0F0
        let carried = (word &+ 0x0606_0606_0606_0606) & 0xF0F0_F0F0_F0F0_F0F0
        guard high | (carried &>> 4) == 0x3333_3333_3333_3333 else { return nil }
        word = ((word & 0x0F0F_0F0F_0F0F_0F0F) &* (10 &<< 8 &+ 1)) &>> 8
        word = ((word & 0x00FF_00FF_00FF_00FF) &* (100 &<< 16 &+ 1)) &>> 16
        return ((word & 0x0000_FFFF_0000_FFFF) &* (10_000 &<< 32 &+ 1)) &>> 32
    }
}

/// Ten to the `exponent`, exactly.
///
/// - Precondition: `0 <= exponent <= 22`; the next power is not a double.
private func exactPowerOfTen(_ exponent: Int) -> Double {
    assert(exponent >= 0 && exponent <= 22)
    var power = 1.0
    for _ in 0..<exponent { power *= 10 }
    return power
}

// MARK: - Doubles to bytes

extension ByteBuffer {
    /// Appends the shortest decimal that reads back as `value`, in the layout of Redis 7.2 and
    /// later: `3`, `0.5`, `1e+100`, `1.5e-7`, `inf`, `-inf`, `nan`, `-0`.
    package mutating func append(double value: Double) {
        if appendUnlessDecimal(value) { return }
        // Whole numbers in this range print as integers, whatever their length; both ends are
        // powers of two, so the conversion is exact.
        if value.magnitude <= 0x1p62, value == value.rounded(.towardZero) {
            append(decimal: Int64(value))
            return
        }
        if value < 0 { append(UInt8(ascii: "-")) }
        append(ShortestDecimal(value.magnitude))
    }

    /// Appends `value` with 17 significant digits, C's `%.17g`: the layout of Redis 7.0.
    package mutating func append(doubleInSeventeenDigits value: Double) {
        if appendUnlessDecimal(value) { return }
        let written = unsafe martlet_double_format_17g(
            value, writable(32).assumingMemoryBound(to: CChar.self), 32)
        assert(written > 0)
        commit(Int(written))
    }

    /// Appends what has no digits, or zero; false when `value` is none of them.
    private mutating func appendUnlessDecimal(_ value: Double) -> Bool {
        if value.isNaN {
            append("nan" as StaticString)
        } else if value.isInfinite {
            append(value < 0 ? "-inf" : "inf" as StaticString)
        } else if value.isZero {
            append(value.sign == .minus ? "-0" : "0" as StaticString)
        } else {
            return false
        }
        return true
    }

    /// Appends the digits in one of three layouts:
    ///
    ///     1. 123e4     -> 1230000      a whole number, at most seven zeros behind the digits
    ///     2. 12345e-3  -> 12.345       a point within or before the digits; at most six decimals, or
    ///        12345e-9  -> 1.2345e-5    a leading digit that is worth from 0.001 to 1 000
    ///     3. 123e40    -> 1.23e+42     all others
    ///
    /// Redis took these rules from its conversion library; clients and tests compare the bytes.
    private mutating func append(_ decimal: ShortestDecimal) {
        let count = decimalDigitCount(decimal.digits)
        let exponent = decimal.exponent
        let leading = exponent + count - 1
        if exponent >= 0 && leading.magnitude < count + 7 {
            append(unsignedDecimal: decimal.digits)
            appendZeros(exponent)
        } else if exponent < 0 && (exponent > -7 || leading.magnitude < 4) {
            let whole = count + exponent
            if whole <= 0 {
                append("0." as StaticString)
                appendZeros(-whole)
                append(unsignedDecimal: decimal.digits)
            } else {
                append(digits: decimal.digits, count: count, pointAfter: whole)
            }
        } else {
            if count == 1 {
                append(unsignedDecimal: decimal.digits)
            } else {
                append(digits: decimal.digits, count: count, pointAfter: 1)
            }
            append(leading < 0 ? "e-" : "e+" as StaticString)
            append(unsignedDecimal: UInt64(leading.magnitude))
        }
    }

    private mutating func appendZeros(_ zeros: Int) {
        for _ in 0..<zeros { append(UInt8(ascii: "0")) }
    }

    /// Appends `digits` with a point behind the first `whole` of them.
    private mutating func append(digits: UInt64, count: Int, pointAfter whole: Int) {
        assert(whole > 0 && whole < count)
        let start = unsafe writable(count + 1)
        // All digits one place to the right, then the whole ones back over the gap.
        unsafe writeDecimal(digits, digits: count, to: start + 1)
        unsafe memmove(start, start + 1, whole)
        unsafe start.storeBytes(of: UInt8(ascii: "."), toByteOffset: whole, as: UInt8.self)
        commit(count + 1)
    }
}

/// `digits * 10^exponent`: the fewest digits that read back as one double, and nearest to it.
private struct ShortestDecimal {
    var digits: UInt64
    var exponent: Int

    /// - Precondition: `value` is finite and greater than zero.
    init(_ value: Double) {
        assert(value > 0 && value.isFinite)
        if let (digits, decimals) = Self.fewDecimals(value) {
            self.digits = digits
            exponent = -decimals
        } else {
            (digits, exponent) = Self.described(value)
        }
        while digits % 10 == 0 {
            digits /= 10
            exponent += 1
        }
    }

    /// The digits of prices, averages and coordinates: at most 15 digits, at most nine of them
    /// behind the point.
    ///
    /// Decimals of 15 digits are all different doubles. So if one of them, rounded correctly, is
    /// `value`, no other of at most 15 digits is, and with its zeros cut off it is the shortest.
    private static func fewDecimals(_ value: Double) -> (digits: UInt64, decimals: Int)? {
        if value >= 1e15 { return nil }
        var power = 1.0
        for decimals in 1...9 {
            power *= 10
            let digits = (value * power).rounded()
            if digits >= 1e15 { return nil }
            if digits / power == value { return (UInt64(digits), decimals) }
        }
        return nil
    }

    /// The digits of Swift's own description, which is the shortest and nearest one; it can allocate.
    private static func described(_ value: Double) -> (digits: UInt64, exponent: Int) {
        var text = value.description
        var digits: UInt64 = 0
        var exponent = 0
        text.withUTF8 { bytes in
            let text = unsafe bytes.span
            var hasPoint = false
            var index = 0
            // At most 17 digits, and a zero behind the point of a whole number.
            while index < text.count && text[index] != UInt8(ascii: "e") {
                if text[index] == UInt8(ascii: ".") {
                    hasPoint = true
                } else {
                    digits = digits * 10 + UInt64(text[index] - 0x30)
                    if hasPoint { exponent -= 1 }
                }
                index += 1
            }
            if index == text.count { return }
            let isNegative = text[index + 1] == UInt8(ascii: "-")
            var power = 0
            for index in (index + 2)..<text.count { power = power * 10 + Int(text[index] - 0x30) }
            exponent += isNegative ? -power : power
        }
        return (digits, exponent)
    }
}

// MARK: - Long doubles

/// The C library's long double, in which INCRBYFLOAT and HINCRBYFLOAT add.
///
/// With a 64-bit mantissa 0.1 + 0.2 prints as 0.3, and clients see the difference. Swift has such a
/// type on x86 only.
///
/// - Memory: 16 bytes, trivially copied.
package struct LongDouble: Sendable {
    private var storage: (UInt64, UInt64) = (0, 0)

    package init(_ value: Double) {
        unsafe withUnsafeMutableBytes(of: &storage) { bytes in
            guard let base = bytes.baseAddress else { return }
            unsafe martlet_long_double_from_double(value, base)
        }
    }

    package init(_ value: Int64) {
        unsafe withUnsafeMutableBytes(of: &storage) { bytes in
            guard let base = bytes.baseAddress else { return }
            unsafe martlet_long_double_from_integer(value, base)
        }
    }

    /// The number that all of `text` spells for C's `strtold`, infinities included; nil for `nan`,
    /// leading blanks, anything else, and for what is out of range.
    package init?(parsing text: ByteView) {
        let isNumber = unsafe withUnsafeMutableBytes(of: &storage) { bytes in
            guard let base = bytes.baseAddress else { return false }
            let characters = unsafe text.address.assumingMemoryBound(to: CChar.self)
            return unsafe martlet_long_double_parse(characters, text.count, base) != 0
        }
        if !isNumber { return nil }
    }

    /// The sum, or nil when it is infinite or not a number.
    package func adding(_ other: LongDouble) -> LongDouble? {
        var sum = self
        let isFinite = unsafe withUnsafeMutableBytes(of: &sum.storage) { left in
            unsafe withUnsafeBytes(of: other.storage) { right in
                guard let left = left.baseAddress, let right = right.baseAddress else {
                    return false
                }
                return unsafe martlet_long_double_add(left, right) != 0
            }
        }
        return isFinite ? sum : nil
    }

    /// The difference, or nil when it is infinite or not a number.
    package func subtracting(_ other: LongDouble) -> LongDouble? {
        var difference = self
        let isFinite = unsafe withUnsafeMutableBytes(of: &difference.storage) { left in
            unsafe withUnsafeBytes(of: other.storage) { right in
                guard let left = left.baseAddress, let right = right.baseAddress else {
                    return false
                }
                return unsafe martlet_long_double_subtract(left, right) != 0
            }
        }
        return isFinite ? difference : nil
    }

    package static func < (left: LongDouble, right: LongDouble) -> Bool {
        unsafe withUnsafeBytes(of: left.storage) { left in
            unsafe withUnsafeBytes(of: right.storage) { right in
                guard let left = left.baseAddress, let right = right.baseAddress else {
                    return false
                }
                return unsafe martlet_long_double_less(left, right) != 0
            }
        }
    }

    /// The nearest double; infinite when there is none.
    package var double: Double {
        unsafe withUnsafeBytes(of: storage) { bytes in
            guard let base = bytes.baseAddress else { return 0 }
            return unsafe martlet_long_double_to_double(base)
        }
    }

    /// Writes the decimal form to `buffer`; 0 when it does not fit.
    fileprivate func format(_ buffer: UnsafeMutableBufferPointer<CChar>) -> Int {
        unsafe withUnsafeBytes(of: storage) { bytes in
            guard let base = bytes.baseAddress, let start = buffer.baseAddress else { return 0 }
            return unsafe Int(martlet_long_double_format(base, start, buffer.count))
        }
    }
}

extension ByteBuffer {
    /// Appends `value` with up to 17 decimals and no trailing zeros, never with an exponent.
    package mutating func append(longDouble value: LongDouble) {
        // Nearly all fit the first; the greatest takes 4 951 bytes.
        for capacity in [64, Limits.longDoubleBytesMax] {
            let written = unsafe withUnsafeTemporaryAllocation(
                of: CChar.self, capacity: capacity
            ) { scratch in
                let written = unsafe value.format(scratch)
                if written > 0, let start = scratch.baseAddress {
                    unsafe append(ByteView(UnsafeRawPointer(start), count: written))
                }
                return written
            }
            if written > 0 { return }
        }
        assertionFailure("the greatest long double fits")
    }
}

extension ByteBuffer {
    /// Appends `value` with exactly so many decimals, never with an exponent.
    ///
    /// - Parameters:
    ///   - value: what is written, rounded to the nearest such number.
    ///   - decimals: 1 to 6.
    package mutating func append(fixedPoint value: Double, decimals: Int) {
        let powers: [Double] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000]
        let scaled = (value.magnitude * powers[decimals]).rounded(.toNearestOrEven)
        // Beyond, the digits are no longer those of the number itself.
        if scaled < 9e15 {
            let power = UInt64(powers[decimals])
            let whole = UInt64(scaled) / power
            let rest = UInt64(scaled) % power
            if value.sign == .minus { append(UInt8(ascii: "-")) }
            append(unsignedDecimal: whole)
            append(UInt8(ascii: "."))
            let digits = decimalDigitCount(rest)
            for _ in digits..<decimals { append(UInt8(ascii: "0")) }
            append(unsignedDecimal: rest)
            return
        }
        // The greatest double has 309 digits before the point.
        unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: 320) { scratch in
            guard let start = scratch.baseAddress else { return }
            let length = unsafe Int(
                martlet_fixed_format(value, Int32(decimals), start, scratch.count))
            unsafe append(ByteView(UnsafeRawPointer(start), count: length))
        }
    }
}
