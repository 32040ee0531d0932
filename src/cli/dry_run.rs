//! `--dry-run`: the points, the work they mean, and where every value came from.
use std::io::{self, Write};

use comfy_table::{Cell, CellAlignment, Table, presets};
use serde::Serialize;
use tacho::{
    cell::protocol::Load,
    plan::{Plan, Point, Provenance, Resolved, Work},
};

/// The most points that are printed one by one.
const SHOWN: usize = 100;

#[derive(Serialize)]
struct PointView<'a> {
    #[serde(flatten)]
    point: &'a Point,
    work: Work,
}

#[derive(Serialize)]
struct View<'a> {
    name: &'a str,
    points: Vec<PointView<'a>>,
    trials: &'a tacho::plan::TrialPolicy,
    #[serde(skip_serializing_if = "Option::is_none")]
    least_work: Option<Work>,
    #[serde(skip_serializing_if = "Option::is_none")]
    work: Option<&'a str>,
    provenance: &'a [Provenance],
    notes: &'a [String],
}

/// Prints it.
pub fn print(resolved: &Resolved, json: bool, out: &mut impl Write) -> io::Result<()> {
    print_with(resolved, None, json, out)
}

/// The same of a command that runs other trials than `tacho run` does: `work` says which.
pub fn print_with(resolved: &Resolved, work: Option<&str>, json: bool, out: &mut impl Write) -> io::Result<()> {
    let plan = &resolved.plan;
    if json {
        let points = plan.points.iter().map(|point| PointView { point, work: point.work() }).collect();
        let view = View {
            name: &plan.name,
            points,
            trials: &plan.trials,
            least_work: work.is_none().then(|| plan.least_work()),
            work,
            provenance: &resolved.provenance,
            notes: &resolved.notes,
        };
        serde_json::to_writer_pretty(&mut *out, &view)?;
        return writeln!(out);
    }
    writeln!(
        out,
        "plan {}: {}, {}\n",
        plan.name,
        count(plan.points.len(), "point"),
        count(plan.cells().len(), "engine load")
    )?;
    writeln!(out, "{}", points(plan))?;
    if plan.points.len() > SHOWN {
        writeln!(out, "… and {} more (--json lists all)", plan.points.len() - SHOWN)?;
    }
    writeln!(out)?;
    match work {
        Some(work) => writeln!(out, "{work}")?,
        None => least_work(plan, out)?,
    }
    writeln!(out, "\nWhere the values come from:")?;
    let width = |text: fn(&Provenance) -> &str| {
        resolved.provenance.iter().map(|value| text(value).chars().count().min(40)).max().unwrap_or(0)
    };
    let (names, values) = (width(|value| &value.name), width(|value| &value.value));
    for value in &resolved.provenance {
        writeln!(out, "  {:names$} = {:values$}  {}", value.name, value.value, value.from)?;
    }
    resolved.notes.iter().try_for_each(|note| writeln!(out, "note: {note}"))
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn points(plan: &Plan) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header([
        "#",
        "point",
        "load",
        "requests",
        "input",
        "output",
        "tokens in/trial",
        "tokens out/trial",
    ]);
    for point in plan.points.iter().take(SHOWN) {
        let load = match &point.load {
            Load::Offline { batch } => format!("batch {batch}"),
            Load::Closed { concurrency } => format!("concurrency {concurrency}"),
            Load::Open { arrivals, max_in_flight } => {
                let rate = arrivals.rate.map(|rate| format!(" at {rate}/s")).unwrap_or_default();
                let cap = max_in_flight.map(|cap| format!(", at most {cap} in flight")).unwrap_or_default();
                format!("{}{rate}{cap}", arrivals.process)
            }
        };
        let work = point.work();
        let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
        table.add_row([
            right((point.number + 1).to_string()),
            Cell::new(point.label()),
            Cell::new(load),
            right(grouped(f64::from(point.workload.requests), true)),
            right(point.workload.input_text()),
            right(point.workload.output_text()),
            right(grouped(work.input_tokens, work.exact)),
            right(grouped(work.output_tokens, work.exact)),
        ]);
    }
    table
}

fn least_work(plan: &Plan, out: &mut impl Write) -> io::Result<()> {
    let (work, trials) = (plan.least_work(), &plan.trials);
    if let Some(compare) = &plan.compare {
        return writeln!(
            out,
            "Side by side ({}): {} timed trials a point: {} requests, {} tokens in, {} tokens out in all.\n\
             An untimed trial comes before each turn of another engine, up to {} warm-up trials before each launch.",
            compare.text(),
            compare.timed_trials(),
            grouped(work.requests as f64, true),
            grouped(work.input_tokens, work.exact),
            grouped(work.output_tokens, work.exact),
            trials.max_warmup
        );
    }
    let offline = plan.points.iter().any(|point| plan.least_trials(point) > trials.min_trials);
    let latency = if offline { trials.latency_trials } else { 0 };
    writeln!(
        out,
        "At least {} trials a point ({} timed, {} step-loop): {} requests, {} tokens in, {} tokens out in all.",
        trials.min_trials + latency,
        trials.min_trials,
        latency,
        grouped(work.requests as f64, true),
        grouped(work.input_tokens, work.exact),
        grouped(work.output_tokens, work.exact),
    )?;
    writeln!(
        out,
        "More timed trials follow until the interval is narrow enough, up to {} a point; up to {} warm-up trials come first.",
        trials.max_trials, trials.max_warmup
    )
}

/// Thousands apart, `~` before an expectation.
fn grouped(number: f64, exact: bool) -> String {
    if number.is_nan() {
        return "as the data have".to_owned();
    }
    let digits = format!("{number:.0}");
    let mut text = String::from(if exact { "" } else { "~" });
    for (index, digit) in digits.char_indices() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
