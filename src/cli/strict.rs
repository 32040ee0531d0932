//! `--strict`: what makes a run or its certificates an error.
use std::{collections::BTreeSet, str::FromStr};

use tacho::validity::{Certificate, Code};

/// What is not to be found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Strict {
    /// Nothing is an error.
    #[default]
    Off,
    /// An invalid point is.
    Invalid,
    /// Also one of which one of these could not be checked.
    Checked(Vec<Code>),
}

impl FromStr for Strict {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" | "y" | "t" => return Ok(Self::Invalid),
            "false" | "no" | "off" | "0" | "n" | "f" => return Ok(Self::Off),
            "checked" => return Ok(Self::Checked(Code::ALL.to_vec())),
            _ => {}
        }
        let code = |name: &str| {
            let found = Code::ALL.into_iter().find(|code| code.as_str() == name.trim());
            found.ok_or_else(|| {
                let known = Code::list(&Code::ALL).unwrap_or_default();
                format!("expected true, false, checked, or checks by commas ({known}), found '{name}'")
            })
        };
        Ok(Self::Checked(text.split(',').map(code).collect::<Result<_, _>>()?))
    }
}

impl Strict {
    /// Whether these certificates are an error, and a line that says so, or what was let pass; None where nothing is to be said.
    pub fn judge(&self, certificates: &[Certificate]) -> (bool, Option<String>) {
        let wanted: &[Code] = match self {
            Self::Off => return (false, None),
            Self::Invalid => &[],
            Self::Checked(wanted) => wanted,
        };
        let all = certificates.len();
        let invalid = certificates.iter().filter(|certificate| !certificate.is_valid()).count();
        let unchecked = |certificate: &Certificate| -> Vec<Code> { certificate.unchecked() };
        let lacks = certificates.iter().filter(|it| unchecked(it).iter().any(|code| wanted.contains(code))).count();
        let gaps: BTreeSet<Code> = certificates.iter().flat_map(unchecked).collect();
        let (asked, other): (Vec<Code>, Vec<Code>) = gaps.into_iter().partition(|code| wanted.contains(code));
        let mut said = Vec::new();
        if all == 0 {
            said.push("there is no point".to_owned());
        }
        if invalid > 0 {
            said.push(format!("{invalid} of {all} points are invalid"));
        }
        if let Some(codes) = Code::list(&asked) {
            said.push(format!("{lacks} of {all} points were not checked as asked: {codes}"));
        }
        if let Some(codes) = Code::list(&other) {
            said.push(format!("not checked, which is let pass: {codes}"));
        }
        let failed = all == 0 || invalid > 0 || lacks > 0;
        (failed, (!said.is_empty()).then(|| format!("strict: {}", said.join("; "))))
    }
}

#[cfg(test)]
mod tests {
    use tacho::validity::{Reason, Unchecked, Verdict};

    use super::*;

    fn certificate(invalid: bool, unchecked: &[Code]) -> Certificate {
        let reason =
            Reason { code: Code::Preemption, sentence: "it was".to_owned(), evidence: Default::default(), trial: None };
        Certificate {
            verdict: if invalid { Verdict::Invalid } else { Verdict::Valid },
            reasons: if invalid { vec![reason] } else { Vec::new() },
            not_checked: unchecked.iter().map(|code| Unchecked { code: *code, why: "silent".to_owned() }).collect(),
            notes: Vec::new(),
        }
    }

    fn judged(strict: &str, certificates: &[Certificate]) -> (bool, String) {
        let (failed, said) = strict.parse::<Strict>().unwrap().judge(certificates);
        (failed, said.unwrap_or_default())
    }

    #[test]
    fn what_was_not_checked_is_said_and_an_error_only_where_that_is_asked_for() {
        let gap = [certificate(false, &[Code::Throttle, Code::CompileInTrial]), certificate(false, &[])];
        assert_eq!(judged("false", &gap), (false, String::new()));
        let passes = (false, "strict: not checked, which is let pass: compile_in_trial,throttle".to_owned());
        assert_eq!(judged("true", &gap), passes);
        let fails = "strict: 1 of 2 points were not checked as asked: compile_in_trial,throttle";
        assert_eq!(judged("checked", &gap), (true, fails.to_owned()));
        let (failed, said) = judged("compile_in_trial,input_ids", &gap);
        assert!(
            failed && said.ends_with("as asked: compile_in_trial; not checked, which is let pass: throttle"),
            "{said}"
        );
        assert!(!judged("input_ids", &gap).0);
        assert_eq!(judged("checked", &gap[1..]), (false, String::new()));
    }

    #[test]
    fn an_invalid_point_and_none_at_all_are_errors() {
        let found = [certificate(true, &[])];
        for strict in ["true", "checked", "input_ids"] {
            assert_eq!(judged(strict, &found), (true, "strict: 1 of 1 points are invalid".to_owned()), "{strict}");
            assert_eq!(judged(strict, &[]), (true, "strict: there is no point".to_owned()));
        }
        assert!(!judged("no", &found).0);
        assert!("compile".parse::<Strict>().unwrap_err().contains("compile_in_trial"));
    }
}
