//! Whether two engines may be compared: what each really ran with, in one vocabulary, and what differs.
//!
//! A [`LockRecord`] is an engine configuration as the running engine told of it, with the engines' own names translated by
//! the `[lock]` table of `engines/<id>/engine.toml`. [`differences`] lists what is not the same in two of them, and
//! [`judge`] says whether a ratio between their figures may be shown. [`equal`] sets equal limits before a run.
//! See `docs/fairness.md`.

mod between;
mod difference;
mod equal;
mod fields;
mod held;
mod lock;
mod mapping;
mod section;
mod shown;

pub use between::{among, between};
pub use difference::{Difference, Ratio, blocking_differences, check_allowed, differences, judge};
pub use equal::{Equal, NotEqual, equal};
pub use fields::{EQUAL, FIELDS, Field};
pub use held::{KV_TOLERANCE, unequal};
pub use lock::{Known, LockFile, LockRecord, of_run, overlaps, write};
pub use mapping::{LockMapping, OneOrMore, Reading, Setting};
pub use section::markdown;
pub use shown::{Alike, MANY, Shown, shown};

use serde::{Deserialize, Serialize};

/// How a plan's engines are set up against each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FairnessMode {
    /// As the plan's options and the engines' own defaults say.
    #[default]
    Defaults,
    /// Equal KV-cache tokens and limits, wherever an engine has an option for it.
    Equal,
    /// With the options that the plan holds for best, engine by engine.
    Best,
}

impl FairnessMode {
    /// As plans and flags name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Defaults => "defaults",
            Self::Equal => "equal",
            Self::Best => "best",
        }
    }

    /// By its name.
    ///
    /// # Errors
    /// A sentence that says what was expected.
    pub fn named(name: &str) -> Result<Self, String> {
        [Self::Defaults, Self::Equal, Self::Best]
            .into_iter()
            .find(|mode| mode.as_str() == name)
            .ok_or_else(|| format!("expected defaults, equal or best, found '{name}'"))
    }
}
