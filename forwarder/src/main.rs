//! The command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    forwarder::cli::main()
}
