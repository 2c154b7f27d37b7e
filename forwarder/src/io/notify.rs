//! Tells the service manager how the daemon does: the datagrams of sd_notify(3).

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The service manager, if one wants to know.
#[derive(Debug, Default)]
pub struct Manager {
    socket: Option<UnixDatagram>,
    status: String,
}

impl Manager {
    /// The one that `NOTIFY_SOCKET` names.
    ///
    /// # Errors
    /// It cannot be reached.
    pub fn from_environment() -> io::Result<Self> {
        match std::env::var("NOTIFY_SOCKET") {
            Ok(name) if !name.is_empty() => Self::at(&name),
            _ => Ok(Self::default()),
        }
    }

    /// `name`: a path, or `@` and an abstract name.
    fn at(name: &str) -> io::Result<Self> {
        let address = match name.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(name)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address)?;
        // A manager that does not listen must not hold the daemon up.
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket: Some(socket),
            status: String::new(),
        })
    }

    /// The daemon does its work.
    pub fn ready(&self) {
        self.send("READY=1");
    }

    /// The daemon ends because it was asked to.
    pub fn stopping(&self) {
        self.send("STOPPING=1");
    }

    /// The main loop goes round: without this for longer than the watchdog's time the daemon is restarted.
    pub fn alive(&self) {
        self.send("WATCHDOG=1");
    }

    /// One line for `systemctl status`; sent when it differs from the last.
    pub fn status(&mut self, line: &str) {
        if self.socket.is_some() && self.status != line {
            line.clone_into(&mut self.status);
            self.send(&format!("STATUS={}", line.replace('\n', " ")));
        }
    }

    fn send(&self, message: &str) {
        if let Some(socket) = &self.socket {
            // The next one may arrive; if none does the watchdog acts.
            let _ = socket.send(message.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_there_is_to_say_once() {
        let name = format!("forwarder-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        let server = UnixDatagram::bind_addr(&address).expect("bind");
        server.set_nonblocking(true).expect("nonblocking");
        let mut manager = Manager::at(&format!("@{name}")).expect("connect");
        manager.ready();
        manager.status("two\nlines");
        manager.status("two\nlines");
        manager.alive();
        manager.stopping();
        let mut buffer = [0; 100];
        let mut heard = Vec::new();
        while let Ok(length) = server.recv(&mut buffer) {
            heard.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
        }
        assert_eq!(
            heard,
            ["READY=1", "STATUS=two lines", "WATCHDOG=1", "STOPPING=1"]
        );
    }

    #[test]
    fn nobody_wants_to_know() {
        let mut manager = Manager::default();
        manager.ready();
        manager.status("x");
        assert!(Manager::at("/nowhere/at/all").is_err());
    }
}
