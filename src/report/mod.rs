//! The figures for people: a table for the terminal, a page of Markdown, charts.

pub mod charts;
mod hardware;
mod markdown;
mod open;
mod rows;
mod table;
mod text;

pub use markdown::markdown;
pub use table::terminal_table;
