//! The site's forwarder host as a machine of its own: systemd is its init.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use forwarder_lab::{Process, Site, wait_until};

/// Nothing here takes that long unless it is broken. A machine boots in seconds, or in minutes where others take
/// the processor's time.
pub const LIMIT: Duration = Duration::from_secs(300);

/// Dropped in this order.
pub struct Machine {
    init: u32,
    process: Process,
    directory: PathBuf,
    pub site: Site,
}

impl Machine {
    /// Boots it, with journald and nothing else.
    pub fn boot(site: Site) -> Result<Self> {
        let directory = site.directory().join("machine");
        for name in ["root", "files"] {
            fs::create_dir_all(directory.join(name))?;
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/service/boot.sh");
        let mut command = site.forwarder.command("unshare");
        command.args(["--mount", "sh"]).arg(script).arg("outer");
        command.arg(&directory).arg(site.lab().prefix());
        let log = site.directory().join("machine.log");
        let mut machine = Self {
            init: 0,
            process: Process::start(command, &log)?,
            directory,
            site,
        };
        machine.wait_for_init()?;
        Ok(machine)
    }

    fn wait_for_init(&mut self) -> Result<()> {
        let file = self.directory.join("pid");
        let mut state = String::new();
        let booted = wait_until("the machine has booted", LIMIT, || {
            if let Ok(text) = fs::read_to_string(&file) {
                self.init = text.trim().parse().unwrap_or(0);
            }
            let said = self.sh("systemctl is-system-running");
            state = said.map_or_else(|error| error.to_string(), |output| text(&output));
            // A unit that was too slow at first is started again when it is needed.
            let up = ["running", "degraded"].contains(&state.trim());
            up || self.process.ended().is_some()
        });
        booted.with_context(|| format!("{state}\n{}", self.diagnosis()))?;
        if let Some(status) = self.process.ended() {
            bail!("init ended ({status}):\n{}", self.process.output());
        }
        Ok(())
    }

    /// Where the machine sees `/files`.
    pub fn files(&self) -> PathBuf {
        self.directory.join("files")
    }

    /// Runs shell commands on the machine.
    pub fn sh(&self, script: &str) -> Result<Output> {
        ensure!(self.init > 1, "no init");
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.init.to_string(), "--all"]);
        command.args(["--", "/bin/sh", "-euc", script]);
        command.env("PATH", "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.output().context("nsenter")
    }

    /// The same; returns what they print.
    pub fn run(&self, script: &str) -> Result<String> {
        let output = self.sh(script)?;
        let said = text(&output);
        ensure!(output.status.success(), "{script}: {said}");
        Ok(said)
    }

    /// The journal, as `journalctl` shows it with these options, with everything that was said until now.
    pub fn journal(&self, options: &str) -> Result<String> {
        self.run(&format!(
            "journalctl --sync; journalctl --no-pager {options}"
        ))
    }

    /// A property of the service.
    pub fn property(&self, name: &str) -> Result<String> {
        let shown = self.run(&format!("systemctl show --value -p {name} forwarder"))?;
        Ok(shown.trim().to_owned())
    }

    pub fn wait(&self, what: &str, mut state: impl FnMut() -> Result<bool>) -> Result<()> {
        wait_until(what, LIMIT, || state().unwrap_or(false)).with_context(|| self.diagnosis())
    }

    pub fn diagnosis(&self) -> String {
        let script = "set +e; systemctl --no-pager list-units --failed; systemctl --no-pager list-jobs; systemctl --no-pager -l status forwarder; journalctl --no-pager -n 60; forwarder status";
        let said = self.sh(script).map(|output| text(&output));
        format!("{}\n{}", said.unwrap_or_default(), self.process.output())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if self.init > 1 && self.process.ended().is_none() {
            // SAFETY: no memory is passed; init is a child of our child, which has not ended.
            unsafe { libc::kill(self.init.cast_signed(), libc::SIGKILL) };
            let _ = wait_until("the machine is off", LIMIT, || {
                self.process.ended().is_some()
            });
        }
    }
}

pub fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}
