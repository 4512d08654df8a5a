//! Any bytes, as a message of ours and as an Ethernet frame.

#![no_main]

#[path = "../invariants.rs"]
#[allow(dead_code)]
mod invariants;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| invariants::decode(bytes));
