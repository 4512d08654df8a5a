//! `hamp-lab`: the labs of hamp, each one command.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    testbed::init();
    cli::main()
}
