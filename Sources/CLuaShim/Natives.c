//  Functions of the prelude that need more of Lua than a script is given, and those of the standard
//  library that must be written anew because they may run long.

#include "Runtime.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

UNWOUND_THROUGH

// MARK: Numbers of LuaJIT's own

static bool is_name_byte(unsigned char byte) {
    return (byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'z')
        || (byte >= 'A' && byte <= 'Z') || byte == '_' || byte >= 0x80;
}

/// The place after a long bracket that opens at `at` (`[[` or `[==[`); `at` when none opens there.
static size_t skip_long_bracket(const char *text, size_t count, size_t at) {
    size_t level = 0, index = at + 1;
    while (index < count && text[index] == '=') { level++; index++; }
    if (index >= count || text[index] != '[') { return at; }
    for (index++; index < count; index++) {
        if (text[index] != ']') { continue; }
        size_t equals = 0;
        while (index + 1 + equals < count && text[index + 1 + equals] == '=') { equals++; }
        if (equals == level && index + 1 + equals < count && text[index + 1 + equals] == ']') {
            return index + equals + 2;
        }
    }
    return count;
}

/// The first number with one of LuaJIT's suffixes (1LL, 1ULL, 1i), which Lua 5.1 does not have and
/// which would bring its foreign-function library to life; `count` when there is none.
static size_t foreign_number(const char *text, size_t count, int *line) {
    size_t at = 0;
    *line = 1;
    while (at < count) {
        char byte = text[at];
        size_t next = at + 1;
        if (byte == '-' && next < count && text[next] == '-') {
            next++;
            size_t after = next < count && text[next] == '['
                ? skip_long_bracket(text, count, next) : next;
            if (after == next) {
                while (next < count && text[next] != '\n' && text[next] != '\r') { next++; }
            } else {
                next = after;
            }
        } else if (byte == '[') {
            size_t after = skip_long_bracket(text, count, at);
            if (after != at) { next = after; }
        } else if (byte == '"' || byte == '\'') {
            while (next < count && text[next] != byte) {
                // An unfinished string is the compiler's to refuse.
                next += text[next] == '\\' ? 2 : 1;
            }
            next++;
        } else if (is_name_byte((unsigned char)byte)) {
            bool is_number = byte >= '0' && byte <= '9';
            while (next < count) {
                char previous = (char)(text[next - 1] | 0x20);
                bool is_exponent = is_number && (text[next] == '-' || text[next] == '+')
                    && (previous == 'e' || previous == 'p');
                if (!is_name_byte((unsigned char)text[next])
                    && !(is_number && text[next] == '.') && !is_exponent) { break; }
                next++;
            }
            char last = (char)(text[next - 1] | 0x20);
            if (is_number && (last == 'i' || last == 'l')) { return at; }
        }
        if (next > count) { next = count; }
        for (; at < next; at++) {
            if (text[at] == '\n') { ++*line; }
        }
    }
    return count;
}

int load_source(lua_State *L, const char *text, size_t count, const char *name) {
    int line;
    size_t at = foreign_number(text, count, &line);
    if (at < count) {
        size_t end = at;
        while (end < count && end - at < 40 && is_name_byte((unsigned char)text[end])) { end++; }
        // A chunk without text gives the name as it stands in messages.
        if (luaL_loadbufferx(L, "", 0, name, "t") == 0) {
            lua_Debug record;
            lua_getinfo(L, ">S", &record);
            lua_pushfstring(L, "%s:%d: malformed number near '", record.short_src, line);
            lua_pushlstring(L, text + at, end - at);
            lua_pushliteral(L, "'");
            lua_concat(L, 3);
        }
        return LUA_ERRSYNTAX;
    }
    return luaL_loadbufferx(L, text, count, name, "t");
}

/// position() returns "name:line: " of the script's innermost frame, or "".
static int position(lua_State *L) {
    push_position(L);
    return 1;
}

