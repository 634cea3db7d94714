//  What scripts can reach, and what they cannot do with it.

import Testing

@testable import MartletLua

struct SandboxTests {
    /// Everything that Redis 8 has beside its own library, and the harness's `host`.
    private static let allowed = """
        _G _VERSION assert bit bit.arshift bit.band bit.bnot bit.bor bit.bswap bit.bxor bit.lshift bit.rol
        bit.ror bit.rshift bit.tobit bit.tohex cjson cjson._NAME cjson._VERSION cjson.decode
        cjson.decode_invalid_numbers cjson.decode_max_depth cjson.encode cjson.encode_invalid_numbers
        cjson.encode_keep_buffer cjson.encode_max_depth cjson.encode_number_precision
        cjson.encode_sparse_array cjson.new cjson.null cmsgpack cmsgpack._COPYRIGHT cmsgpack._DESCRIPTION
        cmsgpack._NAME cmsgpack._VERSION cmsgpack.pack cmsgpack.unpack cmsgpack.unpack_limit
        cmsgpack.unpack_one collectgarbage coroutine coroutine.create coroutine.resume coroutine.running
        coroutine.status coroutine.wrap coroutine.yield error gcinfo getmetatable ipairs load loadstring
        math math.abs math.acos math.asin math.atan math.atan2 math.ceil math.cos math.cosh math.deg
        math.exp math.floor math.fmod math.frexp math.huge math.ldexp math.log math.log10 math.max
        math.min math.mod math.modf math.pi math.pow math.rad math.random math.randomseed math.sin
        math.sinh math.sqrt math.tan math.tanh next os os.clock pairs pcall rawequal rawget rawset select
        setmetatable string string.byte string.char string.dump string.find string.format string.gfind
        string.gmatch string.gsub string.len string.lower string.match string.rep string.reverse
        string.sub string.upper struct struct.pack struct.size struct.unpack table table.concat
        table.foreach table.foreachi table.getn table.insert table.maxn table.remove table.setn
        table.sort tonumber tostring type unpack xpcall
        guest host host.LEVEL host.VERSION host.echo host.fail host.sum host.tree host.wait KEYS
        """

    @Test func `scripts reach what is listed and nothing else`() throws {
        let lua = try ScriptHarness()
        let text = """
            local names, seen = {}, {}
            local function walk(prefix, value)
                if type(value) ~= 'table' or seen[value] then return end
                seen[value] = true
                for name, member in pairs(value) do
                    names[#names + 1] = prefix .. name
                    if name ~= 'guest' then walk(prefix .. name .. '.', member) end
                end
            end
            walk('', _G)
            return table.concat(names, ' ')
            """
        let found = Set(try lua.run(text)[0].split(separator: " ").map(String.init))
        let allowed = Set(Self.allowed.split(whereSeparator: \.isWhitespace).map(String.init))
        #expect(found.subtracting(allowed).sorted() == [])
        #expect(allowed.subtracting(found).sorted() == [])
    }

    /// Each tries to change what other scripts see, or to get out; what it returns is no success.
    static let probes = [
        "local f, t = pairs(string) t.len = 1 return ('x').len",
        "local f, t, k = pairs(_G) t.leak = 1",
        "getmetatable(string).__index.len = 1",
        "getmetatable('').__index.len = 1",
        "getmetatable('').__index = {}",
        "setmetatable('', {})",
        "setmetatable(string, nil)",
        "setmetatable(_G, {})",
        "rawset(_G, 'leak', 1)",
        "rawset(string, 'leak', 1)",
        "rawset(getmetatable(''), '__index', nil)",
        "table.insert(_G, 1)",
        "table.insert(KEYS, 1, 1) string.leak = 1",
        "_G.leak = 1",
        "leak = 1",
        "function leak() end",
        "function string.leak() end",
        "_G._G = {}",
        "_G['leak'] = 1",
        "coroutine.wrap(function() leak = 1 end)()",
        "loadstring('leak = 1')()",
        "load(function() return nil end)() string.x = 1",
        "host.leak = 1",
        "host.echo = nil",
        "guest.echo = nil",
        "cjson.encode = nil",
        "math.huge = 1",
        "for k, v in next, string do string[k] = nil end",
        "table.foreach(_G, function(k, v) _G[k] = nil end)",
        "getfenv().leak = 1",
        "setfenv(1, {})",
        "debug.getregistry()",
        "require('os')",
        "package.loadlib('libc.so.6', 'system')",
        "io.open('/etc/passwd')",
        "os.execute('true')",
        "os.exit(1)",
        "dofile('/etc/passwd')",
        "loadfile('/etc/passwd')",
        "newproxy(true)",
        "jit.on()",
        "ffi.cdef('')",
        "print('x')",
        "module('x')",
        "loadstring(string.dump(function() end))()",
        "assert(loadstring('\\27LJ\\2'))()",
        "return 1LL",
        "return 1ULL .. ''",
        "return 2i",
        "return 0x1LL",
        "loadstring('return 1ll')() error('in')",
        "assert(loadstring('return 1ll'))()",
        "coroutine.yield()",
        "collectgarbage('leak')",
    ]

