//! What real networks and real programs do to hamp, in hosts of a lab: one module for each kind of
//! trouble that people report of software that shares an address.

mod address_kinds;
mod carved_out;
mod client_routes;
#[path = "../netns/daemon.rs"]
mod common;
mod forwarder;
mod identity;
mod interfaces;
mod leaving;
mod many_connections;
mod moved;
mod not_for_us;
mod one_fails;
mod operator;
mod overlap;
mod plain_tcp;
mod refused;
mod said;
mod squatted;
mod strangers;
mod support;
mod taken_away;
mod trusted_addresses;
mod watched;

use std::process::ExitCode;

fn main() -> ExitCode {
    testbed::init();
    let all = [
        address_kinds::TESTS, //
        carved_out::TESTS,
        client_routes::TESTS,    //
        forwarder::TESTS,        //
        identity::TESTS,         //
        interfaces::TESTS,       //
        leaving::TESTS,          //
        many_connections::TESTS, //
        moved::TESTS,            //
        not_for_us::TESTS,       //
        operator::TESTS,         //
        one_fails::TESTS,
        overlap::TESTS,           //
        plain_tcp::TESTS,         //
        refused::TESTS,           //
        said::TESTS,              //
        squatted::TESTS,          //
        strangers::TESTS,         //
        taken_away::TESTS,        //
        trusted_addresses::TESTS, //
        watched::TESTS,           //
    ];
    testbed::harness::main(&all.concat())
}
