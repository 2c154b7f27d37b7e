//! What a takeover would call, tried beforehand without being done: one call at a time, so that the API has as
//! much left for a real one as it had.

use std::time::Duration;

use super::work::Outcome;
use super::{Call, Holdings};

/// Each call has its turn once in so many looks at where things are.
const LOOKS: u32 = 6;
/// The shortest time between two.
const SHORTEST: Duration = Duration::from_secs(1);

/// The calls of a group that has its things elsewhere.
#[derive(Debug, Default)]
pub struct Rehearsal {
    calls: Vec<Call>,
    next: usize,
    tried: usize,
    refused: Vec<(Call, String)>,
}

impl Rehearsal {
    /// Which call is tried next; `calls`: what a takeover would call by now.
    pub fn turn(&mut self, calls: &[Call], holdings: &Holdings) -> Option<Call> {
        let needed = |call: &Call| {
            let before = call.before(holdings, false).into_iter();
            let itself = before.chain([call.clone()]);
            itself
                .chain(call.after_refusal(holdings))
                .collect::<Vec<_>>()
        };
        let calls: Vec<Call> = calls.iter().flat_map(needed).collect();
        if calls != self.calls {
            self.refused.retain(|(call, _)| calls.contains(call));
            (self.calls, self.tried) = (calls, 0);
        }
        let call = self.calls.get(self.next % self.calls.len().max(1))?;
        self.next = (self.next + 1) % self.calls.len();
        self.tried += 1;
        Some(call.clone())
    }

    /// What came of it. What was not answered says nothing.
    pub fn ended(&mut self, call: &Call, outcome: &Outcome) {
        if matches!(outcome, Outcome::Again(_) | Outcome::Held(_)) {
            return;
        }
        self.refused.retain(|(other, _)| other != call);
        if let Outcome::Refused(why) = outcome {
            self.refused.push((call.clone(), why.clone()));
        }
    }

    /// Calls that were refused when they were last tried, and why.
    pub fn refused(&self) -> &[(Call, String)] {
        &self.refused
    }

    /// Until the next: short until each has had its turn once. `dice`: at random.
    pub fn pause(&self, refresh: Duration, dice: u32) -> Duration {
        let count = self.calls.len().max(1);
        if self.tried < count {
            return SHORTEST;
        }
        let whole = refresh * LOOKS / u32::try_from(count).unwrap_or(u32::MAX);
        let whole = whole.max(SHORTEST);
        // Two nodes that were started together don't ask together for long.
        whole / 2 + whole * (dice % 1_000) / 1_000
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn assign(to: &str, address: &str) -> Call {
        let (to, addresses) = (to.to_owned(), vec![address.parse().expect("an address")]);
        Call::AssignIpv6 { to, addresses }
    }

    #[test]
    fn each_has_its_turn_and_what_was_refused_is_known_until_it_is_not() {
        let calls = [
            assign("eni-1", "2001:db8::1"),
            assign("eni-2", "2001:db8::2"),
        ];
        let mut holdings = Holdings::default();
        let holder = "eni-9".to_owned();
        holdings.addresses = BTreeMap::from([("2001:db8::1".parse().expect("one"), holder)]);
        let mut rehearsal = Rehearsal::default();
        let refused = Outcome::Refused("UnauthorizedOperation".to_owned());
        let mut tried = Vec::new();
        for turn in 0..6 {
            let call = rehearsal.turn(&calls, &holdings).expect("a call");
            if turn < 3 {
                rehearsal.ended(&call, &refused);
            } else if turn < 5 {
                rehearsal.ended(&call, &Outcome::Done);
            } else {
                rehearsal.ended(&call, &Outcome::Again("too many".to_owned()));
            }
            tried.push(call.to_string());
        }
        // The old holder has to let go of what it has, which takes a right of its own.
        let all = [
            "AssignIpv6Addresses 2001:db8::1 → eni-1",
            "UnassignIpv6Addresses 2001:db8::1 → eni-9",
            "AssignIpv6Addresses 2001:db8::2 → eni-2",
        ];
        assert_eq!(tried, [all, all].concat());
        assert_eq!(rehearsal.refused().len(), 1, "what was not answered stays");
        assert!(rehearsal.turn(&calls[..1], &holdings).is_some());
        assert_eq!(rehearsal.refused(), [], "it is not called any more");
        assert_eq!(rehearsal.turn(&[], &holdings), None);
    }

    #[test]
    fn the_first_round_is_quick_and_no_round_is_a_burst() {
        let refresh = Duration::from_secs(10);
        let calls: Vec<Call> = (1..=4)
            .map(|number| assign(&format!("eni-{number}"), "2001:db8::1"))
            .collect();
        let mut rehearsal = Rehearsal::default();
        for _ in 0..4 {
            assert_eq!(rehearsal.pause(refresh, 999), SHORTEST);
            rehearsal.turn(&calls, &Holdings::default());
        }
        let pauses = [0, 500, 999].map(|dice| rehearsal.pause(refresh, dice).as_secs_f64());
        assert_eq!(pauses, [7.5, 15.0, 22.485]);
        let many = vec![calls[0].clone(); 200];
        for _ in 0..200 {
            rehearsal.turn(&many, &Holdings::default());
        }
        assert_eq!(rehearsal.pause(refresh, 500), SHORTEST);
    }
}
