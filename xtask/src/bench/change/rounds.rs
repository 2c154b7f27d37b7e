//! What is done in a round.

use anyhow::Result;
use forwarder_lab::{Family, Traffic};

use super::daemon::{Daemon, TURNS};
use super::objects::Objects;

/// A kind of change.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Reload,
    Restart,
    Crash,
    Upgrade,
    Rollback,
}

impl Change {
    pub const ALL: [Self; 5] = [
        Self::Reload,
        Self::Restart,
        Self::Crash,
        Self::Upgrade,
        Self::Rollback,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Reload => "reload",
            Self::Restart => "restart",
            Self::Crash => "crash",
            Self::Upgrade => "upgrade",
            Self::Rollback => "rollback",
        }
    }

    /// Does it once, with traffic in between.
    pub fn round(self, daemon: &mut Daemon, objects: &Objects, traffic: &Traffic) -> Result<()> {
        match self {
            Self::Reload => {
                unrelated(daemon, traffic)?;
                related(daemon, traffic)
            }
            Self::Restart => {
                daemon.stop()?;
                traffic.turns(TURNS)?;
                daemon.run(None)?;
                traffic.turns(TURNS)
            }
            Self::Crash => {
                daemon.kill();
                traffic.turns(TURNS)?;
                daemon.run(None)?;
                traffic.turns(TURNS)
            }
            Self::Upgrade => objects.newer.iter().try_for_each(|object| {
                daemon.stop()?;
                daemon.run(Some(object))?;
                traffic.turns(TURNS)
            }),
            Self::Rollback => {
                let [newer, _] = &objects.newer;
                daemon.stop()?;
                daemon.run(Some(newer))?;
                traffic.turns(TURNS)?;
                daemon.stop()?;
                daemon.run_refused(&objects.refused)?;
                traffic.turns(TURNS)?;
                daemon.run(None)?;
                traffic.turns(TURNS)
            }
        }
    }
}

/// Another pool and virtual server come and go.
fn unrelated(daemon: &Daemon, traffic: &Traffic) -> Result<()> {
    let (vip, backend) = (Family::V4.vip(20), Family::V4.backend(2));
    let more = format!(
        "[[pool]]\nname = \"unrelated\"\nbackend = [{{ address = \"{backend}\" }}]\n\
         [[virtual_server]]\nname = \"unrelated\"\naddress = \"{vip}\"\nport = 80\n\
         mode = \"dnat\"\npool = \"unrelated\"\n"
    );
    daemon.reload(2, &more)?;
    traffic.turns(TURNS)?;
    daemon.reload(2, "")?;
    traffic.turns(TURNS)
}

/// The pools that the traffic goes to get a backend, which is drained and removed again.
fn related(daemon: &Daemon, traffic: &Traffic) -> Result<()> {
    daemon.reload(3, "")?;
    traffic.turns(TURNS)?;
    for family in Family::ALL {
        daemon.command(&["pool", "drain", &family.to_string(), "b3"])?;
    }
    // Connections that are at it are over before it goes.
    traffic.turn_over()?;
    daemon.reload(2, "")?;
    traffic.turns(TURNS)
}
