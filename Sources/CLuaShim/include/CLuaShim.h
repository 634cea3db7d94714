//  The door between Swift and the system's Lua (LuaJIT with its compiler off).
//
//  Lua reports errors by unwinding the stack, and nothing may be unwound through a Swift frame. So
//  Swift calls Lua only through the functions below, each of which catches what Lua raises, and Lua
//  calls Swift only through one trampoline: the Swift function writes its results as bytes into
//  `values`, returns a status, and the trampoline, with no Swift frame above it, turns the bytes
//  into Lua values and raises the error, if there is one.
//
//  A runtime is used by one thread at a time; only `stop` may be written by any thread.

#ifndef MARTLET_CLUASHIM_H
#define MARTLET_CLUASHIM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct lua_State;
struct martlet_lua;

/// How a host function ended. The values it wrote are its results, or the error to raise.
enum martlet_lua_status {
    martlet_lua_returns = 0,
    martlet_lua_raises = 1,
    /// Run this function again when the script is resumed. Only functions declared as suspending.
    martlet_lua_suspends = 2,
    /// Raise "not enough memory".
    martlet_lua_exhausted = 3,
};

/// What `martlet_lua_resume` came back with.
enum martlet_lua_outcome {
    martlet_lua_finished = 0,
    martlet_lua_failed = 1,
    martlet_lua_slice_over = 2,
    martlet_lua_suspended = 3,
    martlet_lua_stopped = 4,
    martlet_lua_out_of_time = 5,
};

/// The functions that are called protected, by their place in `protected_references`.
enum martlet_lua_protected {
    martlet_lua_make_thread,
    martlet_lua_materialise,
    martlet_lua_materialise_match,
    martlet_lua_retain_value,
    martlet_lua_reserve_slots,
    martlet_lua_collect_step,
    martlet_lua_compile_source,
    martlet_lua_intern_bytes,
    martlet_lua_protected_count,
};

/// Runs host function `function`; its arguments are the values 1 to `count`.
typedef int32_t (*martlet_lua_host)(
    void *_Nullable context, struct martlet_lua *_Nonnull runtime, int32_t function, int32_t count);

/// Values on their way into Lua, as bytes: a tag and its operands, tables before their contents.
struct martlet_lua_values {
    uint8_t *_Nullable bytes;
    size_t count;
    size_t capacity;
    size_t capacity_max;
    /// Room was refused, by the system or by the limit: the values are not complete.
    bool overflowed;
};

struct martlet_lua {
    /// The state that owns the others, and the coroutine that runs scripts.
    struct lua_State *_Nullable main;
    struct lua_State *_Nullable script;
    /// The state whose stack the reading functions see.
    struct lua_State *_Nullable current;
    martlet_lua_host _Nonnull host;
    /// Given to each host function; set by the owner before any script runs.
    void *_Nullable context;
    struct martlet_lua_values values;

    /// Bytes that Lua holds, the most it may hold, and the most it has held.
    size_t used_bytes;
    size_t limit_bytes;
    size_t peak_bytes;
    /// Bytes beyond the limit, for the runtime's own needs while it puts things in order.
    size_t reserve_bytes;
    /// Bytes in blocks that count as large, and the largest such block since there were none.
    size_t large_bytes;
    size_t largest_bytes;
    /// Bytes allocated since the hook last ran.
    size_t debt_bytes;

    /// Set by any thread: the running script is to end.
    _Atomic(int32_t) stop;
    /// Why the running script must end: an outcome, or 0.
    int32_t dying;
    /// More than the limit was allocated: the next instruction raises "not enough memory".
    bool exhausted;
    /// The running coroutine has yielded for the runtime, not for the script.
    bool interrupted;
    bool suspending;
    bool running;
    /// The script's coroutine has a function on its stack that was not started.
    bool fresh;
    int32_t instructions_per_check;
    uint64_t slice_end_nanoseconds;
    uint64_t budget_end_nanoseconds;
    uint64_t used_nanoseconds;

    /// Digits of the number that was last asked for as text.
    char digits[40];

    /// State of math.random, as in lrand48.
    uint64_t random_state;
    /// A pattern match that outlived its slice; see Patterns.h.
    struct martlet_lua_match *_Nullable match;

    /// The script's coroutine did not finish: another takes its place.
    bool is_broken;

    int32_t script_reference;
    int32_t environment_reference;
    int32_t guarded_environment_reference;
    int32_t reset_reference;
    int32_t choose_reference;
    /// Slots that keep the strings of an unfinished match.
    int32_t subject_reference;
    int32_t pattern_reference;
    bool keeps_subject;
    int32_t protected_references[martlet_lua_protected_count];
    /// `library.function` of those whose callers must be known, each ended by a zero, and one more.
    char *_Nullable kept_names;
    size_t kept_names_bytes;
    /// How often the hook has run.
    uint64_t checks;
};

// MARK: Values into Lua

