//! Records of a file: JSON as one list or a record a line, CSV with a header, Parquet.
use std::path::Path;

use serde_json::{Map, Value};

use super::{DatasetError, parquet, scan};

/// A record and where it stands, such as `chats.jsonl:7`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Record {
    pub(super) place: String,
    pub(super) value: Value,
}

/// Calls `each` with every record, in the file's order. The format follows the file's name: `.csv`, `.parquet`, else JSON.
///
/// # Errors
/// [`DatasetError`] naming file and line; what `each` fails with.
pub(super) fn read(
    path: &Path,
    bytes: &[u8],
    each: &mut dyn FnMut(Record) -> Result<(), DatasetError>,
) -> Result<(), DatasetError> {
    let kind = path.extension().map(|kind| kind.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    match kind.as_str() {
        "parquet" => parquet::read(path, each),
        "csv" => csv(path, text(path, bytes)?, each),
        "gz" | "zst" | "bz2" | "xz" | "zip" => Err(DatasetError::input(format!(
            "{}: it is compressed: unpack it first and name the file inside",
            path.display()
        ))),
        _ => json(path, text(path, bytes)?, each),
    }
}

/// The bytes as text.
///
/// # Errors
/// [`DatasetError::Input`] naming the line that is none.
pub(super) fn text<'a>(path: &Path, bytes: &'a [u8]) -> Result<&'a str, DatasetError> {
    std::str::from_utf8(bytes).map_err(|error| {
        let good = &bytes[..error.valid_up_to()];
        let line = 1 + good.iter().filter(|byte| **byte == b'\n').count();
        let column = 1 + good.iter().rev().take_while(|byte| **byte != b'\n').count();
        let byte = bytes.get(error.valid_up_to()).copied().unwrap_or(0);
        DatasetError::input(format!(
            "{}:{line}: expected UTF-8, found the byte 0x{byte:02x} at byte {column} of the line: convert the file, or fetch \
             it again",
            path.display()
        ))
    })
}

fn json(path: &Path, text: &str, each: &mut dyn FnMut(Record) -> Result<(), DatasetError>) -> Result<(), DatasetError> {
    let name = path.display();
    let pieces =
        scan::cut(text.as_bytes()).map_err(|(line, why)| DatasetError::input(format!("{name}:{line}: {why}")))?;
    let last = pieces.last().map(|(line, _)| *line);
    for (line, range) in pieces {
        let value: Value = serde_json::from_str(&text[range]).map_err(|error| {
            let at = line + error.line() as u64 - 1;
            let cut_off =
                if error.is_eof() && Some(line) == last { "; the file may be cut off: fetch it again" } else { "" };
            let help =
                if cut_off.is_empty() { "; expected a JSON object a line, or one list of objects" } else { cut_off };
            DatasetError::input(format!("{name}:{at}: no JSON: {error}{help}"))
        })?;
        each(Record { place: format!("{name}:{line}"), value })?;
    }
    Ok(())
}

fn csv(path: &Path, text: &str, each: &mut dyn FnMut(Record) -> Result<(), DatasetError>) -> Result<(), DatasetError> {
    let name = path.display();
    let wrong = |error: csv::Error| {
        let line = error.position().map_or(1, csv::Position::line);
        DatasetError::input(format!("{name}:{line}: no CSV with a header line: {error}"))
    };
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header = reader.headers().map_err(wrong)?.clone();
    for row in reader.records() {
        let row = row.map_err(wrong)?;
        let line = row.position().map_or(0, csv::Position::line);
        let fields = header.iter().zip(row.iter()).map(|(name, field)| (name.to_owned(), Value::from(field)));
        each(Record { place: format!("{name}:{line}"), value: Value::Object(fields.collect::<Map<_, _>>()) })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_unpacked() {
        for kind in ["gz", "zst", "bz2", "xz", "zip", "ZIP"] {
            let name = format!("chats.jsonl.{kind}");
            let error = read(Path::new(&name), b"{}", &mut |record| panic!("{record:?}")).unwrap_err().to_string();
            assert!(error.contains(&name) && error.contains("unpack it first"), "{error}");
        }
    }
}
