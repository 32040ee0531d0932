//! Small things that every report writes alike.
use std::time::Duration;

/// What stands where there is no value.
pub(crate) const MISSING: &str = "–";

/// A number with about four significant digits.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 1000.0 || size == 0.0 => format!("{value:.0}"),
        size if size >= 100.0 => format!("{value:.1}"),
        size if size >= 10.0 => format!("{value:.2}"),
        size if size >= 0.001 => format!("{value:.3}"),
        _ => format!("{value:.2e}"),
    }
}

/// A number with four significant digits, also below 1: figures that are compared must not look equal.
pub(super) fn fine(value: f64) -> String {
    match value.abs() {
        size if (1e-4..1.0).contains(&size) => format!("{value:.*}", (3.0 - size.log10().floor()) as usize),
        _ => number(value),
    }
}

/// The same as [`number`], or [`MISSING`].
pub(crate) fn number_or_missing(value: Option<f64>) -> String {
    value.map_or_else(|| MISSING.to_owned(), number)
}

/// Bytes as GiB.
pub(super) fn gib(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))
}

/// A duration in seconds.
pub(super) fn seconds(ns: u64) -> String {
    format!("{} s", number(Duration::from_nanos(ns).as_secs_f64()))
}

/// On one line, without control characters: text from engines and files may hold anything.
pub(crate) fn one_line(text: &str) -> String {
    let spaced: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    spaced.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// At most so many characters.
pub(crate) fn shorten(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

/// Text as Markdown that says the same: on one line, with nothing that Markdown or HTML would read.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in one_line(text).chars() {
        match c {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '\\' | '`' | '*' | '_' | '{' | '}' | '[' | ']' | '#' | '|' | '~' | '!' | '$' => {
                escaped.push('\\');
                escaped.push(c);
            }
            _ => escaped.push(c),
        }
    }
    // These would become links of themselves.
    escaped.replace("://", "&#58;//").replace("www.", "www&#46;")
}

/// Lines as a block of code that they cannot end.
pub(super) fn code_block(lines: &[String]) -> String {
    let clean: Vec<String> = lines
        .iter()
        .map(|line| line.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect())
        .collect();
    let longest = clean.iter().flat_map(|line| line.split(|c| c != '`').map(str::len)).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    format!("{fence}text\n{}\n{fence}\n", clean.join("\n"))
}

/// An argument as a shell takes it.
pub(super) fn shell(argument: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./,:+@%".contains(c);
    if !argument.is_empty() && argument.chars().all(plain) {
        argument.to_owned()
    } else {
        format!("'{}'", argument.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_four_digits() {
        let cases =
            [(0.0, "0"), (12345.6, "12346"), (999.96, "1000.0"), (12.345, "12.35"), (0.5, "0.500"), (2e-5, "2.00e-5")];
        for (value, text) in cases {
            assert_eq!(number(value), text);
        }
        assert_eq!(number_or_missing(None), MISSING);
        for (value, text) in [(0.0479, "0.04790"), (0.5, "0.5000"), (12.3, "12.30"), (0.0, "0")] {
            assert_eq!(fine(value), text);
        }
    }

    #[test]
    fn nothing_breaks_out_of_its_place() {
        assert_eq!(escape("a|b\n<script>*x*"), "a\\|b &lt;script&gt;\\*x\\*");
        assert_eq!(code_block(&["a ```` b".to_owned()]), "`````text\na ```` b\n`````\n");
        assert_eq!(shell("it's"), r"'it'\''s'");
        assert_eq!(shell("--out=runs/a"), "--out=runs/a");
        assert_eq!(shorten("abcdef", 4), "abc…");
    }
}
