//! What real networks and real programs do to hamp, in hosts of a lab: one module for each kind of
//! trouble that people report of software that shares an address.

mod address_kinds;
mod client_routes;
#[path = "../netns/daemon.rs"]
mod common;
mod identity;
mod many_connections;
mod operator;
mod overlap;
mod squatted;
mod strangers;
mod support;
mod trusted_addresses;
mod watched;

use std::process::ExitCode;

fn main() -> ExitCode {
    testbed::init();
    let all = [
        address_kinds::TESTS,     //
        client_routes::TESTS,     //
        identity::TESTS,          //
        many_connections::TESTS,  //
        operator::TESTS,          //
        overlap::TESTS,           //
        squatted::TESTS,          //
        strangers::TESTS,         //
        trusted_addresses::TESTS, //
        watched::TESTS,           //
    ];
    testbed::harness::main(&all.concat())
}
