//! Small CSV files for spreadsheets: a row a point, the rankings, and a list that grows from run to run.
use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use super::{
    advice::Advice,
    place::{Level, work},
    rows::axis_names,
};
use crate::{
    metrics::definitions::{METRICS, STATISTICS, Value},
    results::{PointRecord, PointStatus, ResultsError, RunInfo, Summary, TrialRecord, files::replace},
};

/// Beside the run directories, not in one of them.
const ACROSS: &str = "benchmark_summary.csv";
/// Statistics of a latency that a spreadsheet has room for.
const FEW: [&str; 3] = ["p50", "p90", "p99"];

/// Writes `benchmark_results.csv` and `performance_rankings.csv`.
pub(super) fn write(
    dir: &Path,
    info: &RunInfo,
    records: &[PointRecord],
    advice: &Advice,
) -> Result<Vec<PathBuf>, ResultsError> {
    let results = dir.join("benchmark_results.csv");
    let axes = axis_names(records);
    let mut header: Vec<String> = axes.iter().map(|axis| format!("axis_{axis}")).collect();
    header.splice(0..0, FIRST.map(str::to_owned));
    header.extend(figure_names());
    let rows: Vec<Vec<String>> = records
        .iter()
        .map(|record| {
            let mut row = first(info, record);
            let of = |axis: &String| record.point.axes.iter().find(|(name, _)| name == axis);
            row.extend(axes.iter().map(|axis| of(axis).map_or(String::new(), |(_, value)| value.clone())));
            row.extend(figures(record));
            row
        })
        .collect();
    replace(&results, &text(&results, &header, &rows)?)?;
    let rankings = dir.join("performance_rankings.csv");
    replace(&rankings, &ranking_text(&rankings, info, advice)?)?;
    Ok(vec![results, rankings])
}

/// Puts the run's points into `benchmark_summary.csv` beside the run directory: behind those of other runs, in place of
/// its own.
///
/// # Errors
/// [`ResultsError::Io`] when it cannot be read or written, or is not such a list.
pub fn append_across(dir: &Path, info: &RunInfo, records: &[PointRecord]) -> Result<PathBuf, ResultsError> {
    let whole = fs::canonicalize(dir).map_err(ResultsError::io(dir, "open"))?;
    let path = whole.parent().unwrap_or(&whole).join(ACROSS);
    let header: Vec<String> = FIRST.iter().map(|name| (*name).to_owned()).chain(figure_names()).collect();
    let mut rows = match csv::Reader::from_path(&path) {
        Ok(mut reader) => {
            let found = reader.headers().map_err(|error| broken(&path, &error.to_string()))?.clone();
            if found != header {
                let why = "its columns are of another version of tacho: move it away, and a new one is begun";
                return Err(broken(&path, why));
            }
            let rows = reader.into_records().map(|row| row.map(|row| row.iter().map(str::to_owned).collect()));
            rows.collect::<Result<Vec<Vec<String>>, _>>().map_err(|error| broken(&path, &error.to_string()))?
        }
        Err(error) => match error.kind() {
            csv::ErrorKind::Io(io) if io.kind() == ErrorKind::NotFound => Vec::new(),
            _ => return Err(broken(&path, &error.to_string())),
        },
    };
    rows.retain(|row| row.first() != Some(&info.run_id));
    rows.extend(records.iter().map(|record| first(info, record).into_iter().chain(figures(record)).collect()));
    replace(&path, &text(&path, &header, &rows)?)?;
    Ok(path)
}

fn broken(path: &Path, why: &str) -> ResultsError {
    ResultsError::io(path, "add to")(std::io::Error::new(ErrorKind::InvalidData, why.to_owned()))
}

/// What was measured, in every list.
const FIRST: [&str; 17] = [
    "run_id",
    "started_at",
    "point",
    "engine",
    "engine_version",
    "double",
    "boundary",
    "device",
    "model",
    "weights_dtype",
    "work",
    "load",
    "load_value",
    "requests",
    "status",
    "throughput_trials",
    "latency_trials",
];

fn first(info: &RunInfo, record: &PointRecord) -> Vec<String> {
    let engine = record.engine.as_ref();
    let text = |of: fn(&crate::engine::EngineInfo) -> Option<String>| engine.and_then(of).unwrap_or_default();
    let level = Level::of(record);
    let summary = Summary::of(record);
    vec![
        info.run_id.clone(),
        info.started_at.clone(),
        record.point.number.to_string(),
        record.point.engine.id.clone(),
        text(|e| Some(e.version.clone())),
        text(|e| e.double.clone()),
        text(|e| Some(e.boundary.as_str().to_owned())),
        text(|e| Some(e.device.clone())),
        text(|e| Some(e.model.name.clone())),
        text(|e| e.model.weights_dtype.clone()),
        work(record),
        level.name,
        level.value.to_string(),
        record.point.workload.requests.to_string(),
        if matches!(record.outcome, PointStatus::Ok) { "ok" } else { "failed" }.to_owned(),
        summary.throughput.as_ref().map_or(0, |throughput| throughput.trials).to_string(),
        summary.latency_trials.to_string(),
    ]
}

