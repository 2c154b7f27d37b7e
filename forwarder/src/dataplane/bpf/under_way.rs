//! Packets that are under way while a map changes.
//!
//! A change holds for every packet that comes after it. One that is being handled on another CPU may have read
//! what was there before, and look up later what that points at.

use std::thread;
use std::time::Duration;

use log::warn;

/// `enum membarrier_cmd`, linux/membarrier.h.
const MEMBARRIER_CMD_GLOBAL: libc::c_int = 1;
/// Far longer than any packet takes, where the kernel can't be asked.
const LONG: Duration = Duration::from_millis(50);

/// Returns when no packet is under way any more that was so when it was called.
///
/// The kernel runs XDP programs as readers of RCU, and this command of membarrier(2) waits for all readers that
/// there are: some milliseconds. A kernel with CPUs of no tick (`nohz_full`) has it not.
pub fn wait() {
    // SAFETY: no memory is passed.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) };
    if result != 0 {
        let error = std::io::Error::last_os_error();
        warn!("membarrier: {error}; waiting {LONG:?} instead");
        #[expect(
            clippy::disallowed_methods,
            reason = "short, and what follows must wait"
        )]
        thread::sleep(LONG);
    }
}
