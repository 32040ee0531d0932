//! What a run was measured on and how to do it again: the same lines in every kind of report. All texts are plain: whoever shows
//! them escapes them.
use super::text::{MISSING, gib, one_line, shell};
use crate::results::{EngineRecord, RunInfo};

/// The run and its machine, a name and a value a row.
pub(super) fn machine(info: &RunInfo) -> Vec<(&'static str, String)> {
    let host = &info.host;
    let show = |value: &Option<String>| value.as_deref().map_or(MISSING.to_owned(), one_line);
    vec![
        ("run", one_line(&info.run_id)),
        ("started", one_line(&info.started_at)),
        ("processor", show(&host.cpu_model)),
        ("cores", host.cores.map_or(MISSING.to_owned(), |n| n.to_string())),
        ("memory", host.memory_bytes.map_or(MISSING.to_owned(), gib)),
        ("system", format!("{}, kernel {}", show(&host.os), show(&host.kernel))),
        ("frequency governor", show(&host.governor)),
        (
            "load average at the start",
            host.load_average.map_or(MISSING.to_owned(), |[one, five, fifteen]| format!("{one} · {five} · {fifteen}")),
        ),
        ("tacho", format!("{} ({}), {}", info.tacho.version, info.tacho.git_commit, info.tacho.rustc)),
    ]
}

/// Commands for a shell that measure it again.
pub(super) fn commands(info: &RunInfo) -> Vec<String> {
    let mut lines = Vec::new();
    if info.tacho.git_commit != "unknown" {
        lines.push(format!("git checkout {}", shell(info.tacho.git_commit.trim_end_matches("-dirty"))));
    }
    lines.push(info.command.iter().map(|argument| shell(argument)).collect::<Vec<_>>().join(" "));
    lines
}

/// A configuration's name without its options, and those, one a line.
pub(super) fn without_options(label: &str, record: &EngineRecord) -> (String, Vec<String>) {
    let asked: Vec<String> = record.asked.options.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let name = label.strip_suffix(&asked.join(" ")).unwrap_or(label).trim_end();
    (name.to_owned(), asked)
}
