use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const RULES: Rules = Rules {
    rise: 2,
    fall: 3,
    interval: SECOND,
    max_hold: Duration::from_secs(60),
};

fn passed() -> Outcome {
    Outcome {
        result: Ok(()),
        took: SECOND / 100,
    }
}

fn failed(result: CheckResult, text: &str) -> Outcome {
    let text = text.to_owned();
    Outcome {
        result: Err(Failure { result, text }),
        took: SECOND / 10,
    }
}

fn refused() -> Outcome {
    failed(CheckResult::Refused, "connection refused")
}

#[test]
fn rises_and_falls() {
    let mut health = Health::new(RULES, true, SECOND);
    assert_eq!(health.status(), Status::Unknown);
    assert_eq!(health.report(passed(), 2 * SECOND), Some(Status::Up));
    assert_eq!(health.report(refused(), 3 * SECOND), None);
    assert_eq!(health.report(refused(), 4 * SECOND), None);
    assert_eq!(health.report(passed(), 5 * SECOND), None);
    for second in 6..8 {
        assert_eq!(health.report(refused(), second * SECOND), None);
    }
    assert_eq!(health.report(refused(), 8 * SECOND), Some(Status::Down));
    assert_eq!(
        (health.since(), health.why()),
        (8 * SECOND, "connection refused")
    );
    let late = failed(CheckResult::Timeout, "no answer within 1s");
    assert_eq!(health.report(late.clone(), 9 * SECOND), None);
    let known = (health.since(), health.why());
    assert_eq!(known, (8 * SECOND, "no answer within 1s"));
    assert_eq!(health.last(), Some(&late));
    assert_eq!(health.report(passed(), 10 * SECOND), None);
    assert_eq!(health.report(passed(), 11 * SECOND), Some(Status::Up));
    assert_eq!(health.changes(), 3);
    let counts = health.counts();
    let counts: Vec<_> = counts.iter().filter(|(_, count)| *count > 0).collect();
    assert_eq!(
        counts,
        [
            (CheckResult::Passed, 4),
            (CheckResult::Timeout, 1),
            (CheckResult::Refused, 5)
        ]
    );
}

#[test]
fn an_unknown_backend_is_not_down_by_one_failure() {
    let rules = Rules { fall: 2, ..RULES };
    let mut health = Health::new(rules, true, SECOND);
    assert_eq!(health.report(refused(), SECOND), None);
    assert_eq!(health.status(), Status::Unknown);
    assert_eq!(health.report(refused(), SECOND), Some(Status::Down));
}

#[test]
fn a_check_that_could_not_be_made_says_nothing() {
    let mut health = Health::new(Rules { fall: 1, ..RULES }, true, SECOND);
    health.report(passed(), SECOND);
    for _ in 0..10 {
        let none = failed(CheckResult::NotMade, "too many open files");
        assert_eq!(health.report(none, SECOND), None);
    }
    assert_eq!(health.status(), Status::Up);
}

#[test]
fn slow_start_is_for_those_that_were_not_up() {
    let slow = 10 * SECOND;
    let mut health = Health::new(RULES, true, SECOND);
    health.report(passed(), SECOND);
    assert_eq!(
        health.share(slow, SECOND),
        FULL,
        "it had flows all the time"
    );
    let mut joined = Health::new(RULES, false, SECOND);
    assert!(!joined.counts_as_up());
    joined.report(passed(), SECOND);
    assert_eq!(joined.share(slow, SECOND), 1);
    assert_eq!(joined.share(slow, 6 * SECOND), 5);
    assert_eq!(joined.share(slow, 11 * SECOND), FULL);
}

/// What happens: whether a check is passed, and the time to the next in tenths of a second.
fn events() -> impl Strategy<Value = Vec<(bool, u32)>> {
    // Long stretches of the same answer, too.
    let stretch = (any::<bool>(), 1..40_usize, 1..30_u32);
    let stretch = stretch.prop_map(|(passes, times, gap)| vec![(passes, gap); times]);
    proptest::collection::vec(stretch, 1..40).prop_map(|stretches| stretches.concat())
}

