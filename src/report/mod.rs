//! The figures for people: a table for the terminal, a page of Markdown, charts, other tools' formats.

pub mod charts;
pub mod export;
mod hardware;
mod markdown;
mod rows;
mod table;
mod text;

pub use markdown::markdown;
pub use table::terminal_table;
pub use text::escape;
