//! The tables' columns as data: the Parquet schemas, the CSV headers and `docs/schema.md` are made from them.
use std::{borrow::Cow, collections::HashMap, fmt::Write, sync::Arc};

use arrow_schema::{DataType, Field, Schema};

use super::{
    columns::{PLACE, Table},
    points, summary, traces, turns,
};
use crate::{
    cell::protocol::{RequestRow, StepRow, TokenRow},
    measure::telemetry::{GpuSample, HostSample},
    metrics::definitions::{METRICS, PERCENTILES},
};

/// A column's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Unsigned, 32 bits.
    U32,
    /// Unsigned, 64 bits.
    U64,
    /// Floating, 64 bits; always finite.
    F64,
    /// True or false.
    Bool,
    /// UTF-8.
    Text,
}

impl Kind {
    fn data_type(self) -> DataType {
        match self {
            Self::U32 => DataType::UInt32,
            Self::U64 => DataType::UInt64,
            Self::F64 => DataType::Float64,
            Self::Bool => DataType::Boolean,
            Self::Text => DataType::Utf8,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::U32 => "uint32",
            Self::U64 => "uint64",
            Self::F64 => "float64",
            Self::Bool => "bool",
            Self::Text => "text",
        }
    }
}

/// A column: its name, type, unit, whether it may be null, and what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: Cow<'static, str>,
    /// Its type.
    pub kind: Kind,
    /// Its unit; empty for none.
    pub unit: &'static str,
    /// Whether it may be null.
    pub nullable: bool,
    /// What it says.
    pub doc: Cow<'static, str>,
}

impl Column {
    /// A column.
    pub const fn new(name: &'static str, kind: Kind, unit: &'static str, nullable: bool, doc: &'static str) -> Self {
        Self { name: Cow::Borrowed(name), kind, unit, nullable, doc: Cow::Borrowed(doc) }
    }

    fn field(&self) -> Field {
        let mut notes = HashMap::from([("doc".to_owned(), self.doc.to_string())]);
        if !self.unit.is_empty() {
            notes.insert("unit".to_owned(), self.unit.to_owned());
        }
        Field::new(self.name.as_ref(), self.kind.data_type(), self.nullable).with_metadata(notes)
    }
}

/// A file of the run directory with columns.
#[derive(Clone, Debug)]
pub struct TableSchema {
    /// The files' stem.
    pub name: &'static str,
    /// The files that hold it.
    pub files: &'static str,
    /// What a row is.
    pub row: &'static str,
    /// Its columns.
    pub columns: Vec<Column>,
}

/// Every table of a run directory.
pub fn tables() -> Vec<TableSchema> {
    vec![
        TableSchema {
            name: "points",
            files: "points.parquet, points.csv, points.json",
            row: "A row a point and timed trial, and one without a trial for each point that failed.",
            columns: points::columns().into_iter().map(|column| column.column).collect(),
        },
        TableSchema {
            name: "summary",
            files: "summary.csv, summary.json",
            row: "A row a point.",
            columns: summary::columns().into_iter().map(|column| column.column).collect(),
        },
        TableSchema {
            name: "turns",
            files: "turns.csv",
            row: "A row a turn and timed trial, where requests are turns of conversations.",
            columns: turns::columns().into_iter().map(|column| column.column).collect(),
        },
        TableSchema {
            name: "requests",
            files: "requests.parquet",
            row: "A row a request of a timed trial.",
            columns: streamed::<RequestRow>(),
        },
        TableSchema {
            name: "tokens",
            files: "tokens.parquet",
            row: "A row for each time that tokens of a request became visible, in timed step-loop trials.",
            columns: streamed::<TokenRow>(),
        },
        TableSchema {
            name: "steps",
            files: "steps.parquet",
            row: "A row a step of the engine, in timed step-loop trials.",
            columns: streamed::<StepRow>(),
        },
        TableSchema {
            name: "kernels",
            files: "kernels.parquet",
            row: "A row a kernel's name and traced trial, for the kernels that took longest; only in runs with `--trace`.",
            columns: traces::kernel_columns().into_iter().map(|column| column.column).collect(),
        },
        TableSchema {
            name: "traced steps",
            files: "traces/point-NNNNN.steps.parquet",
            row: "A row a step of a traced trial of the point. Timed trials are never traced, so these steps are not in `steps`.",
            columns: traces::step_columns().into_iter().map(|column| column.column).collect(),
        },
        TableSchema {
            name: "gpu",
            files: "gpu.parquet",
            row: "A row a sample of a GPU, from just before to just after each timed trial; none without a GPU.",
            columns: streamed::<GpuSample>(),
        },
        TableSchema {
            name: "host",
            files: "host.parquet",
            row: "A row a sample of the cell's process tree and its machine, from just before to just after each timed trial.",
            columns: streamed::<HostSample>(),
        },
    ]
}

