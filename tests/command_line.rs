//! What the command line says, where, and with which exit code. Needs neither root nor a daemon.

use std::path::Path;
use std::process::{Command, Output, Stdio};

fn forwarder(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_forwarder"));
    command.args(arguments).current_dir(root());
    command.output().expect("the program starts")
}

fn root() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_good_file_takes_one_line() {
    let good = forwarder(&["check", "examples/pair.toml"]);
    assert_eq!(good.status.code(), Some(0));
    assert_eq!(stdout(&good), "examples/pair.toml: good\n");
    assert_eq!(stderr(&good), "");
    let warned = forwarder(&["check", "tests/config/bad/unused.toml"]);
    assert_eq!(warned.status.code(), Some(0));
    assert!(
        stdout(&warned).ends_with("\n\ntests/config/bad/unused.toml: good, 3 warnings\n"),
        "{}",
        stdout(&warned)
    );
}

#[test]
fn errors_are_said_once_on_standard_error() {
    for command in ["check", "run"] {
        let bad = forwarder(&[command, "tests/config/bad/port-zero.toml"]);
        assert_eq!(bad.status.code(), Some(1));
        assert_eq!(stdout(&bad), "");
        let said = stderr(&bad);
        assert!(said.starts_with("error[port-zero]: "), "{said}");
        assert_eq!(
            said.matches("error").count(),
            3,
            "two and the summary: {said}"
        );
    }
    let unknown = forwarder(&["check", "--node", "lb3", "examples/pair.toml"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(stderr(&unknown).contains("lb1 or lb2"));
}

#[test]
fn a_wrong_command_line_is_another_exit_code() {
    let no_kind = &["history", "--kind", "helth"];
    assert_eq!(forwarder(no_kind).status.code(), Some(2));
    for arguments in [&[][..], &["chek"], &["check"], &["status", "--outptu"]] {
        let output = forwarder(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(
            stderr(&output).contains("Usage: forwarder"),
            "{arguments:?}"
        );
    }
}

#[test]
fn every_command_has_help_that_fits_a_terminal() {
    for command in [
        "api",
        "check",
        "run",
        "plan",
        "reload",
        "pool",
        "config",
        "explain",
        "history",
        "metrics",
        "status",
        "trace",
        "backend",
        "backend-setup",
        "doctor",
        "import",
        "vip",
        "interface",
        "drops",
        "snat",
        "flow",
    ] {
        let help = forwarder(&[command, "--help"]);
        assert_eq!(help.status.code(), Some(0));
        let text = stdout(&help);
        assert!(text.contains("Usage: forwarder"), "{text}");
        let widest = text.lines().map(|line| line.chars().count()).max();
        assert!(widest <= Some(100), "{text}");
    }
    assert!(stdout(&forwarder(&["--help"])).contains("Exit codes:"));
}

#[test]
fn completions_and_man_pages_are_of_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let script = stdout(&forwarder(&["completions", shell]));
        for word in ["status", "reload", "drops"] {
            assert!(script.contains(word), "{shell}: no {word}");
        }
    }
    let directory = std::env::temp_dir().join(format!("forwarder-man-{}", std::process::id()));
    let written = forwarder(&["man", &directory.display().to_string()]);
    assert!(written.status.success(), "{}", stderr(&written));
    let page = |name: &str| {
        let path = directory.join(format!("{name}.1"));
        std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{name}: {error}"))
    };
    assert!(page("forwarder").contains("Exit codes"));
    assert!(page("forwarder-status").contains("\\-\\-check"));
    assert!(page("forwarder-pool-drain").contains("no new ones"));
    std::fs::remove_dir_all(&directory).expect("it is there");
}

#[test]
fn without_a_daemon_it_says_how_to_start_one() {
    let packet = "tcp 198.51.100.7:1 -> 203.0.113.10:80 --in eth0";
    for arguments in [&["status"][..], &["trace", packet]] {
        let output = forwarder(&[arguments, &["--socket", "no/such.sock"]].concat());
        assert_eq!(output.status.code(), Some(1));
        assert!(
            stderr(&output).contains("forwarder run CONFIG"),
            "{}",
            stderr(&output)
        );
    }
}

#[test]
fn a_full_disk_is_an_error_and_no_panic() {
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .expect("/dev/full");
    let mut command = Command::new(env!("CARGO_BIN_EXE_forwarder"));
    command
        .args(["check", "examples/pair.toml"])
        .current_dir(root());
    let output = command
        .stdout(Stdio::from(full))
        .output()
        .expect("the program starts");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("No space left"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn packets_that_cannot_be_read_are_shown_how_to_write_them() {
    for packet in [
        "",
        "hello",
        "tcp 192.0.2.1:1 192.0.2.2:2",
        "tcp web -> shop",
    ] {
        let output = forwarder(&["trace", packet, "--in", "eth0"]);
        assert_eq!(output.status.code(), Some(1));
        assert!(
            stderr(&output).contains("-> 203.0.113.10:80"),
            "{}",
            stderr(&output)
        );
    }
    let packet = "icmp 192.0.2.1 -> 192.0.2.2 --in eth0";
    let twice = forwarder(&["trace", packet, "--in", "eth1"]);
    assert!(
        stderr(&twice).contains("--in is given twice"),
        "{}",
        stderr(&twice)
    );
}

#[test]
fn options_with_a_list_of_values_show_it() {
    let help = stdout(&forwarder(&["run", "--help"]));
    let words: Vec<_> = help.split_whitespace().collect();
    let help = words.join(" ");
    assert!(help.contains("error, warn, info, debug, trace"), "{help}");
    let wrong = forwarder(&["run", "--log-dataplane", "loud", "forwarder.toml"]);
    assert_eq!(wrong.status.code(), Some(2));
}

#[test]
fn what_is_not_measured_is_refused_before_anything_is() {
    for bench in ["prog", "wire", "scale", "all"] {
        let output = forwarder(&["bench", bench, "--quick", "--only", "ful-nat"]);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("\"ful-nat\""), "{said}");
        let example = match bench {
            "scale" => "health checks",
            _ => "full-nat",
        };
        assert!(said.contains(example), "{bench}: {said}");
    }
    let directory = std::env::temp_dir().join(format!("forwarder-baseline-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory");
    let file = directory.join("old.json");
    for (text, why) in [
        (None, "can't be read"),
        (Some("garbage"), "no report of `forwarder bench`"),
        (Some(r#"{"faults":[]}"#), "no report of `forwarder bench"),
        (Some(r#"{"bars":[]}"#), "Measure it again"),
    ] {
        if let Some(text) = text {
            std::fs::write(&file, text).expect("a file");
        }
        let name = file.display().to_string();
        for words in [
            vec!["bench", "prog", "--baseline", &name],
            vec!["bench", "report", &name],
        ] {
            let output = forwarder(&words);
            let said = stderr(&output);
            assert_eq!(output.status.code(), Some(1), "{said}");
            assert!(said.contains(why) && said.contains("old.json"), "{said}");
        }
    }
    std::fs::remove_dir_all(&directory).expect("removed");
}
