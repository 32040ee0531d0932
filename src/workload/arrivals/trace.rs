//! Arrival times from files: JSONL as Mooncake and Azure write it, CSV as BurstGPT and Azure write it.
//!
//! JSONL: an object a line with `timestamp` (or `TIMESTAMP`), a number of milliseconds as in Mooncake's traces, or a date and
//! time as in Azure's. CSV: a header with `Timestamp` (seconds, as in BurstGPT) or `TIMESTAMP` (date and time, Azure).
//! Times are counted from the first one. Only when requests came is taken; how long they were is the workload's.
use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
};

/// What is wrong with a trace.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TraceError {
    /// The file.
    #[error("the trace {} cannot be read: {problem}", file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// Why.
        problem: String,
    },
    /// A line of it.
    #[error("{}:{line}: {problem}", file.display())]
    Line {
        /// Which file.
        file: PathBuf,
        /// From 1.
        line: usize,
        /// What was expected and found.
        problem: String,
    },
    /// It ends too early.
    #[error(
        "the trace {} has {found} requests, {wanted} were asked for; ask for fewer with --requests, or repeat the file",
        file.display()
    )]
    Short {
        /// Which.
        file: PathBuf,
        /// In the file.
        found: usize,
        /// Asked for.
        wanted: usize,
    },
}

/// How a line tells its time.
enum Layout {
    Jsonl,
    /// The column, and whether it holds seconds (else date and time).
    Csv {
        column: usize,
        columns: usize,
    },
}

/// The first `requests` arrival times of a file, in seconds after its first.
///
/// # Errors
/// [`TraceError`] with file and line for what is not understood and for time that goes back.
pub fn read_trace(file: &Path, requests: usize) -> Result<Vec<f64>, TraceError> {
    let at = |line, problem: String| TraceError::Line { file: file.to_owned(), line, problem };
    let broken = |error: std::io::Error| TraceError::File { file: file.to_owned(), problem: error.to_string() };
    let mut input = BufReader::new(File::open(file).map_err(broken)?);
    let mut layout = None;
    let mut times: Vec<f64> = Vec::new();
    let mut first = 0.0;
    let mut bytes = Vec::new();
    for line in 1.. {
        bytes.clear();
        if times.len() == requests || input.read_until(b'\n', &mut bytes).map_err(broken)? == 0 {
            break;
        }
        let text = std::str::from_utf8(&bytes).map_err(|error| at(line, format!("not UTF-8: {error}")))?.trim();
        if text.is_empty() {
            continue;
        }
        if layout.is_none() {
            if text.starts_with('{') {
                layout = Some(Layout::Jsonl);
            } else {
                layout = Some(header(text).map_err(|problem| at(line, problem))?);
                continue;
            }
        }
        let Some(layout) = &layout else { continue };
        let seconds = time(text, layout).map_err(|problem| at(line, problem))?;
        if times.is_empty() {
            first = seconds;
        }
        let offset = seconds - first;
        if !offset.is_finite() {
            return Err(at(
                line,
                format!("{seconds} s is too far from the first time, {first} s, to be counted from it"),
            ));
        }
        if let Some(before) = times.last().filter(|before| offset < **before) {
            let back = before - offset;
            return Err(at(
                line,
                format!("time goes back by {back} s: expected requests in the order in which they came"),
            ));
        }
        times.push(offset);
    }
    if times.len() < requests {
        return Err(TraceError::Short { file: file.to_owned(), found: times.len(), wanted: requests });
    }
    Ok(times)
}

fn header(text: &str) -> Result<Layout, String> {
    let names: Vec<&str> = text.split(',').map(str::trim).collect();
    match names.iter().position(|name| name.eq_ignore_ascii_case("timestamp")) {
        Some(column) => Ok(Layout::Csv { column, columns: names.len() }),
        None => Err(format!(
            "expected a JSON object with a timestamp, or a CSV header with a column Timestamp, found '{}'",
            shortened(text)
        )),
    }
}