/// load(text, name, environment) returns the function, or nil and the message. Text only.
static int load_text(lua_State *L) {
    size_t count;
    const char *text = luaL_checklstring(L, 1, &count);
    const char *name = luaL_checkstring(L, 2);
    if (load_source(L, text, count, name) != 0) {
        lua_pushnil(L);
        lua_insert(L, -2);
        return 2;
    }
    lua_pushvalue(L, 3);
    lua_setfenv(L, -2);
    return 1;
}

/// collect(kilobytes) takes a step of the collector; true at the end of a cycle.
static int collect(lua_State *L) {
    lua_pushboolean(L, lua_gc(L, LUA_GCSTEP, (int)luaL_checkinteger(L, 1)));
    return 1;
}

static int kilobytes_used(lua_State *L) {
    lua_pushnumber(L, (lua_Number)runtime_of(L)->used_bytes / 1024);
    return 1;
}

/// rep(text, count): as the library's, but a count that does not fit is not taken for none.
static int repeat(lua_State *L) {
    size_t length;
    const char *text = luaL_checklstring(L, 1, &length);
    double count = luaL_checknumber(L, 2);
    if (!(count >= 1) || length == 0) {
        lua_pushliteral(L, "");
        return 1;
    }
    if (count * (double)length > (double)runtime_of(L)->limit_bytes) {
        return luaL_error(L, "not enough memory");
    }
    size_t total = (size_t)count * length;
    char small[1024];
    char *bytes = total <= sizeof small ? small : lua_newuserdata(L, total);
    // Doubles what is there: few copies, however short the text.
    memcpy(bytes, text, length);
    for (size_t done = length; done < total;) {
        size_t step = done < total - done ? done : total - done;
        memcpy(bytes + done, bytes, step);
        done += step;
    }
    lua_pushlstring(L, bytes, total);
    return 1;
}

// MARK: Random numbers

// The sequence of lrand48, as in Redis, going on from script to script: measured, Redis 7 and 8 no
// longer start anew with each, and a script that makes tokens must not make the same one twice.
static uint32_t next_random(struct martlet_lua *runtime) {
    runtime->random_state = (runtime->random_state * 0x5DEECE66Du + 0xB) & 0xFFFFFFFFFFFFu;
    return (uint32_t)(runtime->random_state >> 17);
}

static int random_number(lua_State *L) {
    const double range = 2147483647;
    double fraction = fmod((double)next_random(runtime_of(L)), range) / range;
    switch (lua_gettop(L)) {
    case 0:
        lua_pushnumber(L, fraction);
        break;
    case 1: {
        lua_Integer upper = luaL_checkinteger(L, 1);
        luaL_argcheck(L, 1 <= upper, 1, "interval is empty");
        lua_pushnumber(L, floor(fraction * (double)upper) + 1);
        break;
    }
    case 2: {
        lua_Integer lower = luaL_checkinteger(L, 1);
        lua_Integer upper = luaL_checkinteger(L, 2);
        luaL_argcheck(L, lower <= upper, 2, "interval is empty");
        double count = (double)upper - (double)lower + 1;
        lua_pushnumber(L, floor(fraction * count) + (double)lower);
        break;
    }
    default:
        return luaL_error(L, "wrong number of arguments");
    }
    return 1;
}

static int random_seed(lua_State *L) {
    uint32_t seed = (uint32_t)(int64_t)luaL_checkinteger(L, 1);
    runtime_of(L)->random_state = ((uint64_t)seed << 16) + 0x330E;
    return 0;
}

static const luaL_Reg natives[] = {
    {"position", position},
    {"load", load_text},
    {"collect", collect},
    {"kilobytes_used", kilobytes_used},
    {"rep", repeat},
    {"random", random_number},
    {"randomseed", random_seed},
    {NULL, NULL},
};

void push_natives(lua_State *L) {
    lua_newtable(L);
    for (const luaL_Reg *native = natives; native->name; native++) {
        lua_pushcfunction(L, native->func);
        lua_setfield(L, -2, native->name);
    }
    push_string_natives(L);
}

UNWOUND_THROUGH_END
