//  Numbers as text: strict integers, doubles as Redis reads and prints them, long doubles.

import Glibc
import MartletBase
import Testing

// MARK: - Integers

@Test(
    arguments: [
        ("0", 0), ("1", 1), ("-1", -1), ("99", 99), ("9223372036854775807", Int64.max),
        ("-9223372036854775808", Int64.min), ("1000000000000000000", 1_000_000_000_000_000_000),
    ] as [(String, Int64)])
func `an integer is read`(text: String, expected: Int64) {
    #expect(text.withView { $0.parseInteger() } == expected)
}

@Test(arguments: [
    "", "-", "+1", "01", "-0", "-01", "00", " 1", "1 ", "1.0", "1e3", "0x10", "a", "1a", "--1",
    "9223372036854775808", "-9223372036854775809", "10000000000000000000", "18446744073709551616",
    "99999999999999999999", "-99999999999999999999", "1\0", "/", ":", "\u{FF11}",
])
func `what is not strictly an integer is refused`(text: String) {
    #expect(text.withView { $0.parseInteger() } == nil)
}

@Test(
    arguments: [
        ("0", 0), ("18446744073709551615", UInt64.max), ("18446744073709551616", nil),
        ("99999999999999999999", nil), ("100000000000000000000", nil), ("-1", nil), ("", nil),
        ("9999999999999999999", 9_999_999_999_999_999_999), ("01", nil),
        ("1844674407370955161a", nil),
        ("10000000000000000000", 10_000_000_000_000_000_000),
    ] as [(String, UInt64?)])
func `an unsigned integer is read or refused`(text: String, expected: UInt64?) {
    #expect(text.withView { $0.parseUnsigned() } == expected)
}

@Test(
    arguments: [
        ("007", 7), (" \t+7", 7), ("18446744073709551615", UInt64.max),
        ("18446744073709551616", nil),
        ("-1", nil), ("", nil), ("+", nil), ("7 ", nil),
    ] as [(String, UInt64?)])
func `a loosely spelled unsigned integer is read or refused`(text: String, expected: UInt64?) {
    #expect(text.withView { $0.parseUnsignedLoosely() } == expected)
}

@Test func `every integer is printed as Swift prints it and reads back`() {
    let seed = testSeed()
    var random = Random(seed: seed)
    var values: [Int64] = [0, -1, Int64.min, Int64.max]
    var power: Int64 = 1
    for _ in 0..<18 {
        power *= 10
        values += [power - 1, power, power + 1, -power + 1, -power, -power - 1]
    }
    for _ in 0..<20_000 { values.append(random.integer()) }
    for value in values {
        let text = appended { $0.append(decimal: value) }
        #expect(text == String(value), "seed \(seed)")
        #expect(text.withView { $0.parseInteger() } == value, "seed \(seed)")
        let unsigned = UInt64(bitPattern: value)
        let unsignedText = appended { $0.append(unsignedDecimal: unsigned) }
        #expect(unsignedText == String(unsigned), "seed \(seed)")
        #expect(unsignedText.withView { $0.parseUnsigned() } == unsigned, "seed \(seed)")
        #expect(decimalDigitCount(unsigned) == unsignedText.utf8.count, "seed \(seed)")
    }
}

// MARK: - Doubles

@Test(
    arguments: [
        ("0", 0), ("-0", -0.0), ("1.5", 1.5), ("-1.5", -1.5), ("+1", 1), (".5", 0.5), ("1.", 1),
        ("1e5", 1e5), ("1E-5", 1e-5), ("inf", .infinity), ("+INF", .infinity), ("-inf", -.infinity),
        ("Infinity", .infinity), ("0x1p-1", 0.5), ("0x1", 1), ("5e-324", .leastNonzeroMagnitude),
        ("0x1p-1030", 0x1p-1030),
        ("0.1", 0.1), ("9007199254740993", 9_007_199_254_740_992), ("007", 7),
        ("1797693134862315708145274237317e278", 1.7976931348623157e308),
        ("000000000000000000000000000000000000000000000000000000000000001", 1),
    ] as [(String, Double)])
func `a double is read`(text: String, expected: Double) {
    let value = text.withView { $0.parseDouble() }
    #expect(value?.bitPattern == expected.bitPattern)
}

