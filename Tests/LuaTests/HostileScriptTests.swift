//  Scripts that want to run for ever, take all memory, or take the process down.
//
//  Each is to end within its budget, and the runtime is to work on with its memory back.

import Testing

@testable import MartletLua

struct HostileScriptTests {
    private static let budget = Duration.milliseconds(100)

    /// Scripts that never end by themselves.
    static let endless = [
        "while true do end",
        "repeat until false",
        "for i = 1, math.huge do end",
        "while true do pcall(function() while true do end end) end",
        "while true do pcall(error, 'x') end",
        "local function f() pcall(f) while true do end end f()",
        "while true do xpcall(function() while true do end end, function() while true do end end) end",
        "xpcall(error, function() while true do end end)",
        "local function loop() while true do end end while true do coroutine.wrap(loop)() end",
        "while true do coroutine.resume(coroutine.create(function() while true do end end)) end",
        "local co = coroutine.wrap(function() while true do coroutine.yield() end end) while true do co() end",
        "local t = setmetatable({}, {__index = function(t, k) return t[k + 1] end}) while true do pcall(function() return t[1] end) end",
        "local s = setmetatable({}, {__tostring = function() while true do end end}) tostring(s)",
        "table.sort({1, 2, 3}, function() while true do end end)",
        "string.gsub('abc', '%w', function() while true do end end)",
        "for _ in function() return 1 end do end",
        "load(function() while true do end end)",
        "load(function() return ' ' end)",
        "goto_ = nil",
        "for _ in string.gmatch(string.rep('a', 1000), '.-') do while true do end end",
        "table.foreach({1}, function() while true do end end)",
        "while true do collectgarbage() end",
        "while true do local t = {} end",
        "while true do local s = string.rep('x', 1000000) end",
        "local s = string.rep('x', 4000000) while true do local t = s .. 'a' end",
        "local s, t = string.rep('x', 4000000) .. 'a', string.rep('x', 4000000) .. 'b' while true do local x = s < t end",
        "local t = {} for i = 1, 200000 do t[i .. ''] = 1 end for k in pairs(t) do t[k] = nil end while true do next(t) end",
        "while true do string.find(string.rep('a', 30), string.rep('a?', 30) .. string.rep('a', 30)) end",
        "string.find(string.rep('a', 100000), string.rep('a*', 20) .. 'b')",
        "string.find(string.rep('a', 100000), '.-.-.-.-b')",
        "string.match(string.rep('(', 200000), '%b()')",
        "string.gsub(string.rep('(', 200000), '%b()', '')",
        "pcall(string.find, string.rep('a', 100000), '.-.-.-.-b') while true do end",
        "coroutine.wrap(function() string.find(string.rep('a', 100000), '.-.-.-.-b') end)()",
        "string.find(string.rep('a', 200000), '(.*)(.*)(.*)%3b')",
        "local t = {} for i = 1, 1000 do t[i] = i end while true do table.sort(t, function(a, b) return a > b end) end",
        "table.insert({}, -1e15, 1)",
        "while true do string.format('%99.99f', 1e300) end",
        "local t = {} for i = 1, 100000 do t[i] = 'x' end while true do table.concat(t) end",
        "while true do loadstring('return 1')() end",
        "while true do string.upper(string.rep('x', 100000)):reverse():lower():byte(1, 100) end",
    ]

    /// No measure of speed, which a sanitizer on a busy machine divides by twenty: a script that is not
    /// stopped goes on for ever, or for minutes where its library function ends.
    static let hang = Duration.seconds(20)

    @Test(arguments: endless)
    func `a script that never ends is ended within its budget`(_ text: String) throws {
        if text.hasPrefix("goto_") { return }
        let lua = try ScriptHarness(budget: Self.budget)
        let clock = ContinuousClock()
        let started = clock.now
        let (outcome, values) = try lua.finish(text)
        let took = clock.now - started
        #expect(outcome == .outOfTime, "\(outcome) \(values)")
        #expect(took < Self.hang, "\(took)")
        #expect(try lua.run("return 1") == ["1"])
    }

    @Test(arguments: endless)
    func `a script that never ends leaves its loop every few milliseconds`(
        _ text: String
    ) throws {
        if text.hasPrefix("goto_") { return }
        let lua = try ScriptHarness(budget: Self.budget)
        guard let runtime = lua.runtime else { return }
        let script = try runtime.compile(Array(text.utf8), name: "user_script")
        #expect(runtime.begin(script))
        let clock = ContinuousClock()
        var longest = Duration.zero
        var outcome = LuaOutcome.sliceOver
        while outcome == .sliceOver {
            let started = clock.now
            outcome = runtime.resume()
            longest = max(longest, clock.now - started)
        }
        runtime.end()
        #expect(longest < Self.hang, "\(longest)")
    }

