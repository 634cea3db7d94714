//  The out-of-line part of CSystem.h: system calls without a C library wrapper, the ranks of held
//  locks, which are thread-local, and the long double, which Swift has on x86 only.

#include "CSystem.h"

#include <errno.h>
#include <linux/futex.h>
#include <malloc.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

long syscall(long number, ...);

void martlet_futex_wait(void *address, uint32_t expected) {
    syscall(SYS_futex, address, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, expected, NULL, NULL, 0);
}

void martlet_futex_wait_for(void *address, uint32_t expected, int64_t milliseconds) {
    struct timespec left = {milliseconds / 1000, milliseconds % 1000 * 1000000};
    syscall(SYS_futex, address, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, expected, &left, NULL, 0);
}

void martlet_futex_wake(void *address, int32_t count) {
    syscall(SYS_futex, address, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, count, NULL, NULL, 0);
}

ssize_t martlet_receive(int descriptor, void *buffer, size_t count) {
    return syscall(SYS_recvfrom, descriptor, buffer, count, 0, NULL, NULL);
}

ssize_t martlet_send(int descriptor, const void *bytes, size_t count) {
    return syscall(SYS_sendto, descriptor, bytes, count, MSG_NOSIGNAL, NULL, 0);
}

// All shards, and some registries.
enum { HELD_RANKS_MAX = 1024 + 16 };
static _Thread_local uint32_t held_ranks[HELD_RANKS_MAX];
static _Thread_local int held_count;

int martlet_lock_rank_enter(uint32_t rank) {
    int is_highest = 1;
    for (int i = 0; i < held_count; i++) {
        if (held_ranks[i] >= rank) is_highest = 0;
    }
    if (held_count < HELD_RANKS_MAX) held_ranks[held_count++] = rank;
    return is_highest;
}

void martlet_lock_rank_leave(uint32_t rank) {
    for (int i = held_count - 1; i >= 0; i--) {
        if (held_ranks[i] != rank) continue;
        held_ranks[i] = held_ranks[--held_count];
        return;
    }
}

ssize_t martlet_random(void *address, size_t count) {
    return getrandom(address, count, 0);
}

int martlet_under_thread_sanitizer(void) {
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
    return 1;
#endif
#endif
    return 0;
}

int martlet_long_double_parse(const char *text, size_t length, void *result16) {
    // As long as the longest number the format below writes.
    char copy[5 * 1024];
    if (length == 0 || length >= sizeof(copy)) return 0;
    // strtold skips leading blanks, which are not part of a number here.
    if (text[0] == ' ' || (text[0] >= '\t' && text[0] <= '\r')) return 0;
    memcpy(copy, text, length);
    copy[length] = '\0';
    char *end = NULL;
    errno = 0;
    long double value = strtold(copy, &end);
    if (end != copy + length) return 0;
    if (errno == ERANGE && (value == HUGE_VALL || value == -HUGE_VALL || fpclassify(value) == FP_ZERO))
        return 0;
    if (isnan(value)) return 0;
    memcpy(result16, &value, sizeof(value));
    return 1;
}

int martlet_long_double_add(void *a16, const void *b16) {
    long double a, b;
    memcpy(&a, a16, sizeof(a));
    memcpy(&b, b16, sizeof(b));
    a += b;
    memcpy(a16, &a, sizeof(a));
    return isfinite(a) ? 1 : 0;
}

int martlet_long_double_subtract(void *a16, const void *b16) {
    long double a, b;
    memcpy(&a, a16, sizeof(a));
    memcpy(&b, b16, sizeof(b));
    a -= b;
    memcpy(a16, &a, sizeof(a));
    return isfinite(a) ? 1 : 0;
}

int martlet_long_double_less(const void *a16, const void *b16) {
    long double a, b;
    memcpy(&a, a16, sizeof(a));
    memcpy(&b, b16, sizeof(b));
    return a < b ? 1 : 0;
}

double martlet_long_double_to_double(const void *value16) {
    long double value;
    memcpy(&value, value16, sizeof(value));
    return (double)value;
}

void martlet_long_double_from_double(double value, void *result16) {
    long double wide = value;
    memcpy(result16, &wide, sizeof(wide));
}

void martlet_long_double_from_integer(int64_t value, void *result16) {
    long double wide = value;
    memcpy(result16, &wide, sizeof(wide));
}

int martlet_fixed_format(double value, int decimals, char *buffer, size_t capacity) {
    int length = snprintf(buffer, capacity, "%.*f", decimals, value);
    return length > 0 && (size_t)length < capacity ? length : 0;
}

int martlet_long_double_format(const void *value16, char *buffer, size_t capacity) {
    long double value;
    memcpy(&value, value16, sizeof(value));
    int length = snprintf(buffer, capacity, "%.17Lf", value);
    if (length <= 0 || (size_t)length >= capacity) return 0;
    if (strchr(buffer, '.') != NULL) {
        while (buffer[length - 1] == '0') length--;
        if (buffer[length - 1] == '.') length--;
    }
    if (length == 2 && buffer[0] == '-' && buffer[1] == '0') {
        buffer[0] = '0';
        length = 1;
    }
    return length;
}

int martlet_double_format_17g(double value, char *buffer, size_t capacity) {
    int length = snprintf(buffer, capacity, "%.17g", value);
    return length > 0 && (size_t)length < capacity ? length : 0;
}

struct martlet_malloc_use martlet_malloc_use(void) {
    struct martlet_malloc_use use = {0, 0};
#if defined(__GLIBC__)
    struct mallinfo2 info = mallinfo2();
    use.used = info.uordblks + info.hblkhd;
    use.held = info.arena + info.hblkhd;
#endif
    return use;
}

int martlet_malloc_trim(void) {
#if defined(__GLIBC__)
    return malloc_trim(0);
#else
    return 0;
#endif
}

void martlet_stand_back(int niceness) {
    // 0 is the calling thread, on Linux.
    setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + niceness);
}
