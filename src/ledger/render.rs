//! A ledger as Markdown and CSV.
use std::fmt::Write;

use super::record::{Cost, EngineLedger, Layer, Ledger, PointLedger, RungRecord, RungState};
use crate::{metrics::median, report::escape, stats::paired::Unit};

/// The ledger for people: `ledger.md`, and what `tacho ledger` prints.
pub fn markdown(ledger: &Ledger) -> String {
    let mut text = String::from("# Boundary ledger\n\n");
    let host = &ledger.run.host;
    let _ = writeln!(
        text,
        "{}, {} processors, {}; tacho {} ({}).",
        escape(host.cpu_model.as_deref().unwrap_or("unknown processor")),
        host.cores.map_or_else(|| "?".to_owned(), |cores| cores.to_string()),
        escape(&ledger.run.started_at),
        escape(&ledger.run.tacho.version),
        escape(&ledger.run.tacho.git_commit),
    );
    let _ = writeln!(
        text,
        "Launches: {}, blocks in each: {}, turns of a rung in a block: 2. Intervals are of 95 %, over paired differences.\n",
        ledger.launches, ledger.blocks
    );
    if let Some(warning) = ledger.run.calibration.warning() {
        let _ = writeln!(text, "> {}\n", escape(&warning));
    }
    for engine in &ledger.engines {
        section(&mut text, engine);
    }
    text
}

fn section(text: &mut String, engine: &EngineLedger) {
    let _ = writeln!(text, "## {}\n", escape(&engine.label));
    for (process, info) in &engine.cells {
        let double =
            info.double.as_ref().map(|double| format!(" **SIMULATED: {}**", escape(double))).unwrap_or_default();
        let _ = writeln!(
            text,
            "- {process}: {} {}, {}{double}",
            escape(&info.engine),
            escape(&info.version),
            escape(&info.device)
        );
    }
    if let Some(server) = &engine.server {
        let which = match (&server.command, &server.endpoint) {
            (Some(command), _) => {
                let variables = server.environment.iter().map(|(name, value)| format!("{name}={value}"));
                let words: Vec<String> = variables.chain(command.iter().cloned()).collect();
                format!("started: {}", escape(&words.join(" ")))
            }
            (None, Some(endpoint)) => format!("was running: {}", escape(endpoint)),
            (None, None) => "unknown".to_owned(),
        };
        let prompt = match server.prompt {
            crate::http::PromptKind::Ids => "token ids",
            crate::http::PromptKind::Text => "text",
        };
        let version =
            server.version.as_ref().map(|version| format!(" version {}", escape(version))).unwrap_or_default();
        let _ = writeln!(text, "- server{version} ({which}), prompts as {prompt}");
    }
    for note in &engine.notes {
        let _ = writeln!(text, "- note: {}", escape(note));
    }
    text.push('\n');
    for point in &engine.points {
        point_section(text, point);
    }
}

fn point_section(text: &mut String, point: &PointLedger) {
    let PointLedger { batch, input_tokens, output_tokens, .. } = point;
    let requests = if *batch == 1 { "request" } else { "requests" };
    let _ = writeln!(text, "### {batch} {requests} at once, {input_tokens} tokens in, {output_tokens} out\n");
    text.push_str("| rung | boundary | ms a batch (median) | output tokens/s | turns |\n|---|---|--:|--:|--:|\n");
    for record in point.rungs.iter().filter(|record| matches!(record.state, RungState::Measured)) {
        let seconds = seconds(record);
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} |",
            record.rung.as_str(),
            record.rung.what(),
            seconds.map_or_else(dash, |seconds| figure(seconds * 1e3)),
            seconds.map_or_else(dash, |seconds| figure(f64::from(batch * output_tokens) / seconds)),
            record.turns.len()
        );
    }
    text.push('\n');
    layers(text, "What each layer costs", &point.layers);
    // A total that is a layer already says nothing new.
    let layered = |total: &&Layer| !point.layers.iter().any(|layer| (layer.from, layer.to) == (total.from, total.to));
    let totals: Vec<Layer> = point.totals.iter().filter(layered).cloned().collect();
    layers(text, "Against the innermost rung", &totals);
    if let Some(same) = point.same_outputs {
        let _ = writeln!(text, "Rungs that show ids gave the same ones in {} of {} turns.\n", same.same, same.of);
    }
    let absent: Vec<String> = point.rungs.iter().filter_map(absent).collect();
    if !absent.is_empty() {
        let _ = writeln!(text, "Not measured:\n\n{}", absent.concat());
    }
}

