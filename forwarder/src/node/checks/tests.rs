use super::*;
use crate::config;
use crate::core::health::{CheckResult, Failure, Outcome};

fn model(backends: &str, interval: &str) -> Model {
    let text = format!(
        "version = 1\n\
         interface = [{{ name = \"a\", device = \"eth0\", address = \"10.0.2.1/16\" }}]\n\
         virtual_server = [{{ name = \"v\", address = \"203.0.113.10\", port = 80, mode = \"dnat\", pool = \"p\" }}]\n\
         health_check = [{{ name = \"h\", type = \"tcp\", interval = \"{interval}\", fall = 1 }}]\n\
         pool = [{{ name = \"p\", health_check = \"h\", backend = [{backends}] }}]\n"
    );
    let config = config::parse("f", &text).unwrap_or_else(|errors| panic!("{errors}"));
    config.for_node(None).expect("a model")
}

const ONE: &str = "{ address = \"10.0.2.11\" }";
const TWO: &str = "{ address = \"10.0.2.11\" }, { address = \"10.0.2.12\" }";

fn key(last: u8) -> BackendKey {
    BackendKey {
        pool: "p".to_owned(),
        address: [10, 0, 2, last].into(),
        port: 0,
    }
}

fn result(last: u8, passed: bool) -> Result {
    let failure = Failure {
        result: CheckResult::Refused,
        text: "refused".to_owned(),
    };
    Result {
        key: key(last),
        outcome: Outcome {
            result: if passed { Ok(()) } else { Err(failure) },
            took: Duration::ZERO,
        },
        late: Duration::ZERO,
    }
}

#[tokio::test]
async fn what_stays_is_not_forgotten_and_what_joins_has_to_answer() {
    let old = model(ONE, "1h");
    let mut checks = Checks::start(&old).expect("checks");
    assert!(checks.down(&old).is_empty(), "all count as up at the start");
    assert!(checks.report(result(11, false)).is_some());
    assert_eq!(checks.down(&old), BTreeSet::from([key(11)]));

    let new = model(TWO, "30m");
    let both = BTreeSet::from([key(11), key(12)]);
    assert_eq!(checks.down(&new), both, "as it will be");
    checks.extend(&new);
    checks.retain(&new);
    assert_eq!(checks.down(&new), both);
    assert_eq!(checks.of(&key(11)).expect("checked").why(), "refused");
    let (about, text) = checks.report(result(12, true)).expect("a change");
    assert_eq!(
        (about, text.as_str()),
        (key(12), "checking -> up: answered")
    );
    assert_eq!(checks.down(&new), BTreeSet::from([key(11)]));

    checks.retain(&model(ONE, "30m"));
    assert!(checks.of(&key(12)).is_none());
    assert!(checks.report(result(12, true)).is_none(), "a late result");
}

/// Prints what thousands of checks a second cost: alone, with `--nocapture`.
#[tokio::test]
async fn thousands_are_checked_in_turn() {
    const BACKENDS: u32 = 4_096;
    const ROUNDS: u64 = 3;
    const PATIENCE: Duration = Duration::from_secs(300);
    let listener = tokio::net::TcpListener::bind("0.0.0.0:0")
        .await
        .expect("a port");
    let port = listener.local_addr().expect("its address").port();
    let server = Worker::start("server").expect("a thread");
    let listener = listener.into_std().expect("a socket");
    server.handle().spawn(async move {
        let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
        while listener.accept().await.is_ok() {}
    });
    let address = |base: u32, at: u32| std::net::Ipv4Addr::from_bits(base + at);
    let backends: Vec<_> = (0..BACKENDS)
        .map(|at| format!("{{ address = \"{}\" }}", address(0x0a00_0301, at)))
        .collect();
    let mut model = model(&backends.join(", "), "1s");
    // Every address of the loopback network is this host.
    for (at, backend) in (1..).zip(&mut model.pools[0].backends) {
        let check = backend.check.as_mut().expect("a check");
        check.address = address(0x7f00_0000, at).into();
        check.port = std::num::NonZeroU16::new(port);
    }
    let before = (clock::monotonic(), crate::io::process::cpu());
    let mut checks = Checks::start(&model).expect("checks");
    let keys: Vec<_> = members(&model).map(|(key, ..)| key).collect();
    let (mut seen, mut late, mut tenths) = (BTreeMap::new(), Duration::ZERO, [0_u32; 10]);
    let mut passed = 0;
    while keys.iter().any(|key| seen.get(key).copied() < Some(ROUNDS)) {
        let left = (before.0 + PATIENCE).saturating_sub(clock::monotonic());
        let results = tokio::time::timeout(left, checks.next()).await;
        for result in results.expect("each backend has had its turns") {
            passed += u64::from(result.outcome.result.is_ok());
            let rounds = seen.entry(result.key.clone()).or_insert(0_u64);
            *rounds += 1;
            late = late.max(result.late);
            if *rounds == 2 {
                let begun = clock::monotonic().saturating_sub(before.0 + result.outcome.took);
                tenths[(begun.subsec_millis() / 100) as usize] += 1;
            }
            checks.report(result);
        }
    }
    let time = clock::monotonic().saturating_sub(before.0);
    let cpu = crate::io::process::cpu().saturating_sub(before.1);
    let made: u64 = seen.values().sum();
    println!(
        "{made} checks in {time:.1?}: {cpu:.2?} of CPU, client and server; latest by {late:.1?}; \
         in each tenth of a second {tenths:?}"
    );
    assert!(passed > made / 2, "{passed} of {made} passed");
    assert_eq!(seen.len(), keys.len());
}
