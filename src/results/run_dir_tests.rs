//! A run directory from its making to its tables, and everything that can be wrong with one.
use std::{
    fs,
    io::Write,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use arrow_array::{Array, RecordBatch, UInt32Array, UInt64Array, cast::AsArray};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::*;
use crate::{
    cell::{
        drive::{RecordSink, run_trial},
        parent::TableSink,
        protocol::{Load, NONE, RequestRow, StepRow, TokenRow, TrialKind, TrialSpec, TrialSummary},
    },
    engine::{Engine, LoadConfig, Options, sim::Sim},
    results::{Failure, PointStatus, TrialFigures, TrialRecord, encode::ROW_GROUP, testing},
    workload::WorkloadSpec,
};

/// Passes a trial's records on as the pipe would.
struct Pipe<'a>(&'a mut dyn TableSink);

impl RecordSink for Pipe<'_> {
    fn tokens(&mut self, rows: &[TokenRow]) -> io::Result<()> {
        self.0.tokens(rows).map_err(io::Error::other)
    }
    fn requests(&mut self, rows: &[RequestRow]) -> io::Result<()> {
        self.0.requests(rows).map_err(io::Error::other)
    }
    fn steps(&mut self, rows: &[StepRow]) -> io::Result<()> {
        self.0.steps(rows).map_err(io::Error::other)
    }
    fn progress(&mut self, output_tokens: u64) -> io::Result<()> {
        self.0.progress(output_tokens);
        Ok(())
    }
}

/// 10 requests of 16 tokens in, 8 out, 4 at a time, in virtual time.
fn sim_trial(run: &mut RunDir, point: u32, trial: u32, method: Method) -> TrialRecord {
    let options = Options::from([("time".to_owned(), "virtual".into()), ("jitter".to_owned(), 0.05.into())]);
    let config = LoadConfig { engine: "sim".to_owned(), model: None, max_seqs: 4, max_model_len: 64, seed: 7, options };
    let mut engine = Sim::load(&config).unwrap();
    let workload = &testing::point(0, "sim", &[]).point.workload;
    let spec = TrialSpec {
        trial,
        kind: TrialKind::Timed,
        method,
        load: Load::Offline { batch: 4 },
        device_clock: Default::default(),
        workload: WorkloadSpec {
            requests: 10,
            input: crate::workload::LengthDist::Fixed(16),
            output: crate::workload::LengthDist::Fixed(8),
            sampling: workload.sampling,
            seed: 1,
            stream: u64::from(trial),
            ids: engine.info().model.ordinary_ids.clone(),
            saved: None,
        },
    };
    let mut tables = run.trial_tables(point, trial, method);
    let summary = run_trial(&mut engine, &spec, &mut Pipe(&mut tables)).unwrap();
    let figures = tables.finish(&summary).unwrap();
    TrialRecord::new(trial, method, summary, figures)
}

fn sim_point(run: &mut RunDir, number: u32) -> PointRecord {
    let mut record = testing::point(number, "sim", &[("batch", "4")]);
    record.trials.push(sim_trial(run, number, 0, Method::Generate));
    record.trials.push(sim_trial(run, number, 1, Method::Steps));
    run.point_done(record.clone()).unwrap();
    record
}

fn failed_point(number: u32) -> PointRecord {
    let mut record = testing::point(number, "sim", &[("batch", "8")]);
    record.outcome = PointStatus::Failed(Failure {
        kind: None,
        reason: "killed".to_owned(),
        signal: Some(9),
        exit_code: None,
        broken: None,
        last_lines: Vec::new(),
        stacks: Vec::new(),
    });
    record
}

fn read(path: &Path) -> Vec<RecordBatch> {
    let file = File::open(path).unwrap();
    ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap().map(Result::unwrap).collect()
}

fn rows(path: &Path) -> usize {
    read(path).iter().map(RecordBatch::num_rows).sum()
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> &'a dyn Array {
    batch.column_by_name(name).unwrap_or_else(|| panic!("no column {name}")).as_ref()
}

fn new_run(dir: &Path) -> RunDir {
    // Of this machine, or every resumption would be one on another.
    let info = RunInfo { host: Host::read(), tacho: Provenance::of_this_program(), ..testing::info() };
    RunDir::create(dir, &info).unwrap()
}

