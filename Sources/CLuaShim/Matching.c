//  string.find, match, the primitives of gmatch and gsub, and format: Lua 5.1's results and errors.
//
//  A match runs on the machine's stack for a while. One that outlives the script's slice moves to the
//  heap and yields; `martlet_lua_resume` continues it and hands its results to the coroutine.

#include "Patterns.h"
#include "Runtime.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Hidden by <string.h> without _GNU_SOURCE. Linear in both lengths.
void *memmem(const void *text, size_t count, const void *needle, size_t needle_count);

UNWOUND_THROUGH

/// About 0.1 ms.
enum { steps_per_check = 10000 };
enum { choices_inline = 24 };
/// A longer pattern with magic characters is refused: its choices would take megabytes.
enum { pattern_bytes_max = 32 * 1024 };

enum match_mode {
    /// Start, end, captures.
    mode_find,
    /// Captures, or the whole match.
    mode_match,
    /// Start, position after the end, captures or the whole match.
    mode_scan,
};

struct martlet_lua_match {
    struct matcher matcher;
    enum match_mode mode;
    enum match_result result;
};

static void push_capture(lua_State *L, const struct matcher *matcher, int index) {
    struct capture capture = matcher->captures[index];
    if (capture.length == capture_position) {
        lua_pushinteger(L, (lua_Integer)capture.start + 1);
    } else if (capture.length == capture_open) {
        push_position(L);
        lua_pushliteral(L, "unfinished capture");
        lua_concat(L, 2);
        lua_error(L);
    } else {
        const char *text = (const char *)matcher->subject + capture.start;
        lua_pushlstring(L, text, (size_t)capture.length);
    }
}

/// Pushes the results of a match that has ended.
static int push_result(
    lua_State *L, const struct matcher *matcher, enum match_mode mode, enum match_result result) {
    if (result == match_invalid) {
        push_position(L);
        lua_pushstring(L, matcher->message);
        lua_concat(L, 2);
        return lua_error(L);
    }
    if (result != match_found) {
        lua_pushnil(L);
        return 1;
    }
    luaL_checkstack(L, captures_max + 4, "too many captures");
    int count = 0;
    if (mode != mode_match) {
        lua_pushinteger(L, (lua_Integer)matcher->start + 1);
        lua_pushinteger(L, (lua_Integer)matcher->at + (mode == mode_scan ? 1 : 0));
        count = 2;
    }
    if (matcher->level == 0 && mode != mode_find) {
        const char *text = (const char *)matcher->subject + matcher->start;
        lua_pushlstring(L, text, matcher->at - matcher->start);
        return count + 1;
    }
    for (int index = 0; index < matcher->level; index++) { push_capture(L, matcher, index); }
    return count + matcher->level;
}

void drop_match(struct martlet_lua *runtime) {
    if (!runtime->match) { return; }
    free(runtime->match->matcher.choices);
    free(runtime->match);
    runtime->match = NULL;
}

int continue_match(struct martlet_lua *runtime) {
    struct martlet_lua_match *match = runtime->match;
    while (match->result == match_unfinished) {
        int64_t steps = steps_per_check;
        match->result = matcher_run(&match->matcher, &steps);
        if (match->result == match_unfinished
            && (martlet_lua_must_end(runtime)
                || clock_nanoseconds() >= runtime->slice_end_nanoseconds)) {
            return 0;
        }
    }
    return 1;
}

int push_match(lua_State *L, struct martlet_lua *runtime) {
    // Copied, so that the match is forgotten whatever is raised; the strings stand in the registry.
    struct martlet_lua_match match = *runtime->match;
    drop_match(runtime);
    return push_result(L, &match.matcher, match.mode, match.result);
}

/// Moves the match, whose subject and pattern are arguments 1 and 2, to the heap, and yields.
static int leave_match(lua_State *L, const struct matcher *matcher, enum match_mode mode) {
    struct martlet_lua *runtime = runtime_of(L);
    runtime->keeps_subject = true;
    lua_pushvalue(L, 1);
    lua_rawseti(L, LUA_REGISTRYINDEX, runtime->subject_reference);
    lua_pushvalue(L, 2);
    lua_rawseti(L, LUA_REGISTRYINDEX, runtime->pattern_reference);
    struct martlet_lua_match *match = malloc(sizeof *match);
    struct choice *choices = malloc(matcher->choice_capacity * sizeof *choices);
    if (!match || !choices) {
        free(match);
        free(choices);
        return luaL_error(L, "not enough memory");
    }
    memcpy(choices, matcher->choices, matcher->choice_count * sizeof *choices);
    *match = (struct martlet_lua_match){*matcher, mode, match_unfinished};
    match->matcher.choices = choices;
    runtime->match = match;
    runtime->interrupted = true;
    return lua_yield(L, 0);
}

