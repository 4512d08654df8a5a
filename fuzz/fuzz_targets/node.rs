//! Any sequence of frames, messages, pauses and commands, on a host that is member and client.

#![no_main]

#[path = "../invariants.rs"]
#[allow(dead_code)]
mod invariants;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| invariants::node(bytes));
