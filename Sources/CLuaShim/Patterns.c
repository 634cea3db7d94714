//  The matcher: a machine with a stack of choices instead of recursion.
//
//  Every read of subject and pattern compares its index first. `item` walks the pattern and `at` the
//  subject; an item that could also match otherwise leaves a choice behind. When an item fails, the
//  latest choice is taken up again, captures being undone on the way. As in Lua 5.1, a pattern is
//  found to be malformed only when the matcher gets there.

#include "Patterns.h"

#include <ctype.h>
#include <string.h>

enum { kind_greedy, kind_lazy, kind_optional, kind_opened, kind_closed };

void matcher_begin(struct matcher *matcher, size_t start) {
    matcher->start = start;
    matcher->trying = false;
    matcher->choice_count = 0;
    matcher->level = 0;
    matcher->message = NULL;
}

/// The end of the single-character item at `item`; 0 with a message when it is malformed.
static size_t item_end(struct matcher *matcher, size_t item) {
    const unsigned char *pattern = matcher->pattern;
    size_t count = matcher->pattern_count;
    unsigned char first = pattern[item++];
    if (first == '%') {
        if (item >= count) {
            matcher->message = "malformed pattern (ends with '%')";
            return 0;
        }
        return item + 1;
    }
    if (first == '[') {
        if (item < count && pattern[item] == '^') { item++; }
        // The first character of a set is never its end.
        do {
            if (item >= count) {
                matcher->message = "malformed pattern (missing ']')";
                return 0;
            }
            unsigned char byte = pattern[item++];
            if (byte == '%' && item < count) { item++; }
        } while (item >= count || pattern[item] != ']');
        return item + 1;
    }
    return item;
}

static bool in_class(unsigned char byte, unsigned char class) {
    bool result;
    switch (tolower(class)) {
    case 'a': result = isalpha(byte); break;
    case 'c': result = iscntrl(byte); break;
    case 'd': result = isdigit(byte); break;
    case 'l': result = islower(byte); break;
    case 'p': result = ispunct(byte); break;
    case 's': result = isspace(byte); break;
    case 'u': result = isupper(byte); break;
    case 'w': result = isalnum(byte); break;
    case 'x': result = isxdigit(byte); break;
    case 'z': result = byte == 0; break;
    default: return class == byte;
    }
    return isupper(class) ? !result : result;
}

/// Whether the set from `item`, which stands at '[', to `last`, which stands at ']', has the byte.
static bool in_set(const struct matcher *matcher, unsigned char byte, size_t item, size_t last) {
    const unsigned char *pattern = matcher->pattern;
    bool wanted = true;
    item++;
    if (item < last && pattern[item] == '^') {
        wanted = false;
        item++;
    }
    while (item < last) {
        if (pattern[item] == '%' && item + 1 < last) {
            item++;
            if (in_class(byte, pattern[item])) { return wanted; }
            item++;
        } else if (item + 2 < last && pattern[item + 1] == '-') {
            if (pattern[item] <= byte && byte <= pattern[item + 2]) { return wanted; }
            item += 3;
        } else {
            if (pattern[item] == byte) { return wanted; }
            item++;
        }
    }
    return !wanted;
}

/// Whether the single-character item from `item` to `end` matches the byte at `at`.
static bool matches_one(const struct matcher *matcher, size_t at, size_t item, size_t end) {
    if (at >= matcher->subject_count) { return false; }
    unsigned char byte = matcher->subject[at];
    switch (matcher->pattern[item]) {
    case '.': return true;
    case '%': return in_class(byte, matcher->pattern[item + 1]);
    case '[': return in_set(matcher, byte, item, end - 1);
    default: return matcher->pattern[item] == byte;
    }
}

static bool push_choice(struct matcher *matcher, struct choice choice) {
    if (matcher->choice_count >= matcher->choice_capacity) {
        matcher->message = "pattern too complex";
        return false;
    }
    matcher->choices[matcher->choice_count++] = choice;
    return true;
}

