//! As `node`, on a host that believes only what is signed, and hears messages that are.

#![no_main]

#[path = "../invariants.rs"]
#[allow(dead_code)]
mod invariants;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| invariants::signed(bytes));
