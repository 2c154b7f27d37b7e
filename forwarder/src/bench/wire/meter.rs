//! CPU time of a chain: that of the thread that runs all of it, and of the kernel's thread that takes over what is left.

use std::fs;
use std::time::Duration;

use crate::io::clock;

/// What the CPU that this thread is pinned to spends on the chain.
pub struct Meter {
    /// `/proc/…/schedstat` of threads whose time belongs to the chain.
    others: Vec<String>,
    /// The kernel does not count what runs in software interrupts as the thread's.
    apart: bool,
}

impl Meter {
    /// Of the CPU that this thread is pinned to.
    pub fn here() -> Self {
        // SAFETY: no arguments.
        let cpu = unsafe { libc::sched_getcpu() };
        let name = format!("ksoftirqd/{cpu}\n");
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        let is_it = |path: &std::path::PathBuf| {
            fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm == name)
        };
        let found = processes.map(|entry| entry.path()).find(is_it);
        let schedstat = |path: std::path::PathBuf| path.join("schedstat").display().to_string();
        Self {
            others: found.map(schedstat).into_iter().collect(),
            apart: false,
        }
    }

    /// The same and a process with one thread.
    pub fn and(&self, process: u32) -> Self {
        let mut others = self.others.clone();
        others.push(format!("/proc/{process}/schedstat"));
        Self {
            others,
            apart: self.apart,
        }
    }

    /// Finds out how the kernel counts, by work that is done almost wholly in software interrupts: time of the
    /// clock is taken where it keeps them apart, which needs an idle CPU.
    ///
    /// # Errors
    /// Those of `work`.
    pub fn calibrate(
        &mut self,
        mut work: impl FnMut() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        const TRIES: usize = 20;
        self.apart = false;
        for _ in 0..TRIES {
            let (cpu, wall, switches) = (self.now(), clock::monotonic(), switches());
            work()?;
            let (cpu, wall) = (self.now() - cpu, clock::monotonic() - wall);
            if cpu * 10 >= wall * 8 {
                return Ok(());
            }
            if switches == self::switches() {
                self.apart = true;
                return Ok(());
            }
        }
        Ok(())
    }

    /// Time spent so far.
    pub fn now(&self) -> Duration {
        if self.apart {
            return clock::monotonic();
        }
        let run = |path: &String| -> Option<u64> {
            let text = fs::read_to_string(path).ok()?;
            text.split_whitespace().next()?.parse().ok()
        };
        let others: u64 = self.others.iter().filter_map(run).sum();
        clock::thread_cpu() + Duration::from_nanos(others)
    }
}

/// How often this thread had to make room for another, or waited.
fn switches() -> i64 {
    // SAFETY: a plain structure for the call to fill.
    unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage);
        usage.ru_nivcsw + usage.ru_nvcsw
    }
}
