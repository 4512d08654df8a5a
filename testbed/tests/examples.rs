//! The examples run, as ordinary tests, side by side.

#[path = "../examples/capture.rs"]
mod capture;
#[path = "../examples/slow_link.rs"]
mod slow_link;
#[path = "../examples/takeover.rs"]
mod takeover;

#[test]
fn capture_runs() -> testbed::Result<()> {
    testbed::skippable(capture::main)
}

#[test]
fn slow_link_runs() -> testbed::Result<()> {
    testbed::skippable(slow_link::main)
}

#[test]
fn takeover_runs() -> testbed::Result<()> {
    testbed::skippable(takeover::main)
}
