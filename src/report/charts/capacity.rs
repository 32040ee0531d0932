//! A search for capacity: its trials over the load with the answer's interval, and the throughput-latency curve with its knee.
use std::{fs, io, path::Path};

use super::model::{AxisSpec, Chart, Dot, Mark, Series};
use crate::{
    capacity::{By, Capacity, FILE, Probe},
    report::text::number,
};

/// The charts of `capacity.json` in `dir`, none without one; and why they are missing where it cannot be read.
pub(super) fn of(dir: &Path) -> (Vec<Chart>, Option<String>) {
    let text = match fs::read(dir.join(FILE)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return (Vec::new(), None),
        Err(error) => return (Vec::new(), Some(format!("the capacity: {FILE} cannot be read: {error}"))),
    };
    match serde_json::from_slice(&text) {
        Ok(capacity) => (charts(&capacity), None),
        Err(error) => (Vec::new(), Some(format!("the capacity: {FILE} cannot be read: {error}"))),
    }
}

fn charts(capacity: &Capacity) -> Vec<Chart> {
    let subtitle = format!(
        "{} {}, 95 % interval {} to {}, meet {}",
        number(capacity.estimate),
        capacity.unit(),
        number(capacity.low),
        number(capacity.high),
        capacity.slo
    );
    vec![search(capacity, subtitle.clone()), curve(capacity, subtitle)]
}

/// How a trial is told from others, and what it is drawn as.
fn kind(capacity: &Capacity, probe: &Probe) -> &'static str {
    match probe {
        Probe { load: None, .. } => "all at once, to find the throughput",
        Probe { valid: false, .. } => "invalid: the schedule was not kept",
        Probe { saturated: true, .. } => "ended early: the queue grew without end",
        _ if capacity.knee == Some(probe.point) => "knee of the curve",
        _ => "trials",
    }
}

fn dot(probe: &Probe, x: f64, y: f64) -> Dot {
    let within =
        probe.service.as_ref().map_or(String::new(), |s| format!(", {} % within limits", number(s.attained * 100.0)));
    Dot { label: format!("trial {}{within}", probe.point), ..Dot::at(x, y) }
}

/// The dots of each kind; the line goes through those of the curve, its knee among them.
fn by_kind(capacity: &Capacity, place: &dyn Fn(&Probe) -> Option<(f64, f64)>, line: &str) -> Vec<Series> {
    let mut placed: Vec<(&Probe, (f64, f64))> =
        capacity.probes.iter().filter_map(|probe| Some((probe, place(probe)?))).collect();
    placed.sort_by(|(_, one), (_, other)| one.0.total_cmp(&other.0));
    let dots = |wanted: &[&str]| {
        let chosen = placed.iter().filter(|(probe, _)| wanted.contains(&kind(capacity, probe)));
        chosen.map(|(probe, (x, y))| dot(probe, *x, *y)).collect::<Vec<Dot>>()
    };
    let mut series =
        vec![Series { label: line.to_owned(), mark: Mark::Joined, dots: dots(&["trials", "knee of the curve"]) }];
    for name in [
        "knee of the curve",
        "ended early: the queue grew without end",
        "all at once, to find the throughput",
        "invalid: the schedule was not kept",
    ] {
        series.push(Series { label: name.to_owned(), mark: Mark::Dots, dots: dots(&[name]) });
    }
    series.retain(|series| !series.dots.is_empty());
    series
}

fn spans(series: &[Series], of: impl Fn(&Dot) -> f64) -> bool {
    let values = || series.iter().flat_map(|series| &series.dots).map(&of);
    let (low, high) = (values().fold(f64::MAX, f64::min), values().fold(0.0, f64::max));
    low > 0.0 && high / low > 20.0
}

