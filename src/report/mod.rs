//! The figures for people: a table for the terminal, a page of Markdown, charts.

pub mod charts;
mod markdown;
mod table;

pub use markdown::markdown;
pub use table::terminal_table;
