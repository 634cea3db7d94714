//  Life of a runtime: its memory, its budget, the protected entries, and the way of values.

#include "Runtime.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

UNWOUND_THROUGH

/// Instructions between two looks at the clock. Measured: at 1 000 the hook costs 2 % of a loop.
enum { instructions_per_check_max = 1000 };
/// A block from here on is large: one instruction may take time in proportion to it (compare two
/// strings, walk an emptied table), so that fewer instructions run between two looks at the clock.
static const size_t large_block_bytes = 32 * 1024;
/// Bytes allocated before the next look at the clock: filling and freeing them takes time.
static const size_t debt_bytes_max = 1024 * 1024;
enum { depth_max = 1100 };
enum { result_slots = 64 };
/// For a new coroutine, and the collector's own tables.
static const size_t own_bytes = 256 * 1024;

uint64_t clock_nanoseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

// MARK: Budget

static void count_hook(lua_State *L, lua_Debug *record);

static void set_check(struct martlet_lua *runtime, int32_t instructions) {
    if (!runtime->main) { return; }
    runtime->instructions_per_check = instructions;
    lua_sethook(runtime->main, count_hook, LUA_MASKCOUNT, instructions);
}

static int32_t instructions_wanted(const struct martlet_lua *runtime) {
    if (runtime->dying || runtime->exhausted) { return 1; }
    if (runtime->largest_bytes < large_block_bytes) { return instructions_per_check_max; }
    size_t count = (size_t)instructions_per_check_max * large_block_bytes / runtime->largest_bytes;
    return count < 1 ? 1 : (int32_t)count;
}

/// Notes why the script must end; true if it must.
static bool judge(struct martlet_lua *runtime, uint64_t now) {
    if (runtime->dying) { return true; }
    if (atomic_load_explicit(&runtime->stop, memory_order_relaxed)) {
        runtime->dying = martlet_lua_stopped;
    } else if (now >= runtime->budget_end_nanoseconds) {
        runtime->dying = martlet_lua_out_of_time;
    }
    return runtime->dying != 0;
}

static void count_hook(lua_State *L, lua_Debug *record) {
    (void)record;
    struct martlet_lua *runtime = runtime_of(L);
    size_t debt = runtime->debt_bytes;
    runtime->debt_bytes = 0;
    runtime->checks++;
    // Code that runs outside of a script (the prelude) has no budget.
    if (!runtime->running) { return; }
    uint64_t now = clock_nanoseconds();
    if (judge(runtime, now)) {
        // From here on every instruction raises the error again, so that no pcall can hold it.
        set_check(runtime, 1);
        lua_pushlstring(L, "script ended by its runtime", 27);
        lua_error(L);
    }
    if (runtime->exhausted) {
        runtime->exhausted = false;
        if (runtime->used_bytes > runtime->limit_bytes) {
            lua_pushlstring(L, "not enough memory", 17);
            lua_error(L);
        }
    }
    // Lua starts a collection when memory has doubled, and asks nobody when it meets the limit: near
    // the limit, collect faster than the script allocates.
    if (runtime->used_bytes > runtime->limit_bytes / 4 * 3) {
        lua_gc(L, LUA_GCSTEP, (int)(debt / 512) + 1);
    }
    int32_t wanted = instructions_wanted(runtime);
    if (wanted != runtime->instructions_per_check) { set_check(runtime, wanted); }
    // One interruption at a time: while the coroutines hand theirs on to the outermost one, who yields
    // anew would take it from them, and they would take it for a yield of the script's.
    if (now >= runtime->slice_end_nanoseconds && !runtime->interrupted && lua_isyieldable(L)) {
        runtime->interrupted = true;
        lua_yield(L, 0);
    }
}

void martlet_lua_stop(struct martlet_lua *runtime) {
    atomic_store_explicit(&runtime->stop, 1, memory_order_relaxed);
}

bool martlet_lua_must_end(struct martlet_lua *runtime) {
    return judge(runtime, clock_nanoseconds());
}

// MARK: Memory

