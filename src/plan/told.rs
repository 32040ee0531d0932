//! Where every value of a plan came from.
use serde::Serialize;

use super::origin::{Origin, Sourced};

/// What nobody said.
pub(super) const DEFAULT: Origin = Origin::Default("default");

/// A value of the plan and where it came from.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Provenance {
    /// The value's name as in a plan file, such as `trials.target`.
    pub name: String,
    /// The value, as a person writes it.
    pub value: String,
    /// Who said so.
    pub from: Origin,
}

/// Collects provenance while values are settled.
#[derive(Default)]
pub(super) struct Told(pub Vec<Provenance>);

impl Told {
    pub(super) fn push(&mut self, name: &str, value: String, from: &Origin) {
        self.0.push(Provenance { name: name.to_owned(), value, from: from.clone() });
    }

    pub(super) fn tell<T>(
        &mut self,
        name: &str,
        said: Option<Sourced<T>>,
        default: T,
        text: impl Fn(&T) -> String,
    ) -> T {
        self.tell_or(name, said, Sourced::new(default, DEFAULT), text)
    }

    pub(super) fn tell_or<T>(
        &mut self,
        name: &str,
        said: Option<Sourced<T>>,
        default: Sourced<T>,
        text: impl Fn(&T) -> String,
    ) -> T {
        let value = said.unwrap_or(default);
        self.push(name, text(&value.value), &value.at);
        value.value
    }
}
