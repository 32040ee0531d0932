//! `tacho certify`.
use std::{
    io::{self, Write},
    path::Path,
    process::ExitCode,
};

use serde_json::json;
use tacho::{
    results::{PointRecord, ReadRun},
    validity::{Certificate, certify_all},
};

use super::{
    exit::{self, Failure},
    strict::Strict,
};

/// For `--help`.
pub const HELP: &str = "\
The certificates are judged anew from the run's journal; docs/validity.md says what each reason means.

Exit codes:
  0  the certificates were printed
  3  the run directory cannot be read
  5  with --strict: the figures of some point are invalid, or there is no point; with --strict=checked or checks by name also
     when one of them could not be made";

/// Prints the certificates of a run's points, judged anew from its journal.
pub fn certify(dir: &Path, strict: &Strict, as_json: bool) -> Result<ExitCode, Failure> {
    let found = ReadRun::open(dir)?;
    for note in &found.notes {
        eprintln!("note: {note}");
    }
    let certificates = certify_all(&found.info, &found.records);
    let mut out = io::stdout().lock();
    if as_json {
        let view = |(record, certificate): (&PointRecord, &Certificate)| {
            json!({
                "point": record.point.number,
                "label": record.point.label(),
                "key": record.key,
                "verdict": certificate.verdict,
                "reasons": certificate.reasons,
                "not_checked": certificate.not_checked,
                "notes": certificate.notes,
            })
        };
        let points: Vec<serde_json::Value> = found.records.iter().zip(&certificates).map(view).collect();
        writeln!(out, "{:#}", json!({ "run_id": found.info.run_id, "points": points }))?;
    } else if found.records.is_empty() {
        writeln!(out, "no point has been finished")?;
    } else {
        found.records.iter().zip(&certificates).try_for_each(|(record, one)| print(record, one, &mut out))?;
    }
    // Nothing measured is nothing to believe.
    let (refused, said) = strict.judge(&certificates);
    if let Some(said) = said {
        eprintln!("{said}");
    }
    Ok(ExitCode::from(if refused { exit::INVALID } else { exit::OK }))
}

fn print(record: &PointRecord, certificate: &Certificate, out: &mut impl Write) -> io::Result<()> {
    let verdict = certificate.verdict.as_str().to_uppercase();
    writeln!(out, "point {} ({}): {verdict}", record.point.number, record.point.label())?;
    for reason in &certificate.reasons {
        writeln!(out, "  {}: {}", reason.code, reason.sentence)?;
    }
    for note in &certificate.notes {
        writeln!(out, "  note: {note}")?;
    }
    for unchecked in &certificate.not_checked {
        writeln!(out, "  not checked, {}: {}", unchecked.code, unchecked.why)?;
    }
    Ok(())
}