static void *allocate(void *context, void *block, size_t old_bytes, size_t new_bytes) {
    struct martlet_lua *runtime = context;
    if (!block) { old_bytes = 0; }
    if (new_bytes > old_bytes) {
        // The limit may have been lowered since, or the reserve been used.
        //
        // LuaJIT's fast functions (tostring, sub, upper ...) do not survive being refused memory: the
        // message would overwrite their frame. So the limit is enforced by the hook, before the next
        // instruction, and refused is only what no such function can ask for.
        size_t limit = runtime->limit_bytes + runtime->reserve_bytes;
        size_t left = limit > runtime->used_bytes ? limit - runtime->used_bytes : 0;
        if (new_bytes - old_bytes > left) {
            if (new_bytes - old_bytes > 4 * limit + own_bytes - runtime->used_bytes
                || runtime->used_bytes > 4 * limit + own_bytes) { return NULL; }
            runtime->exhausted = true;
            if (runtime->instructions_per_check > 1) { set_check(runtime, 1); }
        }
    }
    void *result = NULL;
    if (new_bytes == 0) {
        free(block);
    } else {
        result = realloc(block, new_bytes);
        if (!result) {
            // A block that cannot be made smaller stays as it is, but counts as Lua thinks it does.
            if (new_bytes > old_bytes) { return NULL; }
            result = block;
        }
    }
    runtime->used_bytes += new_bytes - old_bytes;
    if (runtime->used_bytes > runtime->peak_bytes) { runtime->peak_bytes = runtime->used_bytes; }
    if (old_bytes >= large_block_bytes) { runtime->large_bytes -= old_bytes; }
    if (new_bytes >= large_block_bytes) { runtime->large_bytes += new_bytes; }
    if (runtime->large_bytes == 0) { runtime->largest_bytes = 0; }
    if (new_bytes > old_bytes) {
        runtime->debt_bytes += new_bytes - old_bytes;
        if (new_bytes > runtime->largest_bytes && new_bytes >= large_block_bytes) {
            runtime->largest_bytes = new_bytes;
            int32_t wanted = instructions_wanted(runtime);
            if (wanted < runtime->instructions_per_check) { set_check(runtime, wanted); }
        }
        if (runtime->debt_bytes > debt_bytes_max && runtime->instructions_per_check > 1) {
            set_check(runtime, 1);
        }
    }
    return result;
}

bool martlet_lua_values_grow(struct martlet_lua_values *values, size_t bytes) {
    if (values->overflowed || bytes > values->capacity_max - values->count) {
        values->overflowed = true;
        return false;
    }
    size_t needed = values->count + bytes;
    size_t capacity = values->capacity < 512 ? 512 : values->capacity * 2;
    if (capacity < needed) { capacity = needed; }
    uint8_t *block = realloc(values->bytes, capacity);
    if (!block) {
        values->overflowed = true;
        return false;
    }
    values->bytes = block;
    values->capacity = capacity;
    return true;
}

static void clear_values(struct martlet_lua *runtime) {
    struct martlet_lua_values *values = &runtime->values;
    if (values->capacity > 64 * 1024) {
        free(values->bytes);
        values->bytes = NULL;
        values->capacity = 0;
    }
    values->count = 0;
    values->overflowed = false;
}

// MARK: Values into Lua

struct frame {
    uint32_t remaining;
    uint32_t index;
    bool is_record;
    bool has_key;
};

