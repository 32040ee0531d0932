//! What a check finds in a trial, and how the trials' findings become a line of the certificate.
use super::{Code, Reason, Unchecked};

/// What a check finds.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Finding {
    /// As it should be.
    Good,
    /// Not so. The first number is how bad it is: of several trials the one with the greatest is shown.
    Bad {
        /// What was expected and what was found.
        sentence: String,
        /// By names that end in their unit.
        evidence: Vec<(&'static str, f64)>,
    },
    /// The evidence is missing, for this reason.
    Unknown(String),
}

impl Finding {
    pub(super) fn bad(sentence: String, evidence: &[(&'static str, f64)]) -> Self {
        Self::Bad { sentence, evidence: evidence.to_vec() }
    }

    pub(super) fn unknown(why: impl Into<String>) -> Self {
        Self::Unknown(why.into())
    }
}

/// One reason a code, of the trial that is worst; what some trials cannot show is said beside it.
pub(super) fn gather(code: Code, findings: Vec<(Option<u32>, Finding)>) -> (Option<Reason>, Option<Unchecked>) {
    let total = findings.len();
    let (mut bad, mut unknown) = (Vec::new(), Vec::new());
    for (trial, finding) in findings {
        match finding {
            Finding::Good => {}
            Finding::Bad { sentence, evidence } => bad.push((trial, sentence, evidence)),
            Finding::Unknown(why) => unknown.push(why),
        }
    }
    let count = bad.len();
    let badness = |evidence: &[(&str, f64)]| evidence.first().map_or(0.0, |(_, value)| *value);
    let worst = bad.into_iter().reduce(|one, other| if badness(&other.2) > badness(&one.2) { other } else { one });
    let reason = worst.map(|(trial, sentence, evidence)| {
        let mut evidence: std::collections::BTreeMap<String, f64> =
            // JSON has no infinity: a share of no time at all stays unsaid.
            evidence.into_iter().filter(|(_, value)| value.is_finite()).map(|(name, value)| (name.to_owned(), value)).collect();
        let sentence = match trial {
            Some(trial) if count > 1 => format!("{sentence} ({count} of {total} trials, most in trial {trial})"),
            Some(trial) => format!("{sentence} (1 of {total} trials: trial {trial})"),
            None => sentence,
        };
        if trial.is_some() {
            evidence.insert("trials".to_owned(), count as f64);
        }
        Reason { code, sentence, evidence, trial }
    });
    let missing = unknown.len();
    let unchecked = unknown.into_iter().next().map(|why| {
        let why = if missing < total { format!("{why} ({missing} of {total} trials)") } else { why };
        Unchecked { code, why }
    });
    (reason, unchecked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_trial_speaks_for_the_others() {
        let bad = |value| Finding::bad(format!("found {value}"), &[("share", value)]);
        let findings = vec![(Some(0), bad(0.1)), (Some(1), bad(0.3)), (Some(2), Finding::Good)];
        let (reason, unchecked) = gather(Code::HarnessShare, findings);
        let reason = reason.unwrap();
        assert_eq!(reason.sentence, "found 0.3 (2 of 3 trials, most in trial 1)");
        assert_eq!((reason.trial, reason.evidence["trials"], unchecked), (Some(1), 2.0, None));
    }

    #[test]
    fn what_some_trials_cannot_show_is_not_taken_for_granted() {
        let findings = vec![(Some(0), Finding::Good), (Some(1), Finding::unknown("nobody told"))];
        let (reason, unchecked) = gather(Code::Throttle, findings);
        assert_eq!((reason, unchecked.unwrap().why.as_str()), (None, "nobody told (1 of 2 trials)"));
        assert_eq!(gather(Code::Throttle, Vec::new()), (None, None), "what does not apply says nothing");
    }
}