fn figure_names() -> Vec<String> {
    let mut names = Vec::new();
    for metric in METRICS {
        match metric.value {
            Value::Rate(_) | Value::MaybeRate(_) => names.push(metric.name.to_owned()),
            Value::Latency(_) => {
                names.extend(FEW.iter().map(|suffix| format!("{}_{suffix}_{}", metric.name, metric.unit)))
            }
        }
    }
    let more = ["output_token_throughput_low", "output_token_throughput_high", "energy_per_token_j", "mfu", "mbu"];
    names.extend(more.map(str::to_owned));
    names
}

/// Of a failed point nothing: what it gave before it failed is not what it was asked for.
fn figures(record: &PointRecord) -> Vec<String> {
    let summary = Summary::of(record);
    let ok = matches!(record.outcome, PointStatus::Ok);
    let shown = |value: Option<f64>| value.filter(|v| ok && v.is_finite()).map_or(String::new(), |v| v.to_string());
    let mut all = Vec::new();
    for metric in METRICS {
        match metric.value {
            Value::Rate(get) => all.push(shown(summary.rate(|trial| get(&trial.figures)))),
            Value::MaybeRate(get) => all.push(shown(summary.hardware(|trial| get(&trial.figures)))),
            Value::Latency(get) => {
                let few = STATISTICS.iter().filter(|(suffix, ..)| FEW.contains(suffix));
                all.extend(few.map(|(_, _, of)| shown(summary.latency(|trial| get(&trial.figures), *of))));
            }
        }
    }
    all.push(shown(summary.interval().map(|interval| interval.low)));
    all.push(shown(summary.interval().map(|interval| interval.high)));
    all.push(shown(summary.hardware(TrialRecord::energy_per_token_j)));
    all.push(shown(summary.hardware(|trial| trial.hardware.roofline.mfu)));
    all.push(shown(summary.hardware(|trial| trial.hardware.roofline.mbu)));
    all
}

fn ranking_text(path: &Path, info: &RunInfo, advice: &Advice) -> Result<Vec<u8>, ResultsError> {
    let header = [
        "run_id",
        "use",
        "work",
        "place",
        "engine",
        "at",
        "metric",
        "unit",
        "better",
        "value",
        "low",
        "high",
        "verdict",
        "null_reason",
    ];
    let mut rows = Vec::new();
    for ranking in &advice.rankings {
        for (index, entry) in ranking.entries.iter().enumerate() {
            let end = |of: fn((f64, f64)) -> f64| entry.estimate.interval.map_or(String::new(), |i| of(i).to_string());
            let verdict = match (index < ranking.candidates(), ranking.sureness()) {
                (true, sureness) => sureness.as_str(),
                (false, _) => "",
            };
            rows.push(vec![
                info.run_id.clone(),
                ranking.purpose.name().to_owned(),
                ranking.work.clone(),
                ranking.place(index).to_string(),
                entry.engine.clone(),
                entry.at.clone(),
                ranking.metric.to_owned(),
                ranking.unit.to_owned(),
                if ranking.less { "less" } else { "more" }.to_owned(),
                entry.estimate.value.to_string(),
                end(|(low, _)| low),
                end(|(_, high)| high),
                verdict.to_owned(),
                entry.estimate.null_reason.clone().unwrap_or_default(),
            ]);
        }
    }
    text(path, &header.map(str::to_owned), &rows)
}

fn text(path: &Path, header: &[String], rows: &[Vec<String>]) -> Result<Vec<u8>, ResultsError> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let write = |writer: &mut csv::Writer<Vec<u8>>| -> Result<(), csv::Error> {
        writer.write_record(header)?;
        rows.iter().try_for_each(|row| writer.write_record(row))
    };
    write(&mut writer).map_err(|error| broken(path, &error.to_string()))?;
    writer.into_inner().map_err(|error| broken(path, &error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{report::advice, results::testing};

    #[test]
    fn the_lists_are_as_they_were() {
        let dir = tempfile::tempdir().unwrap();
        let mut records = testing::records();
        records.extend(testing::sweep().into_iter().skip(12).take(2));
        write(dir.path(), &testing::info(), &records, &advice::of(&records)).unwrap();
        for name in ["benchmark_results.csv", "performance_rankings.csv"] {
            insta::assert_snapshot!(name, fs::read_to_string(dir.path().join(name)).unwrap());
        }
    }

    #[test]
    fn the_list_across_runs_grows_and_has_each_run_once() {
        let dir = tempfile::tempdir().unwrap();
        let runs = ["a", "b", "a"].map(|name| {
            let run = dir.path().join(name);
            fs::create_dir_all(&run).unwrap();
            let mut info = testing::info();
            info.run_id = name.to_owned();
            append_across(&run, &info, &testing::records()).unwrap()
        });
        let text = fs::read_to_string(&runs[0]).unwrap();
        let ids: Vec<&str> = text.lines().skip(1).filter_map(|line| line.split(',').next()).collect();
        assert_eq!(ids, ["b", "b", "b", "b", "a", "a", "a", "a"]);
        fs::write(&runs[0], "x,y\n1,2\n").unwrap();
        let error = append_across(&dir.path().join("a"), &testing::info(), &[]).unwrap_err().to_string();
        assert!(error.contains("another version of tacho"), "{error}");
    }
}