enum martlet_lua_tag {
    martlet_lua_tag_nil = 0,
    martlet_lua_tag_false = 1,
    martlet_lua_tag_true = 2,
    martlet_lua_tag_number = 3,  // 8 bytes
    martlet_lua_tag_bytes = 4,  // 8 bytes length, then the bytes
    martlet_lua_tag_array = 5,  // 4 bytes count, then the elements
    martlet_lua_tag_record = 6,  // 4 bytes count, then keys and values in turn
    martlet_lua_tag_reference = 7,  // 4 bytes
    martlet_lua_tag_global = 8,  // 4 bytes reference of a name; takes the value before it
    martlet_lua_tag_userdata_null = 9,
};

bool martlet_lua_values_grow(struct martlet_lua_values *_Nonnull values, size_t bytes);

static inline struct martlet_lua_values *_Nonnull martlet_lua_values_of(
    struct martlet_lua *_Nonnull runtime) {
    return &runtime->values;
}

/// Makes room for `bytes` more and returns where they go; nil when there is no room to be had.
static inline uint8_t *_Nullable martlet_lua_values_room(
    struct martlet_lua_values *_Nonnull values, size_t bytes) {
    if (values->capacity - values->count < bytes && !martlet_lua_values_grow(values, bytes)) {
        return NULL;
    }
    uint8_t *place = values->bytes + values->count;
    values->count += bytes;
    return place;
}

static inline void martlet_lua_put_tag(struct martlet_lua_values *_Nonnull values, uint8_t tag) {
    uint8_t *place = martlet_lua_values_room(values, 1);
    if (place) { *place = tag; }
}

static inline void martlet_lua_put_number(
    struct martlet_lua_values *_Nonnull values, double number) {
    uint8_t *place = martlet_lua_values_room(values, 9);
    if (place) {
        *place = martlet_lua_tag_number;
        __builtin_memcpy(place + 1, &number, 8);
    }
}

static inline void martlet_lua_put_bytes(
    struct martlet_lua_values *_Nonnull values, const void *_Nullable bytes, size_t count) {
    if (count > values->capacity_max) { values->overflowed = true; return; }
    uint8_t *place = martlet_lua_values_room(values, 9 + count);
    if (place) {
        uint64_t length = count;
        *place = martlet_lua_tag_bytes;
        __builtin_memcpy(place + 1, &length, 8);
        if (count) { __builtin_memcpy(place + 9, bytes, count); }
    }
}

/// Writes a tag with a 4-byte operand; returns the position after it.
static inline size_t martlet_lua_put_counted(
    struct martlet_lua_values *_Nonnull values, uint8_t tag, uint32_t operand) {
    uint8_t *place = martlet_lua_values_room(values, 5);
    if (place) {
        *place = tag;
        __builtin_memcpy(place + 1, &operand, 4);
    }
    return values->count;
}

/// Replaces the operand that ends at `position`, which `martlet_lua_put_counted` returned.
static inline void martlet_lua_patch(
    struct martlet_lua_values *_Nonnull values, size_t position, uint8_t tag, uint32_t operand) {
    if (values->overflowed || position < 5 || position > values->count) { return; }
    values->bytes[position - 5] = tag;
    __builtin_memcpy(values->bytes + position - 4, &operand, 4);
}

/// Replaces the number that ends at `position`.
static inline void martlet_lua_patch_number(
    struct martlet_lua_values *_Nonnull values, size_t position, double number) {
    if (values->overflowed || position < 9 || position > values->count) { return; }
    __builtin_memcpy(values->bytes + position - 8, &number, 8);
}

/// Takes back the number written last.
static inline void martlet_lua_take_back_number(struct martlet_lua_values *_Nonnull values) {
    if (!values->overflowed && values->count >= 9
        && values->bytes[values->count - 9] == martlet_lua_tag_number) {
        values->count -= 9;
    }
}

// MARK: Life of a runtime

/// Returns a runtime with nothing in it, or nil when the system has no memory for it.
struct martlet_lua *_Nullable martlet_lua_create(
    martlet_lua_host _Nonnull host, size_t limit_bytes);
void martlet_lua_destroy(struct martlet_lua *_Nonnull runtime);

/// Runs the prelude with the standard libraries, the natives, and the description of the host
/// functions and of their aliases in `values`; false leaves the message as the value on top.
bool martlet_lua_open(
    struct martlet_lua *_Nonnull runtime, const char *_Nonnull prelude, size_t count);

/// Has `return NAME(...)` compiled such that NAME, which has one result, knows who calls it.
bool martlet_lua_keep_caller(struct martlet_lua *_Nonnull runtime, const char *_Nonnull name);

/// Compiles text and returns its reference; 0 leaves the message as the value on top.
int32_t martlet_lua_compile(
    struct martlet_lua *_Nonnull runtime, const char *_Nullable source, size_t count,
    const char *_Nonnull name);

/// Puts the bytes into the registry and returns the reference; 0 when memory is exhausted.
int32_t martlet_lua_intern(
    struct martlet_lua *_Nonnull runtime, const char *_Nullable bytes, size_t count);
