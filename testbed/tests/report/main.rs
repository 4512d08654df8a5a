//! Pages and pictures: that they are well-formed, say all and nothing twice, need nothing, and that
//! nothing in them meets anything else.

mod deciding;
mod look;
mod page;
mod pictures;
mod story;
mod topologies;
