use super::*;
use crate::config;
use crate::core::health::{CheckResult, Failure, Outcome};

fn model(backends: &str, interval: &str) -> Model {
    let text = format!(
        "version = 1\n\
         interface = [{{ name = \"a\", device = \"eth0\", address = \"10.0.2.1/24\" }}]\n\
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