/// Takes up the latest choice; false when there is none left.
static bool retreat(struct matcher *matcher, int64_t *steps) {
    while (matcher->choice_count > 0) {
        struct choice *choice = &matcher->choices[matcher->choice_count - 1];
        --*steps;
        switch (choice->kind) {
        case kind_opened:
            matcher->level--;
            matcher->choice_count--;
            continue;
        case kind_closed:
            matcher->captures[choice->capture].length = capture_open;
            matcher->choice_count--;
            continue;
        case kind_optional:
            matcher->at = choice->subject;
            matcher->item = choice->pattern;
            matcher->choice_count--;
            return true;
        case kind_greedy:
            if (choice->count == 0) {
                matcher->choice_count--;
                continue;
            }
            choice->count--;
            matcher->at = choice->subject + choice->count;
            matcher->item = choice->pattern;
            return true;
        default:  // kind_lazy
            // The item ends before the '-' that stands before `pattern`.
            if (!matches_one(matcher, choice->subject, choice->item, choice->pattern - 1)) {
                matcher->choice_count--;
                continue;
            }
            choice->subject++;
            matcher->at = choice->subject;
            matcher->item = choice->pattern;
            return true;
        }
    }
    return false;
}

/// The end of the balanced text at `at`, or 0 when there is none.
static size_t balanced_end(const struct matcher *matcher, size_t at, size_t item, int64_t *steps) {
    if (at >= matcher->subject_count) { return 0; }
    unsigned char opening = matcher->pattern[item], closing = matcher->pattern[item + 1];
    if (matcher->subject[at] != opening) { return 0; }
    size_t depth = 1, first = at;
    for (at++; at < matcher->subject_count; at++) {
        unsigned char byte = matcher->subject[at];
        if (byte == closing) {
            if (--depth == 0) { break; }
        } else if (byte == opening) {
            depth++;
        }
    }
    *steps -= (int64_t)((at - first) / 8);
    return at < matcher->subject_count ? at + 1 : 0;
}

