//! What the commands print. `println!` panics when nobody reads any more, as in `hamp-lab list | head -1`.

use std::fmt;
use std::io::{self, Write};
use std::sync::OnceLock;

/// Why something could not be printed.
static FAILED: OnceLock<String> = OnceLock::new();

/// Prints to standard output. Nobody reading it is no error: what the command does, it does to its
/// end. Every other error is kept for [`failed`].
pub fn print(text: fmt::Arguments<'_>) {
    if let Err(error) = write(&mut io::stdout().lock(), text) {
        let _ = FAILED.set(format!("standard output: {error}"));
    }
}

/// Why something was not printed, the first time.
pub fn failed() -> Option<&'static str> {
    FAILED.get().map(String::as_str)
}

fn write(to: &mut impl Write, text: fmt::Arguments<'_>) -> io::Result<()> {
    match to.write_fmt(text).and_then(|()| to.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}

/// As `print!`, by [`out::print`](crate::out::print).
#[doc(hidden)]
#[macro_export]
macro_rules! out {
    ($($text:tt)*) => { $crate::out::print(::std::format_args!($($text)*)) };
}

/// As `println!`, by [`out::print`](crate::out::print).
#[doc(hidden)]
#[macro_export]
macro_rules! outln {
    ($($text:tt)*) => {
        $crate::out::print(::std::format_args!("{}\n", ::std::format_args!($($text)*)))
    };
}
