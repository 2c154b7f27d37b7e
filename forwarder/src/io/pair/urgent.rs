//! CPU time at once: a thread that keeps a lease of milliseconds can't wait behind busy processes.

use std::io;

use log::info;

/// Above every ordinary thread, and below what the kernel and others have at real-time priority.
const PRIORITY: libc::c_int = 10;
/// Where that is not allowed.
const NICE: libc::c_int = -15;

/// Lets the calling thread go before ordinary ones, as far as this process may (`CAP_SYS_NICE` or
/// `RLIMIT_RTPRIO`). It sleeps nearly always, and the kernel leaves some time to others in any case.
pub fn be_urgent() {
    let Err(realtime) = realtime() else { return };
    if nice().is_err() {
        info!("the pair's thread has no priority over other processes: {realtime}");
    }
}

fn realtime() -> io::Result<()> {
    let parameter = libc::sched_param {
        sched_priority: PRIORITY,
    };
    let policy = libc::SCHED_RR | libc::SCHED_RESET_ON_FORK;
    // SAFETY: the kernel reads the parameter; 0 is the calling thread.
    match unsafe { libc::sched_setscheduler(0, policy, &raw const parameter) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn nice() -> io::Result<()> {
    // SAFETY: takes plain numbers; 0 is the calling thread.
    match unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
