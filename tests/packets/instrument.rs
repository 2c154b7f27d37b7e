//! The measuring instrument: everything that it times does what it should. How long that takes is not looked at.

use std::collections::BTreeSet;

use forwarder::bench::{self, Effort};
use forwarder_common::{Mode, Reason};

#[test]
fn what_is_measured_is_right() {
    let mut told = 0;
    let report = bench::prog(Effort::Correctness, "", &mut |done, all, what| {
        assert!(done < all && !what.is_empty());
        told += 1;
    });
    let report = report.unwrap_or_else(|error| panic!("{error:?}"));
    assert!(told > report.cases.len());

    let reasons: BTreeSet<&str> = report
        .cases
        .iter()
        .filter_map(|case| case.reason.as_deref())
        .collect();
    let modes = Mode::ALL.map(Mode::name).into_iter();
    for mode in modes.filter(|mode| *mode != Mode::Local.name()) {
        assert!(reasons.contains(mode), "{mode}");
    }
    for reason in [Reason::NatReply, Reason::PassNotOurs, Reason::DropNoFlow] {
        assert!(reasons.contains(reason.name()), "{}", reason.name());
    }
    // One round tells nothing but numbers: that there are some.
    assert!(report.cases.iter().all(|case| case.raw.median > 0.0));

    let json = serde_json::to_string(&report).expect("JSON");
    assert_eq!(
        serde_json::from_str::<bench::Report>(&json).expect("a report"),
        report
    );
    let page = report.html();
    assert!(page.ends_with("</html>\n") && page.contains("<svg"));
    assert!(!page.contains("NaN") && !page.contains("http"), "{page}");
}
