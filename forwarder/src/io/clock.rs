//! The clocks. Nothing in `core` reads one.

use std::time::Duration;

/// Time since boot without suspends, to the tick: the clock that the data plane stamps flows with.
pub fn coarse_monotonic() -> Duration {
    read(libc::CLOCK_MONOTONIC_COARSE)
}

/// How far that goes on at a time: a tick of the kernel.
pub fn tick() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a valid timespec to write to; the clock exists since Linux 2.6.32.
    unsafe { libc::clock_getres(libc::CLOCK_MONOTONIC_COARSE, &raw mut time) };
    let nanoseconds = u64::try_from(time.tv_nsec).unwrap_or(0);
    Duration::from_nanos(nanoseconds.max(1))
}

/// Time since 1970-01-01 UTC, to show to people: it jumps.
pub fn wall() -> Duration {
    read(libc::CLOCK_REALTIME)
}

/// Time since boot without suspends.
pub fn monotonic() -> Duration {
    read(libc::CLOCK_MONOTONIC)
}

/// CPU time that the calling thread has used.
pub fn thread_cpu() -> Duration {
    read(libc::CLOCK_THREAD_CPUTIME_ID)
}

fn read(clock: libc::clockid_t) -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a valid timespec to write to; each of the clocks exists since Linux 2.6.32.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    Duration::new(
        time.tv_sec.unsigned_abs(),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}
