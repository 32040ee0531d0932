//! Charts: their content from a run's records and tables, and their drawing as SVG and, from that SVG, as PNG.

mod capacity;
mod draw;
mod hardware;
mod invalid;
mod latency;
pub(super) mod model;
mod png;
mod scale;
mod series;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use rayon::prelude::*;

pub(super) use model::Chart;

use invalid::Invalid;

use super::{certificates, place::is_comparable, streams};
use crate::{
    fairness,
    results::{PointRecord, ResultsError, RunInfo, files::replace},
};

/// Where charts lie in the run directory.
const FOLDER: &str = "charts";
/// Where the throughput chart lies in the run directory.
pub(super) const THROUGHPUT_SVG: &str = "charts/throughput.svg";

/// Whether any point has a figure to draw.
pub(super) fn has_figures(records: &[PointRecord]) -> bool {
    !series::throughput(records).is_empty()
}

/// Every chart of a run.
#[derive(Debug, Default)]
pub(super) struct Charts {
    /// Those with anything to show, in the order of reading.
    pub(super) charts: Vec<Chart>,
    /// How many of the run's finished points are invalid.
    pub(super) invalid: usize,
    /// Why others are missing that the run might have had.
    pub(super) missing: Vec<String>,
}

/// The charts of throughput that need no table: for a terminal.
pub(super) fn of_records(info: &RunInfo, records: &[PointRecord]) -> Vec<Chart> {
    let invalid = Invalid::of(info, records);
    let mut all = series::throughput(records);
    all.extend(latency::over_load(records));
    all.into_iter().filter_map(Chart::drawable).map(|chart| invalid.mark(chart)).collect()
}

/// Makes the charts of the records, and of the streamed tables in `dir`.
pub(super) fn of(dir: &Path, info: &RunInfo, records: &[PointRecord]) -> Charts {
    let invalid = Invalid::of(info, records);
    let (mut all, capacity_missing) = capacity::of(dir);
    all.extend(series::throughput(records));
    // A ratio that must not be shown in words is none to draw either.
    let believed = certificates::believed(info, records);
    let refused = fairness::among(info, &believed.iter().filter(|record| is_comparable(record)).collect::<Vec<_>>());
    if refused.is_none() {
        all.extend(series::differences(&believed));
    }
    all.extend(latency::pareto(records));
    all.extend(latency::over_load(records));
    all.extend(series::scaling(records, &invalid));
    let (found, mut missing) = streams::latencies(dir, &streams::latency_trials(records));
    all.extend(latency::distributions(records, &found));
    all.extend(hardware::roofline(records));
    all.extend(hardware::split(records));
    let (steps, errors) = hardware::steps(dir, records);
    all.extend(steps);
    missing.extend(errors);
    let (telemetry, errors) = hardware::over_time(dir, records);
    all.extend(telemetry);
    missing.extend(errors);
    missing.extend(capacity_missing);
    missing.extend(refused.map(|why| format!("throughput relative to another engine: {why}")));
    let charts = all.into_iter().filter_map(Chart::drawable).map(|chart| invalid.mark(chart)).collect();
    Charts { charts, invalid: invalid.count(), missing }
}

/// Draws `charts/NAME.svg` and `.png` of each. Charts of an earlier report that this one has not are removed.
///
/// # Errors
/// [`ResultsError::Io`] when a file cannot be written, [`ResultsError::Chart`] when the drawing fails.
pub(super) fn write(dir: &Path, charts: &[Chart]) -> Result<Vec<PathBuf>, ResultsError> {
    let folder = dir.join(FOLDER);
    if !charts.is_empty() {
        fs::create_dir_all(&folder).map_err(ResultsError::io(&folder, "create"))?;
    }
    let draw = |chart: &Chart| -> Result<[PathBuf; 2], ResultsError> {
        let svg_path = folder.join(format!("{}.svg", chart.id));
        let png_path = svg_path.with_extension("png");
        let svg = draw::svg(chart).map_err(|why| ResultsError::Chart { path: svg_path.clone(), why })?;
        let png = png::render(&svg).map_err(|why| ResultsError::Chart { path: png_path.clone(), why })?;
        replace(&svg_path, svg.as_bytes())?;
        replace(&png_path, &png)?;
        Ok([svg_path, png_path])
    };
    let paths: Vec<PathBuf> =
        charts.par_iter().map(draw).collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect();
    remove_others(&folder, &paths.iter().cloned().collect())?;
    Ok(paths)
}

fn remove_others(folder: &Path, kept: &BTreeSet<PathBuf>) -> Result<(), ResultsError> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    for path in entries.flatten().map(|entry| entry.path()).filter(|path| !kept.contains(path)) {
        let ours = path.extension().is_some_and(|extension| extension == "svg" || extension == "png");
        if ours {
            fs::remove_file(&path).map_err(ResultsError::io(&path, "remove"))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::testing;

    #[test]
    fn a_chart_has_its_words_and_its_pixels() {
        let dir = tempfile::tempdir().unwrap();
        let paths = write(dir.path(), &of(dir.path(), &testing::info(), &testing::sweep()).charts).unwrap();
        let svg = fs::read_to_string(&paths[0]).unwrap();
        for word in ["Output token throughput", "tokens/s", "batch size", "sim (SIMULATED)", "95 %"] {
            assert!(svg.contains(word), "no '{word}'");
        }
        let png = fs::read(&paths[1]).unwrap();
        assert!(png.starts_with(b"\x89PNG"));
        for path in paths.iter().filter(|_| std::env::var_os("TACHO_KEEP_CHARTS").is_some()) {
            let keep = PathBuf::from(std::env::var_os("TACHO_KEEP_CHARTS").unwrap());
            fs::copy(path, keep.join(path.file_name().unwrap())).unwrap();
        }
    }

    #[test]
    fn text_is_in_the_pixels() {
        let page = |text: &str| {
            format!(
                "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"200\" height=\"40\"><rect width=\"200\" height=\"40\" \
                 fill=\"white\"/><text x=\"5\" y=\"30\" font-family=\"{}\" font-size=\"20\">{text}</text></svg>",
                draw::FONT
            )
        };
        assert_ne!(png::render(&page("Tokens")).unwrap(), png::render(&page("")).unwrap());
    }

    #[test]
    fn nothing_to_draw_is_no_chart() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(write(dir.path(), &of(dir.path(), &testing::info(), &[]).charts).unwrap(), Vec::<PathBuf>::new());
        let failed: Vec<_> = testing::records().into_iter().filter(|record| record.trials.is_empty()).collect();
        assert!(!failed.is_empty() && of(dir.path(), &testing::info(), &failed).charts.is_empty());
    }

    #[test]
    fn a_name_from_outside_cannot_break_the_picture() {
        let dir = tempfile::tempdir().unwrap();
        let mut records = testing::sweep();
        for record in &mut records {
            record.point.engine.id = "</text><script>x</script>\u{1}&".to_owned();
        }
        let paths = write(dir.path(), &of(dir.path(), &testing::info(), &records).charts).unwrap();
        assert!(!fs::read_to_string(&paths[0]).unwrap().contains("<script>"));
    }
}
