//! Times and fractions as people write them.
use std::time::Duration;

/// A time: `60s`, `2m`, `1m30s`, `500ms`, `1h`, or a plain number of seconds.
///
/// # Errors
/// A sentence that says what was expected.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("expected a time such as 60s, 2m, 1m30s or 500ms, found '{text}'");
    let mut rest = text.trim();
    if let Ok(seconds) = rest.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).map_err(|_| wrong()).and_then(|time| positive(time, text));
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let number: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let unit = match &rest[..letters] {
            "ms" => 1e-3,
            "s" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            _ => return Err(wrong()),
        };
        rest = &rest[letters..];
        let part = Duration::try_from_secs_f64(number * unit).map_err(|_| wrong())?;
        total = total.checked_add(part).ok_or_else(wrong)?;
    }
    positive(total, text)
}

/// Longer than any run, and far from where clocks overflow.
const LONGEST: Duration = Duration::from_secs(8760 * 3600);

fn positive(time: Duration, text: &str) -> Result<Duration, String> {
    if time.is_zero() {
        Err(format!("expected a time longer than 0, found '{text}'"))
    } else if time > LONGEST {
        Err(format!("expected a time of at most a year (8760h), found '{text}'"))
    } else {
        Ok(time)
    }
}

/// How often something is done: a time of at least 10 ms, or `off`, which is None.
///
/// # Errors
/// A sentence that says what was expected.
pub fn period(text: &str) -> Result<Option<Duration>, String> {
    if text.trim() == "off" {
        return Ok(None);
    }
    let wrong = || format!("expected off or a period of at least 10ms, such as 100ms, found '{text}'");
    let period = duration(text).map_err(|_| wrong())?;
    if period < Duration::from_millis(10) { Err(wrong()) } else { Ok(Some(period)) }
}

/// A time as [`duration`] reads it.
pub fn duration_text(time: Duration) -> String {
    let ms = time.as_millis();
    if !ms.is_multiple_of(1000) {
        return format!("{ms}ms");
    }
    match ms / 1000 {
        s if s < 120 => format!("{s}s"),
        s if s % 60 == 0 => format!("{}m", s / 60),
        s => format!("{}m{}s", s / 60, s % 60),
    }
}

/// A fraction between 0 and 1, both excluded: `0.02` or `2%`.
///
/// # Errors
/// A sentence that says what was expected.
pub fn fraction(text: &str) -> Result<f64, String> {
    let text = text.trim();
    let number = match text.strip_suffix('%') {
        Some(percent) => percent.trim().parse::<f64>().map(|percent| percent / 100.0),
        None => text.parse(),
    };
    match number {
        Ok(fraction) if fraction > 0.0 && fraction < 1.0 => Ok(fraction),
        _ => Err(format!("expected a fraction between 0 and 1 such as 0.02 or 2%, found '{text}'")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_in_every_form() {
        let ms = |text: &str| duration(text).map(|time| time.as_millis());
        for (text, expected) in
            [("60s", 60_000), ("2m", 120_000), ("1m30s", 90_000), ("500ms", 500), ("1.5", 1500), ("1h", 3_600_000)]
        {
            assert_eq!(ms(text), Ok(expected), "{text}");
            assert_eq!(ms(&duration_text(duration(text).unwrap())), Ok(expected), "{text}");
        }
        for text in ["", "0", "0s", "-1", "5x", "s", "nan", "inf", "1e300", "9e99h", "1s2"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn fractions_read_in_both_forms() {
        assert_eq!((fraction("2%"), fraction("0.02")), (Ok(0.02), Ok(0.02)));
        for text in ["0", "1", "100%", "-2%", "x", "nan"] {
            assert!(fraction(text).is_err(), "{text}");
        }
    }
}
