//! The `hamp` command.

fn main() -> std::process::ExitCode {
    hamp::cli::main(std::env::args_os())
}
