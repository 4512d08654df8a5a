//! Tests that cannot run on this machine say so, and why, instead of failing or passing in silence.

use anyhow::Result;

/// The reason why a test cannot run here.
#[derive(Debug)]
pub(crate) struct Skip(String);

impl std::fmt::Display for Skip {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Skip {}

/// The error with which a test says that it cannot run here, and why.
pub fn skip(why: impl Into<String>) -> anyhow::Error {
    anyhow::Error::new(Skip(why.into()))
}

/// Runs the body of an ordinary test that may be skipped: an error from [`skip`], and one of
/// [`Lab::new`](crate::Lab::new) because this machine allows no namespaces, prints
/// `skipped: REASON` and is none; every other error is handed on.
///
/// The standard runner shows what a passing test prints with `--show-output`. Where nothing may be
/// skipped, leave this out and return the error itself.
///
/// ```
/// # fn main() -> testbed::Result<()> {
/// testbed::skippable(|| {
///     if !std::path::Path::new("/dev/net/tun").exists() {
///         return Err(testbed::skip("no /dev/net/tun"));
///     }
///     Ok(()) // the test itself
/// })
/// # }
/// ```
///
/// # Errors
/// Those of `body` that are no reason to skip.
pub fn skippable(body: impl FnOnce() -> Result<()>) -> Result<()> {
    match body() {
        Err(error) if error.is::<Skip>() => {
            println!("skipped: {error:#}");
            Ok(())
        }
        result => result,
    }
}
