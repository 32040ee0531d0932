//! Writes a trial's timeline as Chrome trace JSON, which Perfetto opens: GPU streams, engine steps, requests, counters.
use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use serde_json::{Value, json};

use super::{
    demangle::readable,
    reader::{Activity, ActivityKind, Names},
};
use crate::cell::protocol::{NONE, RequestRow, StepRow};

/// The timeline's groups ("processes" in the format). Devices follow.
const ENGINE: u32 = 1;
const REQUESTS: u32 = 2;
const COUNTERS: u32 = 3;
const DEVICES: u32 = 10;
/// Lanes that a stream may take for activities that overlap.
const LANES: u32 = 16;

/// A quantity over time, such as the power that a GPU draws.
#[derive(Clone, Debug, PartialEq)]
pub struct Counter {
    /// Its name, with the unit.
    pub name: String,
    /// (nanoseconds of CLOCK_MONOTONIC, value), in order.
    pub samples: Vec<(u64, f64)>,
}

/// One stream of one process on one device.
type Stream = (u32, u32, u32);

/// A timeline being written. Times in it count from the trial's beginning.
pub struct TraceJson<W: Write> {
    out: W,
    origin_ns: u64,
    limit: u64,
    /// Activities written and seen.
    written: u64,
    seen: u64,
    /// The last activity's end while all were written.
    covered_to_ns: u64,
    /// The ends of each stream's lanes.
    lanes: BTreeMap<Stream, Vec<u64>>,
    /// Kernels' names as they are shown, by number: a few hundred stand for millions of kernels.
    shown: BTreeMap<u32, String>,
    first: bool,
}

