//! Cuts a text of JSON into its records without reading them: the elements of one list, or one record a line.
use std::ops::Range;

/// A record's bytes and the line on which it begins, from 1.
pub(super) type Piece = (u64, Range<usize>);

/// Cuts `bytes`: a list when it begins with `[`, else lines. Empty lines are no records.
///
/// # Errors
/// The line, and what is wrong there.
pub(super) fn cut(bytes: &[u8]) -> Result<Vec<Piece>, (u64, String)> {
    match bytes.iter().position(|byte| !byte.is_ascii_whitespace()) {
        Some(at) if bytes[at] == b'[' => list(bytes, at),
        _ => Ok(lines(bytes)),
    }
}

fn lines(bytes: &[u8]) -> Vec<Piece> {
    let mut start = 0;
    let mut pieces = Vec::new();
    for (number, line) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
        if !line.trim_ascii().is_empty() {
            pieces.push((number, start..start + line.len()));
        }
        start += line.len() + 1;
    }
    pieces
}

fn list(bytes: &[u8], open: usize) -> Result<Vec<Piece>, (u64, String)> {
    let mut pieces = Vec::new();
    let mut line = 1 + bytes[..open].iter().filter(|byte| **byte == b'\n').count() as u64;
    let (mut depth, mut quoted, mut escaped) = (0_u32, false, false);
    let mut begun: Option<(u64, usize)> = None;
    for (at, &byte) in bytes.iter().enumerate().skip(open + 1) {
        line += u64::from(byte == b'\n');
        if quoted {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => quoted = false,
                _ => {}
            }
            continue;
        }
        let ends = depth == 0 && matches!(byte, b',' | b']');
        if ends {
            match begun.take() {
                Some((line, start)) => pieces.push((line, start..at)),
                None if byte == b',' || !pieces.is_empty() => {
                    return Err((line, format!("expected a record before '{}', found none", char::from(byte))));
                }
                None => {}
            }
            if byte == b']' {
                return match bytes[at + 1..].iter().find(|byte| !byte.is_ascii_whitespace()) {
                    Some(_) => Err((line, "expected the file's end after its list, found more".to_owned())),
                    None => Ok(pieces),
                };
            }
            continue;
        }
        if begun.is_none() && !byte.is_ascii_whitespace() {
            begun = Some((line, at));
        }
        match byte {
            b'"' => quoted = true,
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    let from = begun.map(|(line, _)| format!(" inside the record that begins on line {line}")).unwrap_or_default();
    Err((line, format!("the file ends before its list does{from}: it is cut off; fetch it again")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<(u64, String)> {
        let pieces = cut(text.as_bytes()).unwrap();
        pieces.into_iter().map(|(line, range)| (line, text[range].trim().to_owned())).collect()
    }

    #[test]
    fn lists_and_lines_are_cut_where_records_end() {
        let one = |line, text: &str| (line, text.to_owned());
        assert_eq!(
            texts("\n[ {\"a\": \"],\\\"}\"},\n [1, {}],\n\n 7 ]\n"),
            [one(2, "{\"a\": \"],\\\"}\"}"), one(3, "[1, {}]"), one(5, "7")]
        );
        assert_eq!(texts("{\"a\": 1}\n\n{\"b\": [\n"), [one(1, "{\"a\": 1}"), one(3, "{\"b\": [")]);
        assert!(texts("[ ]").is_empty() && texts("").is_empty() && texts(" \n").is_empty());
    }

    #[test]
    fn a_list_that_does_not_end_or_has_gaps_is_refused_with_its_line() {
        let wrong = |text: &str| cut(text.as_bytes()).unwrap_err();
        let (line, why) = wrong("[\n{\"a\": 1},\n{\"b\": \"x\n");
        assert!(line == 4 && why.contains("cut off") && why.contains("line 3"), "{line} {why}");
        assert_eq!(wrong("[1,\n,2]").0, 2);
        assert_eq!(wrong("[1,\n]").0, 2);
        assert_eq!(wrong("[1]\nx").0, 1);
    }
}
