//! What the template shows, as texts; the template decides only where.
use serde::Serialize;

use super::details::{EngineView, TableView, clean, engine, machine, reproduce, tables};
use crate::{
    engine::EngineInfo,
    metrics::definitions::{METRICS, PERCENTILES},
    report::{
        advice::{Advice, Ranking, Sureness, Use},
        charts::{Chart, Charts},
        doubts,
        joined::{self, Section},
        place::{configuration, distinct, is_comparable},
        rows::{Rows, engine_name},
        text::{MISSING, fine, number, one_line},
    },
    results::{PointRecord, PointStatus, RunInfo},
};

/// Kinds of work that a card on the first screen has room for.
const CARD_WORKS: usize = 3;

#[derive(Serialize)]
pub(super) struct Page {
    name: String,
    facts: Vec<(String, String)>,
    headline: String,
    simulated: Vec<String>,
    engines_compared: usize,
    points: usize,
    failed: usize,
    invalid: usize,
    cards: Vec<Card>,
    doubts: Vec<DoubtView>,
    grave: usize,
    no_doubts: &'static str,
    charts: Vec<ChartView>,
    missing: Vec<String>,
    machine: Vec<(String, String)>,
    tables: Vec<TableView>,
    rankings: Vec<RankingView>,
    engines: Vec<EngineView>,
    fairness: Option<SectionView>,
    certificates: Option<SectionView>,
    frontier: Option<SectionView>,
    comparison: Option<SectionView>,
    metrics: Vec<(String, String, String)>,
    percentiles: &'static str,
    reproduce: String,
    written_by: String,
}

/// What to use for one purpose.
#[derive(Serialize)]
struct Card {
    purpose: &'static str,
    meaning: &'static str,
    /// A line for each kind of work.
    lines: Vec<CardLine>,
    more: usize,
    missing: Option<String>,
}

#[derive(Serialize)]
struct CardLine {
    work: String,
    engines: String,
    sureness: &'static str,
    class: &'static str,
    sentence: String,
}

/// A chart's words; its data lie elsewhere on the page.
#[derive(Serialize)]
struct ChartView {
    id: String,
    title: String,
    subtitle: String,
    reading: String,
    notes: Vec<String>,
}

impl ChartView {
    fn of(chart: &Chart) -> Self {
        let Chart { id, title, subtitle, reading, notes, .. } = chart.clone();
        Self { id, title, subtitle, reading, notes }
    }
}

#[derive(Serialize)]
struct DoubtView {
    lead: String,
    text: String,
    lines: String,
}

#[derive(Serialize)]
struct RankingView {
    purpose: &'static str,
    work: String,
    metric: &'static str,
    unit: &'static str,
    better: &'static str,
    rows: Vec<[String; 6]>,
}

#[derive(Serialize)]
struct SectionView {
    says: String,
    headings: Vec<(String, bool)>,
    rows: Vec<Vec<String>>,
}

pub(super) fn headings(rows: &Rows) -> Vec<(String, bool)> {
    rows.headings.iter().map(|heading| (heading.text.clone(), heading.numeric)).collect()
}

impl From<Section> for SectionView {
    fn from(section: Section) -> Self {
        Self { says: section.says, headings: headings(&section.rows), rows: section.rows.rows }
    }
}

impl Page {
    pub(super) fn of(info: &RunInfo, records: &[PointRecord], advice: &Advice, charts: &Charts) -> Self {
        let all: Vec<&PointRecord> = records.iter().collect();
        let simulated = |record: &PointRecord| {
            record.engine.as_ref().is_some_and(|engine| engine.double.is_some() || engine.virtual_time)
        };
        let doubles: Vec<&PointRecord> = all.iter().copied().filter(|record| simulated(record)).collect();
        let comparable: Vec<&PointRecord> = all.iter().copied().filter(|record| is_comparable(record)).collect();
        let doubts = doubts::of(info, records);
        Self {
            name: one_line(info.plan.get("name").and_then(|name| name.as_str()).unwrap_or("a run")),
            facts: facts(info, records),
            headline: headline(advice, records),
            simulated: distinct(&doubles, engine_name),
            engines_compared: distinct(&comparable, configuration).len(),
            points: records.len(),
            failed: records.iter().filter(|record| matches!(record.outcome, PointStatus::Failed(_))).count(),
            invalid: charts.invalid,
            cards: Use::ALL.into_iter().map(|purpose| card(purpose, advice)).collect(),
            grave: doubts.iter().filter(|doubt| !doubt.lead.is_empty()).count(),
            doubts: doubts
                .into_iter()
                .map(|doubt| DoubtView { lead: doubt.lead, text: doubt.text, lines: clean(&doubt.lines) })
                .collect(),
            no_doubts: doubts::NONE,
            charts: charts.charts.iter().map(ChartView::of).collect(),
            missing: charts.missing.clone(),
            machine: machine(info),
            tables: tables(info, records),
            rankings: advice.rankings.iter().map(ranking).collect(),
            engines: info.engines.iter().map(|(label, record)| engine(label, record)).collect(),
            fairness: joined::fairness(info, records).map(Into::into),
            certificates: joined::certificates(info, records).map(Into::into),
            frontier: joined::frontier(info, records).map(Into::into),
            comparison: joined::comparison(info, records).map(Into::into),
            metrics: METRICS
                .iter()
                .map(|m| (format!("{} ({}, {})", m.title, m.name, m.unit), m.formula.to_owned(), m.source.to_owned()))
                .collect(),
            percentiles: PERCENTILES,
            reproduce: reproduce(info),
            written_by: format!("tacho {} ({})", info.tacho.version, info.tacho.git_commit),
        }
    }
}