static int run_match(lua_State *L, struct matcher *matcher, size_t start, enum match_mode mode) {
    struct choice choices[choices_inline];
    matcher->choices = choices;
    matcher->choice_capacity = choices_inline;
    if (matcher->pattern_count > pattern_bytes_max) {
        return luaL_error(L, "pattern too complex");
    }
    if (matcher_choices(matcher->pattern_count) > choices_inline) {
        matcher->choice_capacity = matcher_choices(matcher->pattern_count);
        matcher->choices = lua_newuserdata(L, matcher->choice_capacity * sizeof *choices);
    }
    matcher_begin(matcher, start);
    struct martlet_lua *runtime = runtime_of(L);
    for (;;) {
        int64_t steps = steps_per_check;
        enum match_result result = matcher_run(matcher, &steps);
        if (result != match_unfinished) { return push_result(L, matcher, mode, result); }
        if (!runtime->running) { continue; }
        if (martlet_lua_must_end(runtime)) { return luaL_error(L, "script ended by its runtime"); }
        if (clock_nanoseconds() >= runtime->slice_end_nanoseconds && lua_isyieldable(L)) {
            return leave_match(L, matcher, mode);
        }
    }
}

/// Position of argument `index` in a string of `count` bytes, from 0.
static size_t start_argument(lua_State *L, int index, size_t count) {
    lua_Integer position = luaL_optinteger(L, index, 1);
    if (position < 0) { position += (lua_Integer)count + 1; }
    if (position < 1) { return 0; }
    return (size_t)position - 1 > count ? count : (size_t)position - 1;
}

static bool is_magic(const char *pattern, size_t count) {
    for (size_t index = 0; index < count; index++) {
        if (pattern[index] != 0 && strchr("^$*+?.([%-", pattern[index])) { return true; }
    }
    return false;
}

static int find_or_match(lua_State *L, bool finding) {
    struct matcher matcher;
    const char *subject = luaL_checklstring(L, 1, &matcher.subject_count);
    const char *pattern = luaL_checklstring(L, 2, &matcher.pattern_count);
    size_t start = start_argument(L, 3, matcher.subject_count);
    if (finding && (lua_toboolean(L, 4) || !is_magic(pattern, matcher.pattern_count))) {
        const char *found = matcher.pattern_count == 0
            ? subject + start
            : memmem(subject + start, matcher.subject_count - start, pattern,
                     matcher.pattern_count);
        if (!found) {
            lua_pushnil(L);
            return 1;
        }
        lua_pushinteger(L, found - subject + 1);
        lua_pushinteger(L, found - subject + (lua_Integer)matcher.pattern_count);
        return 2;
    }
    matcher.anchored = matcher.pattern_count > 0 && pattern[0] == '^';
    matcher.subject = (const unsigned char *)subject;
    matcher.pattern = (const unsigned char *)pattern + matcher.anchored;
    matcher.pattern_count -= matcher.anchored;
    return run_match(L, &matcher, start, finding ? mode_find : mode_match);
}

static int string_find(lua_State *L) { return find_or_match(L, true); }
static int string_match(lua_State *L) { return find_or_match(L, false); }

/// scan(subject, pattern, start, anchored): `start` counts from 1 and may be the position after the
/// end; with `anchored` the pattern's first byte is the anchor.
static int scan(lua_State *L) {
    struct matcher matcher;
    matcher.subject = (const unsigned char *)luaL_checklstring(L, 1, &matcher.subject_count);
    const char *pattern = luaL_checklstring(L, 2, &matcher.pattern_count);
    size_t start = start_argument(L, 3, matcher.subject_count);
    matcher.anchored = lua_toboolean(L, 4) && matcher.pattern_count > 0;
    matcher.pattern = (const unsigned char *)pattern + matcher.anchored;
    matcher.pattern_count -= matcher.anchored;
    return run_match(L, &matcher, start, mode_scan);
}

/// expand(replacement, whole, captures ...) puts captures for %0 to %9.
static int expand(lua_State *L) {
    size_t count;
    const char *text = luaL_checklstring(L, 1, &count);
    int captures = lua_gettop(L) - 2;
    luaL_Buffer buffer;
    luaL_buffinit(L, &buffer);
    for (size_t index = 0; index < count; index++) {
        if (text[index] != '%') {
            luaL_addchar(&buffer, text[index]);
            continue;
        }
        index++;
        char byte = index < count ? text[index] : 0;
        if (byte < '0' || byte > '9') {
            luaL_addchar(&buffer, byte);
            continue;
        }
        int capture = byte - '0';
        if (capture > captures) {
            push_position(L);
            lua_pushliteral(L, "invalid capture index");
            lua_concat(L, 2);
            return lua_error(L);
        }
        lua_pushvalue(L, 2 + capture);
        luaL_addvalue(&buffer);
    }
    luaL_pushresult(&buffer);
    return 1;
}

