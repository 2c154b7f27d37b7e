//! Config files of any size.

use std::net::{IpAddr, Ipv4Addr};

/// How much there is of everything.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Virtual servers, each with an address of its own.
    pub servers: u16,
    /// Pools, which virtual servers have in turn.
    pub pools: u16,
    /// Backends of a pool.
    pub backends: u16,
    /// Whether backends are checked.
    pub checked: bool,
}

/// What is another way than usual.
#[derive(Clone, Copy, Debug, Default)]
pub struct Changed {
    /// A virtual server has the next pool.
    pub server: bool,
    /// A backend's weight is 2.
    pub backend: bool,
}

/// How often a backend is checked, seconds.
pub const INTERVAL: u64 = 5;

impl Shape {
    /// The file.
    pub fn config(&self, changed: Changed) -> String {
        let mut text = String::from(
            "version = 1\n\
             interface = [{ name = \"left\", device = \"eth0\" }, { name = \"right\", device = \"eth1\" }]\n",
        );
        if self.checked {
            text += &format!(
                "health_check = [{{ name = \"tcp\", type = \"tcp\", port = 80, interval = \"{INTERVAL}s\", timeout = \"2s\" }}]\n"
            );
        }
        let check = if self.checked {
            "health_check = \"tcp\"\n"
        } else {
            ""
        };
        for pool in 0..self.pools {
            text += &format!("[[pool]]\nname = \"{}\"\n{check}backend = [\n", name(pool));
            for number in 0..self.backends {
                let weight = match changed.backend && (pool, number) == (0, 0) {
                    true => ", weight = 2",
                    false => "",
                };
                let address = backend(pool * self.backends + number);
                text +=
                    &format!("  {{ name = \"b{number}\", address = \"{address}\"{weight} }},\n");
            }
            text += "]\n";
        }
        for number in 0..self.servers {
            let next = u16::from(changed.server && number == 0);
            text += &format!(
                "[[virtual_server]]\nname = \"server{number}\"\naddress = \"{}\"\nport = 80\nprotocol = \"udp\"\n\
                 mode = \"full-nat\"\nsnat = \"automap\"\npool = \"{}\"\n",
                vip(number),
                name((number + next) % self.pools),
            );
        }
        text
    }
}

/// A pool's name.
pub fn name(pool: u16) -> String {
    format!("pool{pool}")
}

/// A virtual server's address.
pub fn vip(number: u16) -> IpAddr {
    address(128, number)
}

/// A backend's address, by its number over all pools.
pub fn backend(number: u16) -> IpAddr {
    address(96, number)
}

fn address(second: u8, number: u16) -> IpAddr {
    let [high, low] = number.to_be_bytes();
    Ipv4Addr::new(10, second, high, low).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_one_line() {
        let shape = Shape {
            servers: 3,
            pools: 2,
            backends: 4,
            checked: true,
        };
        let differing = |changed| {
            let (old, new) = (shape.config(Changed::default()), shape.config(changed));
            assert_eq!(old.lines().count(), new.lines().count());
            let lines = old.lines().zip(new.lines());
            lines.filter(|(old, new)| old != new).count()
        };
        let (server, backend) = (true, true);
        for changed in [
            Changed {
                server,
                ..Changed::default()
            },
            Changed {
                backend,
                ..Changed::default()
            },
        ] {
            assert_eq!(differing(changed), 1);
        }
        assert_eq!(differing(Changed::default()), 0);
    }
}
