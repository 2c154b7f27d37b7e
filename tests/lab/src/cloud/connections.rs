//! TCP from outside: a connection to a public address goes on to the private address that it is associated with.

use std::io;
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

/// Who does not answer for so long is given up.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where connections come in.
pub struct Connections {
    port: u16,
    listener: TcpListener,
}

impl Connections {
    /// At a port of a public address, in this thread's namespace.
    pub fn at(public: IpAddr, port: u16) -> io::Result<Self> {
        let listener = TcpListener::bind(SocketAddr::new(public, port))?;
        listener.set_nonblocking(true)?;
        Ok(Self { port, listener })
    }

    /// Takes whoever has come, on threads of their own.
    pub fn turn(&self, private: Option<IpAddr>) {
        while let Ok((client, _)) = self.listener.accept() {
            // Without an association it is closed.
            let Some(private) = private else { continue };
            let server = SocketAddr::new(private, self.port);
            thread::spawn(move || {
                // What breaks is closed at both ends.
                let _ = join(&client, server);
            });
        }
    }
}

fn join(client: &TcpStream, server: SocketAddr) -> io::Result<()> {
    let server = TcpStream::connect_timeout(&server, PATIENCE)?;
    for stream in [client, &server] {
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
    }
    let (there, back) = (
        (client.try_clone()?, server.try_clone()?),
        (server, client.try_clone()?),
    );
    let one = thread::spawn(move || copy(there));
    copy(back);
    let _ = one.join();
    Ok(())
}

fn copy((mut from, mut to): (TcpStream, TcpStream)) {
    if io::copy(&mut from, &mut to).is_err() {
        let _ = from.shutdown(Shutdown::Both);
    }
    let _ = to.shutdown(Shutdown::Write);
}
