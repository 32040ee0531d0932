//! The figures for people: a page for a browser, a page of Markdown, charts, rankings, tables for the terminal.

mod advice;
mod certificates;
mod charts;
mod doubts;
pub mod export;
mod frontier;
mod hardware;
mod html;
mod joined;
mod kernels;
mod markdown;
mod open;
mod place;
mod provenance;
mod rows;
mod show;
mod streams;
mod sums;
mod table;
pub(crate) mod text;
mod turns;
mod write;

pub use certificates::{invalid_lines, note_lines};
pub use frontier::frontier_lines;
pub use markdown::markdown;
pub use show::show;
pub use sums::append_across;
pub use table::{certified_table, terminal_table};
pub use text::escape;
pub use write::{Written, write};
