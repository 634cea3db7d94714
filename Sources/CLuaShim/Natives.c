//  Functions of the prelude that need more of Lua than a script is given, and those of the standard
//  library that must be written anew because they may run long.

#include "Runtime.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Hidden by <string.h> without _GNU_SOURCE.
void *memmem(const void *text, size_t count, const void *needle, size_t needle_count);

UNWOUND_THROUGH

// MARK: Source text

enum token_kind { token_other, token_blank, token_string, token_number, token_word };

static bool is_name_byte(unsigned char byte) {
    return (byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'z')
        || (byte >= 'A' && byte <= 'Z') || byte == '_' || byte >= 0x80;
}

/// The place after a long bracket that opens at `at` (`[[` or `[==[`); `at` when none opens there.
static size_t long_bracket_end(const char *text, size_t count, size_t at) {
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

/// The end of the token at `at`: comments are blank, and what is no word, number or string is
/// taken byte by byte. What is not Lua is the compiler's to refuse.
static size_t token_end(const char *text, size_t count, size_t at, enum token_kind *kind) {
    char byte = text[at];
    size_t next = at + 1;
    *kind = token_other;
    if (byte == ' ' || (byte >= '\t' && byte <= '\r')) {
        *kind = token_blank;
    } else if (byte == '-' && next < count && text[next] == '-') {
        *kind = token_blank;
        next++;
        size_t after = next < count && text[next] == '['
            ? long_bracket_end(text, count, next) : next;
        if (after != next) { return after; }
        while (next < count && text[next] != '\n' && text[next] != '\r') { next++; }
    } else if (byte == '[') {
        size_t after = long_bracket_end(text, count, at);
        if (after != at) {
            *kind = token_string;
            return after;
        }
    } else if (byte == '"' || byte == '\'') {
        *kind = token_string;
        while (next < count && text[next] != byte) { next += text[next] == '\\' ? 2 : 1; }
        next++;
    } else if (is_name_byte((unsigned char)byte)) {
        *kind = byte >= '0' && byte <= '9' ? token_number : token_word;
        while (next < count) {
            char previous = (char)(text[next - 1] | 0x20);
            bool is_exponent = (text[next] == '-' || text[next] == '+')
                && (previous == 'e' || previous == 'p');
            if (!is_name_byte((unsigned char)text[next])
                && (*kind == token_word || (text[next] != '.' && !is_exponent))) { break; }
            next++;
        }
    }
    return next < count ? next : count;
}

/// The first number with one of LuaJIT's suffixes (1LL, 1ULL, 1i), which Lua 5.1 does not have and
/// which would bring its foreign-function library to life; `count` when there is none.
static size_t foreign_number(const char *text, size_t count, int *line) {
    *line = 1;
    for (size_t at = 0; at < count;) {
        enum token_kind kind;
        size_t end = token_end(text, count, at, &kind);
        char last = (char)(text[end - 1] | 0x20);
        if (kind == token_number && (last == 'i' || last == 'l')) { return at; }
        for (; at < end; at++) {
            if (text[at] == '\n') { ++*line; }
        }
    }
    return count;
}

/// The place of the parenthesis after one of the kept names at `at`, or 0.
static size_t kept_call(const struct martlet_lua *runtime, const char *text, size_t count,
                        size_t at) {
    for (const char *name = runtime->kept_names; name && *name; name += strlen(name) + 1) {
        size_t length = strlen(name);
        if (length >= count - at || memcmp(text + at, name, length) != 0) { continue; }
        size_t next = at + length;
        while (next < count && text[next] == ' ') { next++; }
        if (next < count && text[next] == '(') { return next; }
    }
    return 0;
}

/// Writes `return (redis.call(...))` for `return redis.call(...)` into `output`, which has room for
/// 3 bytes where `text` has 2; returns the length. In a tail call LuaJIT forgets the caller, and
/// with it the line that an error is to name. These functions have one result, so that the
/// parentheses change nothing else.
static size_t keep_callers(const struct martlet_lua *runtime, const char *text, size_t count,
                           char *output) {
    enum { nesting_max = 64 };
    size_t closings[nesting_max];
    size_t closing_count = 0, depth = 0, written = 0, opening = 0;
    bool after_return = false;
    for (size_t at = 0; at < count;) {
        enum token_kind kind;
        size_t end = token_end(text, count, at, &kind);
        if (after_return && kind == token_word && closing_count < nesting_max) {
            opening = kept_call(runtime, text, count, at);
            if (opening != 0) { output[written++] = '('; }
        }
        memcpy(output + written, text + at, end - at);
        written += end - at;
        if (kind == token_other && text[at] == '(') {
            if (opening != 0 && at == opening) { closings[closing_count++] = depth; }
            depth++;
        } else if (kind == token_other && text[at] == ')' && depth > 0) {
            depth--;
            if (closing_count > 0 && closings[closing_count - 1] == depth) {
                closing_count--;
                output[written++] = ')';
            }
        }
        if (kind != token_blank) {
            after_return = kind == token_word && end - at == 6
                && memcmp(text + at, "return", 6) == 0;
        }
        at = end;
    }
    // A call without an end: as it stands, the compiler says what is wrong with it.
    if (closing_count > 0) {
        memcpy(output, text, count);
        return count;
    }
    return written;
}

int load_source(lua_State *L, const char *text, size_t count, const char *name) {
    const struct martlet_lua *runtime = runtime_of(L);
    int line;
    size_t at = foreign_number(text, count, &line);
    if (at < count) {
        enum token_kind kind;
        size_t end = token_end(text, count, at, &kind);
        if (end - at > 40) { end = at + 40; }
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
    if (!runtime->kept_names || !memmem(text, count, "return", 6)) {
        return luaL_loadbufferx(L, text, count, name, "t");
    }
    char *kept = lua_newuserdata(L, count + count / 2 + 2);
    int status = luaL_loadbufferx(L, kept, keep_callers(runtime, text, count, kept), name, "t");
    lua_remove(L, -2);
    return status;
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