proptest! {
    /// Up only after `rise` successes in a row (an unknown one after the first), down only after `fall`
    /// failures in a row, and neither later than it must; but a backend that is held stays down.
    #[test]
    fn transitions_follow_the_rules(events in events(), rise in 1..5_u8, fall in 1..5_u8) {
        let rules = Rules { rise, fall, ..RULES };
        let mut health = Health::new(rules, true, Duration::ZERO);
        let (mut now, mut row, mut last) = (Duration::ZERO, 0_usize, true);
        let mut down_since = None;
        for (passes, gap) in events {
            now += gap * SECOND / 10;
            row = if passes == last { row + 1 } else { 1 };
            last = passes;
            let (before, held) = (health.status(), health.held_until(now));
            let outcome = if passes { passed() } else { refused() };
            let change = health.report(outcome, now);
            prop_assert!(held.is_none_or(|until| until <= down_since.unwrap_or(now) + rules.max_hold));
            let needed = if passes { rise } else { fall };
            let needed = if passes && before == Status::Unknown { 1 } else { needed };
            let target = if passes { Status::Up } else { Status::Down };
            let due = before != target && row >= usize::from(needed) && held.is_none();
            prop_assert_eq!(change, due.then_some(target));
            prop_assert_eq!(health.status(), change.unwrap_or(before));
            if change == Some(Status::Down) {
                down_since = Some(now);
            }
        }
    }

    /// However it flaps: in any time, a backend comes up only so often.
    #[test]
    fn flapping_is_bounded(gaps in proptest::collection::vec(1..100_u32, 100..1_000)) {
        let rules = Rules { rise: 1, fall: 1, ..RULES };
        let mut health = Health::new(rules, true, Duration::ZERO);
        let (mut now, mut ups) = (Duration::ZERO, 0_u32);
        for (at, gap) in gaps.iter().enumerate() {
            now += *gap * SECOND / 10;
            let outcome = if at % 2 == 0 { refused() } else { passed() };
            ups += u32::from(health.report(outcome, now) == Some(Status::Up));
        }
        // 2 + 4 + 8 + 16 + 32 seconds, then a minute each time.
        let bound = 7 + (now.as_secs() / 60) as u32;
        prop_assert!(ups <= bound, "{} times up in {:?}", ups, now);
    }

    /// Shares grow from some to all, and never shrink.
    #[test]
    fn ramps_grow(slow_start in 1..100_000_u64, times in proptest::collection::vec(0..200_000_u64, 2..50)) {
        let mut times = times;
        times.sort_unstable();
        let slow_start = Duration::from_millis(slow_start);
        let shares: Vec<u8> = times.iter().map(|at| ramp(Duration::from_millis(*at), slow_start)).collect();
        prop_assert!(shares.is_sorted());
        prop_assert!(shares.iter().all(|share| (1..=FULL).contains(share)));
        prop_assert_eq!(ramp(slow_start, slow_start), FULL);
    }
}

#[test]
fn holds_double_and_are_forgotten() {
    let mut damping = Damping::new(SECOND, 10 * SECOND);
    let mut now = 100 * SECOND;
    let mut holds = Vec::new();
    for _ in 0..40 {
        damping.went_down(now, now + SECOND);
        now += SECOND;
        holds.push((damping.until() - now).as_secs());
    }
    assert_eq!(holds[..6], [0, 2, 4, 8, 10, 10]);
    assert!(holds[6..].iter().all(|hold| *hold == 10));
    damping.went_down(now, now + 20 * SECOND);
    assert_eq!(
        damping.until(),
        now + 20 * SECOND,
        "it had been up for long"
    );
    assert_eq!(damping.flaps(), 1);
}

#[test]
fn checks_are_spread_and_steady() {
    let mut buckets = [0; 10];
    for backend in 0..5_000 {
        let first = Schedule::new(SECOND, &format!("10.0.0.1:{backend}"), SECOND).next();
        let bucket = (first.as_millis() % 1_000 / 100) as usize;
        buckets[bucket] += 1;
    }
    assert!(
        buckets.iter().all(|count| (300..=700).contains(count)),
        "{buckets:?}"
    );
    let mut schedule = Schedule::new(SECOND, "a", Duration::ZERO);
    let mut last = schedule.next();
    for _ in 0..1_000 {
        schedule.advance(last);
        let gap = schedule.next() - last;
        assert!(gap >= SECOND * 9 / 10 && gap <= SECOND * 11 / 10, "{gap:?}");
        last = schedule.next();
    }
    assert!(last < 1_002 * SECOND);
}

#[test]
fn missed_rounds_are_left_out() {
    let mut schedule = Schedule::new(SECOND, "a", Duration::ZERO);
    schedule.advance(1_000_000 * SECOND);
    let next = schedule.next();
    assert!(
        next > 1_000_000 * SECOND && next <= 1_000_002 * SECOND,
        "{next:?}"
    );
}

#[test]
fn every_result_is_documented() {
    let page = include_str!("../../../../docs/health.md");
    for result in CheckResult::ALL {
        let row = format!("\n| `{}` | ", result.word());
        assert!(page.contains(&row), "{row}");
    }
}