/// What was measured, on what: the first lines of the page.
fn facts(info: &RunInfo, records: &[PointRecord]) -> Vec<(String, String)> {
    let all: Vec<&PointRecord> = records.iter().collect();
    let list = |of: &dyn Fn(&EngineInfo) -> Option<String>| -> String {
        let mut found: Vec<String> = Vec::new();
        let from_run = info.engines.values().map(|record| &record.info);
        for engine in records.iter().filter_map(|record| record.engine.as_ref()).chain(from_run) {
            if let Some(value) = of(engine).map(|value| one_line(&value)).filter(|value| !value.is_empty())
                && !found.contains(&value)
            {
                found.push(value);
            }
        }
        if found.is_empty() { MISSING.to_owned() } else { found.join(", ") }
    };
    let work = distinct(&all, |record| {
        format!("{} tokens in, {} out", record.point.workload.input, record.point.workload.output)
    });
    let shown =
        if work.len() > 4 { format!("{} and {} more", work[..4].join("; "), work.len() - 4) } else { work.join("; ") };
    vec![
        (
            "engines".to_owned(),
            list(&|e| {
                let double = if e.double.is_some() { ", SIMULATED" } else { "" };
                Some(format!("{} {} ({}{double})", e.engine, e.version, e.boundary.as_str()))
            }),
        ),
        (
            "model".to_owned(),
            list(&|e| {
                // An engine may know its model by nothing but where it lies.
                let place = e.model.name.strip_prefix('/').and_then(|path| path.rsplit('/').next());
                let name = place.unwrap_or(&e.model.name);
                Some(match &e.model.weights_dtype {
                    Some(dtype) => format!("{name} ({dtype})"),
                    None => name.to_owned(),
                })
            }),
        ),
        ("on".to_owned(), list(&|e| Some(e.device.clone()))),
        ("work".to_owned(), shown),
        ("started".to_owned(), one_line(&info.started_at)),
    ]
}

