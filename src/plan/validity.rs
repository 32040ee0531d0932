//! `[validity]`: the limits that a plan sets for its certificates.
use std::time::Duration;

use super::{
    origin::{PlanError, Sourced},
    toml_tree::Node,
};
use crate::validity::{Limits, PowerCap};

const KNOWN: [&str; 5] = ["max_harness_share", "max_machine_load", "min_duration", "max_preemptions", "power_cap"];

/// [`Limits`], as far as somebody said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ValidityDraft {
    /// A fraction.
    pub max_harness_share: Option<Sourced<f64>>,
    /// A fraction.
    pub max_machine_load: Option<Sourced<f64>>,
    /// A time.
    pub min_duration: Option<Sourced<Duration>>,
    /// A number.
    pub max_preemptions: Option<Sourced<u32>>,
    /// `refuse` or `accept`.
    pub power_cap: Option<Sourced<PowerCap>>,
}

impl ValidityDraft {
    /// This one over a weaker one.
    #[must_use]
    pub fn over(self, weaker: Self) -> Self {
        Self {
            max_harness_share: self.max_harness_share.or(weaker.max_harness_share),
            max_machine_load: self.max_machine_load.or(weaker.max_machine_load),
            min_duration: self.min_duration.or(weaker.min_duration),
            max_preemptions: self.max_preemptions.or(weaker.max_preemptions),
            power_cap: self.power_cap.or(weaker.power_cap),
        }
    }
}

/// A share between 0, excluded, and 1: `0.05`, `5%` or, for no limit, `1` or `100%`.
///
/// # Errors
/// A sentence that says what was expected.
pub fn share(text: &str) -> Result<f64, String> {
    let text = text.trim();
    let number = match text.strip_suffix('%') {
        Some(percent) => percent.trim().parse::<f64>().map(|percent| percent / 100.0),
        None => text.parse(),
    };
    match number {
        Ok(share) if share > 0.0 && share <= 1.0 => Ok(share),
        _ => Err(format!("expected a share above 0 and at most 1 such as 0.05 or 5%, found '{text}'")),
    }
}

/// Reads the table.
pub(super) fn read(node: &Node<'_>) -> Result<ValidityDraft, PlanError> {
    let mut draft = ValidityDraft::default();
    for entry in node.entries("a table: [validity]")? {
        let value = &entry.value;
        let fraction = || {
            let text = value.scalar().ok_or_else(|| value.wrong("a share such as 0.05 or \"5%\""))?;
            let share = share(&text).map_err(|problem| PlanError::at(&value.at(), problem))?;
            Ok(Sourced::new(share, value.at()))
        };
        match entry.key {
            "max_harness_share" => draft.max_harness_share = Some(fraction()?),
            "max_machine_load" => draft.max_machine_load = Some(fraction()?),
            "min_duration" => draft.min_duration = Some(super::read::duration(value)?),
            "max_preemptions" => {
                draft.max_preemptions = Some(Sourced::new(value.whole("a whole number from 0 on")?, value.at()));
            }
            "power_cap" => {
                let text = value.scalar().ok_or_else(|| value.wrong("\"refuse\" or \"accept\""))?;
                let cap = PowerCap::named(&text).map_err(|problem| PlanError::at(&value.at(), problem))?;
                draft.power_cap = Some(Sourced::new(cap, value.at()));
            }
            _ => return Err(entry.unknown("[validity]", &KNOWN)),
        }
    }
    Ok(draft)
}

/// Settles the limits: the draft's, else the defaults.
pub(super) fn resolve(draft: ValidityDraft, told: &mut super::told::Told) -> Limits {
    let base = Limits::default();
    let percent = |share: &f64| format!("{}%", (share * 1e8).round() / 1e6);
    Limits {
        max_harness_share: told.tell(
            "validity.max_harness_share",
            draft.max_harness_share,
            base.max_harness_share,
            percent,
        ),
        max_machine_load: told.tell(
            "validity.max_machine_load",
            draft.max_machine_load,
            base.max_machine_load,
            percent,
        ),
        min_duration: told.tell("validity.min_duration", draft.min_duration, base.min_duration, |time| {
            super::scalar::duration_text(*time)
        }),
        max_preemptions: told.tell(
            "validity.max_preemptions",
            draft.max_preemptions,
            base.max_preemptions,
            u32::to_string,
        ),
        power_cap: told.tell("validity.power_cap", draft.power_cap, base.power_cap, |cap| cap.as_str().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_at_most_all() {
        assert_eq!((share("5%"), share("0.05"), share("100%")), (Ok(0.05), Ok(0.05), Ok(1.0)));
        for wrong in ["0", "-1", "1.1", "x", "101%", "nan"] {
            assert!(share(wrong).unwrap_err().contains("expected a share"), "{wrong}");
        }
    }
}
