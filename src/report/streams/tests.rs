use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StringArray, UInt32Array, UInt64Array};
use parquet::{arrow::ArrowWriter, file::properties::WriterProperties};

use super::*;

/// Writes a table in row groups of three rows.
fn table(dir: &Path, name: &str, columns: Vec<(&str, ArrayRef, bool)>) {
    let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
    let file = std::fs::File::create(dir.join(name)).unwrap();
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(3)).build();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

fn u32s(values: &[u32]) -> ArrayRef {
    Arc::new(UInt32Array::from(values.to_vec()))
}

fn u64s(values: &[Option<u64>]) -> ArrayRef {
    Arc::new(values.iter().copied().collect::<UInt64Array>())
}

#[test]
fn latencies_are_of_counted_trials_alone() {
    let dir = tempfile::tempdir().unwrap();
    let ms = 1_000_000;
    let gaps = [None, Some(2 * ms), Some(2 * ms), None, Some(9 * ms), Some(50 * ms), Some(4 * ms)];
    table(
        dir.path(),
        "tokens.parquet",
        vec![
            ("point", u32s(&[0, 0, 0, 1, 1, 1, 1]), false),
            ("trial", u32s(&[0, 0, 0, 0, 0, 7, 0]), false),
            ("tokens", u32s(&[1, 1, 3, 1, 1, 1, 1]), false),
            ("gap_ns", u64s(&gaps), true),
        ],
    );
    table(
        dir.path(),
        "requests.parquet",
        vec![
            ("point", u32s(&[0, 1]), false),
            ("trial", u32s(&[0, 0]), false),
            ("scheduled_ns", u64s(&[Some(0), Some(5)]), true),
            ("first_ns", u64s(&[Some(30 * ms), None]), true),
            ("last_ns", u64s(&[Some(40 * ms), None]), true),
        ],
    );
    let (found, errors) = latencies(dir.path(), &Counted::from([(0, 0), (1, 0)]));
    assert_eq!(errors, Vec::<String>::new());
    // Two gaps, and two tokens that came together with the second.
    assert_eq!((found.itl[&0].count(), found.itl[&1].count(), found.tokens), (4, 2, 6));
    let curve = found.itl[&0].cumulative(100);
    assert!(curve[0] == (0.0, 0.5) && (curve[1].0 - 2.0).abs() < 0.02, "{curve:?}");
    assert_eq!((found.ttft[&0].count(), found.e2e[&0].count(), found.ttft[&1].count()), (1, 1, 0));
}

#[test]
fn a_table_that_cannot_be_read_is_a_sentence() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("requests.parquet"), "PAR1 no table").unwrap();
    table(dir.path(), "tokens.parquet", vec![("point", u32s(&[0]), false)]);
    let (_, errors) = latencies(dir.path(), &Counted::from([(0, 0)]));
    assert!(errors[0].starts_with("requests.parquet cannot be read: "), "{errors:?}");
    assert_eq!(errors[1], "tokens.parquet has no column 'trial': it is of another version of tacho");
    assert_eq!(gpu(dir.path()), Err("gpu.parquet is missing".to_owned()));
}

#[test]
fn samples_are_tracks_by_device() {
    let dir = tempfile::tempdir().unwrap();
    let some = |values: &[u64]| u64s(&values.iter().copied().map(Some).collect::<Vec<_>>());
    let optional = |values: &[u32]| u32s(values);
    table(
        dir.path(),
        "gpu.parquet",
        vec![
            ("point", u32s(&[0, 0, 1, 1]), false),
            ("time_ns", some(&[0, 0, 1_000_000_000, 1_000_000_000]), false),
            ("uuid", Arc::new(StringArray::from(vec!["b", "a", "b", "a"])), false),
            ("utilization_percent", optional(&[10, 20, 30, 40]), true),
            ("power_mw", optional(&[1, 2, 3, 4]), true),
            ("sm_clock_mhz", optional(&[1, 2, 3, 4]), true),
            ("memory_used_bytes", u64s(&[Some(1), None, Some(3), None]), true),
        ],
    );
    let tracks = gpu(dir.path()).unwrap();
    assert_eq!(tracks.keys().collect::<Vec<_>>(), ["a", "b"]);
    let utilization = &tracks["a"][0];
    let means: Vec<(u32, f64)> = utilization.buckets.iter().map(|(point, bucket)| (*point, bucket.mean())).collect();
    assert_eq!((means, utilization.samples), (vec![(0, 20.0), (1, 40.0)], 2));
    assert!(tracks["a"][3].buckets.is_empty() && tracks["b"][3].samples == 2);

    table(
        dir.path(),
        "host.parquet",
        vec![
            ("point", u32s(&[0, 0, 0]), false),
            ("trial", u32s(&[0, 0, 1]), false),
            ("time_ns", some(&[0, 100, 200]), false),
            ("cpu_ns", some(&[5, 155, 900]), false),
            ("rss_bytes", some(&[7, 7, 7]), false),
        ],
    );
    let tracks = host(dir.path()).unwrap();
    // 150 ns of CPU in 100 ns; the third sample is of another trial.
    assert!(tracks[0].samples == 1 && tracks[0].buckets[0].1.mean() == 1.5, "{tracks:?}");
    assert_eq!(tracks[1].samples, 3);
}