#[test]
fn a_run_from_records_to_tables() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("runs/first");
    let mut run = new_run(&dir);
    let mut records = vec![sim_point(&mut run, 0)];
    records.push(failed_point(1));
    run.point_done(records[1].clone()).unwrap();
    records.push(sim_point(&mut run, 2));
    let outputs = run.finish(&records).unwrap();
    for path in outputs.tables.iter().chain(&outputs.charts).chain([&outputs.report]) {
        assert!(fs::metadata(path).unwrap().len() > 0, "{}", path.display());
    }
    // Two points of 10 requests by either door; tokens and steps by the step loop alone.
    assert_eq!(rows(&dir.join("requests.parquet")), 40);
    assert_eq!(rows(&dir.join("tokens.parquet")), 160);
    let steps: f64 = records[0].trials[1].summary.stats["steps"];
    assert_eq!(rows(&dir.join("steps.parquet")) as f64, 2.0 * steps);

    let tokens = read(&dir.join("tokens.parquet"));
    let gaps: &UInt64Array = column(&tokens[0], "gap_ns").as_primitive();
    assert_eq!(gaps.null_count(), 20, "a request's first token has no gap");
    let points: &UInt32Array = column(&tokens[0], "point").as_primitive();
    assert!(points.values().iter().all(|point| [0, 2].contains(point)));

    let points = read(&dir.join("points.parquet"));
    assert_eq!(points[0].num_rows(), 5);
    let ttft = column(&points[0], "ttft_p50_ms");
    assert!(ttft.is_null(0) && ttft.is_valid(1) && ttft.is_null(2), "generate, steps, failed");
    assert!(column(&points[0], "latency_null_reason").is_valid(0));
    assert_eq!(column(&points[0], "reason").as_string::<i32>().value(2), "killed");
    let csv = fs::read_to_string(dir.join("points.csv")).unwrap();
    assert_eq!(csv.lines().count(), 6);
    let json: Vec<serde_json::Map<String, serde_json::Value>> =
        serde_json::from_str(&fs::read_to_string(dir.join("points.json")).unwrap()).unwrap();
    assert!(json[2]["output_token_throughput"].is_null() && json[1]["output_token_throughput"].is_f64());
    let summary: Vec<serde_json::Map<String, serde_json::Value>> =
        serde_json::from_str(&fs::read_to_string(dir.join("summary.json")).unwrap()).unwrap();
    assert_eq!(summary.len(), 3);
    assert!(summary[0]["interval_null_reason"].as_str().unwrap().contains("at least 6"));
}

#[test]
fn the_csv_headers_are_as_they_were() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("run");
    let run = new_run(&dir);
    run.finish(&testing::records()).unwrap();
    let header = |name: &str| {
        let text = fs::read_to_string(dir.join(name)).unwrap();
        text.lines().next().unwrap().replace(',', "\n")
    };
    insta::assert_snapshot!("points_csv_header", header("points.csv"));
    insta::assert_snapshot!("summary_csv_header", header("summary.csv"));
}

#[test]
fn a_directory_in_use_is_refused_with_the_way_out() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("run");
    drop(new_run(&dir));
    let error = RunDir::create(&dir, &testing::info()).err().unwrap().to_string();
    assert!(error.contains("holds the run 20261122T021200Z-0123abcd"), "{error}");
    assert!(error.contains("--resume") && error.contains("--out"), "{error}");
    let other = place.path().join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("thesis.tex"), "x").unwrap();
    let error = RunDir::create(&other, &testing::info()).err().unwrap().to_string();
    assert!(error.contains("not a run's") && !error.contains("--resume"), "{error}");
    assert_eq!(fs::read_to_string(other.join("thesis.tex")).unwrap(), "x");
}

#[test]
fn only_one_process_may_write() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("run");
    let run = new_run(&dir);
    assert!(matches!(RunDir::resume(&dir), Err(ResultsError::Locked { .. })));
    drop(run);
    assert!(RunDir::resume(&dir).is_ok());
}

#[test]
fn a_torn_last_line_is_cut_and_the_rest_goes_on() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("run");
    let mut run = new_run(&dir);
    let first = sim_point(&mut run, 0);
    sim_point(&mut run, 1);
    drop(run);
    let journal = dir.join(JOURNAL);
    let whole = fs::read(&journal).unwrap();
    let first_line = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    // Torn anywhere in the second line, its end included.
    for cut in [first_line + 1, first_line + 50, whole.len() - 1] {
        fs::write(&journal, &whole[..cut]).unwrap();
        let (run, resumed) = RunDir::resume(&dir).unwrap();
        assert_eq!(resumed.records, std::slice::from_ref(&first), "cut at {cut}");
        assert!(resumed.notes[0].contains("torn"), "{:?}", resumed.notes);
        assert_eq!(fs::metadata(&journal).unwrap().len(), first_line as u64);
        drop(run);
    }
    let (mut run, resumed) = RunDir::resume(&dir).unwrap();
    assert!(resumed.notes.is_empty());
    let mut records = resumed.records;
    records.push(sim_point(&mut run, 1));
    run.finish(&records).unwrap();
    assert_eq!(rows(&dir.join("requests.parquet")), 40);
}

