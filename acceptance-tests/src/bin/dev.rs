//! `cargo dev`: every command of the project. See [`pgha_acceptance_tests::dev`].

use std::process::ExitCode;

use clap::Parser as _;
use pgha_acceptance_tests::dev;

fn main() -> ExitCode {
    match dev::run(dev::Arguments::parse()) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            use std::io::Write as _;
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
