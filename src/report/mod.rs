//! The figures for people: a table for the terminal, a page of Markdown, charts.

mod certificates;
pub mod charts;
mod hardware;
mod kernels;
mod markdown;
mod rows;
mod table;
mod text;

pub use certificates::invalid_lines;
pub use markdown::markdown;
pub use table::{certified_table, terminal_table};