#[test]
fn a_damaged_journal_names_its_line() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("run");
    let mut run = new_run(&dir);
    sim_point(&mut run, 0);
    sim_point(&mut run, 1);
    drop(run);
    let journal = dir.join(JOURNAL);
    let text = fs::read_to_string(&journal).unwrap();
    fs::write(&journal, text.replacen("\"record\"", "\"rekord\"", 1)).unwrap();
    let error = RunDir::resume(&dir).err().unwrap();
    assert!(matches!(error, ResultsError::Journal { line: 1, .. }), "{error}");
    // The last line too, when it is whole: nothing that was written to its end is cut off.
    let at = text.rfind("\"record\"").unwrap();
    let damaged = format!("{}\"rekord\"{}", &text[..at], &text[at + 8..]);
    fs::write(&journal, &damaged).unwrap();
    let error = RunDir::resume(&dir).err().unwrap();
    assert!(matches!(error, ResultsError::Journal { line: 2, .. }), "{error}");
    assert_eq!(fs::read_to_string(&journal).unwrap(), damaged);
}

#[test]
fn a_run_resumed_on_another_machine_or_build_says_so() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("run");
    drop(RunDir::create(&dir, &testing::info()).unwrap());
    let (run, resumed) = RunDir::resume(&dir).unwrap();
    let notes = resumed.notes.join("\n");
    assert!(notes.contains("the processor was Some CPU @ 3.0GHz") && notes.contains(crate::BUILD_HASH), "{notes}");
    assert_eq!(run.info().resume_notes, resumed.notes);
    drop(run);
    // Once in run.json, however often it is resumed there.
    let (run, again) = RunDir::resume(&dir).unwrap();
    assert_eq!((&run.info().resume_notes, &again.notes), (&resumed.notes, &resumed.notes));
    assert!(
        report::markdown(run.info(), &[])
            .contains("Not as at the start when the run was resumed: the processor was Some CPU")
    );
}