int push_values(lua_State *L, struct martlet_lua *runtime) {
    struct martlet_lua_values *values = &runtime->values;
    if (values->overflowed) {
        clear_values(runtime);
        lua_pushlstring(L, "not enough memory", 17);
        lua_error(L);
    }
    const uint8_t *bytes = values->bytes;
    size_t end = values->count, at = 0;
    struct frame frames[depth_max];
    uint32_t depth = 0;
    int pushed = 0;
    // The values are taken now: what is raised below must not leave them for the next call.
    values->count = 0;
    while (at < end) {
        uint8_t tag = bytes[at++];
        uint32_t operand = 0;
        if (tag >= martlet_lua_tag_array && tag <= martlet_lua_tag_global) {
            memcpy(&operand, bytes + at, 4);
            at += 4;
        }
        switch (tag) {
        case martlet_lua_tag_nil: lua_pushnil(L); break;
        case martlet_lua_tag_false: lua_pushboolean(L, 0); break;
        case martlet_lua_tag_true: lua_pushboolean(L, 1); break;
        case martlet_lua_tag_userdata_null: lua_pushlightuserdata(L, NULL); break;
        case martlet_lua_tag_number: {
            double number;
            memcpy(&number, bytes + at, 8);
            at += 8;
            lua_pushnumber(L, number);
            break;
        }
        case martlet_lua_tag_bytes: {
            uint64_t length;
            memcpy(&length, bytes + at, 8);
            lua_pushlstring(L, (const char *)bytes + at + 8, length);
            at += 8 + length;
            break;
        }
        case martlet_lua_tag_reference:
            lua_rawgeti(L, LUA_REGISTRYINDEX, (int)operand);
            break;
        case martlet_lua_tag_global:
            lua_rawgeti(L, LUA_REGISTRYINDEX, runtime->environment_reference);
            lua_rawgeti(L, LUA_REGISTRYINDEX, (int)operand);
            lua_pushvalue(L, -3);
            lua_rawset(L, -3);
            lua_pop(L, 2);
            pushed--;
            continue;
        case martlet_lua_tag_array:
        case martlet_lua_tag_record: {
            bool is_record = tag == martlet_lua_tag_record;
            luaL_checkstack(L, 8, "too many results");
            // The count is the writer's, who has written that many: trust it no further than bytes go.
            uint32_t room = (uint32_t)((end - at) < operand ? end - at : operand);
            lua_createtable(L, is_record ? 0 : (int)room, is_record ? (int)room : 0);
            if (operand > 0) {
                if (depth == depth_max) { luaL_error(L, "nested too deeply"); }
                frames[depth++] = (struct frame){operand, 0, is_record, false};
                continue;
            }
            break;
        }
        default:
            luaL_error(L, "unknown value");
        }
        // A value stands on top: put it where it belongs, and the tables that it completes.
        while (depth > 0) {
            struct frame *frame = &frames[depth - 1];
            if (frame->is_record) {
                if (!frame->has_key) {
                    frame->has_key = true;
                    break;
                }
                lua_rawset(L, -3);
                frame->has_key = false;
            } else {
                lua_rawseti(L, -2, (int)++frame->index);
            }
            if (--frame->remaining > 0) { break; }
            depth--;
        }
        if (depth == 0) {
            pushed++;
            if (pushed % 16 == 0) { luaL_checkstack(L, 32, "too many results"); }
        }
    }
    if (depth > 0) { luaL_error(L, "a table was written without all of its values"); }
    if (values->capacity > 64 * 1024) { clear_values(runtime); }
    return pushed;
}

// MARK: Positions

static bool is_prelude(const lua_Debug *record) {
    return strcmp(record->source, "=prelude") == 0;
}

/// Fills the record with the innermost frame of a script: not C, not the prelude.
static bool script_frame(lua_State *L, lua_Debug *record) {
    for (int level = 0; level < 64 && lua_getstack(L, level, record); level++) {
        lua_getinfo(L, "Sl", record);
        if (record->currentline > 0 && !is_prelude(record)) { return true; }
    }
    return false;
}

/// Fills the record with the frame that called the running function, if it is a script's. The
/// prelude is part of the functions it provides; pcall is not.
static bool calling_frame(lua_State *L, lua_Debug *record) {
    bool was_native = false;
    for (int level = 1; level < 64 && lua_getstack(L, level, record); level++) {
        lua_getinfo(L, "Sl", record);
        if (is_prelude(record)) { continue; }
        if (record->currentline > 0) { return !was_native; }
        if (was_native) { return false; }
        was_native = true;
    }
    return false;
}

void push_position(lua_State *L) {
    lua_Debug record;
    if (calling_frame(L, &record)) {
        lua_pushfstring(L, "%s:%d: ", record.short_src, record.currentline);
    } else {
        lua_pushlstring(L, "", 0);
    }
}

void martlet_lua_error_position(struct martlet_lua *runtime, char *text, size_t capacity) {
    lua_Debug record;
    if (capacity == 0) { return; }
    text[0] = 0;
    if (!calling_frame(runtime->current, &record)) { return; }
    snprintf(text, capacity, "%s:%d: ", record.short_src, record.currentline);
}