/// Takes the item at `item`; 1 matched, 0 failed, -1 malformed, 2 the whole pattern matched.
static int take_item(struct matcher *matcher, int64_t *steps) {
    const unsigned char *pattern = matcher->pattern;
    size_t count = matcher->pattern_count, item = matcher->item, at = matcher->at;
    if (item >= count) { return 2; }
    switch (pattern[item]) {
    case '(': {
        bool is_position = item + 1 < count && pattern[item + 1] == ')';
        if (matcher->level >= captures_max) {
            matcher->message = "too many captures";
            return -1;
        }
        matcher->captures[matcher->level] =
            (struct capture){at, is_position ? capture_position : capture_open};
        matcher->level++;
        matcher->item = item + (is_position ? 2 : 1);
        return push_choice(matcher, (struct choice){.kind = kind_opened}) ? 1 : -1;
    }
    case ')': {
        int index = matcher->level - 1;
        while (index >= 0 && matcher->captures[index].length != capture_open) { index--; }
        if (index < 0) {
            matcher->message = "invalid pattern capture";
            return -1;
        }
        matcher->captures[index].length = (ptrdiff_t)(at - matcher->captures[index].start);
        matcher->item = item + 1;
        struct choice undo = {.kind = kind_closed, .capture = (uint8_t)index};
        return push_choice(matcher, undo) ? 1 : -1;
    }
    case '$':
        if (item + 1 == count) {
            if (at != matcher->subject_count) { return 0; }
            matcher->item = count;
            return 1;
        }
        break;
    case '%':
        if (item + 1 >= count) { break; }
        if (pattern[item + 1] == 'b') {
            if (item + 3 >= count) {
                matcher->message = "unbalanced pattern";
                return -1;
            }
            size_t end = balanced_end(matcher, at, item + 2, steps);
            if (end == 0) { return 0; }
            matcher->at = end;
            matcher->item = item + 4;
            return 1;
        }
        if (pattern[item + 1] == 'f') {
            size_t set = item + 2;
            if (set >= count || pattern[set] != '[') {
                matcher->message = "missing '[' after '%f' in pattern";
                return -1;
            }
            size_t end = item_end(matcher, set);
            if (end == 0) { return -1; }
            unsigned char before = at == 0 ? 0 : matcher->subject[at - 1];
            unsigned char here = at < matcher->subject_count ? matcher->subject[at] : 0;
            if (in_set(matcher, before, set, end - 1) || !in_set(matcher, here, set, end - 1)) {
                return 0;
            }
            matcher->item = end;
            return 1;
        }
        if (isdigit(pattern[item + 1])) {
            int index = pattern[item + 1] - '1';
            if (index < 0 || index >= matcher->level
                || matcher->captures[index].length == capture_open) {
                matcher->message = "invalid capture index";
                return -1;
            }
            struct capture capture = matcher->captures[index];
            // A position is longer than any subject, as in Lua 5.1.
            size_t length = capture.length < 0 ? SIZE_MAX : (size_t)capture.length;
            if (matcher->subject_count - at < length
                || memcmp(matcher->subject + capture.start, matcher->subject + at, length) != 0) {
                return 0;
            }
            *steps -= (int64_t)(length / 32);
            matcher->at = at + length;
            matcher->item = item + 2;
            return 1;
        }
        break;
    default:
        break;
    }
    size_t end = item_end(matcher, item);
    if (end == 0) { return -1; }
    unsigned char suffix = end < count ? pattern[end] : 0;
    switch (suffix) {
    case '?':
        matcher->item = end + 1;
        if (matches_one(matcher, at, item, end)) {
            struct choice without = {.kind = kind_optional, .pattern = (uint32_t)(end + 1),
                                     .subject = at};
            if (!push_choice(matcher, without)) { return -1; }
            matcher->at = at + 1;
        }
        return 1;
    case '*':
    case '+': {
        size_t repetitions = 0;
        while (matches_one(matcher, at + repetitions, item, end)) { repetitions++; }
        *steps -= (int64_t)(repetitions / 4);
        if (suffix == '+') {
            if (repetitions == 0) { return 0; }
            // One of them is not given back.
            at++;
            repetitions--;
        }
        struct choice fewer = {.kind = kind_greedy, .pattern = (uint32_t)(end + 1),
                               .item = (uint32_t)item, .subject = at, .count = repetitions};
        matcher->at = at + repetitions;
        matcher->item = end + 1;
        return repetitions == 0 || push_choice(matcher, fewer) ? 1 : -1;
    }
    case '-': {
        struct choice more = {.kind = kind_lazy, .pattern = (uint32_t)(end + 1),
                              .item = (uint32_t)item, .subject = at};
        matcher->item = end + 1;
        return push_choice(matcher, more) ? 1 : -1;
    }
    default:
        if (!matches_one(matcher, at, item, end)) { return 0; }
        matcher->at = at + 1;
        matcher->item = end;
        return 1;
    }
}

enum match_result matcher_run(struct matcher *matcher, int64_t *steps) {
    for (;;) {
        if (!matcher->trying) {
            matcher->trying = true;
            matcher->at = matcher->start;
            matcher->item = 0;
            matcher->level = 0;
            matcher->choice_count = 0;
        }
        while (*steps > 0) {
            --*steps;
            int taken = take_item(matcher, steps);
            if (taken == 1) { continue; }
            if (taken == 2) { return match_found; }
            if (taken < 0) { return match_invalid; }
            if (retreat(matcher, steps)) { continue; }
            matcher->trying = false;
            break;
        }
        if (matcher->trying) { return match_unfinished; }
        if (matcher->anchored || matcher->start >= matcher->subject_count) { return match_none; }
        matcher->start++;
        if (*steps <= 0) { return match_unfinished; }
    }
}