// MARK: format

enum { item_bytes_max = 512 };

static void add_quoted(lua_State *L, luaL_Buffer *buffer, int argument) {
    size_t count;
    const char *text = luaL_checklstring(L, argument, &count);
    luaL_addchar(buffer, '"');
    for (size_t index = 0; index < count; index++) {
        switch (text[index]) {
        case '"': case '\\': case '\n':
            luaL_addchar(buffer, '\\');
            luaL_addchar(buffer, text[index]);
            break;
        case '\r': luaL_addlstring(buffer, "\\r", 2); break;
        case '\0': luaL_addlstring(buffer, "\\000", 4); break;
        default: luaL_addchar(buffer, text[index]);
        }
    }
    luaL_addchar(buffer, '"');
}

static bool is_digit(char byte) { return byte >= '0' && byte <= '9'; }

static int64_t integer_of(double number) {
    // What the processor's conversion gives for what does not fit.
    return number >= -9223372036854775808.0 && number < 9223372036854775808.0
        ? (int64_t)number : INT64_MIN;
}

static uint64_t unsigned_of(double number) {
    return number >= 9223372036854775808.0 && number < 18446744073709551616.0
        ? (uint64_t)number : (uint64_t)integer_of(number);
}

static int string_format(lua_State *L) {
    size_t count;
    const char *text = luaL_checklstring(L, 1, &count), *end = text + count;
    int argument = 1, top = lua_gettop(L);
    luaL_Buffer buffer;
    luaL_buffinit(L, &buffer);
    while (text < end) {
        if (*text != '%') {
            luaL_addchar(&buffer, *text++);
            continue;
        }
        text++;
        if (text < end && *text == '%') {
            luaL_addchar(&buffer, *text++);
            continue;
        }
        if (++argument > top) { luaL_argerror(L, argument, "no value"); }
        // The text ends with a zero, which is neither flag nor digit.
        const char *start = text;
        while (*text != 0 && strchr("-+ #0", *text)) { text++; }
        if (text - start > 5) { luaL_error(L, "invalid format (repeated flags)"); }
        if (is_digit(*text)) { text++; }
        if (is_digit(*text)) { text++; }
        if (*text == '.') {
            text++;
            if (is_digit(*text)) { text++; }
            if (is_digit(*text)) { text++; }
        }
        if (is_digit(*text)) { luaL_error(L, "invalid format (width or precision too long)"); }
        char form[24], item[item_bytes_max];
        int length = (int)(text - start), written = 0;
        char conversion = text < end ? *text : 0;
        text++;
        const char *modifier = strchr("dioxXu", conversion) && conversion ? "ll" : "";
        snprintf(form, sizeof form, "%%%.*s%s%c", length, start, modifier, conversion);
        switch (conversion) {
        case 'c':
            written = snprintf(item, sizeof item, form,
                               (int)integer_of(luaL_checknumber(L, argument)));
            break;
        case 'd': case 'i':
            written = snprintf(item, sizeof item, form,
                               (long long)integer_of(luaL_checknumber(L, argument)));
            break;
        case 'o': case 'u': case 'x': case 'X':
            written = snprintf(item, sizeof item, form,
                               (unsigned long long)unsigned_of(luaL_checknumber(L, argument)));
            break;
        case 'e': case 'E': case 'f': case 'g': case 'G':
            written = snprintf(item, sizeof item, form, luaL_checknumber(L, argument));
            break;
        case 'q':
            add_quoted(L, &buffer, argument);
            continue;
        case 's': {
            size_t bytes;
            const char *string = luaL_checklstring(L, argument, &bytes);
            if (!memchr(form, '.', strlen(form)) && bytes >= 100) {
                lua_pushvalue(L, argument);
                luaL_addvalue(&buffer);
                continue;
            }
            written = snprintf(item, sizeof item, form, string);
            break;
        }
        default:
            return luaL_error(L, "invalid option '%%%c' to 'format'", conversion);
        }
        // Up to a zero, as in Lua 5.1, which matters for %c.
        if (written < 0) { item[0] = 0; }
        luaL_addlstring(&buffer, item, strlen(item));
    }
    luaL_pushresult(&buffer);
    return 1;
}

static const luaL_Reg natives[] = {
    {"find", string_find}, {"match", string_match}, {"scan", scan},
    {"expand", expand}, {"format", string_format}, {NULL, NULL},
};

void push_string_natives(lua_State *L) {
    for (const luaL_Reg *native = natives; native->name; native++) {
        lua_pushcfunction(L, native->func);
        lua_setfield(L, -2, native->name);
    }
}

UNWOUND_THROUGH_END