int32_t martlet_lua_position(struct martlet_lua *runtime, char *source, size_t capacity) {
    lua_Debug record;
    if (capacity == 0) { return 0; }
    source[0] = 0;
    // After a failure the value raised stands on the main stack, the frames on the script's.
    lua_State *frames = runtime->current == runtime->main ? runtime->script : runtime->current;
    if (!script_frame(frames, &record)) { return 0; }
    snprintf(source, capacity, "%s", record.short_src);
    return record.currentline;
}

// MARK: Host functions

static int call_host(lua_State *L) {
    struct martlet_lua *runtime = runtime_of(L);
    int32_t function = (int32_t)lua_tointeger(L, lua_upvalueindex(1));
    luaL_checkstack(L, result_slots, "too many arguments");
    struct lua_State *caller = runtime->current;
    runtime->current = L;
    int count = lua_gettop(L);
    int32_t status = runtime->host(runtime->context, runtime, function, count);
    runtime->current = caller;
    switch (status) {
    case martlet_lua_returns:
        lua_settop(L, 0);
        return push_values(L, runtime);
    case martlet_lua_suspends:
        clear_values(runtime);
        runtime->suspending = true;
        // The prelude's wrapper knows this value, which no script can make.
        lua_pushlightuserdata(L, runtime);
        return 1;
    case martlet_lua_exhausted:
        clear_values(runtime);
        lua_pushlstring(L, "not enough memory", 17);
        return lua_error(L);
    default:
        lua_settop(L, 0);
        push_values(L, runtime);
        return lua_error(L);
    }
}

/// host(index) returns the host function of that index.
static int make_host(lua_State *L) {
    lua_pushvalue(L, 1);
    lua_pushcclosure(L, call_host, 1);
    return 1;
}

/// interrupted() tells whether the coroutine that just yielded did so for the runtime.
static int is_interrupted(lua_State *L) {
    lua_pushboolean(L, runtime_of(L)->interrupted);
    return 1;
}

/// interrupt() makes the next yield one for the runtime.
static int interrupt(lua_State *L) {
    runtime_of(L)->interrupted = true;
    return 0;
}

struct source {
    const char *bytes;
    size_t count;
    const char *name;
    int32_t reference;
};

// MARK: Protected functions

// Each is put into the registry when the runtime is made, so that calling it allocates nothing and
// cannot fail before it is protected.

static int make_thread(lua_State *L) {
    struct martlet_lua *runtime = runtime_of(L);
    lua_State *thread = lua_newthread(L);
    lua_rawseti(L, LUA_REGISTRYINDEX, runtime->script_reference);
    runtime->script = thread;
    return 0;
}

static int materialise(lua_State *L) {
    lua_settop(L, 0);
    return push_values(L, runtime_of(L));
}

static int materialise_match(lua_State *L) {
    return push_match(L, runtime_of(L));
}

/// Keeps its argument and returns the reference.
static int retain(lua_State *L) {
    lua_settop(L, 1);
    lua_pushinteger(L, luaL_ref(L, LUA_REGISTRYINDEX));
    return 1;
}

/// Makes sure of as many slots for the caller: the stack grows for good.
static int reserve(lua_State *L) {
    luaL_checkstack(L, (int)lua_tointeger(L, 1), "nested too deeply");
    return 0;
}

static int collect(lua_State *L) {
    lua_pushboolean(L, lua_gc(L, LUA_GCSTEP, (int)lua_tointeger(L, 1)));
    return 1;
}

