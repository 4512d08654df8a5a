//! Who follows a script while it is played.

use anyhow::Result;

use super::Step;
use crate::Lab;
use crate::report::{Mark, Request};

/// Somebody who follows a script. What is not wanted is left out.
pub trait Audience {
    /// A step is about to be done; the script waits until this returns. Of a kernel world there is a
    /// lab to look into.
    ///
    /// # Errors
    /// Those end the script.
    fn before(&mut self, _step: &Step, _lab: Option<&Lab>) -> Result<()> {
        Ok(())
    }

    /// A step is being done.
    fn step(&mut self, _mark: &Mark) {}

    /// These requests have ended since the last time.
    fn ended(&mut self, _requests: &[Request]) {}

    /// Nobody asks any more; all else still runs.
    ///
    /// # Errors
    /// Those are the script's.
    fn after(&mut self, _lab: Option<&Lab>) -> Result<()> {
        Ok(())
    }
}

/// Is told of the steps only.
pub(super) struct Steps<F>(pub(super) F);

impl<F: FnMut(&Mark)> Audience for Steps<F> {
    fn step(&mut self, mark: &Mark) {
        (self.0)(mark);
    }
}
