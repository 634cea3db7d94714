//  A script's life: compiled, run, interrupted, continued, ended.

import Testing

@testable import MartletLua

struct RuntimeTests {
    @Test func `a script returns what it computes`() throws {
        let lua = try ScriptHarness()
        #expect(try lua.run("return 1 + 1") == ["2"])
        #expect(
            try lua.run("return 'a' .. 1, nil, true, {1, 2, x = 'y'}")
                == ["a1", "nil", "true", "{1=1 2=2 x=y}"])
    }

    @Test func `a script calls the host and reads what it wrote`() throws {
        let lua = try ScriptHarness()
        #expect(try lua.run("return host.sum(1, 2, '3')") == ["6"])
        #expect(try lua.run("return host.echo('x', 'yz')") == ["x", "yz"])
        #expect(try lua.run("return host.tree()") == ["{1={1=x 2=true} 2={k={}}}"])
        #expect(
            try lua.run("return host.VERSION, host.LEVEL, guest == host") == ["7.4", "3", "true"])
    }

    @Test func `globals are set for each run`() throws {
        let lua = try ScriptHarness()
        #expect(try lua.run("return KEYS[1], #KEYS", keys: ["a", "b"]) == ["a", "2"])
        #expect(try lua.run("return #KEYS") == ["0"])
    }

    @Test func `an error of the host reaches pcall as the text in its table`() throws {
        let lua = try ScriptHarness()
        #expect(
            try lua.run("local ok, e = pcall(host.fail) return ok, e")
                == ["false", "MYERR at user_script:1"])
        #expect(
            try lua.run("local ok, e = xpcall(host.fail, function(e) return e.err end) return e")
                == ["MYERR at user_script:1"])
        #expect(try lua.run("return pcall(error, {err = {}})") == ["false", "{err={}}"])
        #expect(try lua.run("return pcall(error, {err = 7})") == ["false", "7"])
        let (outcome, values) = try lua.finish("\nlocal x = host.fail() return x")
        #expect(outcome == .failed)
        #expect(values.last == "{err=MYERR at user_script:2}")
    }

    @Test func `a function that waits runs again with its arguments`() throws {
        let lua = try ScriptHarness()
        lua.waits = 3
        #expect(try lua.run("local x = host.wait(21) return x + 1") == ["43"])
        #expect(lua.slices == 4)
        lua.waits = 1
        #expect(
            try lua.run("local ok, e = pcall(host.wait, {}) return ok, e") == [
                "false", "after waiting in line 1",
            ])
        lua.waits = 2
        #expect(
            try lua.run("return coroutine.wrap(function() return host.wait(4) + 1 end)()")
                == ["9"])
    }

    @Test func `a long script yields and goes on where it was`() throws {
        let lua = try ScriptHarness()
        #expect(
            try lua.run("local n = 0 for i = 1, 3e6 do n = n + i end return n")
                == ["4500001500000"])
        #expect(lua.slices > 3)
    }

    @Test func `an interruption on its way up through coroutines is not lost to the next`() throws {
        // Every check interrupts, and a check falls into the way up through these again and again.
        let lua = try ScriptHarness(slice: .zero)
        let text = """
            local function f(n)
                if n == 0 then local x = 0 for i = 1, 300 do x = x + i end return 1 end
                return coroutine.wrap(f)(n - 1) + 1
            end
            for i = 1, 100 do
                local sum = f(i)
                if sum ~= i + 1 then return i end
            end
            return 'all'
            """
        #expect(try lua.run(text) == ["all"])
        #expect(lua.slices > 50)
    }

    @Test func `slices pass through pcall, metamethods, iterators and coroutines`() throws {
        let lua = try ScriptHarness(slice: .zero)
        let text = """
            local function work() local n = 0 for i = 1, 20000 do n = n + 1 end return n end
            local object = setmetatable({}, {
                __add = work, __index = work, __call = work, __tostring = function() return tostring(work()) end,
                __lt = function() return work() > 0 end, __concat = work,
            })
            local inner = coroutine.wrap(function()
                local nested = coroutine.wrap(function() coroutine.yield(work()) return work() end)
                coroutine.yield(nested() + nested())
                return work()
            end)
            local list = {3, 1, 2}
            table.sort(list, function(a, b) return work() and a < b end)
            local iterated = 0
            for _ in function(_, last) work() if not last then return 1 end end do iterated = iterated + 1 end
            local _, replaced = string.gsub('abc', '%w', function(c) return work() end)
            return select(2, pcall(work)), object + 1, object.x, object(), tostring(object),
                object < object, object .. 'x', inner(), inner(), table.concat(list), iterated, replaced,
                select(2, xpcall(error, work))
            """
        #expect(
            try lua.run(text) == [
                "20000", "20000", "20000", "20000", "20000", "true", "20000", "40000", "20000",
                "123", "1",
                "3", "20000",
            ])
        #expect(lua.slices > 50)
    }

    @Test func `errors name the script and its line`() throws {
        let lua = try ScriptHarness()
        func message(_ text: String) throws -> String {
            let (outcome, values) = try lua.finish(text)
            #expect(outcome == .failed)
            return values.last ?? ""
        }
        #expect(try message("error('x')") == "user_script:1: x")
        #expect(
            try message("\n\nlocal t = nil; t.x = 1")
                == "user_script:3: attempt to index local 't' (a nil value)")
        #expect(try message("x = 1") == "user_script:1: Attempt to modify a readonly table")
        #expect(
            try message("return x")
                == "user_script:1: Script attempted to access nonexistent global variable 'x'")
        #expect(throws: LuaError.syntax("user_script:1: unexpected symbol near '<eof>'")) {
            try lua.run("return 1 +")
        }
    }

    @Test func `a function that is called last knows the line of its caller`() throws {
        let lua = try ScriptHarness()
        func message(_ text: String) throws -> String { try lua.finish(text).1.last ?? "" }
        #expect(try message("\nreturn host.wait({})") == "after waiting in line 2")
        #expect(try message("\n\nreturn guest.wait ( {} )") == "after waiting in line 3")
        #expect(
            try message(
                "local function f()\nreturn --x\n host.wait({{')'}, \"(\", [[)]]})\nend return f()")
                == "after waiting in line 3")
        #expect(try lua.run("return host.wait(1) + host.wait(2)") == ["6"])
        #expect(try lua.run("return host.wait(({1, 2})[2]) == 4 and 'yes' or 'no'") == ["yes"])
        #expect(
            try lua.run("return host.wait((function() return host.wait(3) end)()) -- )")
                == ["12"])
        #expect(
            try lua.run("local t = {} function t.f() return host.wait(1) end return t.f(), 2")
                == ["2", "2"])
        #expect(throws: LuaError.self) { try lua.run("return host.wait(1") }
        #expect(throws: LuaError.self) { try lua.run("return host.wait(1))") }
        #expect(
            try lua.run("return 'return host.wait(1)' -- return host.wait(") == [
                "return host.wait(1)"
            ])
    }
}
