//  What the files of this shim share. None of it is seen by Swift.

#ifndef MARTLET_RUNTIME_H
#define MARTLET_RUNTIME_H

#include "CLuaShim.h"

#include <luajit-2.1/lua.h>
#include <luajit-2.1/lauxlib.h>
#include <luajit-2.1/luajit.h>
#include <luajit-2.1/lualib.h>

// Lua unwinds through the functions below without running their epilogues, which leaves the
// sanitizers' own stacks out of step. What handles bytes (Patterns.c) is instrumented.
#define UNWOUND_THROUGH _Pragma( \
    "clang attribute push(__attribute__((disable_sanitizer_instrumentation)), apply_to=function)")
#define UNWOUND_THROUGH_END _Pragma("clang attribute pop")

/// The runtime that a state belongs to.
static inline struct martlet_lua *runtime_of(lua_State *L) {
    void *runtime;
    lua_getallocf(L, &runtime);
    return runtime;
}

/// Pushes the values and returns how many; raises Lua errors. Globals are set on the way.
int push_values(lua_State *L, struct martlet_lua *runtime);

/// Pushes "name:line: " of the innermost frame of a script, or "".
void push_position(lua_State *L);

/// Compiles text that is Lua 5.1; 0, or the status with the message on top.
int load_source(lua_State *L, const char *text, size_t count, const char *name);

/// The functions that replace what may run long, and those the prelude is built from.
void push_natives(lua_State *L);
/// Adds those of strings to the table on top.
void push_string_natives(lua_State *L);

/// Continues a match until it ends or the time is over: 1 ended, 0 time over.
int continue_match(struct martlet_lua *runtime);
/// Pushes what the function that began the match returns, and forgets the match.
int push_match(lua_State *L, struct martlet_lua *runtime);
void drop_match(struct martlet_lua *runtime);

uint64_t clock_nanoseconds(void);

#endif
