//! Ordinary `#[test]` functions with labs: what must happen before the first thread happens before
//! `main`.
//!
//! The standard test runner starts threads before a test's first line, and the kernel lets only a
//! process with one thread into a new user namespace. A function in the executable's `.init_array`
//! section runs earlier, on the only thread there is.

use nix::sys::signal::{SigSet, Signal};

use crate::{Privilege, enter, init};

/// Makes a crate's executables able to build labs; write it once, at the top of a file with tests
/// (`tests/net.rs`, or a library's test module).
///
/// Before `main`, the executable does not return if it was started to be a host of a lab or `hamp`
/// in one ([`init()`](crate::init())). Otherwise it enters the namespaces of
/// [`enter()`](crate::enter()), as root or as an ordinary user; `HAMP_LAB_PRIVILEGE=user` lets root
/// see what an ordinary user sees. A refusal is not printed: [`Lab::new`](crate::Lab::new) returns
/// it, so tests without labs run and `--list` lists.
///
/// All tests of the executable then live in a private network namespace, without the machine's
/// interfaces. A process that runs *in* a host of a lab stays where it is.
///
/// In a crate with `forbid(unsafe_code)` it must be `deny`: the section is named in an attribute
/// that counts as unsafe, because what runs there has not the whole of `std` to lean on.
#[macro_export]
macro_rules! before_main {
    () => {
        $crate::__private::ctor! {
            #[ctor(unsafe, anonymous)]
            fn before_main() {
                $crate::__private::before_main();
            }
        }
    };
}

/// What [`before_main!`](crate::before_main!) runs.
pub fn before_main() {
    // The runtime ignores SIGPIPE from `main` on; a daemon that begins earlier must not die of a
    // closed pipe either.
    let pipe = SigSet::from(Signal::SIGPIPE);
    let blocked = pipe.thread_block().is_ok();
    init();
    if blocked {
        let _ = pipe.thread_unblock();
    }
    if std::env::var_os(crate::host::HOST_VARIABLE).is_none() {
        // Kept for Lab::new.
        let _ = enter(Privilege::from_environment());
    }
}
