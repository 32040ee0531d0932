//! A trial's records stream by: however many there are, they take little memory.
#![cfg(feature = "harness")]
#[path = "../benches/support/records.rs"]
mod records;

use records::{REQUESTS_A_WAVE, Stream, peak_bytes_of, point, run_dir, summary};
use tacho::{
    cell::{parent::TableSink, protocol::Method},
    results::TrialRecord,
};

#[test]
fn a_million_requests_of_sixteen_tokens_fit_in_64_mib() {
    let place = tempfile::tempdir().unwrap();
    let mut run = run_dir(&place.path().join("run"));
    let bytes = peak_bytes_of(|| {
        let mut tables = run.trial_tables(0, 0, Method::Steps);
        for frame in Stream::new(1_000_000, 16, REQUESTS_A_WAVE) {
            tables.tokens(&frame.tokens).unwrap();
            tables.requests(&frame.requests).unwrap();
        }
        let summary = summary(1_000_000, 16_000_000);
        let figures = tables.finish(&summary).unwrap();
        assert_eq!(figures.itl.unwrap().n, 15_000_000);
        let ttft = figures.ttft.unwrap();
        assert!(ttft.n == 1_000_000 && ttft.error <= tacho::metrics::HISTOGRAM_ERROR, "{ttft:?}");
        let mut record = point();
        record.trials.push(TrialRecord::new(0, Method::Steps, summary, figures));
        run.point_done(record.clone()).unwrap();
        run.finish(&[record]).unwrap();
    });
    assert!(bytes <= 64 << 20, "{:.1} MiB", bytes as f64 / f64::from(1 << 20));
}