fn absent(record: &RungRecord) -> Option<String> {
    let (word, reason) = match &record.state {
        RungState::Measured => return None,
        RungState::NotOffered { reason } => ("", reason),
        RungState::Failed { reason } => ("**failed**: ", reason),
    };
    Some(format!("- {} ({}): {word}{}\n", record.rung.as_str(), record.rung.what(), escape(reason)))
}

/// What a row's intervals are over.
pub(super) fn over(layer: &Layer) -> String {
    let sample = |unit: Unit| match unit {
        Unit::Block => format!("{} blocks", layer.blocks),
        Unit::Launch => format!("{} launches", layer.launches),
    };
    let Some(unit) = layer.unit else { return dash() };
    match layer.ratio_unit {
        Some(other) if other != unit => format!("{}; the ratio over {}", sample(unit), sample(other)),
        _ => sample(unit),
    }
}

fn layers(text: &mut String, title: &str, layers: &[Layer]) {
    if layers.is_empty() {
        return;
    }
    let _ = writeln!(
        text,
        "{title}:\n\n| from → to | what lies between | ms a batch | ms a request | µs an output token | times as long | over |\n|---|---|--:|--:|--:|--:|---|"
    );
    for layer in layers {
        let over = over(layer);
        let note = layer.note.as_ref().map(|note| format!("; {}", escape(note))).unwrap_or_default();
        let _ = writeln!(
            text,
            "| {} → {} | {} | {} | {} | {} | {} | {over}{note} |",
            layer.from.as_str(),
            layer.to.as_str(),
            escape(&layer.what),
            cost(layer.batch_ms),
            cost(layer.request_ms),
            cost(layer.output_token_us),
            cost(layer.ratio),
        );
    }
    text.push('\n');
}

fn cost(cost: Option<Cost>) -> String {
    let Some(Cost { mean, low, high }) = cost else { return dash() };
    match low.zip(high) {
        Some((low, high)) => format!("{} ({} to {})", figure(mean), figure(low), figure(high)),
        None => figure(mean),
    }
}

fn dash() -> String {
    "–".to_owned()
}

/// Four digits that count, or three behind the point.
fn figure(value: f64) -> String {
    let digits = if value == 0.0 { 0 } else { value.abs().log10().floor() as i32 };
    format!("{value:.*}", (3 - digits).clamp(0, 3) as usize)
}

fn seconds(record: &RungRecord) -> Option<f64> {
    median(&record.turns.iter().map(|turn| turn.seconds).collect::<Vec<_>>())
}

