//  The Lua text that builds the sandbox: what scripts may name, frozen.
//
//  It runs once in each runtime, before any script, and sees the whole library; what it returns is
//  all that scripts see. What calls back into Lua is written here in Lua, so that it can be
//  interrupted and ended like any other code of a script: a yield cannot leave a C function that
//  has called a function.

/// Text of the prelude; its arguments are the natives and the description of host functions.
enum Prelude {
    static let text: StaticString = #"""
        local native, descriptions, aliases = ...
        local raw = {
            getmetatable = getmetatable, setmetatable = setmetatable, rawget = rawget,
            rawset = rawset, next = next, pairs = pairs, resume = coroutine.resume,
            yield = coroutine.yield, running = coroutine.running,
        }
        local error, pcall, type, select = error, pcall, type, select
        local tostring, tonumber = tostring, tonumber
        local concat = table.concat

        -- An error with the position of the script's line, however deep in the prelude.
        local function fail(message)
            error(native.position() .. message, 0)
        end

        local function typename(...)
            if select('#', ...) == 0 then return 'no value' end
            return type((...))
        end

        -- MARK: Frozen tables

        -- A frozen table is an empty proxy: Lua 5.1 tells a metatable only of new keys.
        local readonly = 'Attempt to modify a readonly table'
        local contents_of = {}

        local function refuse()
            fail(readonly)
        end

        local function freeze(contents)
            local metatable = {
                __index = contents, __newindex = refuse, __metatable = false,
            }
            local proxy = raw.setmetatable({}, metatable)
            contents_of[proxy] = contents
            return proxy, metatable
        end

        -- MARK: Base functions

        local env = {}
        for _, name in raw.pairs {
            '_VERSION', 'error', 'ipairs', 'rawequal', 'select', 'tonumber', 'tostring', 'type',
            'unpack',
        } do
            env[name] = _G[name]
        end

        function env.assert(...)
            local ok, message = ...
            if ok then return ... end
            local count = select('#', ...)
            if count == 0 then fail("bad argument #1 to 'assert' (value expected)") end
            if message == nil then message = 'assertion failed!' end
            if type(message) ~= 'string' and type(message) ~= 'number' then
                fail("bad argument #2 to 'assert' (string expected, got " .. type(message) .. ')')
            end
            fail(message)
        end

        local string_metatable
        function env.getmetatable(...)
            local object = ...
            if type(object) == 'string' then return string_metatable end
            return raw.getmetatable(...) or nil
        end

        function env.setmetatable(...)
            if contents_of[(...)] then error(readonly, 0) end
            return raw.setmetatable(...)
        end

        function env.rawget(table, ...)
            return raw.rawget(contents_of[table] or table, ...)
        end

        function env.rawset(...)
            if contents_of[(...)] then error(readonly, 0) end
            return raw.rawset(...)
        end

        function env.next(table, ...)
            return raw.next(contents_of[table] or table, ...)
        end

        -- The contents of a frozen table must not be seen: the proxy goes round with a next that
        -- knows it. Elsewhere the native next, which loops run fast.
        function env.pairs(...)
            local table = ...
            if contents_of[table] then return env.next, table, nil end
            return raw.pairs(...)
        end

        -- A table that the server's functions raise is caught as the text in it, as Redis does.
        local function caught(ok, ...)
            if ok then return true, ... end
            local value = ...
            local text = type(value) == 'table' and raw.rawget(value, 'err')
            if type(text) == 'string' or type(text) == 'number' then return false, text end
            return false, value
        end

        function env.pcall(...)
            return caught(pcall(...))
        end

        local function handled(handler, ok, ...)
            if ok then return true, ... end
            local done, value = pcall(handler, (...))
            if done then return false, value end
            return false, 'error in error handling'
        end

        function env.xpcall(...)
            if select('#', ...) < 2 then
                fail("bad argument #2 to 'xpcall' (value expected)")
            end
            local f, handler = ...
            return handled(handler, pcall(f))
        end

        local frozen_globals
        function env.loadstring(...)
            local text, name = ...
            if type(text) == 'number' then text = tostring(text) end
            if type(text) ~= 'string' then
                fail("bad argument #1 to 'loadstring' (string expected, got "
                    .. typename(...) .. ')')
            end
            return native.load(text, name == nil and text or name, frozen_globals)
        end

