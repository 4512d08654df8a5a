//! `hamp-lab`: the labs of hamp, each one command.

use std::process::ExitCode;

fn main() -> ExitCode {
    testbed::init();
    ExitCode::SUCCESS
}
