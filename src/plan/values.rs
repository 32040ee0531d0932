//! Lists and ranges, the same on the command line and in a plan file.
//!
//! A list is `1,2,4`; a range is `32..512*2` (each value times 2) or `10..100+30` (each value plus 30). Both ends of a
//! range are bounds: the first value is the lower one, and no value passes the upper one.
use serde_json::Value as Json;

use crate::workload::LengthDist;

/// The most points that a plan may have, and the most values of one axis.
pub const MAX_POINTS: usize = 100_000;

/// Why a text gives no values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct ValueError {
    /// What was expected and found.
    pub problem: String,
    /// What to do.
    pub help: Option<String>,
}

impl ValueError {
    fn new(problem: impl Into<String>, help: &str) -> Self {
        Self { problem: problem.into(), help: Some(help.to_owned()) }
    }
}

const STEP_HELP: &str = "give the range a step: 32..512*2 doubles, 10..100+30 adds 30 each time";

/// Whole numbers of at least 1.
///
/// # Errors
/// [`ValueError`] saying what is wrong with which part.
pub fn counts(text: &str) -> Result<Vec<u32>, ValueError> {
    let mut values = Vec::new();
    for part in parts(text)? {
        match stepped(part)? {
            Some(range) => values.extend(range),
            None if part.contains("..") => {
                return Err(ValueError::new(format!("range '{part}' has no step"), STEP_HELP));
            }
            None => values.push(count(part)?),
        }
    }
    Ok(values)
}

/// Rates in requests a second. A range multiplies (`1..64*2`) or adds (`2..10+0.5`).
///
/// # Errors
/// [`ValueError`] saying what is wrong with which part.
pub fn rates(text: &str) -> Result<Vec<f64>, ValueError> {
    let mut values = Vec::new();
    for part in parts(text)? {
        let Some((lo, rest)) = part.split_once("..") else {
            values.push(rate(part)?);
            continue;
        };
        let Some((at, step)) = rest.char_indices().find(|(_, c)| matches!(c, '*' | '+')) else {
            return Err(ValueError::new(format!("range '{part}' has no step"), STEP_HELP));
        };
        let (lo, hi, by) = (rate(lo)?, rate(&rest[..at])?, rate(&rest[at + 1..])?);
        if lo > hi {
            let problem = format!("range '{part}' is empty: {lo} is more than {hi}");
            return Err(ValueError::new(problem, "put the smaller end first"));
        }
        if step == '*' && by <= 1.0 {
            let problem = format!("range '{part}' never ends: expected *2 or another factor above 1 as its step");
            return Err(ValueError::new(problem, STEP_HELP));
        }
        let nth = |n: usize| if step == '*' { lo * by.powi(n as i32) } else { lo + by * n as f64 };
        // The upper end counts in spite of rounding.
        values.extend((0..=MAX_POINTS).map(nth).take_while(|value| *value <= hi * (1.0 + 1e-12)));
        if values.len() > MAX_POINTS {
            let problem = format!("range '{part}' has more than {MAX_POINTS} values");
            return Err(ValueError::new(problem, "use a larger step"));
        }
    }
    Ok(values)
}

fn rate(text: &str) -> Result<f64, ValueError> {
    const HELP: &str = "write a number (2.5), a list (1,2,4) or a range with a step (1..64*2, 2..10+0.5)";
    let number: f64 = text
        .trim()
        .parse()
        .map_err(|_| ValueError::new(format!("expected a rate in requests/s, found '{}'", text.trim()), HELP))?;
    crate::workload::arrivals::check_rate(number).map_err(|error| ValueError::new(error.to_string(), HELP))
}

/// Length distributions. A range without a step is a uniform distribution, one value.
///
/// # Errors
/// [`ValueError`] saying what is wrong with which part.
pub fn lengths(text: &str) -> Result<Vec<LengthDist>, ValueError> {
    let mut values = Vec::new();
    for part in parts(text)? {
        match stepped(part)? {
            Some(range) => values.extend(range.into_iter().map(LengthDist::Fixed)),
            None => values.push(length(part)?),
        }
    }
    Ok(values)
}

/// One length distribution.
///
/// # Errors
/// [`ValueError`] saying what was expected.
pub fn length(text: &str) -> Result<LengthDist, ValueError> {
    if is_negative(text) {
        return Err(ValueError::new(format!("expected a length of at least 1 token, found {text}"), "use 1 or more"));
    }
    if text.starts_with("data") {
        let problem = format!("expected lengths in tokens, found '{text}'");
        return Err(ValueError::new(
            problem,
            "a dataset's own lengths are taken when no others are given: leave it out",
        ));
    }
    text.parse().map_err(|error: crate::workload::LengthError| ValueError {
        problem: error.to_string(),
        help: text.contains("..").then(|| format!("lo..hi is one uniform distribution; for an axis, {STEP_HELP}")),
    })
}

/// Values of an engine option: JSON where it reads as JSON (`2`, `true`, `"a,b"`, `[0.5,0.5]`), a range, or plain text.
///
/// # Errors
/// [`ValueError`] for an empty part or a range that cannot be.
pub fn options(text: &str) -> Result<Vec<Json>, ValueError> {
    let mut values = Vec::new();
    for part in parts(text)? {
        match stepped(part)? {
            Some(range) => values.extend(range.into_iter().map(Json::from)),
            None => values.push(serde_json::from_str(part).unwrap_or_else(|_| Json::from(part))),
        }
    }
    Ok(values)
}

