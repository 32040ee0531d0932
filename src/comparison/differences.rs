//! What else differed between two runs: program, machine, engines, their configuration, the environment.
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::results::{PointRecord, ReadRun, RunInfo};

/// Something that was not the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// What.
    pub what: String,
    /// In the first run; None where it is absent.
    pub a: Option<String>,
    /// In the second.
    pub b: Option<String>,
}

/// All of them, of the runs and of the engines at the paired points.
pub(super) fn differences(a: &ReadRun, b: &ReadRun, pairs: &[(usize, usize)]) -> Vec<Difference> {
    let mut found = Vec::new();
    between("", &of_run(&a.info), &of_run(&b.info), &mut found);
    for (one, other) in pairs {
        let (one, other) = (&a.records[*one], &b.records[*other]);
        let engine = &one.point.engine.id;
        let label = if *engine == other.point.engine.id {
            engine.clone()
        } else {
            format!("{engine} | {}", other.point.engine.id)
        };
        between(&format!("{label}: "), &of_engine(one), &of_engine(other), &mut found);
    }
    found
}

fn between(prefix: &str, a: &BTreeMap<String, String>, b: &BTreeMap<String, String>, found: &mut Vec<Difference>) {
    let names: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    for name in names {
        let difference =
            Difference { what: format!("{prefix}{name}"), a: a.get(name).cloned(), b: b.get(name).cloned() };
        if difference.a != difference.b && !found.contains(&difference) {
            found.push(difference);
        }
    }
}

fn of_run(info: &RunInfo) -> BTreeMap<String, String> {
    let host = &info.host;
    let gpus: Vec<String> = info
        .hardware
        .gpus
        .iter()
        .map(|gpu| format!("{} {:?}", gpu.name, gpu.driver.as_deref().unwrap_or("?")))
        .collect();
    let told = [
        ("tacho", Some(format!("{} {}", info.tacho.version, info.tacho.git_commit))),
        ("tacho's sources", Some(info.tacho.build_hash.clone())),
        ("compiler", Some(info.tacho.rustc.clone())),
        ("processor", host.cpu_model.clone()),
        ("cores", host.cores.map(|cores| cores.to_string())),
        ("memory", host.memory_bytes.map(|bytes| format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30)))),
        ("kernel", host.kernel.clone()),
        ("operating system", host.os.clone()),
        ("governor", host.governor.clone()),
        ("GPUs", (!gpus.is_empty()).then(|| gpus.join(", "))),
    ];
    let mut all: BTreeMap<String, String> =
        told.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
    // Where results and engines lie changes no figure.
    let places = ["TACHO_OUT", "TACHO_CACHE_DIR", "TACHO_CELL_DIR"];
    let environment = info.environment.iter().filter(|(name, _)| !places.contains(&name.as_str()));
    all.extend(environment.map(|(name, value)| (format!("${name}"), value.clone())));
    all
}

fn of_engine(record: &PointRecord) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    if let Some(digest) = &record.model_digest {
        all.insert("model".to_owned(), digest.get(..12).unwrap_or(digest).to_owned());
    }
    for (name, value) in &record.point.engine.options {
        all.insert(format!("asked {name}"), value.to_string());
    }
    let Some(engine) = &record.engine else { return all };
    let told = [
        ("engine", Some(engine.engine.clone())),
        ("version", Some(engine.version.clone())),
        ("boundary", Some(engine.boundary.as_str().to_owned())),
        ("device", Some(engine.device.clone())),
        ("compile mode", engine.compile_mode.clone()),
        ("weights", engine.model.weights_dtype.clone()),
        ("KV capacity", engine.kv_capacity_tokens.map(|tokens| tokens.to_string())),
        ("most sequences", engine.max_seqs.map(|seqs| seqs.to_string())),
    ];
    all.extend(told.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    all.extend(engine.effective.iter().map(|(name, value)| (name.clone(), value.to_string())));
    all
}
