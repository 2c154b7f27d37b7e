//! Every program of the object goes through this kernel's verifier. Needs root.
//!
//! Prints `verifier PROGRAM INSTRUCTIONS` for each program: how many instructions the verifier walked, which
//! `cargo xtask verifier` keeps a budget of. `FORWARDER_TEST_OBJECT` names another object to load.

use std::fs;

use aya::programs::{ProgramError, SocketFilter, Xdp};
use aya::{Ebpf, EbpfLoader};
use forwarder_common::programs::ProgramSet;

/// Lines of the verifier's log that say why it refused a program.
const LOG_TAIL: usize = 40;

#[test]
fn linear_programs_load() {
    load(&set(ProgramSet::Linear));
}

#[test]
fn frags_programs_load() {
    load(&set(ProgramSet::Frags));
}

#[test]
fn trace_programs_load() {
    load(&set(ProgramSet::Trace));
}

#[test]
fn the_decapsulator_loads() {
    load(&["decapsulate".to_owned()]);
}

#[test]
fn the_filters_of_sockets_load() {
    let mut object = object();
    for name in ["probe", "clock"] {
        let program = object.program_mut(name).expect("the object has it");
        let program: &mut SocketFilter = program.try_into().expect("a socket filter");
        program.load().expect("the kernel takes it");
    }
}

/// Names of a set's programs.
fn set(set: ProgramSet) -> Vec<String> {
    let mut names = vec![set.entry().to_owned()];
    let callees = set.callees();
    names.extend(callees.map(|(_, name)| format!("{name}{}", set.suffix())));
    names
}

/// Loads every program, and fails with what the verifier said about those that it refused.
fn load(names: &[String]) {
    let mut object = object();
    let mut refused = String::new();
    for name in names {
        match load_program(&mut object, name) {
            Ok(instructions) => println!("verifier {name} {instructions}"),
            Err(error) => refused += &format!("\n{name} {}", reason(&error)),
        }
    }
    assert!(refused.is_empty(), "refused by the kernel:{refused}");
}

fn object() -> Ebpf {
    let path =
        std::env::var("FORWARDER_TEST_OBJECT").unwrap_or_else(|_| env!("FORWARDER_OBJECT").into());
    let bytes = fs::read(&path).expect("the object can be read");
    EbpfLoader::new()
        // With the checks that only a pair's node has.
        .override_global("PAIR", &4747_u16.to_be(), true)
        .load(&bytes)
        .expect("the object's maps are made (needs root)")
}

/// Loads one program; how many instructions the verifier walked.
fn load_program(object: &mut Ebpf, name: &str) -> Result<u32, ProgramError> {
    let program = object.program_mut(name).expect("the object has it");
    let program: &mut Xdp = program.try_into()?;
    program.load()?;
    let info = program.info()?;
    Ok(info
        .verified_instruction_count()
        .expect("the kernel counts (5.16)"))
}

fn reason(error: &ProgramError) -> String {
    let ProgramError::LoadError {
        io_error,
        verifier_log,
    } = error
    else {
        return format!("does not load: {error}");
    };
    let log = verifier_log.to_string();
    let lines: Vec<_> = log.trim_end().lines().collect();
    let tail = &lines[lines.len().saturating_sub(LOG_TAIL)..];
    format!(
        "does not load: {io_error}; the verifier's last words:\n  {}",
        tail.join("\n  ")
    )
}
