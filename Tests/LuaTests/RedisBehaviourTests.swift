//  What Redis 8.2 answers to these scripts, word for word: recorded with its EVAL.

import Testing

@testable import MartletLua

/// Left out: the order of a table's fields, its border behind a hole, and the sign of NaN, which differ
/// between implementations of Lua.
struct RedisBehaviourTests {
    /// Shows values as text; on one line, so that messages name line 1.
    private static let prologue = #"""
        local function quote(s) return '"' .. (string.gsub(s, '[^%w%p ]', function(c) return string.format('\\%03d', string.byte(c)) end)) .. '"' end
        local function show(v, depth)
          if type(v) == 'string' then return quote(v) end
          if type(v) == 'number' then return string.format('%.17g', v) end
          if type(v) ~= 'table' then return type(v) == 'boolean' and tostring(v) or type(v) end
          if depth > 4 then return '{..}' end
          local parts = {}
          for k, x in pairs(v) do parts[#parts + 1] = show(k, depth + 1) .. '=' .. show(x, depth + 1) end
          table.sort(parts)
          return '{' .. table.concat(parts, ' ') .. '}'
        end
        local function all(ok, ...)
          local parts = {ok and 'ok' or 'error'}
          for i = 1, select('#', ...) do parts[#parts + 1] = show((select(i, ...)), 0) end
          return table.concat(parts, ' ')
        end
        return all(pcall(function()
        """#.split(separator: "\n").joined(separator: " ")

    private func compare(_ script: String, _ expected: String) throws {
        let lua = try ScriptHarness()
        let (outcome, values) = try lua.finish("\(Self.prologue) \(script) end))")
        #expect(outcome == .finished)
        #expect(values.map(Self.normalised) == [Self.normalised(expected)], "\(script)")
    }

    /// LuaJIT forgets the caller of a function in `return f()`, and with it position and name.
    private static func normalised(_ text: String) -> String {
        text.replacing("user_script:1: ", with: "")
            .replacing(/to '[\w?]+'/, with: "to it")
            .replacing(/(number|string) expected, got no value/) { "\($0.1) expected, got nil" }
    }

    @Test func `base functions and strings answer as in Redis`() throws {
        for (script, expected) in Self.base { try compare(script, expected) }
    }

    @Test func `cjson answers as in Redis`() throws {
        for (script, expected) in Self.json { try compare(script, expected) }
    }

    @Test func `struct and cmsgpack answer as in Redis`() throws {
        for (script, expected) in Self.packing { try compare(script, expected) }
    }

    static let base: [(String, String)] = [
        (
            #"return string.find('hello world','o w')"#,
            #"ok 5 7"#
        ),
        (
            #"return string.find('hello world','o',6)"#,
            #"ok 8 8"#
        ),
        (
            #"return string.find('hello','l+')"#,
            #"ok 3 4"#
        ),
        (
            #"return string.find('hello','xyz')"#,
            #"ok nil"#
        ),
        (
            #"return string.find('hello','',10)"#,
            #"ok 6 5"#
        ),
        (
            #"return string.find('hello','',3)"#,
            #"ok 3 2"#
        ),
        (
            #"return string.find('hello','l',-2)"#,
            #"ok 4 4"#
        ),
        (
            #"return string.find('a.b','.',1,true)"#,
            #"ok 2 2"#
        ),
        (
            #"return string.find('a+b','+',1,true)"#,
            #"ok 2 2"#
        ),
        (
            #"return string.find('abc','^b')"#,
            #"ok nil"#
        ),
        (
            #"return string.find('abc','^a')"#,
            #"ok 1 1"#
        ),
        (
            #"return string.find('abc','b$')"#,
            #"ok nil"#
        ),
        (
            #"return string.find('abc','c$')"#,
            #"ok 3 3"#
        ),
        (
            #"return string.find('','')"#,
            #"ok 1 0"#
        ),
        (
            #"return string.find('abc','(b)(c)')"#,
            #"ok 2 3 "b" "c""#
        ),
        (
            #"return string.find('abc','()b()')"#,
            #"ok 2 2 2 3"#
        ),
        (
            #"return string.match('key = value','(%w+)%s*=%s*(%w+)')"#,
            #"ok "key" "value""#
        ),
        (
            #"return string.match('2024-01-02','(%d+)-(%d+)-(%d+)')"#,
            #"ok "2024" "01" "02""#
        ),
        (
            #"return string.match('  trim  ','^%s*(.-)%s*$')"#,
            #"ok "trim""#
        ),
        (
            #"return string.match('THE (quick) fox','%((%a+)%)')"#,
            #"ok "quick""#
        ),
        (
            #"return string.match('THE (quick) fox','%f[%a]%a+',5)"#,
            #"ok "quick""#
        ),
        (
            #"return string.match('f(a(b)c)d','%b()')"#,
            #"ok "(a(b)c)""#
        ),
        (
            #"return string.match('xyxyx','(x)(y)%1%2')"#,
            #"ok "x" "y""#
        ),
        (
            #"return string.match('hello','.-(l+)(.*)')"#,
            #"ok "ll" "o""#
        ),
        (
            #"return string.match('hello','h?h?e*l-o')"#,
            #"ok "hello""#
        ),
        (
            #"return string.match('[[x]]','[]]+')"#,
            #"ok "]]""#
        ),
        (
            #"return string.match('a-b','[a%-b]+')"#,
            #"ok "a-b""#
        ),
        (
            #"return string.match('a]b','[^]]')"#,
            #"ok "a""#
        ),
        (
            #"return string.match('x^y','[x^]+')"#,
            #"ok "x^""#
        ),
        (
            #"return string.match('\0a\0','%z')"#,
            #"ok "\000""#
        ),
        (
            #"return string.match('abc',3)"#,
            #"ok nil"#
        ),
        (
            #"return string.match(123,'%d')"#,
            #"ok "1""#
        ),
        (
            #"return string.gsub('hello','l','L')"#,
            #"ok "heLLo" 2"#
        ),
        (
            #"return string.gsub('hello','','-')"#,
            #"ok "-h-e-l-l-o-" 6"#
        ),
        (
            #"return string.gsub('hello','l*','x')"#,
            #"ok "xhxexxox" 5"#
        ),
        (
            #"return string.gsub('abc','%w','%0%0')"#,
            #"ok "aabbcc" 3"#
        ),
        (
            #"return string.gsub('abc','(%w)(%w)','%2%1')"#,
            #"ok "bac" 1"#
        ),
        (
            #"return string.gsub('abc def','%w+','<%1>')"#,
            #"ok "<abc> <def>" 2"#
        ),
        (
            #"return string.gsub('abc','b',{b='X'})"#,
            #"ok "aXc" 1"#
        ),
        (
            #"return string.gsub('abc','%w',{a=1,b=false})"#,
            #"ok "1bc" 3"#
        ),
        (
            #"return string.gsub('abc','%w',function(c) if c=='b' then return 'Z' end end)"#,
            #"ok "aZc" 3"#
        ),
        (
            #"return string.gsub('abc','(a)(b)',function(a,b) return b..a end)"#,
            #"ok "bac" 1"#
        ),
        (
            #"return string.gsub('abc','%w','x',2)"#,
            #"ok "xxc" 2"#
        ),
        (
            #"return string.gsub('abc','%w','x',0)"#,
            #"ok "abc" 0"#
        ),
        (
            #"return string.gsub('abc','^a','x')"#,
            #"ok "xbc" 1"#
        ),
        (
            #"return string.gsub('aaa','^a','x')"#,
            #"ok "xaa" 1"#
        ),
        (
            #"return string.gsub('a,b,c',',','%%')"#,
            #"ok "a%b%c" 2"#
        ),
        (
            #"return string.gsub('abc','$','!')"#,
            #"ok "abc!" 1"#
        ),
        (
            #"return string.gsub('a b','%s','%%20')"#,
            #"ok "a%20b" 1"#
        ),
        (
            #"return string.gsub('abc','()',"%1")"#,
            #"ok "1a2b3c4" 4"#
        ),
        (
            #"return string.gsub('abc','b','%2')"#,
            #"error "user_script:1: invalid capture index""#
        ),
        (
            #"return string.gsub('abc','b','%')"#,
            #"ok "a\000c" 1"#
        ),
        (
            #"return string.gsub('abc','b','%x')"#,
            #"ok "axc" 1"#
        ),
        (
            #"return string.gsub('abc','b',function() return {} end)"#,
            #"error "user_script:1: invalid replacement value (a table)""#
        ),
        (
            #"return string.gsub('abc','b',true)"#,
            #"error "user_script:1: bad argument #3 to 'gsub' (string/function/table expected)""#
        ),
        (
            #"return string.gsub('abc')"#,
            #"error "user_script:1: bad argument #2 to 'gsub' (string expected, got no value)""#
        ),
        (
            #"return string.gsub('abc','b')"#,
            #"error "user_script:1: bad argument #3 to 'gsub' (string/function/table expected)""#
        ),
        (
            #"return string.gsub(nil,'b','c')"#,
            #"error "user_script:1: bad argument #1 to 'gsub' (string expected, got nil)""#
        ),
        (
            #"return string.gsub('abc','b','c','x')"#,
            #"error "user_script:1: bad argument #4 to 'gsub' (number expected, got string)""#
        ),
        (
            #"return string.gsub('hello world','o','0',1.7)"#,
            #"ok "hell0 world" 1"#
        ),
        (
            #"return string.find('a','(')"#,
            #"error "user_script:1: unfinished capture""#
        ),
        (
            #"return string.find('a','a)')"#,
            #"ok nil"#
        ),
        (
            #"return string.find('a','[a')"#,
            #"error "user_script:1: malformed pattern (missing ']')""#
        ),
        (
            #"return string.find('a','%')"#,
            #"error "user_script:1: malformed pattern (ends with '%')""#
        ),
        (
            #"return string.find('a','a%')"#,
            #"error "user_script:1: malformed pattern (ends with '%')""#
        ),
        (
            #"return string.find('a','%b')"#,
            #"error "user_script:1: unbalanced pattern""#
        ),
        (
            #"return string.find('a','%f')"#,
            #"error "user_script:1: missing '[' after '%f' in pattern""#
        ),
        (
            #"return string.find('a','%1')"#,
            #"error "user_script:1: invalid capture index""#
        ),
        (
            #"return string.find('a','(a')"#,
            #"error "user_script:1: unfinished capture""#
        ),
        (
            #"return string.find('ab','a(%1)')"#,
            #"error "user_script:1: invalid capture index""#
        ),
        (
            #"return string.find('a',string.rep('()',33))"#,
            #"error "user_script:1: too many captures""#
        ),
        (
            #"return string.find({},'a')"#,
            #"error "user_script:1: bad argument #1 to 'find' (string expected, got table)""#
        ),
        (
            #"return string.find('a')"#,
            #"error "user_script:1: bad argument #2 to 'find' (string expected, got no value)""#
        ),
        (
            #"return string.find('a','a','x')"#,
            #"error "user_script:1: bad argument #3 to 'find' (number expected, got string)""#
        ),
        (
            #"local t={} for k,v in string.gmatch('a=1, b=2','(%w+)=(%w+)') do t[#t+1]=k..v end return t"#,
            #"ok {1="a1" 2="b2"}"#
        ),
        (
            #"local t={} for w in string.gmatch('one two','%a+') do t[#t+1]=w end return t"#,
            #"ok {1="one" 2="two"}"#
        ),
        (
            #"local t={} for w in string.gmatch('abc','') do t[#t+1]='x' end return t"#,
            #"ok {1="x" 2="x" 3="x" 4="x"}"#
        ),
        (
            #"local t={} for w in string.gmatch('abc','^a') do t[#t+1]=w end return t"#,
            #"ok {}"#
        ),
        (
            #"local t={} for p in string.gmatch('abc','()') do t[#t+1]=p end return t"#,
            #"ok {1=1 2=2 3=3 4=4}"#
        ),
        (
            #"return string.gmatch()"#,
            #"error "user_script:1: bad argument #1 to 'gmatch' (string expected, got no value)""#
        ),
        (
            #"return string.format('%d %i %u %c %x %X %o %e %E %f %g %G %q %s %%',1,2,3,65,255,255,8,1.5,1.5,1.5,1.5,1e20,'q\n','s')"#,
            #"ok "1 2 3 A ff FF 10 1.500000e+00 1.500000E+00 1.500000 1.5 1E+20 "q\\010" s %""#
        ),
        (
            #"return string.format('%5d|%-5d|%05d|%+d|% d|%#x|%.3d',42,42,42,42,42,42,42)"#,
            #"ok "   42|42   |00042|+42| 42|0x2a|042""#
        ),
        (
            #"return string.format('%5.2f|%-8.3f|%+.1e|%10s|%-10s|%.2s',1.234,1.234,12345.678,'abc','abc','abc')"#,
            #"ok " 1.23|1.234   |+1.2e+04|       abc|abc       |ab""#
        ),
        (
            #"return string.format('%s','a\0b')"#,
            #"ok "a""#
        ),
        (
            #"return string.format('%5s','a\0b')"#,
            #"ok "    a""#
        ),
        (
            #"return string.format('%s',12)"#,
            #"ok "12""#
        ),
        (
            #"return string.format('%s',nil)"#,
            #"error "user_script:1: bad argument #2 to 'format' (string expected, got nil)""#
        ),
        (
            #"return string.format('%s',true)"#,
            #"error "user_script:1: bad argument #2 to 'format' (string expected, got boolean)""#
        ),
        (
            #"return string.format('%d','12')"#,
            #"ok "12""#
        ),
        (
            #"return string.format('%d','x')"#,
            #"error "user_script:1: bad argument #2 to 'format' (number expected, got string)""#
        ),
        (
            #"return string.format('%d',1e15)"#,
            #"ok "1000000000000000""#
        ),
        (
            #"return string.format('%d',-1.9)"#,
            #"ok "-1""#
        ),
        (
            #"return string.format('%d',2^63)"#,
            #"ok "-9223372036854775808""#
        ),
        (
            #"return string.format('%x',-1)"#,
            #"ok "ffffffffffffffff""#
        ),
        (
            #"return string.format('%d')"#,
            #"error "user_script:1: bad argument #2 to 'format' (no value)""#
        ),
        (
            #"return string.format('%')"#,
            #"error "user_script:1: bad argument #2 to 'format' (no value)""#
        ),
        (
            #"return string.format('%y',1)"#,
            #"error "user_script:1: invalid option '%y' to 'format'""#
        ),
        (
            #"return string.format('%123d',1)"#,
            #"error "user_script:1: invalid format (width or precision too long)""#
        ),
        (
            #"return string.format('%.123d',1)"#,
            #"error "user_script:1: invalid format (width or precision too long)""#
        ),
        (
            #"return string.format('%-+ #0-d',1)"#,
            #"error "user_script:1: invalid format (repeated flags)""#
        ),
        (
            #"return string.format('%q','a\0b\r\n"\\')"#,
            #"ok ""a\000b\r\\010\"\\"""#
        ),
        (
            #"return string.format('%99.99f',1/3)"#,
            #"ok "0.333333333333333314829616256247390992939472198486328125000000000000000000000000000000000000000000000""#
        ),
        (
            #"return string.format()"#,
            #"error "user_script:1: bad argument #1 to 'format' (string expected, got no value)""#
        ),
        (
            #"return string.format('%c%c',0,65)"#,
            #"ok "A""#
        ),
        (
            #"return string.format('%.0f %.20g %5.1f',0.5,0.1,-0.05)"#,
            #"ok "0 0.10000000000000000555  -0.1""#
        ),
        (
            #"return string.rep('ab',3),string.rep('x',0),string.rep('x',-1),string.rep('',5)"#,
            #"ok "ababab" "" "" """#
        ),
        (
            #"return string.rep('a','3')"#,
            #"ok "aaa""#
        ),
        (
            #"return string.rep()"#,
            #"error "user_script:1: bad argument #1 to 'rep' (string expected, got no value)""#
        ),
        (
            #"return string.rep('x',{})"#,
            #"error "user_script:1: bad argument #2 to 'rep' (number expected, got table)""#
        ),
        (
            #"return string.byte('abc',1,-1),string.char(72,105),string.len('abc'),string.upper('aBc'),string.lower('AbC'),string.reverse('abc'),string.sub('hello',2,-2)"#,
            #"ok 97 "Hi" 3 "ABC" "abc" "cba" "ell""#
        ),
        (
            #"return ('x'):rep(3),('abc'):upper(),#('abc'),('%d'):format(7)"#,
            #"ok "xxx" "ABC" 3 "7""#
        ),
        (
            #"local t={5,3,8,1} table.sort(t) return t"#,
            #"ok {1=1 2=3 3=5 4=8}"#
        ),
        (
            #"local t={'b','a','c'} table.sort(t,function(a,b) return a>b end) return t"#,
            #"ok {1="c" 2="b" 3="a"}"#
        ),
        (
            #"local t={3,1,2,3,1,2,9,8,7,1,2,3} table.sort(t,function(a,b) return a<b end) return t"#,
            #"ok {10=7 11=8 12=9 1=1 2=1 3=1 4=2 5=2 6=2 7=3 8=3 9=3}"#
        ),
        (
            #"local t={1,'a'} table.sort(t) return t"#,
            #"error "attempt to compare string with number""#
        ),
        (
            #"local t={{},{}} table.sort(t) return t"#,
            #"error "attempt to compare two table values""#
        ),
        (
            #"local t={1,2,3} table.sort(t,function() return true end) return t"#,
            #"ok {1=2 2=3 3=1}"#
        ),
        (
            #"local t={3,2,1,4,5,6,7} table.sort(t,function() return true end) return t"#,
            #"error "user_script:1: invalid order function for sorting""#
        ),
        (
            #"table.sort()"#,
            #"error "user_script:1: bad argument #1 to 'sort' (table expected, got no value)""#
        ),
        (
            #"table.sort({},1)"#,
            #"error "user_script:1: bad argument #2 to 'sort' (function expected, got number)""#
        ),
        (
            #"local t={1,2,3} table.insert(t,4) table.insert(t,1,0) table.insert(t,3,'x') return t"#,
            #"ok {1=0 2=1 3="x" 4=2 5=3 6=4}"#
        ),
        (
            #"local t={} table.insert(t,5,'x') return t"#,
            #"ok {5="x"}"#
        ),
        (
            #"local t={1,2} table.insert(t,2.7,'x') return t"#,
            #"ok {1=1 2="x" 3=2}"#
        ),
        (
            #"table.insert({},1,2,3)"#,
            #"error "user_script:1: wrong number of arguments to 'insert'""#
        ),
        (
            #"table.insert({})"#,
            #"error "user_script:1: wrong number of arguments to 'insert'""#
        ),
        (
            #"table.insert(nil,1)"#,
            #"error "user_script:1: bad argument #1 to 'insert' (table expected, got nil)""#
        ),
        (
            #"table.insert({},'x',1)"#,
            #"error "user_script:1: bad argument #2 to 'insert' (number expected, got string)""#
        ),
        (
            #"local t={1,2,3} return {table.remove(t),table.remove(t,1),table.remove(t,5),t}"#,
            #"ok {1=3 2=1 4={1=2}}"#
        ),
        (
            #"return {table.remove({})}"#,
            #"ok {}"#
        ),
        (
            #"return table.concat({1,2,'x'},', '),table.concat({},'x'),table.concat({1,2,3},'-',2),table.concat({1,2,3},'-',2,2)"#,
            #"ok "1, 2, x" "" "2-3" "2""#
        ),
        (
            #"return table.concat({1,{},3})"#,
            #"error "user_script:1: invalid value (table) at index 2 in table for 'concat'""#
        ),
        (
            #"return table.concat({1,2,3},',',1,5)"#,
            #"error "user_script:1: invalid value (nil) at index 4 in table for 'concat'""#
        ),
        (
            #"return table.getn({1,2}),table.maxn({1,2,[10]=3})"#,
            #"ok 2 10"#
        ),
        (
            #"table.setn({},1)"#,
            #"error "user_script:1: 'setn' is obsolete""#
        ),
        (
            #"local s='' table.foreach({a=1},function(k,v) s=s..k..v end) table.foreachi({7,8},function(i,v) s=s..i..v end) return s"#,
            #"ok "a11728""#
        ),
        (
            #"return unpack({1,2,3}),(select('#',unpack({1,nil,3},1,3)))"#,
            #"ok 1 3"#
        ),
        (
            #"return unpack({},1,1e7)"#,
            #"error "user_script:1: too many results to unpack""#
        ),
        (
            #"return select('#'),select('#',nil,nil),select(2,'a','b','c'),select(-1,'a','b')"#,
            #"ok 0 2 "b" "b""#
        ),
        (
            #"return select(0,'a')"#,
            #"error "user_script:1: bad argument #1 to 'select' (index out of range)""#
        ),
        (
            #"return select(-5,'a')"#,
            #"error "user_script:1: bad argument #1 to 'select' (index out of range)""#
        ),
        (
            #"return tostring(nil),tostring(true),tostring(12),tostring(1.5),tostring(1e15),tostring(1e16),tostring(2^53),tostring(-0.5),tostring(1/0)"#,
            #"ok "nil" "true" "12" "1.5" "1e+15" "1e+16" "9.007199254741e+15" "-0.5" "inf""#
        ),
        (
            #"return tonumber('10'),tonumber(' 10 '),tonumber('0x10'),tonumber('1e2'),tonumber('x'),tonumber('10',2),tonumber('ff',16),tonumber('zz',36),tonumber('8',8),tonumber(''),tonumber('1 2')"#,
            #"ok 10 10 16 100 nil 2 255 1295 nil nil nil"#
        ),
        (
            #"return tonumber()"#,
            #"error "user_script:1: bad argument #1 to 'tonumber' (value expected)""#
        ),
        (
            #"return tonumber('1',1)"#,
            #"error "user_script:1: bad argument #2 to 'tonumber' (base out of range)""#
        ),
        (
            #"return type(),1"#,
            #"error "user_script:1: bad argument #1 to 'type' (value expected)""#
        ),
        (
            #"return type(nil),type(1),type('x'),type({}),type(print or type)"#,
            #"error "user_script:1: Script attempted to access nonexistent global variable 'print'""#
        ),
        (
            #"return assert(false)"#,
            #"error "user_script:1: assertion failed!""#
        ),
        (
            #"return assert(false,'msg')"#,
            #"error "user_script:1: msg""#
        ),
        (
            #"return assert(nil,{1})"#,
            #"error "user_script:1: bad argument #2 to 'assert' (string expected, got table)""#
        ),
        (
            #"return assert(1,2,3)"#,
            #"ok 1 2 3"#
        ),
        (
            #"return assert()"#,
            #"error "user_script:1: bad argument #1 to 'assert' (value expected)""#
        ),
        (
            #"return pcall(error)"#,
            #"ok false nil"#
        ),
        (
            #"return pcall(error,'x',0)"#,
            #"ok false "x""#
        ),
        (
            #"return pcall(error,'x',1)"#,
            #"ok false "x""#
        ),
        (
            #"error('a',0)"#,
            #"error "a""#
        ),
        (
            #"error('a',1)"#,
            #"error "user_script:1: a""#
        ),
        (
            #"error()"#,
            #"error nil"#
        ),
        (
            #"error(nil)"#,
            #"error nil"#
        ),
        (
            #"return xpcall(function() return 1,2 end,function(e) return 'h'..e end)"#,
            #"ok true 1 2"#
        ),
        (
            #"return xpcall(function() error('x',0) end,function(e) return 'h:'..e end)"#,
            #"ok false "h:x""#
        ),
        (
            #"return xpcall(function() error('x',0) end,function(e) error('y') end)"#,
            #"ok false "error in error handling""#
        ),
        (
            #"return rawequal({},{}),rawequal(1,1),rawget({a=1},'a')"#,
            #"ok false true 1"#
        ),
        (
            #"return rawset({},1,2)"#,
            #"ok {1=2}"#
        ),
        (
            #"return next({}),next({5})"#,
            #"ok nil 1 5"#
        ),
        (
            #"return next({},'x')"#,
            #"error "invalid key to 'next'""#
        ),
        (
            #"return pairs(nil)"#,
            #"error "user_script:1: bad argument #1 to 'pairs' (table expected, got nil)""#
        ),
        (
            #"return getmetatable('').__index==string,getmetatable({}),getmetatable(string)"#,
            #"ok true nil nil"#
        ),
        (
            #"return getmetatable(setmetatable({},{__metatable='locked'}))"#,
            #"ok "locked""#
        ),
        (
            #"return setmetatable(setmetatable({},{__metatable=1}),{})"#,
            #"error "user_script:1: cannot change a protected metatable""#
        ),
        (
            #"return setmetatable({},1)"#,
            #"error "user_script:1: bad argument #2 to 'setmetatable' (nil or table expected)""#
        ),
        (
            #"return setmetatable(1,{})"#,
            #"error "user_script:1: bad argument #1 to 'setmetatable' (table expected, got number)""#
        ),
        (
            #"return loadstring('return 1+1')(),loadstring('x x')"#,
            #"ok 2 nil "[string "x x"]:1: '=' expected near 'x'""#
        ),
        (
            #"return loadstring('return 1','=name')()"#,
            #"ok 1"#
        ),
        (
            #"return loadstring('error("e")','@file')()"#,
            #"error "file:1: e""#
        ),
        (
            #"return loadstring()"#,
            #"error "user_script:1: bad argument #1 to 'loadstring' (string expected, got no value)""#
        ),
        (
            #"return load(function() return nil end)"#,
            #"ok function"#
        ),
        (
            #"return load('x')"#,
            #"error "user_script:1: bad argument #1 to 'load' (function expected, got string)""#
        ),
        (
            #"local n=0 return load(function() n=n+1 return ({'return ','4','2'})[n] end)()"#,
            #"ok 42"#
        ),
        (
            #"return load(function() return 1 end and function() return {} end)"#,
            #"ok nil "user_script:1: reader function must return a string""#
        ),
        (
            #"return collectgarbage('step')~=nil,collectgarbage('bogus')"#,
            #"error "user_script:1: bad argument #1 to 'collectgarbage' (invalid option 'bogus')""#
        ),
        (
            #"return math.abs(-1),math.ceil(1.2),math.floor(-1.2),math.max(1,3,2),math.min(3,1),math.fmod(-7,3),math.mod(7,3),math.sqrt(16),math.pow(2,10),math.log(8),math.log10(100),math.exp(0),math.frexp(8),math.ldexp(1,3),math.modf(3.7)"#,
            #"ok 1 2 -2 3 1 -1 1 4 1024 2.0794415416798357 2 1 0.5 8 3 0.70000000000000018"#
        ),
        (
            #"return math.log(8,2)"#,
            #"ok 2.0794415416798357"#
        ),
        (
            #"return math.max()"#,
            #"error "user_script:1: bad argument #1 to 'max' (number expected, got no value)""#
        ),
        (
            #"return math.random(0)"#,
            #"error "user_script:1: bad argument #1 to 'random' (interval is empty)""#
        ),
        (
            #"return math.random(2,1)"#,
            #"error "user_script:1: bad argument #2 to 'random' (interval is empty)""#
        ),
        (
            #"return math.random(1,2,3)"#,
            #"error "user_script:1: wrong number of arguments""#
        ),
        (
            #"math.randomseed(42) local t={} for i=1,10 do t[i]=math.random(1,1000) end return t"#,
            #"ok {10=835 1=745 2=343 3=112 4=423 5=82 6=857 7=499 8=479 9=691}"#
        ),
        (
            #"math.randomseed(-1) return math.random()"#,
            #"ok 0.3000257272739083"#
        ),
        (
            #"return math.huge,-math.huge,math.pi"#,
            #"ok inf -inf 3.1415926535897931"#
        ),
        (
            #"local co=coroutine.create(function(a) local b=coroutine.yield(a+1) error('boom',0) end) return {coroutine.resume(co,1)},{coroutine.resume(co,2)},{coroutine.resume(co)},coroutine.status(co)"#,
            #"ok {1=true 2=2} {1=false 2="boom"} {1=false 2="cannot resume dead coroutine"} "dead""#
        ),
        (
            #"return coroutine.running()"#,
            #"ok nil"#
        ),
        (
            #"return coroutine.wrap(function(...) return select('#',...) end)(1,nil)"#,
            #"ok 2"#
        ),
        (
            #"local f=coroutine.wrap(function() return 1 end) f() f()"#,
            #"error "user_script:1: cannot resume dead coroutine""#
        ),
        (
            #"return coroutine.resume(1)"#,
            #"error "user_script:1: bad argument #1 to 'resume' (coroutine expected)""#
        ),
        (
            #"return coroutine.status(1)"#,
            #"error "user_script:1: bad argument #1 to 'status' (coroutine expected)""#
        ),
        (
            #"return bit.band(0xff,0x0f),bit.bor(1,2),bit.bxor(3,1),bit.bnot(0),bit.lshift(1,31),bit.rshift(-1,28),bit.arshift(-256,4),bit.rol(0x12345678,8),bit.ror(0x12345678,8),bit.bswap(0x12345678),bit.tobit(2^31),bit.tohex(255),bit.tohex(255,4),bit.tohex(255,-4)"#,
            #"ok 15 3 2 -1 -2147483648 15 -16 878082066 2014458966 2018915346 -2147483648 "000000ff" "00ff" "00FF""#
        ),
        (
            #"return bit.tobit(2^53),bit.tobit(-2^63),bit.tobit(1e30),bit.band(2^32+5)"#,
            #"ok 0 0 966823194 5"#
        ),
        (
            #"return bit.band()"#,
            #"error "user_script:1: bad argument #1 to 'band' (number expected, got no value)""#
        ),
        (
            #"return bit.band('x')"#,
            #"error "user_script:1: bad argument #1 to 'band' (number expected, got string)""#
        ),
        (
            #"x=1"#,
            #"error "user_script:1: Attempt to modify a readonly table""#
        ),
        (
            #"return x"#,
            #"error "user_script:1: Script attempted to access nonexistent global variable 'x'""#
        ),
        (
            #"redis=1"#,
            #"error "user_script:1: Attempt to modify a readonly table""#
        ),
        (
            #"KEYS=nil"#,
            #"error "user_script:1: Attempt to modify a readonly table""#
        ),
        (
            #"_G.x=1"#,
            #"error "user_script:1: Attempt to modify a readonly table""#
        ),
        (
            #"string.x=1"#,
            #"error "user_script:1: Attempt to modify a readonly table""#
        ),
        (
            #"string.len=1"#,
            #"error "user_script:1: Attempt to modify a readonly table""#
        ),
        (
            #"_G.string=1"#,
            #"error "user_script:1: Attempt to modify a readonly table""#
        ),
        (
            #"rawset(_G,'x',1)"#,
            #"error "Attempt to modify a readonly table""#
        ),
        (
            #"rawset(string,'x',1)"#,
            #"error "Attempt to modify a readonly table""#
        ),
        (
            #"setmetatable(_G,nil)"#,
            #"error "Attempt to modify a readonly table""#
        ),
        (
            #"setmetatable(string,{})"#,
            #"error "Attempt to modify a readonly table""#
        ),
        (
            #"table.insert(string,1)"#,
            #"error "Attempt to modify a readonly table""#
        ),
        (
            #"getmetatable('').__index=nil"#,
            #"error "user_script:1: Attempt to modify a readonly table""#
        ),
        (
            #"return rawget(_G,'nosuch')"#,
            #"ok nil"#
        ),
        (
            #"return rawget(string,'len')==string.len,rawget(_G,'string')==string"#,
            #"ok true true"#
        ),
        (
            #"local n=0 for k in pairs(string) do n=n+1 end return n"#,
            #"ok 15"#
        ),
        (
            #"local n=0 for k in pairs(math) do n=n+1 end return n"#,
            #"ok 31"#
        ),
        (
            #"local n=0 for k in pairs(table) do n=n+1 end return n"#,
            #"ok 9"#
        ),
        (
            #"return next(bit)~=nil,_G==_G._G,_VERSION"#,
            #"ok true true "Lua 5.1""#
        ),
        (
            #"local t=nil return t.x"#,
            #"error "user_script:1: attempt to index local 't' (a nil value)""#
        ),
        (
            #"local t={} return t.x.y"#,
            #"error "user_script:1: attempt to index field 'x' (a nil value)""#
        ),
        (
            #"return nosuch()"#,
            #"error "user_script:1: Script attempted to access nonexistent global variable 'nosuch'""#
        ),
        (
            #"return ('x').y.z"#,
            #"error "user_script:1: attempt to index field 'y' (a nil value)""#
        ),
        (
            #"return #nil"#,
            #"error "user_script:1: attempt to get length of a nil value""#
        ),
        (
            #"return 1+{}"#,
            #"error "user_script:1: attempt to perform arithmetic on a table value""#
        ),
        (
            #"return {}..'x'"#,
            #"error "user_script:1: attempt to concatenate a table value""#
        ),
        (
            #"return 1<'x'"#,
            #"error "user_script:1: attempt to compare number with string""#
        ),
        (
            #"return {}<{}"#,
            #"error "user_script:1: attempt to compare two table values""#
        ),
        (
            #"return -{}"#,
            #"error "user_script:1: attempt to perform arithmetic on a table value""#
        ),
        (
            #"local function f() return f()+1 end return f()"#,
            #"error "user_script:1: stack overflow""#
        ),
        (
            #"return string.nosuch('x')"#,
            #"error "user_script:1: attempt to call field 'nosuch' (a nil value)""#
        ),
        (
            #"local t=setmetatable({},{__index=function(t,k) return k..'!' end,__call=function(self,a) return a end,__tostring=function() return 'T' end,__len=function() return 7 end,__eq=function() return true end,__lt=function() return true end,__le=function() return false end,__concat=function(a,b) return 'C' end,__unm=function() return 'U' end,__add=function() return 'A' end}) return t.x,t(5),tostring(t),#t,t<t,t<=t,t..1,1 ..t,-t,t+1"#,
            #"ok "x!" 5 "T" 0 true false "C" "C" "U" "A""#
        ),
        (
            #"return tostring(setmetatable({},{__tostring=function() return 1 end}))"#,
            #"ok 1"#
        ),
    ]
    static let json: [(String, String)] = [
        (
            #"return cjson.encode({1,2,3})"#,
            #"ok "[1,2,3]""#
        ),
        (
            #"return cjson.encode({})"#,
            #"ok "{}""#
        ),
        (
            #"return cjson.encode({a=1})"#,
            #"ok "{"a":1}""#
        ),
        (
            #"return cjson.encode({[1]=1,[2]=2,[5]=5})"#,
            #"ok "[1,2,null,null,5]""#
        ),
        (
            #"return {pcall(cjson.encode,{[1]=1,[20]=5})}"#,
            #"ok {1=false 2="Cannot serialise table: excessively sparse array"}"#
        ),
        (
            #"return cjson.encode({[3]=1})"#,
            #"ok "[null,null,1]""#
        ),
        (
            #"return cjson.encode({[1.5]=1})"#,
            #"ok "{"1.5":1}""#
        ),
        (
            #"return {pcall(cjson.encode,{[true]=1})}"#,
            #"ok {1=false 2="Cannot serialise boolean: table key must be a number or string"}"#
        ),
        (
            #"return {pcall(cjson.encode,function() end)}"#,
            #"ok {1=false 2="Cannot serialise function: type not supported"}"#
        ),
        (
            #"return {pcall(cjson.encode,{function() end})}"#,
            #"ok {1=false 2="Cannot serialise function: type not supported"}"#
        ),
        (
            #"return {pcall(cjson.encode,0/0)}"#,
            #"ok {1=false 2="Cannot serialise number: must not be NaN or Inf"}"#
        ),
        (
            #"return {pcall(cjson.encode,1/0)}"#,
            #"ok {1=false 2="Cannot serialise number: must not be NaN or Inf"}"#
        ),
        (
            #"return cjson.encode(0.1)"#,
            #"ok "0.1""#
        ),
        (
            #"return cjson.encode(1/3)"#,
            #"ok "0.33333333333333""#
        ),
        (
            #"return cjson.encode(1e100)"#,
            #"ok "1e+100""#
        ),
        (
            #"return cjson.encode(123456789012345)"#,
            #"ok "1.2345678901234e+14""#
        ),
        (
            #"return cjson.encode(12345678901234567890)"#,
            #"ok "1.2345678901235e+19""#
        ),
        (
            #"return cjson.encode(-0)"#,
            #"ok "-0""#
        ),
        (
            #"return cjson.encode('a"b\\/\0\1\127\n\t\r\b\f\200')"#,
            #"ok ""a\"b\\\/\u0000\u0001\u007f\n\t\r\b\f\200"""#
        ),
        (
            #"return cjson.encode(nil)"#,
            #"ok "null""#
        ),
        (
            #"return cjson.encode(cjson.null)"#,
            #"ok "null""#
        ),
        (
            #"return cjson.encode(true)"#,
            #"ok "true""#
        ),
        (
            #"return {pcall(cjson.encode)}"#,
            #"ok {1=false 2="bad argument #1 to '?' (expected 1 argument)"}"#
        ),
        (
            #"return {pcall(cjson.encode,1,2)}"#,
            #"ok {1=false 2="bad argument #1 to '?' (expected 1 argument)"}"#
        ),
        (
            #"local t={} for i=1,1000 do t={t} end return #cjson.encode(t)"#,
            #"error "user_script:1: Cannot serialise, excessive nesting (1001)""#
        ),
        (
            #"local t={} for i=1,1001 do t={t} end return {pcall(cjson.encode,t)}"#,
            #"ok {1=false 2="Cannot serialise, excessive nesting (1001)"}"#
        ),
        (
            #"return cjson.decode('[1,2,3]')"#,
            #"ok {1=1 2=2 3=3}"#
        ),
        (
            #"return cjson.encode(cjson.decode('[]'))"#,
            #"ok "{}""#
        ),
        (
            #"return {pcall(cjson.decode,'')}"#,
            #"ok {1=false 2="Expected value but found T_END at character 1"}"#
        ),
        (
            #"return {pcall(cjson.decode,'{')}"#,
            #"ok {1=false 2="Expected object key string but found T_END at character 2"}"#
        ),
        (
            #"return {pcall(cjson.decode,'[1,]')}"#,
            #"ok {1=false 2="Expected value but found T_ARR_END at character 4"}"#
        ),
        (
            #"return {pcall(cjson.decode,'{"a":1,}')}"#,
            #"ok {1=false 2="Expected object key string but found T_OBJ_END at character 8"}"#
        ),
        (
            #"return {pcall(cjson.decode,'{a:1}')}"#,
            #"ok {1=false 2="Expected object key string but found invalid token at character 2"}"#
        ),
        (
            #"return {pcall(cjson.decode,'[1 2]')}"#,
            #"ok {1=false 2="Expected comma or array end but found T_NUMBER at character 4"}"#
        ),
        (
            #"return {pcall(cjson.decode,'"abc')}"#,
            #"ok {1=false 2="Expected value but found unexpected end of string at character 5"}"#
        ),
        (
            #"return {pcall(cjson.decode,'"\\x"')}"#,
            #"ok {1=false 2="Expected value but found invalid escape code at character 2"}"#
        ),
        (
            #"return {pcall(cjson.decode,'"\\u12"')}"#,
            #"ok {1=false 2="Expected value but found invalid unicode escape code at character 2"}"#
        ),
        (
            #"return {pcall(cjson.decode,'1 2')}"#,
            #"ok {1=false 2="Expected the end but found T_NUMBER at character 3"}"#
        ),
        (
            #"return {pcall(cjson.decode,'tru')}"#,
            #"ok {1=false 2="Expected value but found invalid token at character 1"}"#
        ),
        (
            #"return {pcall(cjson.decode,'nul')}"#,
            #"ok {1=false 2="Expected value but found invalid token at character 1"}"#
        ),
        (
            #"return {pcall(cjson.decode,'-')}"#,
            #"ok {1=false 2="Expected value but found invalid number at character 1"}"#
        ),
        (
            #"return {pcall(cjson.decode,'01')}"#,
            #"ok {1=true 2=1}"#
        ),
        (
            #"return {pcall(cjson.decode,'0x10')}"#,
            #"ok {1=true 2=16}"#
        ),
        (
            #"return {pcall(cjson.decode,'+1')}"#,
            #"ok {1=true 2=1}"#
        ),
        (
            #"return {pcall(cjson.decode,'.5')}"#,
            #"ok {1=false 2="Expected value but found invalid token at character 1"}"#
        ),
        (
            #"return {pcall(cjson.decode,'1.')}"#,
            #"ok {1=true 2=1}"#
        ),
        (
            #"return {pcall(cjson.decode,'1e')}"#,
            #"ok {1=false 2="Expected the end but found invalid token at character 2"}"#
        ),
        (
            #"return {pcall(cjson.decode,'infinity')}"#,
            #"ok {1=true 2=inf}"#
        ),
        (
            #"return tostring(cjson.decode('NaN'))"#,
            #"ok "nan""#
        ),
        (
            #"return tostring(cjson.decode('-inf'))"#,
            #"ok "-inf""#
        ),
        (
            #"return {pcall(cjson.decode,'"\\ud800"')}"#,
            #"ok {1=false 2="Expected value but found invalid unicode escape code at character 2"}"#
        ),
        (
            #"return {pcall(cjson.decode,'"\\udc00"')}"#,
            #"ok {1=false 2="Expected value but found invalid unicode escape code at character 2"}"#
        ),
        (
            #"return cjson.decode('"\\ud83d\\ude00\\u00e9\\u20ac\\u0041\\/\\b"')"#,
            #"ok "\240\159\152\128\195\169\226\130\172A/\008""#
        ),
        (
            #"return {pcall(cjson.decode,'"a\nb"')}"#,
            #"ok {1=true 2="a\010b"}"#
        ),
        (
            #"return {pcall(cjson.decode,'"a\0b"')}"#,
            #"ok {1=false 2="Expected value but found unexpected end of string at character 3"}"#
        ),
        (
            #"return {pcall(cjson.decode, string.rep('[',1001)..string.rep(']',1001))}"#,
            #"ok {1=false 2="Found too many nested data structures (1001) at character 1001"}"#
        ),
        (
            #"return {pcall(cjson.decode, string.rep('{"a":',1001))}"#,
            #"ok {1=false 2="Found too many nested data structures (1001) at character 5001"}"#
        ),
        (
            #"return #cjson.decode(string.rep('[',1000)..string.rep(']',1000))"#,
            #"ok 1"#
        ),
        (
            #"return {pcall(cjson.decode)}"#,
            #"ok {1=false 2="bad argument #1 to '?' (expected 1 argument)"}"#
        ),
        (
            #"return {pcall(cjson.decode,nil)}"#,
            #"ok {1=false 2="bad argument #1 to '?' (string expected, got nil)"}"#
        ),
        (
            #"return cjson.decode(12)"#,
            #"ok 12"#
        ),
        (
            #"return {pcall(cjson.decode,'[1}')}"#,
            #"ok {1=false 2="Expected comma or array end but found T_OBJ_END at character 3"}"#
        ),
        (
            #"return {pcall(cjson.decode,'{"a" 1}')}"#,
            #"ok {1=false 2="Expected colon but found T_NUMBER at character 6"}"#
        ),
        (
            #"return {pcall(cjson.decode,'{1:1}')}"#,
            #"ok {1=false 2="Expected object key string but found T_NUMBER at character 2"}"#
        ),
        (
            #"return {pcall(cjson.decode,'\0[1]')}"#,
            #"ok {1=false 2="JSON parser does not support UTF-16 or UTF-32"}"#
        ),
        (
            #"return {pcall(cjson.decode,'[1]\0')}"#,
            #"ok {1=true 2={1=1}}"#
        ),
        (
            #"return {cjson.encode_max_depth(),cjson.decode_max_depth(),cjson.encode_number_precision(),tostring(cjson.encode_keep_buffer()),tostring(cjson.encode_invalid_numbers()),tostring(cjson.decode_invalid_numbers())}"#,
            #"ok {1=1000 2=1000 3=14 4="true" 5="false" 6="true"}"#
        ),
        (
            #"return {cjson.encode_sparse_array()}"#,
            #"ok {1=false 2=2 3=10}"#
        ),
        (
            #"return {pcall(cjson.encode_max_depth, 0)}"#,
            #"ok {1=false 2="bad argument #1 to '?' (expected integer between 1 and 2147483647)"}"#
        ),
        (
            #"return {pcall(cjson.encode_number_precision, 15)}"#,
            #"ok {1=false 2="bad argument #1 to '?' (expected integer between 1 and 14)"}"#
        ),
        (
            #"return {pcall(cjson.encode_number_precision, 17)}"#,
            #"ok {1=false 2="bad argument #1 to '?' (expected integer between 1 and 14)"}"#
        ),
        (
            #"cjson.encode_number_precision(3) return cjson.encode(3.14159)"#,
            #"ok "3.14""#
        ),
        (
            #"return cjson.encode(3.14159)"#,
            #"ok "3.14159""#
        ),
        (
            #"cjson.encode_number_precision(14) return cjson.encode(3.14159)"#,
            #"ok "3.14159""#
        ),
        (
            #"cjson.encode_sparse_array(false,2,10)"#,
            #"ok"#
        ),
        (
            #"return {pcall(cjson.encode_sparse_array,5)}"#,
            #"ok {1=false 2="bad argument #1 to '?' (invalid option '5')"}"#
        ),
        (
            #"cjson.encode_invalid_numbers(true) return cjson.encode({0/0,1/0,-1/0})"#,
            #"ok "[nan,inf,-inf]""#
        ),
        (
            #"cjson.encode_invalid_numbers('null') return cjson.encode({0/0,1/0,-1/0})"#,
            #"ok "[null,null,null]""#
        ),
        (
            #"cjson.encode_invalid_numbers(false)"#,
            #"ok"#
        ),
        (
            #"return {pcall(cjson.encode_invalid_numbers,'x')}"#,
            #"ok {1=false 2="bad argument #1 to '?' (invalid option 'x')"}"#
        ),
        (
            #"return {pcall(cjson.decode_invalid_numbers,'null')}"#,
            #"ok {1=false 2="bad argument #1 to '?' (invalid option 'null')"}"#
        ),
        (
            #"return {cjson._NAME,cjson._VERSION}"#,
            #"ok {1="cjson" 2="2.1.0"}"#
        ),
        (
            #"return {pcall(cjson.decode_array_with_array_mt)}"#,
            #"ok {1=false 2="attempt to call a nil value"}"#
        ),
        (
            #"return {cmsgpack._NAME,cmsgpack._VERSION,cmsgpack._COPYRIGHT,cmsgpack._DESCRIPTION}"#,
            #"ok {1="cmsgpack" 2="lua-cmsgpack 0.4.0" 3="Copyright (C) 2012, Salvatore Sanfilippo" 4="MessagePack C implementation for Lua"}"#
        ),
    ]
    static let packing: [(String, String)] = [
        (
            #"return struct.pack('>I2I4','1',2)"#,
            #"ok "\000\001\000\000\000\002""#
        ),
        (
            #"return struct.size('>I2!4I4bBhHlLTfdxc5')"#,
            #"ok 58"#
        ),
        (
            #"return {pcall(struct.size,'s')}"#,
            #"ok {1=false 2="bad argument #1 to '?' (option 's' has no fixed size)"}"#
        ),
        (
            #"return {pcall(struct.size,'c0')}"#,
            #"ok {1=false 2="bad argument #1 to '?' (option 'c0' has no fixed size)"}"#
        ),
        (
            #"return {pcall(struct.pack,'i33',1)}"#,
            #"ok {1=false 2="integral size 33 is larger than limit of 32"}"#
        ),
        (
            #"return {pcall(struct.pack,'i99999999999',1)}"#,
            #"ok {1=false 2="integral size overflow"}"#
        ),
        (
            #"return {pcall(struct.pack,'q',1)}"#,
            #"ok {1=false 2="bad argument #1 to '?' (invalid format option 'q')"}"#
        ),
        (
            #"return {pcall(struct.pack,'!3i',1)}"#,
            #"ok {1=false 2="alignment 3 is not a power of 2"}"#
        ),
        (
            #"return {pcall(struct.pack,'i')}"#,
            #"ok {1=false 2="bad argument #2 to '?' (number expected, got nil)"}"#
        ),
        (
            #"return {pcall(struct.pack,'c5','abc')}"#,
            #"ok {1=false 2="bad argument #3 to '?' (string too short)"}"#
        ),
        (
            #"return struct.pack('c0','abc')"#,
            #"ok "abc""#
        ),
        (
            #"return struct.pack('s','abc')"#,
            #"ok "abc\000""#
        ),
        (
            #"return struct.pack('i16',-2)"#,
            #"ok "\254\255\255\255\255\255\255\255\000\000\000\000\000\000\000\000""#
        ),
        (
            #"return struct.pack('>i16',-2)"#,
            #"ok "\000\000\000\000\000\000\000\000\255\255\255\255\255\255\255\254""#
        ),
        (
            #"return struct.pack('i',-2^63)"#,
            #"ok "\000\000\000\000""#
        ),
        (
            #"return struct.pack('L',2^64)"#,
            #"ok "\000\000\000\000\000\000\000\000""#
        ),
        (
            #"return struct.pack('l',2^63)"#,
            #"ok "\000\000\000\000\000\000\000\128""#
        ),
        (
            #"return struct.pack('L',1e30)"#,
            #"ok "\000\000\000\000\000\000\000\000""#
        ),
        (
            #"return struct.pack('l',-1e30)"#,
            #"ok "\000\000\000\000\000\000\000\128""#
        ),
        (
            #"return struct.pack('l',0/0)"#,
            #"ok "\000\000\000\000\000\000\000\128""#
        ),
        (
            #"return {struct.unpack('bBhHi4I4','\255\255\255\255\255\255\255\255\255\255\255\255\255\255')}"#,
            #"ok {1=-1 2=255 3=-1 4=65535 5=-1 6=4294967295 7=15}"#
        ),
        (
            #"return {struct.unpack('<i3>i3','\1\0\0\0\0\1')}"#,
            #"ok {1=1 2=1 3=7}"#
        ),
        (
            #"return {struct.unpack('i16',string.rep('\255',16))}"#,
            #"ok {1=-1 2=17}"#
        ),
        (
            #"return {struct.unpack('Bc0','\3abcdef')}"#,
            #"ok {1="abc" 2=5}"#
        ),
        (
            #"return {pcall(struct.unpack,'c0','\3abcdef')}"#,
            #"ok {1=false 2="format 'c0' needs a previous size"}"#
        ),
        (
            #"return {pcall(struct.unpack,'i4','abc')}"#,
            #"ok {1=false 2="bad argument #2 to '?' (data string too short)"}"#
        ),
        (
            #"return {pcall(struct.unpack,'s','abc')}"#,
            #"ok {1=false 2="unfinished string in data"}"#
        ),
        (
            #"return {struct.unpack('ss','abc\0de\0f')}"#,
            #"ok {1="abc" 2="de" 3=8}"#
        ),
        (
            #"return {pcall(struct.unpack,'i4','abcd',0)}"#,
            #"ok {1=false 2="bad argument #3 to '?' (offset must be 1 or greater)"}"#
        ),
        (
            #"return {pcall(struct.unpack,'i4','abcd',-2^63)}"#,
            #"ok {1=false 2="bad argument #2 to '?' (data string too short)"}"#
        ),
        (
            #"return {pcall(struct.unpack,'b','abcd',2^63)}"#,
            #"ok {1=false 2="bad argument #2 to '?' (data string too short)"}"#
        ),
        (
            #"return {struct.unpack('b','abcd',4)}"#,
            #"ok {1=100 2=5}"#
        ),
        (
            #"return {pcall(struct.unpack,'b','abcd',5)}"#,
            #"ok {1=false 2="bad argument #2 to '?' (data string too short)"}"#
        ),
        (
            #"return {pcall(struct.unpack,'!8bd',string.rep('\0',16))}"#,
            #"ok {1=true 2=0 3=0 4=17}"#
        ),
        (
            #"return {struct.unpack('f',struct.pack('f',1.5))}"#,
            #"ok {1=1.5 2=5}"#
        ),
        (
            #"return {pcall(struct.unpack,'c2147483647','a')}"#,
            #"ok {1=false 2="bad argument #2 to '?' (data string too short)"}"#
        ),
        (
            #"return {pcall(struct.unpack)}"#,
            #"ok {1=false 2="bad argument #1 to '?' (string expected, got no value)"}"#
        ),
        (
            #"return {pcall(struct.unpack,'bc0','\255abc')}"#,
            #"ok {1=false 2="bad argument #2 to '?' (data string too short)"}"#
        ),
        (
            #"return {pcall(struct.unpack,'x','')}"#,
            #"ok {1=false 2="bad argument #2 to '?' (data string too short)"}"#
        ),
        (
            #"return {pcall(struct.size)}"#,
            #"ok {1=false 2="bad argument #1 to '?' (string expected, got no value)"}"#
        ),
        (
            #"return cmsgpack.pack(1,2,'a',true,nil,1.5,0.1,-1,-33,-129,-32769,-2^31-1,128,256,65536,2^32,2^53,2^63,-2^63)"#,
            #"ok "\001\002\161a\195\192\202?\192\000\000\203?\185\153\153\153\153\153\154\255\208\223\209\255\127\210\255\255\127\255\211\255\255\255\255\127\255\255\255\204\128\205\001\000\206\000\001\000\000\207\000\000\000\001\000\000\000\000\207\000 \000\000\000\000\000\000\202_\000\000\000\211\128\000\000\000\000\000\000\000""#
        ),
        (
            #"return {pcall(cmsgpack.pack)}"#,
            #"ok {1=false 2="bad argument #0 to '?' (MessagePack pack needs input.)"}"#
        ),
        (
            #"return cmsgpack.pack({})"#,
            #"ok "\144""#
        ),
        (
            #"return cmsgpack.pack({1,2,3})"#,
            #"ok "\147\001\002\003""#
        ),
        (
            #"return cmsgpack.pack({a=1})"#,
            #"ok "\129\161a\001""#
        ),
        (
            #"return cmsgpack.pack({[1.5]=1})"#,
            #"ok "\129\202?\192\000\000\001""#
        ),
        (
            #"return cmsgpack.pack(function() end)"#,
            #"ok "\192""#
        ),
        (
            #"return cmsgpack.pack(string.rep('x',40))"#,
            #"ok "\217(xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx""#
        ),
        (
            #"local t={} for i=1,20 do t={t} end return cmsgpack.pack(t)"#,
            #"ok "\145\145\145\145\145\145\145\145\145\145\145\145\145\145\145\145\192""#
        ),
        (
            #"return {cmsgpack.unpack(cmsgpack.pack(1,'x',{1,{2}},false))}"#,
            #"ok {1=1 2="x" 3={1=1 2={1=2}} 4=false}"#
        ),
        (
            #"return {pcall(cmsgpack.unpack,'\220\255\255')}"#,
            #"ok {1=false 2="Missing bytes in input."}"#
        ),
        (
            #"return {pcall(cmsgpack.unpack,'\193')}"#,
            #"ok {1=false 2="Bad data format in input."}"#
        ),
        (
            #"return {pcall(cmsgpack.unpack,'\221\255\255\255\255')}"#,
            #"ok {1=false 2="Missing bytes in input."}"#
        ),
        (
            #"return {pcall(cmsgpack.unpack,'')}"#,
            #"ok {1=true}"#
        ),
        (
            #"return {cmsgpack.unpack_one('\1\2\3')}"#,
            #"ok {1=1 2=1}"#
        ),
        (
            #"return {cmsgpack.unpack_one('\1\2\3',2)}"#,
            #"ok {1=-1 2=3}"#
        ),
        (
            #"return {cmsgpack.unpack_limit('\1\2\3',2)}"#,
            #"ok {1=2 2=1 3=2}"#
        ),
        (
            #"return {cmsgpack.unpack_limit('\1\2\3',2,1)}"#,
            #"ok {1=-1 2=2 3=3}"#
        ),
        (
            #"return {pcall(cmsgpack.unpack_limit,'\1\2\3',-1)}"#,
            #"ok {1=false 2="Invalid request to unpack with offset of 0 and limit of 3."}"#
        ),
        (
            #"return {pcall(cmsgpack.unpack_limit,'\1\2\3',1,-1)}"#,
            #"ok {1=false 2="Invalid request to unpack with offset of -1 and limit of 3."}"#
        ),
        (
            #"return {pcall(cmsgpack.unpack_limit,'\1\2\3',1,9)}"#,
            #"ok {1=false 2="Start offset 9 greater than input length 3."}"#
        ),
        (
            #"return {pcall(cmsgpack.unpack_one,'\1\2\3',3)}"#,
            #"ok {1=true 2=-1}"#
        ),
        (
            #"return {pcall(cmsgpack.unpack,'\129\192\1')}"#,
            #"ok {1=false 2="table index is nil"}"#
        ),
        (
            #"return {pcall(cmsgpack.unpack)}"#,
            #"ok {1=false 2="bad argument #1 to '?' (string expected, got no value)"}"#
        ),
        (
            #"return {cmsgpack.unpack('\203\63\240\0\0\0\0\0\0\202\63\128\0\0\207\255\255\255\255\255\255\255\255\211\128\0\0\0\0\0\0\0\196\1a')}"#,
            #"error "user_script:1: Bad data format in input.""#
        ),
    ]
}