fn count(text: &str) -> Result<u32, ValueError> {
    match text.parse::<u64>() {
        Ok(0) => Err(ValueError::new("expected a whole number of at least 1, found 0", "use 1 or more")),
        Ok(n) => u32::try_from(n).map_err(|_| {
            ValueError::new(format!("{n} is too large: expected at most {}", u32::MAX), "use a smaller one")
        }),
        Err(_) if is_negative(text) => Err(ValueError::new(
            format!("expected a whole number of at least 1, found the negative number {text}"),
            "use 1 or more",
        )),
        Err(_) => Err(ValueError::new(
            format!("expected a whole number of at least 1, found '{text}'"),
            "write a number (8), a list (1,2,4) or a range with a step (1..32*2, 10..100+30)",
        )),
    }
}

fn is_negative(text: &str) -> bool {
    text.parse::<f64>().is_ok_and(|number| number < 0.0)
}

/// Splits at commas that are not inside quotes or brackets.
fn parts(text: &str) -> Result<Vec<&str>, ValueError> {
    let (mut parts, mut start, mut depth, mut quoted, mut escaped) = (Vec::new(), 0, 0_u32, false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '(' | '[' | '{' if !quoted => depth += 1,
            ')' | ']' | '}' if !quoted => depth = depth.saturating_sub(1),
            ',' if !quoted && depth == 0 => {
                parts.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text[start..].trim());
    if parts.iter().any(|part| part.is_empty()) {
        return Err(ValueError::new(
            format!("expected values separated by commas, found an empty one in '{text}'"),
            "write a value, a list (1,2,4) or a range with a step (1..32*2, 10..100+30)",
        ));
    }
    Ok(parts)
}

/// The values of `lo..hi*k` or `lo..hi+k`; None when the text has no such form.
fn stepped(text: &str) -> Result<Option<Vec<u32>>, ValueError> {
    let Some((lo, rest)) = text.split_once("..") else { return Ok(None) };
    let Some((at, step)) = rest.char_indices().find(|(_, c)| matches!(c, '*' | '+')) else { return Ok(None) };
    let (lo, hi, by) = (count(lo.trim())?, count(rest[..at].trim())?, rest[at + 1..].trim());
    if lo > hi {
        return Err(ValueError::new(
            format!("range '{text}' is empty: {lo} is more than {hi}"),
            "put the smaller end first",
        ));
    }
    let smallest = if step == '*' { 2 } else { 1 };
    let by = by.parse::<u32>().ok().filter(|by| *by >= smallest).ok_or_else(|| {
        ValueError::new(
            format!("range '{text}' never ends: expected {step}{smallest} or more as its step, found '{step}{by}'"),
            STEP_HELP,
        )
    })?;
    let mut values = Vec::new();
    let mut next = Some(lo);
    while let Some(value) = next.filter(|value| *value <= hi) {
        if values.len() == MAX_POINTS {
            return Err(ValueError::new(
                format!("range '{text}' has more than {MAX_POINTS} values"),
                "use a larger step",
            ));
        }
        values.push(value);
        next = if step == '*' { value.checked_mul(by) } else { value.checked_add(by) };
    }
    Ok(Some(values))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lists_and_ranges_give_their_values() {
        assert_eq!(counts("1, 2,4").unwrap(), [1, 2, 4]);
        assert_eq!(counts("32..512*2").unwrap(), [32, 64, 128, 256, 512]);
        assert_eq!(counts("10..100+30").unwrap(), [10, 40, 70, 100]);
        assert_eq!(counts("1..10*3,20").unwrap(), [1, 3, 9, 20]);
        assert_eq!(counts("5..5+1").unwrap(), [5]);
        assert_eq!(counts("4000000000..4294967295+200000000").unwrap(), [4_000_000_000, 4_200_000_000]);
        assert_eq!(counts("3000000000..4294967295*2").unwrap(), [3_000_000_000]);
    }

    #[test]
    fn rates_are_numbers_above_zero() {
        assert_eq!(rates("0.5, 2").unwrap(), [0.5, 2.0]);
        assert_eq!(rates("1..8*2").unwrap(), [1.0, 2.0, 4.0, 8.0]);
        assert_eq!(rates("2..3+0.1").unwrap().len(), 11);
        for text in ["0", "-1", "nan", "inf", "x", "", "1..8", "8..1*2", "1..8*1", "1..1e9+0.001", "0..3+1"] {
            assert!(rates(text).is_err(), "{text}");
        }
    }

    #[test]
    fn lengths_are_distributions() {
        let texts = |text| lengths(text).unwrap().iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(texts("64..256"), ["64..256"]);
        assert_eq!(texts("32..128*2,normal(64,8)"), ["32", "64", "128", "normal(64,8)"]);
    }

    #[test]
    fn options_are_json_where_they_read_as_json() {
        let found = options(r#"2,true,0.5,cuda,"a,b",[1,2],8..32*2"#).unwrap();
        assert_eq!(json!(found), json!([2, true, 0.5, "cuda", "a,b", [1, 2], 8, 16, 32]));
    }

    #[test]
    fn what_cannot_be_is_refused_with_the_reason() {
        let errors: Vec<String> = [
            "",
            "1,,2",
            "0",
            "-3",
            "1.5",
            "x",
            "99999999999",
            "1..32",
            "1..32*1",
            "1..32+0",
            "1..32*x",
            "32..1*2",
            "0..8*2",
            "1..4294967295+1",
            "1..*2",
        ]
        .iter()
        .map(|text| format!("{text:?}: {}", counts(text).unwrap_err()))
        .collect();
        insta::assert_snapshot!(errors.join("\n"));
        insta::assert_snapshot!(lengths("0").unwrap_err());
        insta::assert_snapshot!(lengths("-5").unwrap_err());
        insta::assert_snapshot!(lengths("9..3").unwrap_err());
    }
}
