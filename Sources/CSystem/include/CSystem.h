//  What Swift cannot import from the C library by itself, and the few intrinsics it lacks.
//
//  Glibc's Swift module has no epoll and no accept4; their declarations come from the system's
//  own headers here. `_GNU_SOURCE` stays undefined: with it, `fd_set` clashes with Glibc's module.

#ifndef MARTLET_CSYSTEM_H
#define MARTLET_CSYSTEM_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/types.h>

// Declared here because <sys/socket.h> hides it without _GNU_SOURCE.
int accept4(int fd, struct sockaddr *_Nullable address, socklen_t *_Nullable length, int flags);

// Likewise for <sched.h>. The thread `thread`, or the caller for 0, runs only on the CPUs in the
// set; threads and processes it starts later inherit that.
int sched_setaffinity(pid_t thread, size_t bytes, const cpu_set_t *_Nonnull set);

// Likewise hidden by <pthread.h>; names a thread for `top -H` and debuggers, in at most 15 bytes.
int pthread_setname_np(pthread_t thread, const char *_Nonnull name);

// MADV_COLLAPSE, of Linux 6.1 and later: older headers lack it, older kernels refuse it.
enum { martlet_madvise_collapse = 25 };

// epoll_ctl with the event spelled out: Swift sees the tag as a member of a union.
static inline int martlet_epoll_control(
    int epoll, int operation, int descriptor, uint32_t events, uint64_t tag) {
    struct epoll_event event = {.events = events, .data = {.u64 = tag}};
    return epoll_ctl(epoll, operation, descriptor, &event);
}

// Brings the cache line of `address` close. Any address is legal, mapped or not.
static inline void martlet_prefetch(const void *_Nullable address) {
    __builtin_prefetch(address, 0, 3);
}