    @Test(arguments: probes)
    func `a script cannot change or leave its sandbox`(_ text: String) throws {
        let lua = try ScriptHarness()
        #expect(throws: (any Error).self) { try lua.run(text) }
        let check = """
            return type(string.len), type(host.echo), ('x'):len(), rawget(_G, 'leak') == nil,
                rawget(string, 'leak') == nil, math.huge > 1, type(cjson.encode), _G._G == _G
            """
        #expect(
            try lua.run(check)
                == ["function", "function", "1", "true", "true", "true", "function", "true"])
    }

    @Test func `numbers with a suffix stay what they are in strings and comments`() throws {
        let lua = try ScriptHarness()
        let text = """
            -- 1LL and 2i in a comment
            --[[ 3ULL
            4i ]] local s = '5LL' .. "6i\\"7LL" .. [==[ 8ULL ]] 9i ]==]
            local i = 1 local t = {[1]=1}
            return s, 0x1F, 1e3, t[1]
            """
        #expect(try lua.run(text) == ["5LL6i\"7LL 8ULL ]] 9i ", "31", "1000", "1"])
    }

    @Test func `settings of a library end with the script`() throws {
        let lua = try ScriptHarness()
        #expect(
            try lua.run("cjson.encode_number_precision(3) return cjson.encode(3.14159)")
                == ["3.14"])
        #expect(try lua.run("return cjson.encode(3.14159)") == ["3.14159"])
    }

    @Test func `hostile values do not harm the libraries`() throws {
        let lua = try ScriptHarness(memoryBytes: 8 << 20, budget: .seconds(60))
        let texts = [
            "return cjson.encode_max_depth(1e9)",
            "cjson.encode_max_depth(1e9) local t = {} for i = 1, 1e5 do t = {t} end cjson.encode(t)",
            "cjson.decode_max_depth(1e9) cjson.decode(string.rep('[', 1e6))",
            "cjson.decode_max_depth(1e9) cjson.decode(string.rep('{\"a\":', 1e6))",
            "local t = {} t.t = t cjson.encode(t)",
            "local s = string.rep('x', 1e5) local t = {} for i = 1, 1000 do t[i] = s end cjson.encode(t)",
            "local s = string.rep('x', 1e5) local t = {} for i = 1, 1000 do t[i] = s end cmsgpack.pack(t)",
            "cmsgpack.unpack(string.rep('\\145', 1e6))",
            "cmsgpack.unpack(string.rep('\\129', 1e6))",
            "cmsgpack.unpack('\\221\\255\\255\\255\\255' .. string.rep('\\1', 1e6))",
            "cmsgpack.unpack(string.rep('\\1', 1e5))",
            "cmsgpack.unpack_limit('x', -2^63, -2^63)",
            "cmsgpack.unpack_one('x', 2^63)",
            "struct.pack('i' .. string.rep('9', 100), 1)",
            "struct.unpack('c2147483647c2147483647', 'x')",
            "struct.unpack('i4', 'abcd', -2^63)",
            "struct.unpack('i4', 'abcd', 2^63)",
            "struct.unpack('bc0', '\\128abc')",
            "struct.unpack('dc0', struct.pack('d', 0/0) .. 'abc')",
            "struct.unpack('dc0', struct.pack('d', 1e300) .. 'abc')",
            "struct.unpack(string.rep('b', 1e5), string.rep('x', 1e5))",
            "struct.pack('!128' .. 'i16', 1) struct.pack('!1073741824i32', 1) error()",
            "bit.lshift(1, -2^63) bit.rol(-2^63, 2^63) bit.tobit(0/0) bit.tohex(1, -2^31) error()",
            "string.rep('x', -2^63) string.sub('x', -2^63, 2^63) string.byte('x', -2^63) error()",
            "string.char(-2^63)",
            "return unpack({}, -2^63, 2^63)",
            "select(-2^63)",
            "math.random(-2^63, 2^63) error()",
            "math.randomseed(0/0) math.random(1, 0/0) error()",
            "table.concat({}, 'x', -2^63, 2^63)",
            "tostring(-2^63):rep(1e9)",
        ]
        for text in texts {
            let (outcome, values) = try lua.finish(text)
            let succeeds = text.hasPrefix("return")
            #expect(outcome == (succeeds ? .finished : .failed), "\(text): \(outcome) \(values)")
            #expect(try lua.run("return 1") == ["1"])
        }
    }

    @Test func `while a library is loaded it sees what is declared for that only`() throws {
        let lua = try ScriptHarness()
        lua.runtime?.isLoading = true
        #expect(try lua.run("return host.sum(1, 2), guest == host") == ["3", "true"])
        #expect(try lua.run("return ('x'):upper()") == ["X"])
        for name in ["_G", "pairs", "string", "pcall", "error", "cjson", "x"] {
            #expect(
                try lua.finish("return \(name)").1
                    == [
                        "user_script:1: Script attempted to access nonexistent global variable "
                            + "'\(name)'"
                    ])
        }
        #expect(
            try lua.finish("return host.echo").1
                == [
                    "user_script:1: Script attempted to access nonexistent global variable 'echo'"
                ])
        for text in ["x = 1", "host.x = 1", "host = nil"] {
            #expect(
                try lua.finish(text).1 == ["user_script:1: Attempt to modify a readonly table"])
        }
        lua.runtime?.isLoading = false
        #expect(try lua.run("return type(_G), type(host.echo)") == ["table", "function"])
    }

    @Test func `a function sees the globals of the time when it is called`() throws {
        let lua = try ScriptHarness()
        let runtime = try #require(lua.runtime)
        let script = try runtime.compile(Array("return type(pairs)".utf8), name: "user_script")
        defer { runtime.release(script) }
        for isLoading in [false, true, false] {
            runtime.isLoading = isLoading
            #expect(runtime.begin(script))
            #expect(runtime.resume() == (isLoading ? .failed : .finished))
            runtime.end()
        }
    }
}
