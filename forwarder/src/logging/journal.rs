//! journald's own protocol: a datagram of fields for each message
//! (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL>).

use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixDatagram;

use log::Level;

use super::Entry;

const SOCKET: &str = "/run/systemd/journal/socket";
/// Bytes of a field's value that are sent: a datagram has to fit into a socket's buffer.
const LONGEST: usize = 48 << 10;

/// journald, listening.
#[derive(Debug)]
pub struct Journal {
    socket: UnixDatagram,
}

impl Journal {
    /// The one that standard error leads to; `None`: it leads elsewhere.
    pub fn of_standard_error() -> Option<Self> {
        let stream = std::env::var("JOURNAL_STREAM").ok()?;
        let (device, inode) = stream.split_once(':')?;
        let wanted = (device.parse().ok()?, inode.parse().ok()?);
        (standard_error()? == wanted).then(Self::connect)?.ok()
    }

    fn connect() -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(SOCKET)?;
        // A journald that does not keep up must not hold the daemon up.
        socket.set_nonblocking(true)?;
        Ok(Self { socket })
    }

    /// Sends a message.
    pub fn send(&self, entry: &Entry<'_>) -> io::Result<()> {
        self.socket.send(&encode(entry)).map(drop)
    }
}

/// Device and inode of standard error.
fn standard_error() -> Option<(u64, u64)> {
    // SAFETY: all-zero bytes are a valid stat.
    let mut about: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: a descriptor, open or not, and room for the answer.
    let result = unsafe { libc::fstat(io::stderr().as_raw_fd(), &raw mut about) };
    (result == 0).then_some((about.st_dev, about.st_ino))
}

fn encode(entry: &Entry<'_>) -> Vec<u8> {
    let priority = match entry.level {
        Level::Error => "3",
        Level::Warn => "4",
        Level::Info => "6",
        Level::Debug | Level::Trace => "7",
    };
    let mut datagram = Vec::new();
    field(&mut datagram, "MESSAGE", entry.text.trim_end());
    field(&mut datagram, "PRIORITY", priority);
    field(&mut datagram, "SYSLOG_IDENTIFIER", "forwarder");
    field(&mut datagram, "FORWARDER_MODULE", entry.target);
    if let Some((file, line)) = entry.place {
        field(&mut datagram, "CODE_FILE", file);
        field(&mut datagram, "CODE_LINE", &line.to_string());
    }
    for (key, value) in &entry.fields {
        let key = key.to_ascii_uppercase();
        field(&mut datagram, &format!("FORWARDER_{key}"), value);
    }
    datagram
}

/// Names are our own: capital letters, digits and `_`.
fn field(datagram: &mut Vec<u8>, name: &str, value: &str) {
    let value = &value[..value.floor_char_boundary(LONGEST)];
    datagram.extend(name.as_bytes());
    if value.contains('\n') {
        datagram.push(b'\n');
        datagram.extend((value.len() as u64).to_le_bytes());
    } else {
        datagram.push(b'=');
    }
    datagram.extend(value.as_bytes());
    datagram.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_as_journald_reads_them() {
        let entry = Entry {
            level: Level::Error,
            target: "forwarder::node",
            text: "two\nlines\n".to_owned(),
            place: Some(("x.rs", 7)),
            fields: vec![("pool".to_owned(), "web".to_owned())],
        };
        let expected =
            b"MESSAGE\n\x09\0\0\0\0\0\0\0two\nlines\nPRIORITY=3\nSYSLOG_IDENTIFIER=forwarder\n\
            FORWARDER_MODULE=forwarder::node\nCODE_FILE=x.rs\nCODE_LINE=7\nFORWARDER_POOL=web\n";
        assert_eq!(encode(&entry), expected);
        let long = Entry {
            text: "ä".repeat(1 << 20),
            ..entry
        };
        assert!(encode(&long).len() < LONGEST + 200);
    }
}