// A hint to the processor that this is a spin loop.
static inline void martlet_spin_pause(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

// Bit i of the result is set when tags[i] == tag, for 16 tags.
static inline uint32_t martlet_match16(const void *_Nonnull tags, uint8_t tag) {
    typedef uint8_t vector __attribute__((vector_size(16), aligned(1)));
    vector group = *(const vector *)tags;
#if defined(__x86_64__)
    typedef char signed_vector __attribute__((vector_size(16)));
    vector wanted = {tag, tag, tag, tag, tag, tag, tag, tag,
                     tag, tag, tag, tag, tag, tag, tag, tag};
    return (uint32_t)__builtin_ia32_pmovmskb128((signed_vector)(group == wanted));
#else
    uint32_t mask = 0;
    for (int i = 0; i < 16; i++) mask |= (uint32_t)(group[i] == tag) << i;
    return mask;
#endif
}

// Atomic accesses to words inside raw memory: tags and slots that another thread may read as a
// hint, futex words, counters. Orders are named; there are no others.
static inline uint64_t martlet_load_relaxed_64(const void *_Nonnull address) {
    return __atomic_load_n((const uint64_t *)address, __ATOMIC_RELAXED);
}
static inline void martlet_store_relaxed_64(void *_Nonnull address, uint64_t value) {
    __atomic_store_n((uint64_t *)address, value, __ATOMIC_RELAXED);
}
static inline uint8_t martlet_load_relaxed_8(const void *_Nonnull address) {
    return __atomic_load_n((const uint8_t *)address, __ATOMIC_RELAXED);
}
static inline void martlet_store_relaxed_8(void *_Nonnull address, uint8_t value) {
    __atomic_store_n((uint8_t *)address, value, __ATOMIC_RELAXED);
}
static inline uint64_t martlet_load_acquire_64(const void *_Nonnull address) {
    return __atomic_load_n((const uint64_t *)address, __ATOMIC_ACQUIRE);
}
static inline void martlet_store_release_64(void *_Nonnull address, uint64_t value) {
    __atomic_store_n((uint64_t *)address, value, __ATOMIC_RELEASE);
}
static inline uint64_t martlet_add_relaxed_64(void *_Nonnull address, uint64_t value) {
    return __atomic_fetch_add((uint64_t *)address, value, __ATOMIC_RELAXED);
}
static inline uint32_t martlet_load_relaxed_32(const void *_Nonnull address) {
    return __atomic_load_n((const uint32_t *)address, __ATOMIC_RELAXED);
}
static inline void martlet_store_relaxed_32(void *_Nonnull address, uint32_t value) {
    __atomic_store_n((uint32_t *)address, value, __ATOMIC_RELAXED);
}
static inline void martlet_store_release_32(void *_Nonnull address, uint32_t value) {
    __atomic_store_n((uint32_t *)address, value, __ATOMIC_RELEASE);
}
static inline uint64_t martlet_or_64(void *_Nonnull address, uint64_t bits) {
    return __atomic_fetch_or((uint64_t *)address, bits, __ATOMIC_SEQ_CST);
}
static inline uint64_t martlet_and_64(void *_Nonnull address, uint64_t bits) {
    return __atomic_fetch_and((uint64_t *)address, bits, __ATOMIC_SEQ_CST);
}
static inline uint32_t martlet_exchange_acquire_32(void *_Nonnull address, uint32_t value) {
    return __atomic_exchange_n((uint32_t *)address, value, __ATOMIC_ACQUIRE);
}
static inline uint32_t martlet_exchange_release_32(void *_Nonnull address, uint32_t value) {
    return __atomic_exchange_n((uint32_t *)address, value, __ATOMIC_RELEASE);
}
static inline int martlet_compare_exchange_acquire_32(
    void *_Nonnull address, uint32_t expected, uint32_t desired) {
    return __atomic_compare_exchange_n((uint32_t *)address, &expected, desired, 0,
                                       __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}

// martlet_match16 without the lock that guards the tags: two relaxed loads, a hint only.
static inline uint32_t martlet_match16_hint(const void *_Nonnull tags, uint8_t tag) {
    uint64_t words[2] = {__atomic_load_n((const uint64_t *)tags, __ATOMIC_RELAXED),
                         __atomic_load_n((const uint64_t *)tags + 1, __ATOMIC_RELAXED)};
    return martlet_match16(words, tag);
}

// A counter that advances at a constant rate and costs a few nanoseconds to read.
static inline uint64_t martlet_ticks(void) {
#if defined(__x86_64__)
    return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
    uint64_t ticks;
    __asm__ volatile("mrs %0, cntvct_el0" : "=r"(ticks));
    return ticks;
#else
#error "no tick counter for this processor"
#endif
}

// Sleeps while *address == expected, or wakes up to `count` sleepers. Process-private.
void martlet_futex_wait(void *_Nonnull address, uint32_t expected);
void martlet_futex_wake(void *_Nonnull address, int32_t count);
// The same sleep, but for no longer than so many milliseconds.
void martlet_futex_wait_for(void *_Nonnull address, uint32_t expected, int64_t milliseconds);

// recv and send without a signal. The C library's are points of cancellation, which costs four atomic
// exchanges a request; no thread of ours is ever cancelled.
ssize_t martlet_receive(int descriptor, void *_Nonnull buffer, size_t count);
ssize_t martlet_send(int descriptor, const void *_Nonnull bytes, size_t count);

// Ranks of the locks that the calling thread holds, for the order check of debug builds. Returns 0
// when the thread holds a lock of this rank or a higher one; the rank is noted in any case.
int martlet_lock_rank_enter(uint32_t rank);
void martlet_lock_rank_leave(uint32_t rank);

// Up to `count` random bytes from the system; their number, or -1 with errno set.
ssize_t martlet_random(void *_Nonnull address, size_t count);

// 1 when this build runs under the thread sanitizer, which does not see futexes.
int martlet_under_thread_sanitizer(void);

// The C library's long double, which INCRBYFLOAT and HINCRBYFLOAT are defined by.
//
// Parses all `length` bytes at `text` as a long double; 0 when they are not one number, or it is
// not a number or out of range. Infinities pass: the sum is refused.
int martlet_long_double_parse(const char *_Nonnull text, size_t length, void *_Nonnull result16);
// Adds *b to *a, both long doubles of 16 bytes; 0 when the sum is not finite.
int martlet_long_double_add(void *_Nonnull a16, const void *_Nonnull b16);
// The same for *a less *b.
int martlet_long_double_subtract(void *_Nonnull a16, const void *_Nonnull b16);
// Whether *a is less than *b.
int martlet_long_double_less(const void *_Nonnull a16, const void *_Nonnull b16);
// The nearest double; infinite when there is none.
double martlet_long_double_to_double(const void *_Nonnull value16);
void martlet_long_double_from_double(double value, void *_Nonnull result16);
void martlet_long_double_from_integer(int64_t value, void *_Nonnull result16);
// Writes the number with 17 decimals and no trailing zeros to `buffer`; returns its length, or 0
// when it does not fit.
int martlet_long_double_format(const void *_Nonnull value16, char *_Nonnull buffer, size_t capacity);

// Writes the number with so many decimals to `buffer`; returns its length, or 0 when it does not fit.
int martlet_fixed_format(double value, int decimals, char *_Nonnull buffer, size_t capacity);

// What malloc holds, in bytes: handed out to callers, and taken from the system for it. Zeros where
// the C library does not tell.
struct martlet_malloc_use {
    size_t used;
    size_t held;
};
struct martlet_malloc_use martlet_malloc_use(void);

// Gives malloc's free pages back to the system; 1 when there were any.
int martlet_malloc_trim(void);

// Lets the calling thread stand back behind others by `niceness`; where that is not allowed, it does not.
void martlet_stand_back(int niceness);

// printf's "%.17g" of a double: Swift's C import has no variadic functions.
int martlet_double_format_17g(double value, char *_Nonnull buffer, size_t capacity);

#endif