static int compile(lua_State *L) {
    struct source *source = lua_touserdata(L, 1);
    struct martlet_lua *runtime = runtime_of(L);
    lua_settop(L, 0);
    if (load_source(L, source->bytes, source->count, source->name) != 0) { return lua_error(L); }
    lua_rawgeti(L, LUA_REGISTRYINDEX, runtime->guarded_environment_reference);
    lua_setfenv(L, -2);
    if (runtime->used_bytes > runtime->limit_bytes) {
        lua_pushlstring(L, "not enough memory", 17);
        return lua_error(L);
    }
    source->reference = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

static int intern(lua_State *L) {
    struct source *source = lua_touserdata(L, 1);
    lua_pushlstring(L, source->bytes, source->count);
    source->reference = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

static const lua_CFunction protected_functions[] = {
    [martlet_lua_make_thread] = make_thread,
    [martlet_lua_materialise] = materialise,
    [martlet_lua_materialise_match] = materialise_match,
    [martlet_lua_retain_value] = retain,
    [martlet_lua_reserve_slots] = reserve,
    [martlet_lua_collect_step] = collect,
    [martlet_lua_compile_source] = compile,
    [martlet_lua_intern_bytes] = intern,
};

static void push_protected(lua_State *L, int32_t function) {
    struct martlet_lua *runtime = runtime_of(L);
    lua_rawgeti(L, LUA_REGISTRYINDEX, runtime->protected_references[function]);
}

/// Calls with that argument; what was raised stays on top.
static bool protect(lua_State *L, int32_t function, void *argument) {
    push_protected(L, function);
    lua_pushlightuserdata(L, argument);
    return lua_pcall(L, 1, 0, 0) == 0;
}

static int prepare(lua_State *L) {
    struct martlet_lua *runtime = runtime_of(L);
    for (int index = 0; index < martlet_lua_protected_count; index++) {
        lua_pushcfunction(L, protected_functions[index]);
        runtime->protected_references[index] = luaL_ref(L, LUA_REGISTRYINDEX);
    }
    int32_t *const slots[] = {
        &runtime->script_reference, &runtime->subject_reference, &runtime->pattern_reference,
    };
    for (size_t index = 0; index < sizeof slots / sizeof slots[0]; index++) {
        lua_pushboolean(L, 0);
        *slots[index] = luaL_ref(L, LUA_REGISTRYINDEX);
    }
    return make_thread(L);
}

// MARK: Life

static int panic(lua_State *L) {
    const char *message = lua_tostring(L, -1);
    fprintf(stderr, "Lua raised an error outside of a protected call: %s\n",
            message ? message : "(no message)");
    abort();
}

struct martlet_lua *martlet_lua_create(martlet_lua_host host, size_t limit_bytes) {
    struct martlet_lua *runtime = calloc(1, sizeof *runtime);
    if (!runtime) { return NULL; }
    runtime->host = host;
    runtime->limit_bytes = limit_bytes;
    runtime->values.capacity_max = limit_bytes;
    runtime->budget_end_nanoseconds = UINT64_MAX;
    runtime->slice_end_nanoseconds = UINT64_MAX;
    // Runtimes of several threads must not agree on what is random.
    runtime->random_state = clock_nanoseconds() ^ (uint64_t)(uintptr_t)runtime << 16;
    // LuaJIT does not survive being refused memory before its state is whole.
    runtime->reserve_bytes = own_bytes;
    lua_State *L = lua_newstate(allocate, runtime);
    runtime->reserve_bytes = 0;
    if (!L) {
        free(runtime);
        return NULL;
    }
    runtime->main = L;
    runtime->current = L;
    lua_atpanic(L, panic);
    luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF);
    set_check(runtime, instructions_per_check_max);
    if (lua_cpcall(L, prepare, NULL) != 0) {
        martlet_lua_destroy(runtime);
        return NULL;
    }
    return runtime;
}

void martlet_lua_destroy(struct martlet_lua *runtime) {
    drop_match(runtime);
    lua_close(runtime->main);
    free(runtime->values.bytes);
    free(runtime->kept_names);
    free(runtime);
}

static int open_protected(lua_State *L) {
    const struct source *prelude = lua_touserdata(L, 1);
    struct martlet_lua *runtime = runtime_of(L);
    // Each library leaves its functions in the globals, which only the prelude sees.
    static const lua_CFunction libraries[] = {
        luaopen_base, luaopen_math, luaopen_string, luaopen_table, luaopen_bit, luaopen_os,
    };
    for (size_t index = 0; index < sizeof libraries / sizeof libraries[0]; index++) {
        lua_pushcfunction(L, libraries[index]);
        lua_call(L, 0, 0);
    }
    lua_settop(L, 0);
    if (luaL_loadbufferx(L, prelude->bytes, prelude->count, "=prelude", "t") != 0) {
        return lua_error(L);
    }
    push_natives(L);
    lua_pushcfunction(L, make_host);
    lua_setfield(L, -2, "host");
    lua_pushcfunction(L, is_interrupted);
    lua_setfield(L, -2, "interrupted");
    lua_pushcfunction(L, interrupt);
    lua_setfield(L, -2, "interrupt");
    lua_pushlightuserdata(L, runtime);
    lua_setfield(L, -2, "suspension");
    lua_pushlightuserdata(L, NULL);
    lua_setfield(L, -2, "null");
    if (push_values(L, runtime) != 2) { return luaL_error(L, "no description of libraries"); }
    lua_call(L, 3, 4);
    runtime->choose_reference = luaL_ref(L, LUA_REGISTRYINDEX);
    runtime->reset_reference = luaL_ref(L, LUA_REGISTRYINDEX);
    runtime->guarded_environment_reference = luaL_ref(L, LUA_REGISTRYINDEX);
    runtime->environment_reference = luaL_ref(L, LUA_REGISTRYINDEX);
    // The globals that the libraries filled are out of reach from here on.
    lua_newtable(L);
    lua_replace(L, LUA_GLOBALSINDEX);
    return 0;
}

bool martlet_lua_open(struct martlet_lua *runtime, const char *prelude, size_t count) {
    struct source source = {prelude, count, "=prelude", 0};
    runtime->current = runtime->main;
    return lua_cpcall(runtime->main, open_protected, &source) == 0;
}

bool martlet_lua_keep_caller(struct martlet_lua *runtime, const char *name) {
    size_t bytes = strlen(name) + 1, used = runtime->kept_names_bytes;
    char *names = realloc(runtime->kept_names, used + bytes + 1);
    if (!names) { return false; }
    memcpy(names + used, name, bytes);
    names[used + bytes] = 0;
    runtime->kept_names = names;
    runtime->kept_names_bytes = used + bytes;
    return true;
}

// MARK: References

int32_t martlet_lua_compile(
    struct martlet_lua *runtime, const char *source, size_t count, const char *name) {
    struct source text = {source ? source : "", count, name, 0};
    return protect(runtime->current, martlet_lua_compile_source, &text) ? text.reference : 0;
}

int32_t martlet_lua_intern(struct martlet_lua *runtime, const char *bytes, size_t count) {
    struct source name = {bytes ? bytes : "", count, "", 0};
    if (protect(runtime->current, martlet_lua_intern_bytes, &name)) { return name.reference; }
    lua_pop(runtime->current, 1);
    return 0;
}

int32_t martlet_lua_retain(struct martlet_lua *runtime, int32_t index) {
    lua_State *L = runtime->current;
    lua_pushvalue(L, index);
    push_protected(L, martlet_lua_retain_value);
    lua_insert(L, -2);
    int32_t reference = lua_pcall(L, 1, 1, 0) == 0 ? (int32_t)lua_tointeger(L, -1) : 0;
    lua_pop(L, 1);
    return reference;
}

void martlet_lua_release(struct martlet_lua *runtime, int32_t reference) {
    // Overwrites slots that exist: nothing is allocated.
    luaL_unref(runtime->main, LUA_REGISTRYINDEX, reference);
}

bool martlet_lua_collect(struct martlet_lua *runtime, int32_t kilobytes) {
    lua_State *L = runtime->main;
    runtime->reserve_bytes = own_bytes;
    push_protected(L, martlet_lua_collect_step);
    lua_pushinteger(L, kilobytes);
    bool done = lua_pcall(L, 1, 1, 0) != 0 || lua_toboolean(L, -1);
    lua_pop(L, 1);
    runtime->reserve_bytes = 0;
    return done;
}

// MARK: Running

/// Lets go of a coroutine that did not finish, and of what the prelude knew of it.
static bool renew(struct martlet_lua *runtime) {
    lua_State *L = runtime->main;
    runtime->current = L;
    runtime->reserve_bytes = own_bytes;
    lua_rawgeti(L, LUA_REGISTRYINDEX, runtime->reset_reference);
    bool done = lua_pcall(L, 0, 0, 0) == 0 && protect(L, martlet_lua_make_thread, NULL);
    lua_settop(L, 0);
    runtime->reserve_bytes = 0;
    runtime->is_broken = !done;
    return done;
}

void martlet_lua_set_loading(struct martlet_lua *runtime, bool is_loading) {
    lua_State *L = runtime->main;
    lua_rawgeti(L, LUA_REGISTRYINDEX, runtime->choose_reference);
    lua_pushboolean(L, is_loading);
    if (lua_pcall(L, 1, 0, 0) != 0) { lua_pop(L, 1); }
}

bool martlet_lua_begin(struct martlet_lua *runtime, int32_t reference) {
    if (runtime->is_broken && !renew(runtime)) { return false; }
    atomic_store_explicit(&runtime->stop, 0, memory_order_relaxed);
    runtime->dying = 0;
    runtime->exhausted = false;
    runtime->used_nanoseconds = 0;
    runtime->peak_bytes = runtime->used_bytes;
    runtime->fresh = true;
    runtime->values.count = 0;
    runtime->values.overflowed = false;
    runtime->current = runtime->script;
    lua_settop(runtime->script, 0);
    lua_rawgeti(runtime->script, LUA_REGISTRYINDEX, reference);
    int32_t wanted = instructions_wanted(runtime);
    if (wanted != runtime->instructions_per_check) { set_check(runtime, wanted); }
    return true;
}

/// Puts what the script waits for on its stack; the count, or -1 with the error on top.
static int push_awaited(struct martlet_lua *runtime) {
    lua_State *L = runtime->script;
    int32_t function;
    if (runtime->fresh) {
        runtime->fresh = false;
        if (runtime->values.count == 0 && !runtime->values.overflowed) { return 0; }
        function = martlet_lua_materialise;
    } else if (runtime->match) {
        function = martlet_lua_materialise_match;
    } else {
        return 0;
    }
    int before = lua_gettop(L);
    push_protected(L, function);
    if (lua_pcall(L, 0, LUA_MULTRET, 0) != 0) { return -1; }
    return lua_gettop(L) - before;
}

int32_t martlet_lua_resume(
    struct martlet_lua *runtime, uint64_t slice_nanoseconds, uint64_t budget_nanoseconds) {
    lua_State *L = runtime->script;
    uint64_t now = clock_nanoseconds();
    uint64_t left = budget_nanoseconds > runtime->used_nanoseconds
        ? budget_nanoseconds - runtime->used_nanoseconds : 0;
    runtime->slice_end_nanoseconds = now + slice_nanoseconds;
    runtime->budget_end_nanoseconds = left > UINT64_MAX - now ? UINT64_MAX : now + left;
    runtime->current = L;
    runtime->interrupted = false;
    runtime->suspending = false;
    if (runtime->match && !continue_match(runtime)) {
        runtime->used_nanoseconds += clock_nanoseconds() - now;
        if (!judge(runtime, clock_nanoseconds())) { return martlet_lua_slice_over; }
        runtime->is_broken = true;
        return runtime->dying;
    }
    runtime->running = true;
    int count = push_awaited(runtime);
    int status = count < 0 ? LUA_ERRMEM : lua_resume(L, count);
    runtime->running = false;
    if (status == 0 && !runtime->dying) { return martlet_lua_finished; }
    if (status == LUA_YIELD && !runtime->dying) {
        runtime->used_nanoseconds += clock_nanoseconds() - now;
        return runtime->suspending ? martlet_lua_suspended : martlet_lua_slice_over;
    }
    runtime->is_broken = true;
    if (runtime->dying) { return runtime->dying; }
    // What was raised is read on a stack of its own: the failed coroutine's frames are not in order.
    lua_settop(runtime->main, 0);
    lua_xmove(L, runtime->main, 1);
    runtime->current = runtime->main;
    return martlet_lua_failed;
}

void martlet_lua_end(struct martlet_lua *runtime) {
    drop_match(runtime);
    if (runtime->keeps_subject) {
        runtime->keeps_subject = false;
        const int32_t slots[] = {runtime->subject_reference, runtime->pattern_reference};
        for (int index = 0; index < 2; index++) {
            lua_pushboolean(runtime->main, 0);
            lua_rawseti(runtime->main, LUA_REGISTRYINDEX, slots[index]);
        }
    }
    // A coroutine that waits or failed is not fit for another script.
    if (lua_status(runtime->script) != 0) { runtime->is_broken = true; }
    clear_values(runtime);
    runtime->running = false;
    runtime->fresh = false;
    runtime->dying = 0;
    lua_settop(runtime->main, 0);
    if (runtime->is_broken) {
        renew(runtime);
    } else {
        lua_settop(runtime->script, 0);
    }
    runtime->current = runtime->main;
}

// MARK: Reading values

int32_t martlet_lua_count(const struct martlet_lua *runtime) {
    return lua_gettop(runtime->current);
}

int32_t martlet_lua_type_at(const struct martlet_lua *runtime, int32_t index) {
    return lua_type(runtime->current, index);
}

bool martlet_lua_boolean_at(const struct martlet_lua *runtime, int32_t index) {
    return lua_toboolean(runtime->current, index);
}

double martlet_lua_number_at(const struct martlet_lua *runtime, int32_t index) {
    return lua_tonumber(runtime->current, index);
}

const char *martlet_lua_bytes_at(
    const struct martlet_lua *runtime, int32_t index, size_t *count) {
    // A number would be turned into a string in place, which allocates.
    if (lua_type(runtime->current, index) != LUA_TSTRING) {
        *count = 0;
        return NULL;
    }
    return lua_tolstring(runtime->current, index, count);
}

size_t martlet_lua_length_at(const struct martlet_lua *runtime, int32_t index) {
    int type = lua_type(runtime->current, index);
    return type == LUA_TSTRING || type == LUA_TTABLE ? lua_objlen(runtime->current, index) : 0;
}

bool martlet_lua_is_null_at(const struct martlet_lua *runtime, int32_t index) {
    return lua_type(runtime->current, index) == LUA_TLIGHTUSERDATA
        && lua_touserdata(runtime->current, index) == NULL;
}

bool martlet_lua_reserve(struct martlet_lua *runtime, int32_t slots) {
    lua_State *L = runtime->current;
    push_protected(L, martlet_lua_reserve_slots);
    lua_pushinteger(L, slots);
    if (lua_pcall(L, 1, 0, 0) == 0) { return true; }
    lua_pop(L, 1);
    return false;
}

void martlet_lua_push_element(struct martlet_lua *runtime, int32_t index, int32_t position) {
    if (lua_type(runtime->current, index) == LUA_TTABLE) {
        lua_rawgeti(runtime->current, index, position);
    } else {
        lua_pushnil(runtime->current);
    }
}

void martlet_lua_push_field(struct martlet_lua *runtime, int32_t index, int32_t name) {
    lua_State *L = runtime->current;
    if (lua_type(L, index) != LUA_TTABLE) {
        lua_pushnil(L);
        return;
    }
    int table = index < 0 ? lua_gettop(L) + index + 1 : index;
    lua_rawgeti(L, LUA_REGISTRYINDEX, name);
    lua_rawget(L, table);
}

void martlet_lua_push_nil(struct martlet_lua *runtime) {
    lua_pushnil(runtime->current);
}

bool martlet_lua_push_next(struct martlet_lua *runtime, int32_t index) {
    // The key came from the same table, so that it is known there.
    return lua_next(runtime->current, index);
}

void martlet_lua_pop(struct martlet_lua *runtime, int32_t count) {
    lua_pop(runtime->current, count);
}

bool martlet_lua_is_number_at(const struct martlet_lua *runtime, int32_t index) {
    return lua_isnumber(runtime->current, index);
}

const char *martlet_lua_text_at(struct martlet_lua *runtime, int32_t index, size_t *count) {
    if (lua_type(runtime->current, index) == LUA_TNUMBER) {
        double number = lua_tonumber(runtime->current, index);
        *count = (size_t)martlet_lua_format_number(number, runtime->digits);
        return runtime->digits;
    }
    return martlet_lua_bytes_at(runtime, index, count);
}

// MARK: Numbers as text

double martlet_lua_parse_number(const char *text, size_t *length) {
    char *end;
    double number = strtod(text, &end);
    *length = (size_t)(end - text);
    return number;
}

int32_t martlet_lua_format_number(double number, char *digits) {
    return martlet_lua_format_precise(number, 14, digits);
}

int32_t martlet_lua_format_precise(double number, int32_t precision, char *digits) {
    if (precision < 1) { precision = 1; }
    if (precision > 17) { precision = 17; }
    return snprintf(digits, 40, "%.*g", precision, number);
}

UNWOUND_THROUGH_END