@Test(arguments: [
    "", "nan", "-nan", "nan(1)", " 1", "\t1", "\n1", "1 ", "1e400", "-1e400", "1e-400", ".", "-",
    "+", "1e", "1e+", "0x", "1.2.3", "1,5", "infinit", "one", "1\0", "\0", "--1", "1e5.",
])
func `what is not a double is refused`(text: String) {
    #expect(text.withView { $0.parseDouble() } == nil)
}

/// Answers of Redis 8.2.
@Test(
    arguments: [
        (0, "0"), (-0.0, "-0"), (3, "3"), (-3, "-3"), (0.5, "0.5"), (1.1, "1.1"), (0.1, "0.1"),
        (1e17, "100000000000000000"), (4.611686018427388e18, "4611686018427387904"),
        (4.611686018427389e18, "4611686018427389000"), (1e19, "1e+19"), (1e100, "1e+100"),
        (1.5e-7, "1.5e-7"), (1e-6, "0.000001"), (1e-7, "1e-7"), (1.25e-5, "1.25e-5"),
        (1.2e-5, "0.000012"), (0.0012345678, "0.0012345678"), (0.00012345678, "1.2345678e-4"),
        (12345.1234567, "1.23451234567e+4"), (123.45678901, "123.45678901"),
        (.leastNonzeroMagnitude, "5e-324"),
        (1.7976931348623157e308, "1.7976931348623157e+308"), (.infinity, "inf"),
        (-.infinity, "-inf"),
        (.nan, "nan"), (3.141592653589793, "3.141592653589793"),
        (-2.2250738585072014e-308, "-2.2250738585072014e-308"),
    ] as [(Double, String)])
func `a double is printed as Redis 8 prints it`(value: Double, expected: String) {
    #expect(appended { $0.append(double: value) } == expected)
}

@Test(
    arguments: [
        (3, "3"), (0.1, "0.10000000000000001"), (1e17, "1e+17"), (-0.0, "-0"), (.infinity, "inf"),
        (-.infinity, "-inf"), (.nan, "nan"), (1e-7, "9.9999999999999995e-08"),
    ] as [(Double, String)])
func `a double is printed in 17 digits as Redis 7 prints it`(value: Double, expected: String) {
    #expect(appended { $0.append(doubleInSeventeenDigits: value) } == expected)
}

/// Random doubles of every size and of few digits.
private func randomDouble(_ random: inout Random) -> Double {
    switch random.index(below: 5) {
    case 0: Double(bitPattern: random.next())
    case 1: Double(random.integer())
    case 2: Double(random.integer() >> 20) / pow(10, Double(random.index(below: 20)))
    case 3: Double(random.index(below: 1_000)) * pow(10, Double(random.index(below: 40)) - 20)
    default: random.nextUnit() * 1_000
    }
}

/// The digits of a number without sign, point, exponent, leading and trailing zeros.
private func significantDigits(_ text: String) -> String {
    let mantissa = text.prefix { $0 != "e" }.filter(\.isNumber)
    let leading = mantissa.drop { $0 == "0" }
    return String(leading.reversed().drop { $0 == "0" }.reversed())
}

@Test func `a printed double is the shortest that reads back`() {
    let seed = testSeed()
    var random = Random(seed: seed)
    for _ in 0..<20_000 {
        let value = randomDouble(&random)
        if !value.isFinite { continue }
        let text = appended { $0.append(double: value) }
        #expect(text.utf8.count <= Limits.doubleBytesMax, "\(value), seed \(seed)")
        let readBack = text.withView { $0.parseDouble() }
        #expect(readBack?.bitPattern == value.bitPattern, "\(value) as \(text), seed \(seed)")
        #expect(Double(text)?.bitPattern == value.bitPattern, "\(value) as \(text), seed \(seed)")
        // Whole numbers print all their digits; all others no more than Swift's description.
        if value != value.rounded() {
            #expect(significantDigits(text) == significantDigits("\(value)"), "seed \(seed)")
        }
        let exact = appended { $0.append(doubleInSeventeenDigits: value) }
        #expect(exact.withView { $0.parseDouble() } == value, "\(value), seed \(seed)")
    }
}