impl<W: Write> TraceJson<W> {
    /// Begins a timeline whose zero is `origin_ns` and that takes at most `limit` activities.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn new(mut out: W, origin_ns: u64, limit: u64) -> io::Result<Self> {
        out.write_all(b"{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n")?;
        let (lanes, shown) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self { out, origin_ns, limit, written: 0, seen: 0, covered_to_ns: origin_ns, lanes, shown, first: true })
    }

    /// Adds what a device did; activities come ordered by their start. Those beyond the limit are counted and left out.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn activity(&mut self, activity: &Activity, names: &Names) -> io::Result<()> {
        self.seen += 1;
        if self.written == self.limit {
            return Ok(());
        }
        self.written += 1;
        self.covered_to_ns = self.covered_to_ns.max(activity.end_ns);
        let stream = (activity.device, activity.process, activity.stream);
        let ends = self.lanes.entry(stream).or_default();
        // What overlaps in one stream (nodes of a graph) stands in lanes below one another.
        let lane = match ends.iter().position(|end| *end <= activity.start_ns) {
            Some(free) => free,
            None if (ends.len() as u32) < LANES => {
                ends.push(0);
                ends.len() - 1
            }
            // Too many at once to be drawn.
            None => return Ok(()),
        };
        ends[lane] = activity.end_ns;
        let (name, args) = match activity.kind {
            ActivityKind::Kernel { name } => {
                (self.kernel_name(name, names), json!({ "graph": activity.graph, "launch": activity.correlation }))
            }
            ActivityKind::Copy { direction, bytes } => {
                (format!("copy {}", direction_name(direction)), json!({ "bytes": bytes }))
            }
            ActivityKind::Set { bytes } => ("memset".to_owned(), json!({ "bytes": bytes })),
        };
        let mut event =
            self.span(&name, DEVICES + activity.device, track(stream, lane), activity.start_ns, activity.end_ns);
        event["args"] = args;
        self.event(&event)
    }

    /// Adds the engine's side and ends the timeline; what lies after the last activity of an excerpt is left out. Returns
    /// a note when the timeline is an excerpt.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(
        mut self,
        end_ns: u64,
        steps: &[StepRow],
        requests: &[RequestRow],
        counters: &[Counter],
    ) -> io::Result<Option<String>> {
        let excerpt = self.seen > self.written;
        let to_ns = if excerpt { self.covered_to_ns.min(end_ns) } else { end_ns };
        for step in steps.iter().filter(|step| step.start_ns < to_ns) {
            let name = if step.prefill_tokens > 0 { "step with prefill" } else { "step" };
            let mut event = self.span(name, ENGINE, 1, step.start_ns, step.end_ns.min(to_ns));
            event["args"] = json!({
                "prefill_tokens": step.prefill_tokens,
                "decode_seqs": step.decode_seqs,
                "running": step.running,
                "waiting": step.waiting,
            });
            self.event(&event)?;
        }
        for request in requests.iter().filter(|request| request.scheduled_ns < to_ns) {
            self.request(request, to_ns)?;
        }
        let shown = self.origin_ns..to_ns;
        for counter in counters {
            for &(time_ns, value) in counter.samples.iter().filter(|(time_ns, _)| shown.contains(time_ns)) {
                let event = json!({
                    "ph": "C", "pid": COUNTERS, "tid": 0, "name": counter.name, "ts": self.micros(time_ns),
                    "args": { "value": value },
                });
                self.event(&event)?;
            }
        }
        self.names()?;
        let note = excerpt.then(|| {
            format!(
                "an excerpt: the first {} of {} activities of the devices, {:.3} ms of {:.3} ms",
                self.written,
                self.seen,
                to_ns.saturating_sub(self.origin_ns) as f64 / 1e6,
                end_ns.saturating_sub(self.origin_ns) as f64 / 1e6
            )
        });
        let other = json!({
            "made_by": concat!("tacho ", env!("CARGO_PKG_VERSION")),
            "zero": "the trial's beginning",
            "zero_monotonic_ns": self.origin_ns.to_string(),
            "excerpt": note,
        });
        write!(self.out, "\n],\"otherData\":{other}}}\n")?;
        self.out.flush()?;
        Ok(note)
    }

    /// A request: waiting for its first token, then decoding. Requests overlap, so each is a track of its own.
    fn request(&mut self, request: &RequestRow, to_ns: u64) -> io::Result<()> {
        let last_ns = if request.last_ns == NONE { to_ns } else { request.last_ns.min(to_ns) };
        let first_ns = if request.first_ns == NONE { last_ns } else { request.first_ns.min(last_ns) };
        let name = format!("request {}", request.request);
        let args = json!({ "input_tokens": request.input_tokens, "output_tokens": request.output_tokens });
        let parts = [
            (name.as_str(), request.scheduled_ns, last_ns),
            ("to first token", request.scheduled_ns, first_ns),
            ("decode", first_ns, last_ns),
        ];
        let mut edge = |ph: &str, name: &str, time_ns: u64| {
            let event = json!({
                "ph": ph, "cat": "request", "id": request.request, "name": name, "pid": REQUESTS, "tid": 0,
                "ts": self.micros(time_ns), "args": args,
            });
            self.event(&event)
        };
        edge("b", parts[0].0, parts[0].1)?;
        for (name, start_ns, end_ns) in &parts[1..] {
            if end_ns > start_ns {
                edge("b", name, *start_ns)?;
                edge("e", name, *end_ns)?;
            }
        }
        edge("e", parts[0].0, parts[0].2)
    }

    fn kernel_name(&mut self, number: u32, names: &Names) -> String {
        self.shown.entry(number).or_insert_with(|| short(&readable(names.text(number)))).clone()
    }

    fn names(&mut self) -> io::Result<()> {
        let mut tracks = vec![
            (ENGINE, None, "engine".to_owned()),
            (ENGINE, Some(1), "steps".to_owned()),
            (REQUESTS, None, "requests".to_owned()),
            (COUNTERS, None, "counters".to_owned()),
        ];
        for (&stream, ends) in &self.lanes {
            let (device, process, number) = stream;
            tracks.push((DEVICES + device, None, format!("GPU {device}")));
            for lane in 0..ends.len() {
                let beside = if lane == 0 { String::new() } else { format!(" beside {lane}") };
                let name = format!("stream {number} of process {process}{beside}");
                tracks.push((DEVICES + device, Some(track(stream, lane)), name));
            }
        }
        for (group, track, name) in tracks {
            let kind = if track.is_some() { "thread_name" } else { "process_name" };
            let tid = track.unwrap_or(0);
            let event = json!({ "ph": "M", "name": kind, "pid": group, "tid": tid, "args": { "name": name } });
            self.event(&event)?;
        }
        Ok(())
    }

    fn span(&self, name: &str, group: u32, track: u64, start_ns: u64, end_ns: u64) -> Value {
        let start_ns = start_ns.max(self.origin_ns);
        let length = end_ns.saturating_sub(start_ns) as f64 / 1e3;
        json!({ "ph": "X", "name": name, "pid": group, "tid": track, "ts": self.micros(start_ns), "dur": length })
    }

    /// Microseconds since the beginning, exact to the nanosecond for months.
    fn micros(&self, time_ns: u64) -> f64 {
        time_ns.saturating_sub(self.origin_ns) as f64 / 1e3
    }

    fn event(&mut self, event: &Value) -> io::Result<()> {
        if !std::mem::take(&mut self.first) {
            self.out.write_all(b",\n")?;
        }
        serde_json::to_writer(&mut self.out, event)?;
        Ok(())
    }
}

/// A lane's number within its device: processes and streams apart.
fn track((_, process, stream): Stream, lane: usize) -> u64 {
    (u64::from(process) * 4096 + u64::from(stream)) * u64::from(LANES) + lane as u64
}

/// CUPTI's `CUpti_ActivityMemcpyKind` in words.
fn direction_name(direction: u16) -> &'static str {
    match direction {
        1 => "host to device",
        2 => "device to host",
        8 => "device to device",
        9 => "host to host",
        10 => "between devices",
        _ => "of another kind",
    }
}

/// A name short enough for a timeline.
fn short(name: &str) -> String {
    match name.char_indices().nth(120) {
        Some((at, _)) => format!("{}…", &name[..at]),
        None => name.to_owned(),
    }
}

#[cfg(test)]
#[path = "perfetto_tests.rs"]
mod tests;
