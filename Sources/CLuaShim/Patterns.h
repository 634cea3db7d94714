//  Lua's patterns without recursion, in steps that can be counted and interrupted.

#ifndef MARTLET_PATTERNS_H
#define MARTLET_PATTERNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { captures_max = 32 };

/// A capture: its start, and its length or one of the two marks.
struct capture {
    size_t start;
    ptrdiff_t length;
};
enum { capture_open = -1, capture_position = -2 };

enum match_result {
    match_found,
    match_none,
    match_unfinished,
    /// `message` of the matcher says why.
    match_invalid,
};

/// What to do when the way taken has failed: the last choice, or a capture to be undone.
struct choice {
    uint8_t kind;
    uint8_t capture;
    /// Where the pattern goes on after this item, and where the item stands.
    uint32_t pattern;
    uint32_t item;
    size_t subject;
    /// Repetitions that may still be given back.
    size_t count;
};

/// A search of a pattern in a subject; it can be left unfinished and continued.
///
/// No choice point comes from an item twice at a time, since patterns have no repeated groups: the
/// stack of choices is never higher than the pattern is long.
struct matcher {
    const unsigned char *subject;
    size_t subject_count;
    const unsigned char *pattern;
    size_t pattern_count;
    /// Only at the start, not at later positions.
    bool anchored;

    /// Where the present try started, and how far it has come.
    size_t start;
    size_t at;
    size_t item;
    bool trying;

    int level;
    struct capture captures[captures_max];

    struct choice *choices;
    size_t choice_count;
    size_t choice_capacity;

    const char *message;
};

/// Sets up a search from `start` on; `pattern` is without the anchor. Choices must have room for
/// `matcher_choices(pattern_count)`.
void matcher_begin(struct matcher *matcher, size_t start);

/// Takes about `*steps` steps at most, and takes those it needed away from `*steps`.
enum match_result matcher_run(struct matcher *matcher, int64_t *steps);

/// How many choices a pattern of that length can need.
static inline size_t matcher_choices(size_t pattern_count) { return pattern_count + 1; }

#endif
