//  The clocks: the system's move, a test's stand still.

import Glibc
import MartletBase
import Testing

@Test func `the monotonic clock never steps back`() {
    let clock = Clock.system
    var last = clock.monotonicNanoseconds()
    for _ in 0..<1_000 {
        let now = clock.monotonicNanoseconds()
        #expect(now >= last)
        last = now
    }
}

@Test func `the wall clock shows the system's time in each unit`() {
    let clock = Clock.system
    let before = Int64(time(nil))
    let seconds = [
        clock.wallNanoseconds() / 1_000_000_000, clock.wallMicroseconds() / 1_000_000,
        clock.wallMilliseconds() / 1_000, clock.wallSeconds(),
    ]
    let after = Int64(time(nil))
    // time() reads a coarser clock, which can lag by a tick.
    #expect(seconds.allSatisfy { $0 >= before && $0 <= after + 1 })
}

@Test func `virtual time moves only when it is told to`() {
    let time = VirtualTime(monotonicNanoseconds: 5_000_000, wallMilliseconds: 1_700_000_000_000)
    let clock = time.clock
    #expect(clock.monotonicMicroseconds() == 5_000)
    #expect(clock.monotonicMilliseconds() == 5)
    #expect(clock.wallMilliseconds() == 1_700_000_000_000)
    time.advance(milliseconds: 20)
    #expect(clock.monotonicNanoseconds() == 25_000_000)
    #expect(clock.wallMilliseconds() == 1_700_000_000_020)
}

@Test func `setting the wall clock back leaves the monotonic one alone`() {
    let time = VirtualTime(wallMilliseconds: 1_000_000)
    let clock = time.clock
    let monotonic = clock.monotonicNanoseconds()
    time.setWall(milliseconds: 1_000)
    #expect(clock.wallSeconds() == 1)
    #expect(clock.monotonicNanoseconds() == monotonic)
}
