//  Amounts of memory in a configuration.

import MartletBase
import Testing

@Test(
    arguments: [
        ("0", 0), ("100", 100), ("1b", 1), ("1k", 1_000), ("1kb", 1_024), ("64mb", 64 << 20),
        ("2m", 2_000_000), ("1g", 1_000_000_000), ("1GB", 1 << 30), ("1Kb", 1_024), ("01", 1),
        ("18446744073709551615", UInt64.max), ("17179869183gb", 17_179_869_183 << 30),
    ] as [(String, UInt64)])
func `an amount of memory is read`(text: String, expected: UInt64) {
    #expect(text.withView { $0.parseMemorySize() } == expected)
}

@Test(arguments: [
    "", "mb", "-1", "+1", " 1", "1 ", "1 mb", "1.5g", "1tb", "5%", "1kbb", "17179869184gb",
    "18446744073709551616", "99999999999999999999gb",
])
func `what is not an amount of memory is refused`(text: String) {
    #expect(text.withView { $0.parseMemorySize() } == nil)
}

@Test func `a percentage is a whole share of one hundred`() {
    func percentage(_ text: StaticString) -> Int? { ByteView(text).parsePercentage() }
    #expect(percentage("0%") == 0)
    #expect(percentage("5%") == 5)
    #expect(percentage("100%") == 100)
    for wrong: StaticString in ["", "%", "5", "05%", " 5%", "-5%", "101%", "5%%", "1.5%"] {
        #expect(percentage(wrong) == nil)
    }
}