/// The verdict in one sentence.
fn headline(advice: &Advice, records: &[PointRecord]) -> String {
    if records.is_empty() {
        return "No point has been finished: there is nothing to report yet.".to_owned();
    }
    if records.iter().all(|record| matches!(record.outcome, PointStatus::Failed(_))) {
        return "Every point failed: there are no figures. Why, stands under “What to doubt”.".to_owned();
    }
    if advice.rankings.is_empty() && advice.invalid > 0 {
        return "Every point of an engine is invalid: nothing is ranked. Why, stands under “Validity of each point”."
            .to_owned();
    }
    if advice.rankings.is_empty() {
        return "Only stand-ins were measured: these figures say nothing of any engine or hardware.".to_owned();
    }
    let compared: Vec<&Ranking> =
        advice.rankings.iter().filter(|ranking| ranking.sureness() != Sureness::Alone).collect();
    let Some(first) = compared.first().and_then(|ranking| ranking.entries.first()) else {
        return format!(
            "One engine was measured, {}: this run tells how fast it is, and compares it with nothing.",
            advice.rankings[0].entries.first().map_or("", |entry| entry.engine.as_str())
        );
    };
    let clear: Vec<&&Ranking> = compared.iter().filter(|ranking| ranking.sureness() == Sureness::Clear).collect();
    let leader = |ranking: &Ranking| ranking.entries.first().map_or(String::new(), |entry| entry.engine.clone());
    if clear.len() == compared.len() && compared.iter().all(|ranking| leader(ranking) == first.engine) {
        return format!("{} for everything that was compared: its intervals are apart from all others’.", first.engine);
    }
    // Engine after engine with its uses, where there is one kind of work; else a count says enough.
    let works = compared.iter().map(|ranking| ranking.work.as_str()).collect::<std::collections::BTreeSet<_>>().len();
    if let Some(why) = advice.refused_alike() {
        return format!("No winner for any use, {why}. Their figures stand side by side, with no ratio between them.");
    }
    if clear.is_empty() {
        return "No use has a clear winner: intervals overlap or are missing, or the engines did not do the same work."
            .to_owned();
    }
    if works > 1 {
        return format!(
            "{} of {} comparisons have a clear winner{}.",
            clear.len(),
            compared.len(),
            if clear.len() < compared.len() { "; the others this run does not tell" } else { ", not always the same" }
        );
    }
    let mut winners: Vec<(String, Vec<&str>)> = Vec::new();
    for ranking in &clear {
        let engine = leader(ranking);
        match winners.iter_mut().find(|(known, _)| *known == engine) {
            Some((_, uses)) => uses.push(ranking.purpose.name()),
            None => winners.push((engine, vec![ranking.purpose.name()])),
        }
    }
    let said: Vec<String> = winners.iter().map(|(engine, uses)| format!("{engine} for {}", and(uses))).collect();
    let open: Vec<&str> = compared
        .iter()
        .filter(|ranking| ranking.sureness() != Sureness::Clear)
        .map(|ranking| ranking.purpose.name())
        .collect();
    let rest = if open.is_empty() { String::new() } else { format!(" For {} this run does not tell.", and(&open)) };
    format!("{}.{rest}", said.join("; "))
}

/// `a, b and c`.
fn and(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

fn card(purpose: Use, advice: &Advice) -> Card {
    let rankings: Vec<&Ranking> = advice.rankings.iter().filter(|ranking| ranking.purpose == purpose).collect();
    let line = |ranking: &&Ranking| {
        let sureness = ranking.sureness();
        let leaders = match sureness {
            Sureness::Clear | Sureness::Alone => 1,
            Sureness::Ambiguous | Sureness::Unknown | Sureness::Refused => ranking.candidates(),
        };
        let engines: Vec<&str> = ranking.entries.iter().take(leaders).map(|entry| entry.engine.as_str()).collect();
        CardLine {
            work: ranking.work.clone(),
            engines: engines.join(" or "),
            sureness: sureness.as_str(),
            class: match sureness {
                Sureness::Clear => "clear",
                Sureness::Ambiguous => "ambiguous",
                Sureness::Unknown | Sureness::Alone | Sureness::Refused => "unknown",
            },
            // What the badge and the headline have said already is not said again.
            sentence: match (sureness, advice.refused_alike()) {
                (Sureness::Refused, Some(_)) => ranking.figures(usize::MAX),
                (Sureness::Ambiguous, _) => ranking.figures(ranking.candidates()),
                _ => ranking.sentence(),
            },
        }
    };
    Card {
        purpose: purpose.name(),
        meaning: purpose.meaning(),
        lines: rankings.iter().take(CARD_WORKS).map(line).collect(),
        more: rankings.len().saturating_sub(CARD_WORKS),
        missing: advice.missing.iter().find(|(name, _)| *name == purpose.name()).map(|(_, reason)| reason.clone()),
    }
}

fn ranking(ranking: &Ranking) -> RankingView {
    let row = |(index, entry): (usize, &crate::report::advice::Entry)| {
        let interval = match (entry.estimate.interval, &entry.estimate.null_reason) {
            (Some((low, high)), _) => format!("{} … {}", fine(low), fine(high)),
            (None, Some(reason)) => reason.clone(),
            (None, None) => MISSING.to_owned(),
        };
        let behind = match (index, ranking.lead(entry)) {
            (0, _) | (_, None) => MISSING.to_owned(),
            (_, Some((ratio, Some((low, high))))) => {
                format!("× {} ({} … {})", number(ratio), number(low), number(high))
            }
            (_, Some((ratio, None))) => format!("× {}", number(ratio)),
        };
        [
            ranking.place(index).to_string(),
            entry.engine.clone(),
            entry.at.clone(),
            fine(entry.estimate.value),
            interval,
            behind,
        ]
    };
    RankingView {
        purpose: ranking.purpose.name(),
        work: ranking.work.clone(),
        metric: ranking.metric,
        unit: ranking.unit,
        better: if ranking.less { "less is better" } else { "more is better" },
        rows: ranking.entries.iter().enumerate().map(row).collect(),
    }
}
