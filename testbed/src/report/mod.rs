//! What a run leaves: figures for programs, a page for people.
//!
//! [`run`] is the document `hamp-lab.run/1`, the same for all scenarios. A [`Story`] is that and all
//! it was computed from: the requests, the moments something happened, the frames. [`html`] makes of
//! a story one page that needs nothing but a browser. Neither asks whether the time was the
//! kernel's or virtual.

mod command;
pub mod deciding;
pub mod html;
pub mod packet;
pub mod run;
pub mod story;
pub mod traffic;

pub use command::{command_line, quoted};
pub use run::{Attack, Check, Phase, Program, Run, Takeover, Unsupported};
pub use story::{Kind, Mark, Request, Round, Story};
