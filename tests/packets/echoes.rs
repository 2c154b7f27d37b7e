//! Flows made so far, for the generator to answer.

use forwarder_model::Tuple;

use crate::random::Random;

/// What has been sent to backends or the outside, as its replies will look.
#[derive(Default)]
pub struct Echoes {
    ring: Vec<(u32, Tuple)>,
    next: usize,
}

impl Echoes {
    const KEPT: usize = 512;

    /// Remembers that replies to a packet come in on `ifindex` with this 5-tuple.
    pub fn note(&mut self, ifindex: u32, reply: Tuple) {
        if self.ring.len() < Self::KEPT {
            self.ring.push((ifindex, reply));
        } else {
            self.ring[self.next % Self::KEPT] = (ifindex, reply);
            self.next += 1;
        }
    }

    /// Nothing noted yet.
    pub fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    /// One of them.
    pub fn pick(&self, random: &mut Random) -> (u32, Tuple) {
        random.pick(&self.ring)
    }
}
