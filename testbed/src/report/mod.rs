//! What a run leaves.
pub mod run;
pub mod story;
pub use run::{Check, Phase, Program, Run, Takeover, Unsupported};
pub use story::{Kind, Mark, Request, Round, Story};
