//! The plans that ship inside the program: `benches/plans/*.toml`, embedded when Tacho is built.
use super::origin::Source;

mod embedded {
    include!(concat!(env!("OUT_DIR"), "/plans.rs"));
}

/// A shipped plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShippedPlan {
    /// By which `--plan` finds it.
    pub name: &'static str,
    /// Its text.
    pub text: &'static str,
}

impl ShippedPlan {
    /// What its first comment says it is for.
    pub fn about(&self) -> &'static str {
        self.text.lines().next().and_then(|line| line.strip_prefix("# ")).unwrap_or_default()
    }

    /// Its text, for the reader of plans.
    pub fn source(&self) -> Source {
        Source::new(format!("plan {}", self.name), self.text)
    }
}

/// All shipped plans, by name.
pub fn shipped() -> impl Iterator<Item = ShippedPlan> {
    embedded::FILES.iter().map(|(name, text)| ShippedPlan { name, text })
}
