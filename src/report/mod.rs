//! The figures for people: a page for a browser, a page of Markdown, charts, rankings, tables for the terminal.

mod advice;
mod charts;
mod doubts;
mod hardware;
mod html;
mod joined;
mod markdown;
mod place;
mod rows;
mod show;
mod streams;
mod sums;
mod table;
mod text;
mod write;

pub use markdown::markdown;
pub use show::show;
pub use sums::append_across;
pub use table::terminal_table;
pub use write::{Written, write};