/// The search: latency over the load, and the interval in which the limit lies.
fn search(capacity: &Capacity, subtitle: String) -> Chart {
    let place = |probe: &Probe| probe.load.zip(probe.e2e_mean_ms);
    let mut series = by_kind(capacity, &place, "trials: mean end-to-end latency");
    let (log_x, log_y) = (spans(&series, |dot| dot.x), spans(&series, |dot| dot.y));
    let ys = || series.iter().flat_map(|series| &series.dots).map(|dot| dot.y);
    let (bottom, top) = (if log_y { ys().fold(f64::MAX, f64::min) } else { 0.0 }, ys().fold(0.0, f64::max));
    let upright = |x: f64| [Dot::at(x, bottom), Dot::at(x, top)];
    let [low, high] = [upright(capacity.low), upright(capacity.high)];
    let label = format!("95 % interval of the capacity: {} to {}", number(capacity.low), number(capacity.high));
    let dots = low.into_iter().chain(high.into_iter().rev()).collect();
    series.push(Series { label, mark: Mark::Limit, dots });
    let label = format!("capacity: {}", number(capacity.estimate));
    series.push(Series { label, mark: Mark::Limit, dots: upright(capacity.estimate).into() });
    let name = match capacity.by {
        By::Rate => format!("offered load ({})", capacity.unit()),
        By::Concurrency => format!("load ({})", capacity.unit()),
    };
    Chart {
        id: "capacity".to_owned(),
        title: "Capacity: the highest load that meets the service level".to_owned(),
        subtitle,
        reading: "Left of the box the service level was met, right of it it was not; the limit lies in the box with a probability \
                  of 95 %."
            .to_owned(),
        x: axis(&name, log_x),
        y: axis("end-to-end latency, mean (ms)", log_y),
        series,
        notes: capacity.notes.clone(),
        invalid: Default::default(),
    }
}

/// The throughput-latency curve.
fn curve(capacity: &Capacity, subtitle: String) -> Chart {
    let place = |probe: &Probe| Some((probe.request_throughput, probe.e2e_mean_ms?));
    let series = by_kind(capacity, &place, "trials, by their throughput");
    let (log_x, log_y) = (spans(&series, |dot| dot.x), spans(&series, |dot| dot.y));
    Chart {
        id: "capacity-curve".to_owned(),
        title: "Throughput and latency by load".to_owned(),
        subtitle,
        reading:
            "At the knee, throughput / mean latency is largest: beyond it, more load costs more latency than it gives \
                  throughput."
                .to_owned(),
        x: axis("requests/s that ended", log_x),
        y: axis("end-to-end latency, mean (ms)", log_y),
        series,
        notes: Vec::new(),
        invalid: Default::default(),
    }
}

fn axis(name: &str, log: bool) -> AxisSpec {
    if log { AxisSpec::log(name) } else { AxisSpec::linear(name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(point: u32, load: Option<f64>, ms: f64, saturated: bool) -> Probe {
        Probe {
            point,
            load,
            request_throughput: load.unwrap_or(90.0).min(80.0),
            output_token_throughput: 1.0,
            ttft_p99_ms: Some(ms),
            e2e_mean_ms: Some(ms),
            service: None,
            met_probability: load.map(|_| 0.5),
            saturated,
            growth: None,
            valid: true,
        }
    }

    #[test]
    fn the_knee_the_interval_and_every_trial_are_drawn() {
        let probes = vec![
            probe(0, None, 500.0, false),
            probe(1, Some(40.0), 20.0, false),
            probe(2, Some(70.0), 45.0, false),
            probe(3, Some(110.0), 400.0, true),
        ];
        let capacity = Capacity {
            by: By::Rate,
            conversations: false,
            slo: "ttft:p99=200ms".to_owned(),
            estimate: 75.0,
            low: 72.0,
            high: 78.0,
            converged: true,
            notes: Vec::new(),
            probes,
            knee: Some(1),
        };
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(of(dir.path()), (Vec::new(), None));
        fs::write(dir.path().join(FILE), serde_json::to_vec(&capacity).unwrap()).unwrap();
        let (charts, missing) = of(dir.path());
        assert_eq!((charts.len(), missing), (2, None));
        let series = |chart: &Chart, label: &str| {
            let found = chart.series.iter().find(|series| series.label.contains(label));
            found.unwrap_or_else(|| panic!("{label}")).dots.iter().map(|dot| dot.x).collect::<Vec<_>>()
        };
        assert_eq!(series(&charts[0], "mean end-to-end"), [40.0, 70.0]);
        assert_eq!(series(&charts[0], "queue grew"), [110.0]);
        assert_eq!(series(&charts[0], "interval"), [72.0, 72.0, 78.0, 78.0]);
        assert_eq!(series(&charts[1], "knee"), [40.0]);
        assert_eq!(series(&charts[1], "all at once"), [80.0]);
        fs::write(dir.path().join(FILE), "{").unwrap();
        assert!(of(dir.path()).1.is_some_and(|why| why.contains("cannot be read")));
    }
}
