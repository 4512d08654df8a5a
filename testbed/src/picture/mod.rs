//! What pictures and pages are made of: text that cannot break out, colours, widths of characters.

mod markup;
mod style;

pub(crate) use markup::{Text, cut, json, short, wrap};
pub(crate) use style::{CHAR, COLOURS, PAGE, PICTURES, SHAPES};
