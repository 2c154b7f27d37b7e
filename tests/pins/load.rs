//! Steady traffic that must not notice anything.

use forwarder_lab::pinned::servers;
use forwarder_lab::site::{ECHO, HTTP};
use forwarder_lab::{Namespace, Tally, Traffic};

/// Of every client, while something is the case.
const TURNS: u64 = 20;

/// Running traffic.
pub struct Load(Traffic);

impl Load {
    /// Starts it, to every virtual server.
    pub fn start(client: &Namespace) -> Self {
        let traffic = Traffic::start(client, &servers(HTTP), &servers(ECHO));
        Self(traffic.expect("traffic"))
    }

    /// Waits until much more has been sent, of every kind.
    pub fn pass(&self) {
        self.0.turns(TURNS).expect("traffic");
    }

    /// Ends it and expects that nothing was lost, broke or moved.
    pub fn expect_no_loss(self) {
        let tally = self.expect_no_flow_lost();
        assert_eq!(tally.lost, 0, "{tally:?}");
    }

    /// Ends it and expects that every connection and every flow is as it was; young flows may have lost datagrams.
    pub fn expect_no_flow_lost(self) -> Tally {
        let tally = self.0.end().expect("the end of the traffic");
        println!("{tally:?}");
        assert_eq!(tally.lost, tally.lost_of_new, "{tally:?}");
        assert!(tally.broken == 0 && tally.moved == 0, "{tally:?}");
        assert!(tally.duplicated == 0 && tally.sent() > 100, "{tally:?}");
        tally
    }
}
