//! The measuring instrument: everything that it times does what it should. How long that takes is not looked at.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

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

/// Whole chains: the daemon, and what it is compared with. Packets arrive as they should, none is lost; connections get through.
#[test]
fn what_is_sent_through_is_right() {
    let binary = std::path::Path::new(env!("CARGO_BIN_EXE_forwarder"));
    let report = bench::wire(Effort::Correctness, "", binary, &mut |done, all, what| {
        assert!(done < all && !what.is_empty());
    });
    let report = report.unwrap_or_else(|error| panic!("{error:?}"));
    let chains: BTreeSet<&str> = report
        .chains
        .iter()
        .map(|chain| chain.name.as_str())
        .collect();
    let modes = [
        "l2-dsr",
        "l2-dsr+tx",
        "ipip-dsr",
        "gue-dsr",
        "dnat",
        "full-nat",
    ];
    let others = [
        "generator",
        "drop",
        "mac-swap",
        "redirect",
        "kernel-routing",
    ];
    for what in modes.into_iter().chain(others) {
        for family in ["ipv4", "ipv6"] {
            let name = format!("{what}/{family}/64");
            assert!(chains.contains(name.as_str()), "{name}");
        }
    }
    // What is not installed is not left out in silence.
    let missing = report.missing.join("; ");
    for rival in ["nft-dnat", "nft-dnat-snat", "ipvs-nat"] {
        let there = chains.iter().any(|chain| chain.starts_with(rival));
        assert!(there || missing.contains(rival), "{rival}: {missing}");
    }
    let ways: BTreeSet<&str> = report
        .connections
        .iter()
        .map(|way| way.name.as_str())
        .collect();
    for way in ["direct", "l2-dsr", "dnat", "full-nat"] {
        assert!(ways.contains(way), "{way}");
    }
    assert!(
        ways.contains("haproxy") || missing.contains("HAProxy"),
        "{missing}"
    );
    assert!(report.chains.iter().all(|chain| chain.whole.median > 0.0));

    let json = serde_json::to_string(&report).expect("JSON");
    assert_eq!(
        serde_json::from_str::<bench::Report>(&json).expect("a report"),
        report
    );
    let page = report.html();
    assert!(page.ends_with("</html>\n") && page.contains("kernel-routing"));
    assert!(!page.contains("NaN") && !page.contains("http"), "{page}");
}

/// `forwarder bench wire` where what is sent to some backends goes to a MAC address that nobody has. Its exit code, and
/// what it says; addresses of the backends in the form of `sed`.
fn with_loss(backends: &str) -> (Option<i32>, String) {
    let name = format!("forwarder-loss-{}", std::process::id());
    let directory = std::env::temp_dir().join(name);
    fs::create_dir_all(&directory).expect("a directory");
    let real = std::env::var("PATH").expect("PATH");
    let changed = format!(
        "#!/bin/sh\nsed '/^neighbour add {backends} /s/lladdr [^ ]*/lladdr 02:00:00:00:00:99/' | PATH='{real}' ip \"$@\"\n"
    );
    let file = directory.join("ip");
    fs::write(&file, changed).expect("a file");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("executable");
    let output = Command::new(env!("CARGO_BIN_EXE_forwarder"))
        .args(["bench", "wire", "--quick", "--only", "l2-dsr/ipv4"])
        .env("PATH", format!("{}:{real}", directory.display()))
        .env("TMPDIR", &directory)
        .output()
        .expect("it starts");
    fs::remove_dir_all(&directory).expect("nobody else's");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), said)
}

/// Packets that are lost are no cheap packets: nothing is said of what they cost.
#[test]
fn what_is_lost_fails_the_measurement() {
    let (code, said) = with_loss(r"10\.[34][0-9]\.0\.1[0-9]");
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("l2-dsr/ipv4/1k: the first packet does not arrive"),
        "{said}"
    );
    // The backend of the first packet is another one at each start: one time in ten that which is not there.
    for _ in 0..20 {
        let (code, said) = with_loss(r"10\.[34][0-9]\.0\.10");
        assert_eq!(code, Some(1), "{said}");
        if said.contains("the first packet does not arrive") {
            continue;
        }
        let (_, lost) = said.split_once("l2-dsr/ipv4/1k: ").expect(&said);
        let (lost, of) = lost.split_once(" of 1000 packets").expect(&said);
        let lost: u32 = lost.parse().expect(&said);
        assert!((1..1_000).contains(&lost), "{said}");
        assert!(of.contains("are lost, every time"), "{said}");
        return;
    }
    panic!("the first packet never arrives");
}

/// A daemon of every size: what is asked of it is done, and touches what it should.
#[test]
fn what_a_daemon_takes_is_measured() {
    let binary = std::path::Path::new(env!("CARGO_BIN_EXE_forwarder"));
    let report = bench::scale(Effort::Correctness, "", binary, &mut |done, all, what| {
        assert!(done < all && !what.is_empty());
    });
    let report = report.unwrap_or_else(|error| panic!("{error:?}"));
    let tables: BTreeSet<&str> = report
        .tables
        .iter()
        .map(|each| each.name.as_str())
        .collect();
    assert_eq!(
        tables,
        BTreeSet::from([
            "change",
            "health checks",
            "memory of flows",
            "reload",
            "start"
        ])
    );
    for table in &report.tables {
        assert!(!table.rows.is_empty(), "{}", table.name);
        for row in &table.rows {
            assert!(row.value.median > 0.0, "{}: {}", table.name, row.name);
        }
    }
    let elements = |bar: &&bench::Bar| bar.name.ends_with("map elements touched");
    let elements = report.bars.iter().find(elements).expect("a bar");
    assert!(
        elements.holds && elements.value == Some(1.0),
        "{elements:?}"
    );
    assert!(report.html().contains("Health checks") && report.markdown().contains("| reload |"));
}