/// Keeps the value at `index`; 0 when memory is exhausted.
int32_t martlet_lua_retain(struct martlet_lua *_Nonnull runtime, int32_t index);
void martlet_lua_release(struct martlet_lua *_Nonnull runtime, int32_t reference);

/// Takes a step of the collector of about `kilobytes`; true at the end of a cycle.
bool martlet_lua_collect(struct martlet_lua *_Nonnull runtime, int32_t kilobytes);

// MARK: Running

/// Makes the globals those for loading, or the usual ones; no script is running.
void martlet_lua_set_loading(struct martlet_lua *_Nonnull runtime, bool is_loading);

/// Makes the function the next script; false when memory is exhausted.
bool martlet_lua_begin(struct martlet_lua *_Nonnull runtime, int32_t reference);
/// Runs the script for a slice. The first call takes the arguments from `values`.
int32_t martlet_lua_resume(
    struct martlet_lua *_Nonnull runtime, uint64_t slice_nanoseconds,
    uint64_t budget_nanoseconds);
/// Ends the script, finished or not, and lets go of its results.
void martlet_lua_end(struct martlet_lua *_Nonnull runtime);
/// Makes the running script end; from any thread.
void martlet_lua_stop(struct martlet_lua *_Nonnull runtime);
/// Whether the running host function should give up: stopped, or out of time.
bool martlet_lua_must_end(struct martlet_lua *_Nonnull runtime);

// MARK: Reading values; `index` counts from 1, or from -1 at the top

enum martlet_lua_type {
    martlet_lua_type_none = -1,
    martlet_lua_type_nil = 0,
    martlet_lua_type_boolean = 1,
    martlet_lua_type_light_userdata = 2,
    martlet_lua_type_number = 3,
    martlet_lua_type_bytes = 4,
    martlet_lua_type_table = 5,
    martlet_lua_type_function = 6,
};

int32_t martlet_lua_count(const struct martlet_lua *_Nonnull runtime);
int32_t martlet_lua_type_at(const struct martlet_lua *_Nonnull runtime, int32_t index);
bool martlet_lua_boolean_at(const struct martlet_lua *_Nonnull runtime, int32_t index);
double martlet_lua_number_at(const struct martlet_lua *_Nonnull runtime, int32_t index);
/// The bytes of a string, which stand as long as the value does; nil for anything else.
const char *_Nullable martlet_lua_bytes_at(
    const struct martlet_lua *_Nonnull runtime, int32_t index, size_t *_Nonnull count);
/// Whether it is a number or a string that spells one.
bool martlet_lua_is_number_at(const struct martlet_lua *_Nonnull runtime, int32_t index);
/// The bytes of a string, or the digits of a number, which stand until the next call.
const char *_Nullable martlet_lua_text_at(
    struct martlet_lua *_Nonnull runtime, int32_t index, size_t *_Nonnull count);
/// Length of a string, or the border of a table.
size_t martlet_lua_length_at(const struct martlet_lua *_Nonnull runtime, int32_t index);
bool martlet_lua_is_null_at(const struct martlet_lua *_Nonnull runtime, int32_t index);

/// Makes sure of room for `slots` more values; false when the stack may not grow further.
bool martlet_lua_reserve(struct martlet_lua *_Nonnull runtime, int32_t slots);
/// Pushes element `position` of the table at `index`; needs a reserved slot, as do those below.
void martlet_lua_push_element(
    struct martlet_lua *_Nonnull runtime, int32_t index, int32_t position);
/// Pushes the field of that interned name.
void martlet_lua_push_field(struct martlet_lua *_Nonnull runtime, int32_t index, int32_t name);
void martlet_lua_push_nil(struct martlet_lua *_Nonnull runtime);
/// Replaces the key on top by the next key and its value; false takes the key away at the end.
bool martlet_lua_push_next(struct martlet_lua *_Nonnull runtime, int32_t index);
void martlet_lua_pop(struct martlet_lua *_Nonnull runtime, int32_t count);

/// Line of the innermost frame that is a script's, 0 when there is none, and its source's name.
int32_t martlet_lua_position(
    struct martlet_lua *_Nonnull runtime, char *_Nonnull source, size_t capacity);

/// "name:line: " of the line that called the running function, as Lua puts it before errors.
void martlet_lua_error_position(
    struct martlet_lua *_Nonnull runtime, char *_Nonnull text, size_t capacity);

/// The number at the start of a text that ends with a zero, as strtod reads it.
double martlet_lua_parse_number(const char *_Nonnull text, size_t *_Nonnull length);
/// Digits as Lua's tostring gives them (%.14g); returns their count, at most 32.
int32_t martlet_lua_format_number(double number, char *_Nonnull digits);
/// Digits in `precision` significant places; at most 40.
int32_t martlet_lua_format_precise(double number, int32_t precision, char *_Nonnull digits);

#endif