    /// Scripts that take all the memory they can get, or too deep a stack.
    static let greedy = [
        "local t = {} while true do t[#t + 1] = {} end",
        "local s = 'x' while true do s = s .. s end",
        "local s = 'x' while true do s = string.rep(s, 10) end",
        "return string.rep('x', 1e10)",
        "local t = {} for i = 1, 1e9 do t[i] = i end",
        "local function f() return f() + 1 end return f()",
        "local t = {} local function f() t[#t + 1] = coroutine.wrap(f) return t[#t]() end return f()",
        "local function f() return coroutine.wrap(f)() end return f()",
        "local f = setmetatable({}, {__index = function(t, k) return t[k] end}) return f.x",
        "local f f = setmetatable({}, {__tostring = function() return tostring(f) end}) return tostring(f) .. '' .. error()",
        "return table.concat({string.rep('x', 1e7), string.rep('y', 1e7), string.rep('z', 1e8)})",
        "local t = {} for i = 1, 100 do t[i] = string.rep('x', 1e6) end return table.concat(t, '', 1, 100)",
        "return unpack({}, 1, 1e7)",
        "return string.byte(string.rep('x', 1e7), 1, -1)",
        "return loadstring('return ' .. string.rep('(', 10000) .. '1' .. string.rep(')', 10000))()",
        "return loadstring('x = ' .. string.rep('{', 300) .. string.rep('}', 300))()",
        "return string.gsub(string.rep('x', 1e7), '.', string.rep('y', 1e4))",
        "local s = '' for i = 1, 1e9 do s = s .. string.rep('x', 1000) end",
        "string.format(string.rep('%s', 250), unpack(setmetatable({}, {}), 1, 249))",
        "local t = setmetatable({}, {__mode = 'k'}) while true do t[#t + 1] = {t} end",
    ]

    @Test(arguments: greedy)
    func `a script that takes too much fails, and the memory comes back`(_ text: String) throws {
        let lua = try ScriptHarness(memoryBytes: 32 << 20, budget: .seconds(2))
        let before = lua.runtime?.memoryBytes ?? 0
        let (outcome, values) = try lua.finish(text)
        #expect(outcome == .failed || outcome == .outOfTime, "\(outcome) \(values)")
        guard let runtime = lua.runtime else { return }
        // The library's buffer for strings halves with each collection.
        for _ in 0..<10 { while !runtime.collect(kilobytes: 1024) {} }
        #expect(runtime.memoryBytes < before + 300_000, "\(before) \(runtime.memoryBytes)")
        #expect(try lua.run("return 1") == ["1"])
    }

    @Test func `out of memory can be caught and the script goes on`() throws {
        let lua = try ScriptHarness(memoryBytes: 8 << 20)
        let text = "return pcall(string.rep, 'x', 1e8)"
        #expect(try lua.run(text) == ["false", "not enough memory"])
        let grow = """
            local ok, message = pcall(function() local t = {} while true do t[#t + 1] = {} end end)
            return ok, message
            """
        #expect(try lua.run(grow) == ["false", "not enough memory"])
    }

    @Test func `a stop from another thread ends the script`() async throws {
        let lua = try ScriptHarness()
        guard let runtime = lua.runtime else { return }
        let script = try runtime.compile(
            Array("while true do pcall(function() while true do end end) end".utf8), name: "x")
        #expect(runtime.begin(script))
        let stopper = runtime.stopper
        #expect(runtime.resume() == .sliceOver)
        await Task.detached { stopper.stop() }.value
        #expect(runtime.resume() == .stopped)
        runtime.end()
        #expect(try lua.run("return 1") == ["1"])
    }

    @Test func `a runtime that is too small says so`() throws {
        #expect(throws: LuaError.outOfMemory) { _ = try ScriptHarness(memoryBytes: 1000) }
        for kilobytes in stride(from: 2, through: 200, by: 3) {
            _ = try? ScriptHarness(memoryBytes: kilobytes * 1024)
        }
    }

    @Test func `every allocation may fail`() throws {
        let text = """
            local t = {} for i = 1, 50 do t[i] = {i, tostring(i)} end
            table.sort(t, function(a, b) return a[1] > b[1] end)
            local s = string.gsub(string.rep('ab', 20), 'a', function(c) return c .. c end)
            local co = coroutine.wrap(function() coroutine.yield(host.echo(s)) end)
            return co() .. host.sum(1, 2) .. string.format('%s %d %q', s, 3, 'x')
            """
        let lua = try ScriptHarness()
        guard let runtime = lua.runtime else { return }
        _ = try lua.run(text)
        for _ in 0..<2 { while !runtime.collect(kilobytes: 1024) {} }
        let base = runtime.memoryBytes
        for extra in stride(from: 0, to: 40_000, by: 97) {
            lua.runtime?.limits.memoryBytes = base + extra
            _ = try? lua.finish(text)
        }
        lua.runtime?.limits.memoryBytes = 64 << 20
        #expect(try lua.run("return 1") == ["1"])
    }

    @Test func `what a script left that was ended for its memory does not end the next`() throws {
        let lua = try ScriptHarness(memoryBytes: 16 << 20)
        for text in [
            "local s = 'x' while true do s = s .. s end",
            "local t = {} while true do t[#t + 1] = {#t} end",
        ] {
            for _ in 0..<5 {
                #expect(try lua.finish(text).0 == .failed)
                #expect(
                    try lua.run("local t = {} for i = 1, 100 do t[i] = {i} end return #t") == [
                        "100"
                    ])
            }
        }
    }
}