/// A row a layer, layers and totals: `ledger.csv`.
///
/// # Errors
/// When a row cannot be encoded.
pub fn ledger_csv(ledger: &Ledger) -> Result<Vec<u8>, String> {
    let mut out = csv::Writer::from_writer(Vec::new());
    let ends = |name: &str| [name.to_owned(), format!("{name}_low"), format!("{name}_high")];
    let mut header: Vec<String> =
        ["engine", "label", "batch", "input_tokens", "output_tokens", "kind", "from", "to"].map(str::to_owned).into();
    header.extend(["batch_ms", "request_ms", "output_token_us", "ratio"].iter().flat_map(|name| ends(name)));
    header.extend(["unit", "launches", "blocks", "note", "ratio_unit"].map(str::to_owned));
    write(&mut out, &header)?;
    for engine in &ledger.engines {
        for point in &engine.points {
            let kinds = [("layer", &point.layers), ("total", &point.totals)];
            for (kind, layer) in
                kinds.into_iter().flat_map(|(kind, layers)| layers.iter().map(move |layer| (kind, layer)))
            {
                let mut row: Vec<String> = vec![engine.engine.clone(), engine.label.clone()];
                row.extend([point.batch, point.input_tokens, point.output_tokens].map(|count| count.to_string()));
                row.extend([kind, layer.from.as_str(), layer.to.as_str()].map(str::to_owned));
                for cost in [layer.batch_ms, layer.request_ms, layer.output_token_us, layer.ratio] {
                    row.extend(
                        [cost.map(|cost| cost.mean), cost.and_then(|cost| cost.low), cost.and_then(|cost| cost.high)]
                            .map(number),
                    );
                }
                let unit = |unit: Option<Unit>| match unit {
                    Some(Unit::Block) => "block",
                    Some(Unit::Launch) => "launch",
                    None => "",
                };
                row.extend([unit(layer.unit).to_owned(), layer.launches.to_string(), layer.blocks.to_string()]);
                row.extend([layer.note.clone().unwrap_or_default(), unit(layer.ratio_unit).to_owned()]);
                write(&mut out, &row)?;
            }
        }
    }
    out.into_inner().map_err(|error| error.to_string())
}

/// A row a rung that was not measured, and a row a timed turn of those that were: `turns.csv`.
///
/// # Errors
/// When a row cannot be encoded.
pub fn turns_csv(ledger: &Ledger) -> Result<Vec<u8>, String> {
    let mut out = csv::Writer::from_writer(Vec::new());
    let header = [
        "engine",
        "label",
        "batch",
        "input_tokens",
        "output_tokens",
        "rung",
        "state",
        "reason",
        "launch",
        "block",
        "turn",
        "resident",
        "seconds",
        "counted_input_tokens",
        "counted_output_tokens",
        "output_digest",
        "characters",
        "first_event_ms",
    ];
    write(&mut out, &header.map(str::to_owned))?;
    for engine in &ledger.engines {
        for point in &engine.points {
            for record in &point.rungs {
                let (state, reason) = match &record.state {
                    RungState::Measured => ("measured", ""),
                    RungState::NotOffered { reason } => ("not_offered", reason.as_str()),
                    RungState::Failed { reason } => ("failed", reason.as_str()),
                };
                let mut begin: Vec<String> = vec![engine.engine.clone(), engine.label.clone()];
                begin.extend([point.batch, point.input_tokens, point.output_tokens].map(|count| count.to_string()));
                begin.extend([record.rung.as_str(), state, reason].map(str::to_owned));
                if record.turns.is_empty() {
                    let empty = std::iter::repeat_n(String::new(), header.len() - begin.len());
                    write(&mut out, &begin.iter().cloned().chain(empty).collect::<Vec<_>>())?;
                }
                for turn in &record.turns {
                    let count = |count: Option<u64>| count.map_or_else(String::new, |count| count.to_string());
                    let mut row = begin.clone();
                    row.extend([turn.launch, turn.block, u32::from(turn.second)].map(|count| count.to_string()));
                    row.extend([turn.resident.to_string(), number(Some(turn.seconds)), count(turn.input_tokens)]);
                    row.extend([turn.output_tokens.to_string(), turn.output_digest.clone().unwrap_or_default()]);
                    row.extend([count(turn.characters), number(turn.first_event_ms)]);
                    write(&mut out, &row)?;
                }
            }
        }
    }
    out.into_inner().map_err(|error| error.to_string())
}

fn write(out: &mut csv::Writer<Vec<u8>>, row: &[String]) -> Result<(), String> {
    out.write_record(row).map_err(|error| error.to_string())
}

/// All digits; nothing for what there is not.
fn number(value: Option<f64>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_keep_what_counts() {
        let shown = [0.0, 0.000_26, 0.1234, 1.23456, 12.3456, 123.456, 1_234.56, -4.5678].map(figure);
        assert_eq!(shown, ["0.000", "0.000", "0.123", "1.235", "12.35", "123.5", "1235", "-4.568"]);
    }
}
