//! The packet path: frames through the real programs (`BPF_PROG_TEST_RUN`), compared with expectations
//! written by hand, with the reference model, and with independent parsers. Needs root.
//!
//! `FORWARDER_TEST_OBJECT` names another object to test, `FORWARDER_PACKETS` and `FORWARDER_SEED` set
//! the differential test's length and start.

#[path = "packets/differential.rs"]
mod differential;
#[path = "packets/echoes.rs"]
mod echoes;
#[path = "packets/expected/mod.rs"]
mod expected;
#[path = "packets/flow_maps.rs"]
mod flow_maps;
#[path = "packets/generate.rs"]
mod generate;
#[path = "packets/harness.rs"]
mod harness;
#[path = "packets/instrument.rs"]
mod instrument;
#[path = "packets/interrupt.rs"]
mod interrupt;
#[path = "packets/maps.rs"]
mod maps;
#[path = "packets/namespace.rs"]
mod namespace;
#[path = "packets/parsers.rs"]
mod parsers;
#[path = "packets/properties.rs"]
mod properties;
#[path = "packets/random.rs"]
mod random;
#[path = "packets/scene.rs"]
mod scene;
#[path = "packets/sweeps.rs"]
mod sweeps;