        function env.load(...)
            local reader, name = ...
            if type(reader) ~= 'function' then
                fail("bad argument #1 to 'load' (function expected, got " .. typename(...) .. ')')
            end
            local pieces = {}
            while true do
                local piece = reader()
                if piece == nil or piece == '' then break end
                if type(piece) ~= 'string' and type(piece) ~= 'number' then
                    return nil, 'reader function must return a string'
                end
                pieces[#pieces + 1] = piece
            end
            return native.load(concat(pieces), name == nil and '=(load)' or name, frozen_globals)
        end

        -- The collector cannot be stopped; a full collection is taken in steps.
        function env.collectgarbage(option, argument)
            if option == nil or option == 'collect' then
                for _ = 1, 2 do
                    repeat until native.collect(64)
                end
                return 0
            elseif option == 'count' then
                return native.kilobytes_used()
            elseif option == 'step' then
                return native.collect(64)
            elseif option == 'stop' or option == 'restart' then
                return 0
            elseif option == 'setpause' or option == 'setstepmul' then
                return 200
            end
            fail("bad argument #1 to 'collectgarbage' (invalid option '"
                .. tostring(option) .. "')")
        end

        function env.gcinfo()
            local kilobytes = native.kilobytes_used()
            return kilobytes - kilobytes % 1
        end

        -- MARK: Coroutines

        -- A coroutine that the runtime interrupts yields to whoever resumed it; each resume on the
        -- way hands the interruption on, and, resumed itself, resumes what was interrupted.
        local depth = 0
        local depth_max = 180  -- each level takes the machine's stack; Lua 5.1 stops at 200
        local interrupted, interrupt = native.interrupted, native.interrupt

        local function settle(co, ...)
            if interrupted() then return settle(co, raw.resume(co, raw.yield())) end
            depth = depth - 1
            return ...
        end

        local coroutines = {create = coroutine.create, status = coroutine.status}

        local function resume(co, ...)
            if depth >= depth_max then fail('C stack overflow') end
            depth = depth + 1
            return settle(co, raw.resume(co, ...))
        end

        function coroutines.resume(...)
            if type((...)) ~= 'thread' then
                fail("bad argument #1 to 'resume' (coroutine expected)")
            end
            return resume(...)
        end

        local function unwrapped(ok, ...)
            if ok then return ... end
            error((...), 0)
        end

        function coroutines.wrap(...)
            local co = coroutine.create(...)
            return function(...)
                return unwrapped(resume(co, ...))
            end
        end

        function coroutines.yield(...)
            if depth == 0 then fail('attempt to yield across metamethod/C-call boundary') end
            return raw.yield(...)
        end

        function coroutines.running()
            if depth == 0 then return nil end
            return (raw.running())
        end
        env.coroutine = freeze(coroutines)

        -- MARK: Libraries

        local function chosen(library, ...)
            local contents = {}
            for _, name in raw.pairs {...} do contents[name] = library[name] end
            return contents
        end

        local strings = chosen(string, 'byte', 'char', 'len', 'lower', 'reverse', 'sub', 'upper')
        strings.rep = native.rep
        strings.find, strings.match, strings.format = native.find, native.match, native.format
        local scan, expand, sub = native.scan, native.expand, string.sub

        -- Argument `index` of `count` as a string.
        local function text_argument(name, index, count, value)
            if type(value) == 'string' then return value end
            if type(value) == 'number' then return tostring(value) end
            fail("bad argument #" .. index .. " to '" .. name .. "' (string expected, got "
                .. (index > count and 'no value' or type(value)) .. ')')
        end

        function strings.gmatch(...)
            local count = select('#', ...)
            local subject, pattern = ...
            subject = text_argument('gmatch', 1, count, subject)
            pattern = text_argument('gmatch', 2, count, pattern)
            local position = 1
            local function found(start, finish, ...)
                if not start then
                    position = #subject + 2
                    return nil
                end
                position = finish > start and finish or finish + 1
                return ...
            end
            return function()
                if position > #subject + 1 then return nil end
                return found(scan(subject, pattern, position))
            end
        end
        strings.gfind = strings.gmatch

        -- What stands for a match, between its start and finish, given its captures.
        local function substitute(kind, replacement, subject, start, finish, first, ...)
            if not start then return nil end
            if kind == 'plain' then return start, finish, replacement end
            local whole = sub(subject, start, finish - 1)
            if kind == 'string' then
                return start, finish, expand(replacement, whole, first, ...)
            end
            local value
            if kind == 'table' then
                value = replacement[first]
            else
                value = replacement(first, ...)
            end
            if not value then return start, finish, whole end
            if type(value) == 'string' or type(value) == 'number' then
                return start, finish, value
            end
            fail('invalid replacement value (a ' .. type(value) .. ')')
        end

        function strings.gsub(...)
            local arguments = select('#', ...)
            local subject, pattern, replacement, limit = ...
            subject = text_argument('gsub', 1, arguments, subject)
            pattern = text_argument('gsub', 2, arguments, pattern)
            local kind = type(replacement)
            if kind == 'number' then
                kind, replacement = 'string', tostring(replacement)
            elseif kind ~= 'string' and kind ~= 'table' and kind ~= 'function' then
                fail("bad argument #3 to 'gsub' (string/function/table expected)")
            end
            if kind == 'string' and not native.find(replacement, '%', 1, true) then
                kind = 'plain'
            end
            if limit == nil then
                limit = #subject + 1
            else
                local number = tonumber(limit)
                if not number then
                    fail("bad argument #4 to 'gsub' (number expected, got " .. type(limit) .. ')')
                end
                limit = number
            end
            local anchored = sub(pattern, 1, 1) == '^'
            local parts, used, count, position = {}, 0, 0, 1
            while count + 1 <= limit do
                local start, finish, value = substitute(
                    kind, replacement, subject, scan(subject, pattern, position, anchored))
                if not start then break end
                count = count + 1
                if start > position then
                    used = used + 1
                    parts[used] = sub(subject, position, start - 1)
                end
                used = used + 1
                parts[used] = value
                position = finish
                if finish == start then
                    if start > #subject then break end
                    used = used + 1
                    parts[used] = sub(subject, start, start)
                    position = start + 1
                end
                if anchored then break end
            end
            if count == 0 then return subject, 0 end
            parts[used + 1] = sub(subject, position)
            return concat(parts), count
        end

        function strings.dump()
            fail('unable to dump given function')
        end
        local frozen_strings = freeze(strings)
        env.string = frozen_strings
        raw.getmetatable('').__index = strings
        string_metatable = freeze {__index = frozen_strings}

        local maths = chosen(math, 'abs', 'acos', 'asin', 'atan', 'atan2', 'ceil', 'cos', 'cosh',
            'deg', 'exp', 'floor', 'fmod', 'frexp', 'huge', 'ldexp', 'log10', 'max', 'min',
            'modf', 'pi', 'pow', 'rad', 'sin', 'sinh', 'sqrt', 'tan', 'tanh')
        maths.mod = maths.fmod
        maths.random, maths.randomseed = native.random, native.randomseed
        function maths.log(x)
            return math.log(x)
        end
        env.math = freeze(maths)

        local tables = chosen(table, 'concat', 'foreachi', 'getn', 'maxn', 'remove')
        function tables.setn()
            fail("'setn' is obsolete")
        end

        local function table_argument(name, ...)
            if type((...)) ~= 'table' then
                fail("bad argument #1 to '" .. name .. "' (table expected, got "
                    .. typename(...) .. ')')
            end
            return (...)
        end

        function tables.foreach(...)
            local table = table_argument('foreach', ...)
            local f = select(2, ...)
            if type(f) ~= 'function' then
                fail("bad argument #2 to 'foreach' (function expected, got "
                    .. typename(select(2, ...)) .. ')')
            end
            for key, value in env.pairs(table) do
                local result = f(key, value)
                if result ~= nil then return result end
            end
        end

        function tables.insert(...)
            local table = table_argument('insert', ...)
            if contents_of[table] then error(readonly, 0) end
            local count = select('#', ...)
            if count == 2 then
                raw.rawset(table, #table + 1, (select(2, ...)))
            elseif count == 3 then
                local _, position, value = ...
                local number = tonumber(position)
                if not number then
                    fail("bad argument #2 to 'insert' (number expected, got "
                        .. type(position) .. ')')
                end
                number = number - number % 1
                for index = math.max(#table + 1, number), number + 1, -1 do
                    raw.rawset(table, index, raw.rawget(table, index - 1))
                end
                raw.rawset(table, number, value)
            else
                fail("wrong number of arguments to 'insert'")
            end
        end

        local function ascending(a, b)
            return a < b
        end

        -- Quicksort with the median of three, the smaller part by recursion: the order of equal
        -- elements and the number of comparisons are those of Lua 5.1.
        local function sort(a, lower, upper, less)
            while lower < upper do
                if less(a[upper], a[lower]) then
                    a[lower], a[upper] = a[upper], a[lower]
                end
                if upper - lower == 1 then break end
                local i = (lower + upper - (lower + upper) % 2) / 2
                if less(a[i], a[lower]) then
                    a[i], a[lower] = a[lower], a[i]
                elseif less(a[upper], a[i]) then
                    a[i], a[upper] = a[upper], a[i]
                end
                if upper - lower == 2 then break end
                local pivot = a[i]
                a[i], a[upper - 1] = a[upper - 1], pivot
                i = lower
                local j = upper - 1
                while true do
                    i = i + 1
                    while less(a[i], pivot) do
                        if i > upper then fail('invalid order function for sorting') end
                        i = i + 1
                    end
                    j = j - 1
                    while less(pivot, a[j]) do
                        if j < lower then fail('invalid order function for sorting') end
                        j = j - 1
                    end
                    if j < i then break end
                    a[i], a[j] = a[j], a[i]
                end
                a[upper - 1], a[i] = a[i], a[upper - 1]
                if i - lower < upper - i then
                    sort(a, lower, i - 1, less)
                    lower = i + 1
                else
                    sort(a, i + 1, upper, less)
                    upper = i - 1
                end
            end
        end

        function tables.sort(...)
            local table = table_argument('sort', ...)
            local less = select(2, ...)
            if less ~= nil and type(less) ~= 'function' then
                fail("bad argument #2 to 'sort' (function expected, got " .. type(less) .. ')')
            end
            -- Metatables are not asked: a table with one is sorted as a copy.
            local sorted, count = table, #table
            if raw.getmetatable(table) then
                sorted = {}
                for index = 1, count do sorted[index] = raw.rawget(table, index) end
            end
            local ok, message = pcall(sort, sorted, 1, count, less or ascending)
            if sorted ~= table and not contents_of[table] then
                for index = 1, count do raw.rawset(table, index, sorted[index]) end
            end
            if not ok then
                -- What the comparison here raises has no position in the script, as in C.
                if not less and type(message) == 'string' then
                    message = string.gsub(message, '^prelude:%d+: ', '')
                end
                error(message, 0)
            end
        end

        env.table = freeze(tables)

        local bits = chosen(bit, 'arshift', 'band', 'bnot', 'bor', 'bswap', 'bxor', 'lshift',
            'rol', 'ror', 'rshift', 'tobit')
        local tobit, tohex = bit.tobit, bit.tohex

        -- A number has eight digits; LuaJIT writes as many as it is told, and none for -2^31.
        function bits.tohex(...)
            local count = tonumber((select(2, ...)))
            if not count then return tohex(...) end
            count = tobit(count)
            return tohex((...), count > 8 and 8 or count < -8 and -8 or count)
        end
        env.bit = freeze(bits)
        env.os = freeze {clock = os.clock}

        -- MARK: Host functions

        local function suspending(f)
            local suspension, yield = native.suspension, raw.yield
            return function(...)
                local result = f(...)
                while result == suspension do
                    interrupt()
                    yield()
                    result = f(...)
                end
                return result
            end
        end

        -- All that is seen while a library is loaded.
        local loading_env = {}
        local libraries, loading_libraries = {}, {}
        for _, description in raw.pairs(descriptions) do
            local contents, siblings = env, libraries
            if description.loading then contents, siblings = loading_env, loading_libraries end
            local library = description.library
            if library then
                siblings[library] = siblings[library] or {}
                contents = siblings[library]
            end
            local value = description.value
            if description.host then
                value = native.host(description.host)
                if description.suspends then value = suspending(value) end
            end
            contents[description.name] = value
        end
        libraries.cjson.null = native.null
        function libraries.cjson.new()
            return env.cjson
        end
        local frozen = {}
        for name, contents in raw.pairs(libraries) do
            frozen[name] = freeze(contents)
            env[name] = frozen[name]
        end

        -- MARK: Globals

        local function missing(_, name)
            fail("Script attempted to access nonexistent global variable '"
                .. tostring(name) .. "'")
        end
        for name, contents in raw.pairs(loading_libraries) do
            loading_env[name] = freeze(raw.setmetatable(contents, {__index = missing}))
        end
        for _, description in raw.pairs(aliases) do
            if description.loading then
                loading_env[description.alias] = loading_env[description.library]
            else
                env[description.alias] = frozen[description.library]
            end
        end
        local globals_metatable
        frozen_globals, globals_metatable = freeze(env)
        env._G = frozen_globals
        raw.setmetatable(env, {__index = missing, __newindex = refuse})
        raw.setmetatable(loading_env, {__index = missing, __newindex = refuse})

        local function reset()
            depth = 0
        end

        local function choose(is_loading)
            globals_metatable.__index = is_loading and loading_env or env
        end
        return env, frozen_globals, reset, choose
        """#
}
