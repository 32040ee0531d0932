//! Runs of many points and many configurations: what they hold, and what they do not write again and again.
use std::{fs, io::Write, path::Path};

use arrow_array::{UInt32Array, UInt64Array, cast::AsArray};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::*;
use crate::{
    cell::protocol::{NONE, TokenRow},
    fairness::{LockFile, MANY},
    results::{encode::ROW_GROUP, gather::LARGE, testing},
};

fn put(run: &mut RunDir, point: u32, rows: u64) {
    let token = |time_ns| TokenRow {
        time_ns,
        gap_ns: if time_ns % 3 == 0 { NONE } else { time_ns },
        request: point,
        index: 0,
        tokens: 1,
        padding: 0,
    };
    let rows: Vec<TokenRow> = (0..rows).map(token).collect();
    let mut parts = PointParts::new(&run.dir.join(PARTS), point);
    parts.tokens.push(point % 2, &rows).unwrap();
    run.open = Some(parts);
    run.point_done(testing::point(point, "sim", &[])).unwrap();
}

/// (point, time, gap) of every row, and the rows of each row group.
type Rows = (Vec<(u32, u64, Option<u64>)>, Vec<i64>);

fn rows(path: &Path) -> Rows {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
    let groups = reader.metadata().row_groups().iter().map(|group| group.num_rows()).collect();
    let mut rows = Vec::new();
    for batch in reader.build().unwrap().map(Result::unwrap) {
        let column = |name: &str| batch.column_by_name(name).unwrap();
        let points: &UInt32Array = column("point").as_primitive();
        let times: &UInt64Array = column("time_ns").as_primitive();
        let gaps: &UInt64Array = column("gap_ns").as_primitive();
        rows.extend(points.iter().zip(times).zip(gaps).map(|((p, t), g)| (p.unwrap(), t.unwrap(), g)));
    }
    (rows, groups)
}

#[test]
fn small_parts_share_row_groups_and_large_ones_are_copied() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("run");
    let mut run = RunDir::create(&dir, &testing::info()).unwrap();
    // 600 of three rows, a large one, one without rows, just below large until a group is full, and the rest.
    let mut sizes = vec![3; 600];
    sizes.extend([LARGE, 0]);
    sizes.extend(vec![LARGE - 1; ROW_GROUP / LARGE as usize + 2]);
    sizes.push(7);
    for (point, size) in (0..).zip(&sizes) {
        put(&mut run, point, *size);
    }
    run.finish(&[]).unwrap();
    let (found, groups) = rows(&dir.join("tokens.parquet"));
    let gap = |time: u64| (!time.is_multiple_of(3)).then_some(time);
    let expected = (0..).zip(&sizes).flat_map(|(point, size)| (0..*size).map(move |time| (point, time, gap(time))));
    assert!(expected.eq(found.iter().copied()), "{} rows in {groups:?}", found.len());
    // Group by group: the small ones before the large one, that, full of whole parts, the rest.
    let (large, full) = (LARGE as i64, ROW_GROUP as i64 / LARGE as i64 + 2);
    assert_eq!(groups, [1800, large, full * (large - 1), 7]);
}

#[test]
fn a_part_that_is_gone_leaves_the_table_as_it_was() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("run");
    let mut run = RunDir::create(&dir, &testing::info()).unwrap();
    (0..3).for_each(|point| put(&mut run, point, 5));
    run.finish(&[]).unwrap();
    let before = fs::read(dir.join("tokens.parquet")).unwrap();
    fs::remove_file(dir.join("parts/point-00001.tokens.parquet")).unwrap();
    let error = run.finish(&[]).unwrap_err();
    assert!(matches!(error, ResultsError::PartLost { expected: 5, found: 0, .. }), "{error}");
    assert_eq!(fs::read(dir.join("tokens.parquet")).unwrap(), before);
    assert!(!dir.join(".tokens.parquet.new").exists());
}

/// Loads so many configurations, of which each third has as many sequences.
fn load(run: &mut RunDir, configurations: u32) {
    let base = run.info().engines["sim"].clone();
    for number in 0..configurations {
        let mut engine = base.clone();
        engine.asked.options.insert("step_base_us".to_owned(), number.into());
        engine.info.max_seqs = Some(number % 3);
        run.engine_loaded(&format!("sim step_base_us={number}"), engine).unwrap();
    }
}

#[test]
fn a_loaded_configuration_costs_its_own_line_and_survives_a_kill() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("run");
    let mut run = RunDir::create(&dir, &testing::info()).unwrap();
    let written = fs::read(dir.join(RUN)).unwrap();
    load(&mut run, 100);
    assert_eq!(fs::read(dir.join(RUN)).unwrap(), written, "run.json has the whole plan and is not written for each");
    let engines = run.info().engines.clone();
    let lines = fs::read_to_string(dir.join("engines.jsonl")).unwrap();
    assert_eq!(lines.lines().count(), 100);
    // Killed here, in the middle of the next line.
    drop(run);
    File::options().append(true).open(dir.join("engines.jsonl")).unwrap().write_all(b"{\"label\":\"si").unwrap();
    let read = ReadRun::open(&dir).unwrap();
    assert_eq!((&read.info.engines, read.notes), (&engines, Vec::new()));
    let (run, _) = RunDir::resume(&dir).unwrap();
    assert_eq!(run.info().engines, engines);
    assert!(!dir.join("engines.jsonl").exists());
    assert_eq!(read_info(&dir).unwrap().engines, engines);
    drop(run);
    // A whole line that is no configuration is said, and costs nothing else.
    fs::write(dir.join("engines.jsonl"), "{}\n").unwrap();
    let read = ReadRun::open(&dir).unwrap();
    assert_eq!(read.info.engines, engines);
    assert!(read.notes[0].contains("line 1 of engines.jsonl"), "{:?}", read.notes);
}

#[test]
fn a_finished_run_has_all_configurations_in_run_json_and_their_kinds_in_the_lock() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("run");
    let mut run = RunDir::create(&dir, &testing::info()).unwrap();
    load(&mut run, 300);
    run.finish(&[]).unwrap();
    assert!(!dir.join("engines.jsonl").exists());
    assert_eq!(read_info(&dir).unwrap().engines.len(), 301);
    let lock: LockFile = serde_json::from_slice(&fs::read(dir.join("tacho.lock.json")).unwrap()).unwrap();
    // The one of the testing run may be of a kind of its own.
    let kinds = lock.same.len() + usize::from(lock.same.iter().map(Vec::len).sum::<usize>() < 301);
    assert!(lock.engines.len() == 301 && (3..=4).contains(&kinds), "{:?}", lock.same);
    assert_eq!(lock.pairs.len(), kinds * (kinds - 1) / 2);
    assert_eq!(lock.pairs_left_out + lock.pairs.len(), 301 * 300 / 2);
    let report = fs::read_to_string(dir.join("report.md")).unwrap();
    let fairness = report.split("## Fairness").nth(1).unwrap();
    assert!(fairness.contains("configurations that are the same as one of these in every field are not listed"));

    // As few as can be told of one by one are.
    let few = place.path().join("few");
    let mut run = RunDir::create(&few, &testing::info()).unwrap();
    load(&mut run, MANY as u32 - 1);
    run.finish(&[]).unwrap();
    let text = fs::read_to_string(few.join("tacho.lock.json")).unwrap();
    let lock: LockFile = serde_json::from_str(&text).unwrap();
    assert_eq!((lock.pairs.len(), lock.pairs_left_out), (MANY * (MANY - 1) / 2, 0));
    assert!(!text.contains("pairs_left_out") && !text.contains("\"same\""));
}