@Test func `a short decimal is read as strtod reads it`() {
    let seed = testSeed()
    var random = Random(seed: seed)
    for _ in 0..<20_000 {
        let bytes = random.bytes(upTo: 18, from: Array("0123456789012345678900..-".utf8))
        let text = String(decoding: bytes, as: UTF8.self)
        let expected = unsafe text.withCString { start -> Double? in
            var end: UnsafeMutablePointer<CChar>?
            let value = unsafe strtod(start, &end)
            guard let end = unsafe UnsafePointer(end) else { return nil }
            return unsafe end - start == bytes.count && !bytes.isEmpty ? value : nil
        }
        #expect(text.withView { $0.parseDouble() } == expected, "\(text), seed \(seed)")
    }
}

// MARK: - Long doubles

@Test(arguments: [
    ("10.50", "0.1", "10.6"), ("5.0e3", "200", "5200"), ("3", "1.1", "4.1"), ("0.1", "0.2", "0.3"),
    ("1", "-1", "0"), ("-1", "0.5", "-0.5"), ("0x1p-1", "1", "1.5"), ("-0", "0", "0"),
    ("12345678901234567", "1", "12345678901234568"),
])
func `long doubles add and print as INCRBYFLOAT's do`(
    left: String, right: String, expected: String
) throws {
    let leftNumber = try #require(left.withView { LongDouble(parsing: $0) })
    let rightNumber = try #require(right.withView { LongDouble(parsing: $0) })
    let sum = try #require(leftNumber.adding(rightNumber))
    #expect(appended { $0.append(longDouble: sum) } == expected)
}

@Test(arguments: [("1e300", 301), ("1.18e4932", 4_933), ("-1e62", 64), ("1e62", 63), ("-1e63", 64)])
func `a long double of many digits prints whole and reads back`(
    text: String, count: Int
) throws {
    let number = try #require(text.withView { LongDouble(parsing: $0) })
    let printed = appended { $0.append(longDouble: number) }
    #expect(printed.utf8.count == count)
    let readBack = try #require(printed.withView { LongDouble(parsing: $0) })
    #expect(appended { $0.append(longDouble: readBack) } == printed)
}

@Test func `a sum of long doubles that is not finite is refused`() throws {
    let infinity = try #require("inf".withView { LongDouble(parsing: $0) })
    let greatest = try #require("1.18e4932".withView { LongDouble(parsing: $0) })
    #expect(infinity.adding(LongDouble(1 as Int64)) == nil)
    #expect(greatest.adding(greatest) == nil)
    #expect(LongDouble(0.5).adding(LongDouble(1 as Int64)) != nil)
}

@Test(arguments: ["", "nan", " 1", "1 ", "abc", "1e5000", "1e-5000", "1\0"])
func `what is not a long double is refused`(text: String) {
    #expect(text.withView { LongDouble(parsing: $0) } == nil)
}

// MARK: - Any input

@Test func `no bytes trap a parser`() {
    let seed = testSeed()
    var random = Random(seed: seed)
    let alphabet = Array("0123456789+-.eExXpPinfatyINFNA() \t\0_[]*?\\".utf8) + [0x80, 0xFF]
    for step in 0..<50_000 {
        let bytes =
            step % 2 == 0 ? random.bytes(upTo: 40, from: alphabet) : random.bytes(step % 40)
        bytes.withView { view in
            if let integer = view.parseInteger() {
                #expect(Array(String(integer).utf8) == bytes, "seed \(seed)")
            }
            if let unsigned = view.parseUnsigned() {
                #expect(Array(String(unsigned).utf8) == bytes, "seed \(seed)")
                #expect(view.parseUnsignedLoosely() == unsigned, "seed \(seed)")
            }
            if let double = view.parseDouble() { #expect(!double.isNaN, "seed \(seed)") }
            _ = view.parseUnsignedLoosely()
            _ = LongDouble(parsing: view)
            _ = view.parseMemorySize()
            _ = view.parsePercentage()
            _ = keySlot(of: view)
            _ = view.matches(view)
        }
    }
}

@Test func `a number of a megabyte is read or refused, not trapped over`() {
    let digits = [UInt8](repeating: UInt8(ascii: "1"), count: 1 << 20)
    digits.withView { view in
        #expect(view.parseInteger() == nil)
        #expect(view.parseUnsigned() == nil)
        #expect(view.parseDouble() == nil)
        #expect(LongDouble(parsing: view) == nil)
    }
    let zeros = [UInt8](repeating: UInt8(ascii: "0"), count: 1 << 20)
    #expect(zeros.withView { $0.parseDouble() } == 0)
}
