use std::collections::BTreeMap;

use super::*;

fn kernel(start_ns: u64, end_ns: u64, stream: u32) -> Activity {
    let kind = ActivityKind::Kernel { name: 0 };
    Activity { start_ns, end_ns, process: 42, device: 0, stream, correlation: 1, graph: 0, kind }
}

fn step(start_ns: u64, end_ns: u64) -> StepRow {
    StepRow {
        start_ns,
        end_ns,
        kv_tokens: NONE,
        prefill_tokens: 8,
        decode_seqs: 1,
        running: 1,
        waiting: 0,
        device_ns: NONE,
    }
}

fn request(request: u32, scheduled_ns: u64, first_ns: u64, last_ns: u64) -> RequestRow {
    RequestRow {
        scheduled_ns,
        released_ns: u64::MAX,
        submitted_ns: scheduled_ns,
        first_ns,
        last_ns,
        output_hash: 0,
        request,
        input_tokens: 8,
        output_tokens: 4,
        finish: 0,
        session: u32::MAX,
        turn: u32::MAX,
    }
}

fn written(limit: u64, activities: &[Activity]) -> (Value, Option<String>) {
    let mut names = Names::default();
    names.number("matrix");
    let mut out = Vec::new();
    let mut trace = TraceJson::new(&mut out, 1000, limit).unwrap();
    for activity in activities {
        trace.activity(activity, &names).unwrap();
    }
    let steps = [step(1000, 3000), step(3000, 5000)];
    let requests = [request(0, 1000, 3000, 5000), request(1, 1000, 3000, 4000), request(2, 1500, NONE, NONE)];
    let counters = [Counter { name: "power W".to_owned(), samples: vec![(500, 1.0), (1500, 300.0), (4500, 310.0)] }];
    let note = trace.finish(6000, &steps, &requests, &counters).unwrap();
    (serde_json::from_slice(&out).unwrap(), note)
}

/// Asserts that the spans of every track follow one another, and that every request's begins and ends pair up, the inner
/// within the outer.
fn check(trace: &Value) {
    let mut tracks: BTreeMap<(u64, u64), Vec<(f64, f64)>> = BTreeMap::new();
    let mut open: BTreeMap<u64, Vec<(String, f64)>> = BTreeMap::new();
    for event in trace["traceEvents"].as_array().unwrap() {
        let time = event["ts"].as_f64().unwrap_or(0.0);
        assert!(time >= 0.0);
        match event["ph"].as_str().unwrap() {
            "X" => {
                let track = (event["pid"].as_u64().unwrap(), event["tid"].as_u64().unwrap());
                tracks.entry(track).or_default().push((time, time + event["dur"].as_f64().unwrap()));
            }
            "b" => {
                let name = event["name"].as_str().unwrap().to_owned();
                open.entry(event["id"].as_u64().unwrap()).or_default().push((name, time));
            }
            "e" => {
                let (name, began) = open.get_mut(&event["id"].as_u64().unwrap()).unwrap().pop().unwrap();
                assert_eq!(event["name"], name.as_str());
                assert!(began <= time);
            }
            "M" | "C" => {}
            other => panic!("an event of kind {other}"),
        }
    }
    assert!(open.values().all(Vec::is_empty), "a request that does not end");
    for (track, spans) in tracks {
        for pair in spans.windows(2) {
            assert!(pair[0].1 <= pair[1].0 + 1e-9, "{track:?}: {pair:?}");
        }
    }
}

#[test]
fn a_timeline_is_json_whose_spans_do_not_cross() {
    let activities = [
        kernel(900, 1200, 7),
        kernel(1100, 1900, 7),
        kernel(1150, 1250, 7),
        kernel(1900, 2000, 7),
        kernel(1950, 2100, 8),
    ];
    let (trace, note) = written(100, &activities);
    check(&trace);
    assert_eq!(note, None);
    let events = trace["traceEvents"].as_array().unwrap();
    let of = |kind: &str| events.iter().filter(|event| event["ph"] == kind).count();
    assert_eq!((of("X"), of("C"), of("b"), of("e")), (5 + 2, 2, 8, 8));
    let first = events.iter().find(|event| event["name"] == "matrix").unwrap();
    assert_eq!((first["ts"].as_f64(), first["dur"].as_f64()), (Some(0.0), Some(0.2)), "cut at the trial's beginning");
    let names: Vec<&str> =
        events.iter().filter(|event| event["ph"] == "M").filter_map(|event| event["args"]["name"].as_str()).collect();
    assert!(names.contains(&"stream 7 of process 42 beside 2"), "{names:?}");
}

#[test]
fn an_excerpt_says_that_it_is_one() {
    let activities: Vec<Activity> = (0..50).map(|n| kernel(1000 + 100 * n, 1050 + 100 * n, 7)).collect();
    let (trace, note) = written(10, &activities);
    check(&trace);
    let note = note.unwrap();
    assert!(note.starts_with("an excerpt: the first 10 of 50 activities"), "{note}");
    assert_eq!(trace["otherData"]["excerpt"], note.as_str());
    let last =
        trace["traceEvents"].as_array().unwrap().iter().filter_map(|event| event["ts"].as_f64()).fold(0.0, f64::max);
    assert!(last <= 0.95, "nothing after the last kernel that is shown, found {last} µs");
}