/// The columns of a streamed table.
pub(super) fn streamed<R: Table>() -> Vec<Column> {
    PLACE.into_iter().chain(R::COLUMNS.iter().map(|column| column.column.clone())).collect()
}

/// An Arrow schema of these columns; unit and documentation are each field's metadata.
pub(super) fn arrow(columns: &[Column]) -> Arc<Schema> {
    Arc::new(Schema::new(columns.iter().map(Column::field).collect::<Vec<_>>()))
}

/// `docs/schema.md`.
pub fn document() -> String {
    let mut text = String::from(HEAD);
    text.push_str("\n## Metrics\n\n");
    let _ =
        writeln!(text, "Throughput comes from `generate` trials (from `steps` trials in load modes without a generate");
    let _ = writeln!(text, "call), latency from `steps` trials only. {}.\n", capital(PERCENTILES));
    text.push_str("| metric | unit | formula | source |\n|---|---|---|---|\n");
    for metric in METRICS {
        let _ = writeln!(text, "| `{}` | {} | {} | {} |", metric.name, metric.unit, metric.formula, metric.source);
    }
    for table in tables() {
        let _ =
            write!(text, "\n## {}\n\nFiles: `{}`. {}\n\n", table.name, table.files.replace(", ", "`, `"), table.row);
        text.push_str("| column | type | unit | null | what it says |\n|---|---|---|---|---|\n");
        for column in &table.columns {
            let null = if column.nullable { "yes" } else { "" };
            let (name, kind, unit) = (&column.name, column.kind.name(), column.unit);
            let _ = writeln!(text, "| `{name}` | {kind} | {unit} | {null} | {} |", column.doc);
        }
    }
    text
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

const HEAD: &str = "\
# The run directory's files

Made by `tacho` from the tables in `src/results` and `src/metrics/definitions.rs`; a test compares this page with them.
After a change there, `TACHO_WRITE_DOCS=1 cargo test --release --lib schema` writes it anew.

| file | what it is |
|---|---|
| `run.json` | the machine, the program, the command, the environment, the plan, the engines as they ran |
| `engines.jsonl` | while a run goes on, or where it was cut off: the engines loaded since `run.json` was written, which then takes them over |
| `tacho.lock.json` | what each engine really ran with, in the fields that all share, and what differs (docs/fairness.md) |
| `agreement.json` | where asked for: whether the engines are the same model (docs/agreement.md) |
| `journal.jsonl` | a line a finished point, on the disk before the next point begins; `--resume` reads it |
| `parts/` | each point's part of the streamed tables; kept, because a resumed run makes the whole tables from them |
| `points.*`, `summary.*` | figures, see below |
| `requests.parquet`, `tokens.parquet`, `steps.parquet` | records, see below |
| `kernels.parquet`, `traces/` | with `--trace`: kernels, and a point's traced steps and timeline (`point-NNNNN.trace.json`, for Perfetto) |
| `gpu.parquet`, `host.parquet` | telemetry, see below |
| `report.html`, `report.md`, `charts/` | for reading; `docs/report.md` says how |
| `benchmark_results.csv`, `performance_rankings.csv` | for spreadsheets: a row a point, the rankings |
| `turns.csv` | of conversations: latencies by turn, see below |
| `capacity.json` | of `tacho capacity`: the answer and its trials (docs/load.md) |
| `comparison.json` | of a run that compares side by side: ratios with intervals and verdicts (docs/comparing.md) |
| `logs/` | what the cells wrote |

A missing value is null (an empty field in CSV), never 0. Times in the streamed tables are nanoseconds of the engine's
clock: CLOCK_MONOTONIC, but for a simulated engine in virtual time (telemetry's always are). Rows of a (point, trial) that has no `ok` row in
`points` belong to a trial that failed before its end or was superseded; leave them out.
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_what_the_tables_say() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/schema.md");
        if std::env::var_os("TACHO_WRITE_DOCS").is_some() {
            std::fs::write(path, document()).unwrap();
        }
        let page = std::fs::read_to_string(path).unwrap();
        assert!(
            page == document(),
            "docs/schema.md differs from the code: see its second line for how to write it anew"
        );
    }

    #[test]
    fn names_are_unique_in_each_table() {
        for table in tables() {
            for (index, column) in table.columns.iter().enumerate() {
                assert!(
                    table.columns[..index].iter().all(|other| other.name != column.name),
                    "{} has {} twice",
                    table.name,
                    column.name
                );
            }
        }
    }
}
