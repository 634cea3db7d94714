//  Command texts as RESP bytes, and what patching makes of them.

import Testing

@testable import LoadGenerator

@Suite struct RequestTemplateTests {
    private func text(_ template: RequestTemplate) -> String {
        String(decoding: template.bytes, as: UTF8.self)
    }

    /// Writes `count` operations through the mix, patched in place as the worker does.
    private func operations(
        _ commands: [WeightedCommand], keyCount: Int = 1000, count: Int, valueBytes: Int = 3,
        patched: Bool
    ) throws -> [String] {
        var mix = try RequestMix(
            commands, valueBytes: valueBytes,
            keys: KeyChooser(.uniform, keyCount: keyCount), seed: 3)
        let memory = UnsafeMutableRawPointer.allocate(byteCount: mix.longest, alignment: 8)
        defer { unsafe memory.deallocate() }
        if patched { unsafe mix.putImage(at: memory) }
        var texts: [String] = []
        for _ in 0..<count {
            var length = mix.longest
            if patched {
                unsafe mix.patch(at: memory)
            } else {
                length = unsafe mix.put(at: memory)
            }
            texts.append(
                unsafe String(
                    decoding: UnsafeRawBufferPointer(start: memory, count: length), as: UTF8.self))
        }
        return texts
    }

    /// The arguments of a request with one command.
    private func arguments(_ request: String) -> [String] {
        let lines = request.split(separator: "\r\n", omittingEmptySubsequences: false).map(
            String.init)
        return stride(from: 2, to: lines.count, by: 2).map { lines[$0] }
    }

    @Test func `a plain command becomes RESP`() throws {
        let template = try RequestTemplate("SET a 'b c' \"\\x00\\n\"", valueBytes: 0)
        #expect(
            text(template) == "*4\r\n$3\r\nSET\r\n$1\r\na\r\n$3\r\nb c\r\n$2\r\n\0\n\r\n")
        #expect(template.commandCount == 1)
    }

    @Test func `a key field has twelve digits where the template says`() throws {
        let template = try RequestTemplate("GET key:{key}", valueBytes: 0)
        #expect(text(template) == "*2\r\n$3\r\nGET\r\n$16\r\nkey:000000000000\r\n")
        #expect(template.fields.map(\.offset) == [22])
    }

    @Test func `a semicolon begins the next command of the operation`() throws {
        let template = try RequestTemplate("INCR a ; DEL 'a;' \";\"", valueBytes: 0)
        #expect(template.commandCount == 2)
        #expect(
            text(template) == "*2\r\n$4\r\nINCR\r\n$1\r\na\r\n"
                + "*3\r\n$3\r\nDEL\r\n$2\r\na;\r\n$1\r\n;\r\n")
    }

    @Test(arguments: [
        "", "SET a ;", "; SET a", "SET {nothing}", "SET {key", "SET 'a", "SET \"\\xZZ\"",
        "DEL {samekey}", "SET {rand:0}", "SET {rand:9-10}", "SET {rand:5-4}", "SET {seq:x}",
        "SET {value:x}", "SET {key:4}",
    ])
    func `a wrong text is refused`(text: String) {
        #expect(throws: BenchmarkError.self) { try RequestTemplate(text, valueBytes: 1) }
    }

    @Test func `braces that name nothing stay`() throws {
        let template = try RequestTemplate("EVAL {KEYS[1]} {{key} {}", valueBytes: 1)
        #expect(arguments(text(template)) == ["EVAL", "{KEYS[1]}", "{key}", "{}"])
    }

    @Test(arguments: [false, true], [1, 7, 1000, 99_999_999, 100_000_001, 900_000_000_000])
    func `keys lie in the key space and keep their width`(patched: Bool, keyCount: Int) throws {
        let all = try operations(
            [WeightedCommand("GET key:{key}")], keyCount: keyCount, count: 200, patched: patched)
        var distinct: Set<String> = []
        for request in all {
            let key = arguments(request)[1]
            #expect(key.hasPrefix("key:"))
            #expect(key.utf8.count == 16)
            let number = Int(key.dropFirst(4))
            #expect(number.map { $0 < keyCount } == true)
            distinct.insert(key)
        }
        #expect(distinct.count > min(keyCount, 200) / 2)
    }

    @Test func `samekey repeats the key drawn last`() throws {
        for request in try operations(
            [WeightedCommand("X {key} {samekey} {key} {samekey}")], count: 50, patched: true)
        {
            let words = arguments(request)
            #expect(words[1] == words[2])
            #expect(words[3] == words[4])
        }
    }

    @Test(arguments: [false, true])
    func `sequence numbers count operations`(patched: Bool) throws {
        let all = try operations(
            [WeightedCommand("X {seq} {seq:99999990}")], count: 30, patched: patched)
        for (index, request) in all.enumerated() {
            let words = arguments(request)
            #expect(Int(words[1]) == index)
            // The width is that of the base: what does not fit is cut, never written beside it.
            #expect(Int(words[2]) == (99_999_990 + index) % 100_000_000)
        }
    }

    @Test(arguments: [false, true])
    func `random numbers keep to their range`(patched: Bool) throws {
        let all = try operations(
            [WeightedCommand("X {rand:10} {rand:1000-1003} {rand:1000000000000-1000000000009}")],
            count: 500, patched: patched)
        for (column, range) in [0...9, 1000...1003, 1_000_000_000_000...1_000_000_000_009]
            .enumerated()
        {
            let numbers = Set(all.compactMap { Int(arguments($0)[column + 1]) })
            #expect(numbers == Set(range))
        }
    }

    @Test func `weights share the operations`() throws {
        let all = try operations(
            [WeightedCommand(parsing: "3:GET {key}"), WeightedCommand("SET {key} {value}")],
            count: 10_000, patched: false)
        let gets = all.count { $0.contains("GET") }
        #expect(abs(gets - 7500) < 300)
        #expect(all.allSatisfy { $0.hasSuffix("\r\n") })
    }

    @Test func `commands of a mix must have as many parts`() {
        #expect(throws: BenchmarkError.self) {
            _ = try RequestMix(
                [WeightedCommand("PING"), WeightedCommand("PING ; PING")], valueBytes: 1,
                keys: KeyChooser(.uniform, keyCount: 1), seed: 1)
        }
    }

    @Test(arguments: ["0:GET x", "1000000:GET x"])
    func `a weight out of range is refused`(text: String) {
        #expect(throws: BenchmarkError.self) { try WeightedCommand(parsing: text) }
    }

    @Test func `every named workload has valid commands`() throws {
        var names: Set<String> = []
        for workload in Workload.all {
            #expect(names.insert(workload.name).inserted)
            for command in workload.commands {
                _ = try RequestTemplate(command.text, valueBytes: 64)
            }
            if let fill = workload.fill { _ = try RequestTemplate(fill, valueBytes: 64) }
        }
    }

    @Test func `a preset's workloads are in the table`() {
        for name in Workload.ofTypes + Workload.ofMessages + Workload.ofScripts {
            #expect(Workload.named(name) != nil)
        }
    }

    @Test func `a workload with a script calls it by its digest`() throws {
        let workload = try #require(Workload.named("set-evalsha"))
        #expect(workload.script?.hasPrefix("if redis.call('get',KEYS[1])") == true)
        // By sha1sum.
        #expect(
            workload.commands[0].text.contains(
                " EVALSHA ae3671744a5dbb24ea37ef607b8b10ac7856d43e 1 "))
    }

    @Test func `escaping survives both ways`() throws {
        let bytes = (0...255).map { UInt8($0) }
        #expect(try unescaped(escaped(bytes)) == bytes)
    }
}