#[test]
fn strange_and_newer_directories_are_not_resumed() {
    let place = tempfile::tempdir().unwrap();
    let missing = RunDir::resume(&place.path().join("nothing")).err().unwrap();
    assert!(matches!(missing, ResultsError::NotARun { .. }), "{missing}");
    for (content, expected) in [
        ("{}", "format"),
        ("not json", "not JSON"),
        (r#"{"format": "tacho-run"}"#, "schema"),
        (r#"{"format": "tacho-run", "schema": 99}"#, "schema 99"),
        (r#"{"format": "tacho-run", "schema": 1}"#, "incomplete"),
    ] {
        fs::write(place.path().join(RUN), content).unwrap();
        let error = RunDir::resume(place.path()).err().unwrap().to_string();
        assert!(error.contains(expected), "{content}: {error}");
    }
}

#[test]
fn a_point_whose_records_are_lost_runs_again() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("run");
    let mut run = new_run(&dir);
    sim_point(&mut run, 0);
    let second = sim_point(&mut run, 1);
    drop(run);
    fs::remove_file(dir.join("parts/point-00000.tokens.parquet")).unwrap();
    fs::write(dir.join("parts/point-00009.tokens.parquet.new"), "unfinished").unwrap();
    let (mut run, resumed) = RunDir::resume(&dir).unwrap();
    assert_eq!(resumed.records, [second]);
    assert!(resumed.notes[0].contains("point 0 runs again"), "{:?}", resumed.notes);
    assert!(!dir.join("parts/point-00009.tokens.parquet.new").exists());
    // The later line of the journal counts.
    let again = sim_point(&mut run, 0);
    drop(run);
    let (_, resumed) = RunDir::resume(&dir).unwrap();
    assert_eq!(resumed.records[0], again);
}

#[test]
fn a_failed_trial_leaves_no_trace_and_a_large_one_no_damage() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("run");
    let mut run = new_run(&dir);
    let token = |time_ns: u64| TokenRow { time_ns, gap_ns: NONE, request: 0, index: 0, tokens: 1, padding: 0 };
    let mut record = testing::point(0, "sim", &[]);
    record.trials.push(sim_trial(&mut run, 0, 0, Method::Steps));
    run.trial_tables(0, 1, Method::Steps).tokens(&[token(1), token(2)]).unwrap();
    record.trials.push(sim_trial(&mut run, 0, 2, Method::Steps));
    // More than a row group: what is written stays, what waits is forgotten.
    let many: Vec<TokenRow> = (0..ROW_GROUP as u64 + 5).map(token).collect();
    run.trial_tables(0, 3, Method::Steps).tokens(&many).unwrap();
    record.trials.push(sim_trial(&mut run, 0, 4, Method::Steps));
    run.point_done(record.clone()).unwrap();
    run.finish(&[record]).unwrap();
    let mut of_trial = [0; 5];
    for batch in read(&dir.join("tokens.parquet")) {
        let trials: &UInt32Array = column(&batch, "trial").as_primitive();
        trials.values().iter().for_each(|trial| of_trial[*trial as usize] += 1);
    }
    assert_eq!((of_trial[0], of_trial[1], of_trial[2], of_trial[4]), (80, 0, 80, 80));
    assert!(of_trial[3] < ROW_GROUP && of_trial[3] > 0);
}

#[test]
fn records_that_do_not_add_up_are_an_error() {
    let place = tempfile::tempdir().unwrap();
    let mut run = new_run(&place.path().join("run"));
    let summary: TrialSummary = testing::summary(1, 3, 1.0);
    let error = run.trial_tables(0, 0, Method::Generate).finish(&summary).unwrap_err().to_string();
    assert!(error.contains("point 0, trial 0") && error.contains("counts 1 requests, its records 0"), "{error}");
}

#[test]
fn a_figure_that_is_no_number_is_not_journalled() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("run");
    let mut run = new_run(&dir);
    let mut record = testing::point(0, "sim", &[]);
    let mut trial = testing::trial(0, Method::Generate, 100.0);
    trial.figures = TrialFigures { request_throughput: f64::NAN, ..trial.figures };
    record.trials.push(trial);
    let error = run.point_done(record).unwrap_err();
    assert!(matches!(error, ResultsError::Unwritable { point: 0, .. }), "{error}");
    assert_eq!(fs::metadata(dir.join(JOURNAL)).unwrap().len(), 0);
}

#[test]
fn a_full_disk_costs_the_point_and_nothing_before_it() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("run");
    let mut run = new_run(&dir);
    let first = sim_point(&mut run, 0);
    let mut record = testing::point(1, "sim", &[]);
    record.trials.push(sim_trial(&mut run, 1, 0, Method::Generate));
    // Every write to /dev/full fails as on a full disk.
    symlink("/dev/full", dir.join("parts/point-00001.requests.parquet.new")).unwrap();
    let error = run.point_done(record).unwrap_err().to_string();
    assert!(error.contains("point-00001.requests.parquet.new"), "{error}");
    assert!(error.contains("No space left") && error.contains("free some space"), "{error}");
    drop(run);
    let (mut run, resumed) = RunDir::resume(&dir).unwrap();
    assert_eq!(resumed.records, [first]);
    sim_point(&mut run, 1);
}

#[test]
fn a_journal_that_cannot_grow_is_an_error() {
    let full = PathBuf::from("/dev/full");
    let mut journal = Journal::create(&tempfile::tempdir().unwrap().path().join("j")).unwrap();
    journal.redirect(&full);
    let entry = Entry { record: failed_point(0), rows: PartRows::default() };
    let error = journal.append(&entry).unwrap_err().to_string();
    assert!(error.contains("append to") && error.contains("free some space"), "{error}");
}

#[test]
fn a_directory_that_cannot_be_written_names_itself_and_the_way_out() {
    // A kernel's file system refuses everyone, the superuser too.
    let error = RunDir::create(Path::new("/sys/tacho-run"), &testing::info()).err().unwrap().to_string();
    assert!(error.contains("/sys/tacho-run") && error.contains("--out"), "{error}");
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("file");
    File::create(&file).unwrap().write_all(b"x").unwrap();
    let error = RunDir::create(&file.join("run"), &testing::info()).err().unwrap().to_string();
    assert!(error.contains("Not a directory") && error.contains("--out"), "{error}");
}