fn time(text: &str, layout: &Layout) -> Result<f64, String> {
    let finite = |seconds: f64| Some(seconds).filter(|seconds| seconds.is_finite());
    match layout {
        Layout::Jsonl => {
            let value: serde_json::Value = serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
            let stamp = value.get("timestamp").or_else(|| value.get("TIMESTAMP"));
            let seconds = match stamp {
                Some(serde_json::Value::Number(ms)) => ms.as_f64().map(|ms| ms / 1000.0),
                Some(serde_json::Value::String(text)) => date_time(text),
                _ => None,
            };
            let found = stamp.map_or_else(|| "none".to_owned(), ToString::to_string);
            seconds.and_then(finite).ok_or_else(|| {
                format!(
                    "expected a timestamp in milliseconds or as 2023-11-16 18:17:03.97, found {}",
                    shortened(&found)
                )
            })
        }
        Layout::Csv { column, columns } => {
            let fields: Vec<&str> = text.split(',').collect();
            if fields.len() != *columns {
                return Err(format!("expected {columns} fields as in the header, found {}", fields.len()));
            }
            let field = fields[*column].trim();
            field.parse().ok().and_then(finite).or_else(|| date_time(field)).ok_or_else(|| {
                format!("expected seconds or a time such as 2023-11-16 18:17:03.97, found '{}'", shortened(field))
            })
        }
    }
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= 60 { text.to_owned() } else { text.chars().take(60).chain(['…']).collect() }
}

/// Seconds of a date and time such as `2023-11-16 18:17:03.9799600`, by the proleptic Gregorian calendar; a zone is ignored,
/// since only differences count.
fn date_time(text: &str) -> Option<f64> {
    let (date, time) = text.trim().split_once([' ', 'T'])?;
    let mut date = date.splitn(3, '-').map(str::parse::<i64>);
    let (year, month, day) = (date.next()?.ok()?, date.next()?.ok()?, date.next()?.ok()?);
    let time = time.trim_end_matches('Z').split_once('+').map_or(time.trim_end_matches('Z'), |(time, _)| time);
    let mut parts = time.splitn(3, ':');
    let hour: i64 = parts.next()?.parse().ok()?;
    let minute: i64 = parts.next()?.parse().ok()?;
    let second: f64 = parts.next()?.parse().ok()?;
    let valid = (1..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0.0..61.0).contains(&second);
    if !valid {
        return None;
    }
    // Days of the civil calendar, counted with March as the first month so that leap days come last.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day;
    Some((days * 86_400 + hour * 3600 + minute * 60) as f64 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content: &[u8], requests: usize) -> Result<Vec<f64>, String> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("trace");
        std::fs::write(&file, content).unwrap();
        let shown = dir.path().display().to_string();
        read_trace(&file, requests).map_err(|error| error.to_string().replace(&format!("{shown}/"), ""))
    }

    #[test]
    fn every_layout_gives_its_times() {
        let mooncake = b"{\"timestamp\": 27000, \"input_length\": 6755, \"output_length\": 500, \"hash_ids\": [46]}\n\
            {\"timestamp\": 27500, \"input_length\": 10}\n\n{\"timestamp\": 30000}\n";
        assert_eq!(read(mooncake, 3).unwrap(), [0.0, 0.5, 3.0]);
        assert_eq!(read(mooncake, 2).unwrap(), [0.0, 0.5]);
        let azure = "{\"TIMESTAMP\": \"2023-12-31 23:59:59.5\"}\n{\"TIMESTAMP\": \"2024-01-01 00:00:00.75\"}\n";
        assert_eq!(read(azure.as_bytes(), 2).unwrap(), [0.0, 1.25]);
        let azure = "TIMESTAMP,ContextTokens,GeneratedTokens\n2024-02-28 23:59:59.0,3,4\n2024-03-01T00:00:00.0Z,3,4\n";
        assert_eq!(read(azure.as_bytes(), 2).unwrap(), [0.0, 86_401.0]);
        let burst = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\r\n\
            5,ChatGPT,472,18,490,Conversation log\r\n45,ChatGPT,1087,230,1317,Conversation log\r\n";
        assert_eq!(read(burst.as_bytes(), 2).unwrap(), [0.0, 40.0]);
    }

    #[test]
    fn what_is_wrong_is_told_with_file_and_line() {
        let errors: Vec<String> = [
            b"{\"timestamp\": 5}\n{\"timestamp\": 4}\n".as_slice(),
            b"{\"timestamp\": 5}\n{\"time\": 4}\n",
            b"{\"timestamp\": 5}\n{\"timestamp\": null}\n",
            b"{\"timestamp\": 5}\n{\"timestamp\": \n",
            b"{\"timestamp\": 5}\n\xff\xfe\n",
            b"{\"timestamp\": 5}\n",
            b"",
            b"hello\n1\n",
            b"Timestamp,Model\n1,a\nnan,a\n",
            b"Timestamp,Model\n1,a\n2\n",
            b"TIMESTAMP\n2023-13-16 18:17:03\n2023-11-16 18:17:03\n",
        ]
        .iter()
        .map(|content| read(content, 2).unwrap_err())
        .collect();
        insta::assert_snapshot!(errors.join("\n"));
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = read_trace(Path::new("no/such/trace.jsonl"), 1).unwrap_err().to_string();
        assert!(error.contains("no/such/trace.jsonl"), "{error}");
    }
}
