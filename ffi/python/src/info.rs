//! What a shim tells of its engine, with the defaults that most engines share.
use std::collections::BTreeMap;

use serde::Deserialize;
use tacho::engine::{Boundary, Capabilities, EngineError, EngineInfo, ModelInfo, Options, Scheduler};

/// `Engine.info()` of a shim. Fields as in [`EngineInfo`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Told {
    version: String,
    boundary: Boundary,
    device: String,
    model: ModelTold,
    double: Option<String>,
    #[serde(default = "engine_schedules")]
    scheduler: Scheduler,
    compile_mode: Option<String>,
    gpu_in_process: Option<bool>,
    #[serde(default = "one_by_one")]
    parallelism: (u32, u32),
    kv_capacity_tokens: Option<u64>,
    max_seqs: Option<u32>,
    max_model_len: Option<u32>,
    #[serde(default)]
    capabilities: CapabilitiesTold,
    #[serde(default)]
    effective: Options,
    #[serde(default)]
    observed: Options,
    /// None takes a name out again.
    #[serde(default)]
    uncounted: BTreeMap<String, Option<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelTold {
    name: String,
    architecture: Option<String>,
    weights_dtype: Option<String>,
    n_params: Option<u64>,
    size_bytes: Option<u64>,
    context_len: Option<u32>,
    vocab_size: u32,
    /// Pairs (start, end), the end not included.
    #[serde(default)]
    ordinary_ids: Vec<(u32, u32)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct CapabilitiesTold {
    continuous_batching: bool,
    cancel: bool,
    sampling: bool,
    mixed_lengths: bool,
}

impl Default for CapabilitiesTold {
    fn default() -> Self {
        let Capabilities { continuous_batching, cancel, sampling, mixed_lengths } = Capabilities::ALL;
        Self { continuous_batching, cancel, sampling, mixed_lengths }
    }
}

fn engine_schedules() -> Scheduler {
    Scheduler::Engine
}

fn one_by_one() -> (u32, u32) {
    (1, 1)
}

/// Reads what `Engine.info()` gave, as JSON.
///
/// # Errors
/// [`tacho::engine::ErrorKind::Load`] naming the field that is missing, unknown or of another type.
pub fn parse(engine: &str, json: &str) -> Result<EngineInfo, EngineError> {
    let told: Told = serde_json::from_str(json)
        .map_err(|error| EngineError::load(format!("{engine}: the shim's info() is not understood: {error}")))?;
    let model = told.model;
    let can = told.capabilities;
    Ok(EngineInfo {
        engine: engine.to_owned(),
        version: told.version,
        double: told.double,
        boundary: told.boundary,
        scheduler: told.scheduler,
        device: told.device,
        compile_mode: told.compile_mode,
        gpu_in_process: told.gpu_in_process,
        parallelism: told.parallelism,
        model: ModelInfo {
            name: model.name,
            architecture: model.architecture,
            weights_dtype: model.weights_dtype,
            n_params: model.n_params,
            size_bytes: model.size_bytes,
            context_len: model.context_len,
            vocab_size: model.vocab_size,
            ordinary_ids: model
                .ordinary_ids
                .into_iter()
                .map(|(start, end)| tacho::engine::IdRange { start, end })
                .collect(),
        },
        kv_capacity_tokens: told.kv_capacity_tokens,
        max_seqs: told.max_seqs,
        max_model_len: told.max_model_len,
        virtual_time: false,
        capabilities: Capabilities {
            continuous_batching: can.continuous_batching,
            cancel: can.cancel,
            sampling: can.sampling,
            mixed_lengths: can.mixed_lengths,
        },
        effective: told.effective,
        observed: told.observed,
        uncounted: told.uncounted.into_iter().filter_map(|(name, why)| Some((name, why?))).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_info_gets_defaults_and_a_wrong_one_names_the_field() {
        let short = r#"{"version": "1", "boundary": "in-core", "device": "CPU",
            "model": {"name": "m", "vocab_size": 8, "ordinary_ids": [[4, 8]]}, "capabilities": {"cancel": false},
            "effective": {"block_size": 16}, "observed": {"num_gpu_blocks": 7}, "uncounted": {"compiles": "silent", "steps": null}}"#;
        let info = parse("x", short).unwrap();
        assert_eq!((info.parallelism, info.capabilities.cancel, info.capabilities.sampling), ((1, 1), false, true));
        assert_eq!(info.model.ordinary_ids[0].start, 4);
        assert_eq!((info.effective.len(), &info.observed["num_gpu_blocks"]), (1, &serde_json::json!(7)));
        assert_eq!(info.uncounted, BTreeMap::from([("compiles".to_owned(), "silent".to_owned())]));
        let error = parse("x", &short.replace("\"device\"", "\"devices\"")).unwrap_err();
        assert!(error.message.contains("devices"), "{error}");
    }
}
