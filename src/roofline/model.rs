//! A model as an engine loaded it: its shape, the bytes that a step reads, and the type that it computes in.
use std::path::Path;

use serde_json::Value;

use super::{
    config,
    from_gguf::{self, FromGguf},
    shape::{Counts, ModelShape},
};
use crate::{
    engine::EngineInfo,
    gguf::{Header, Keep},
};

/// What a trial's work is counted from.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// The shape.
    pub shape: ModelShape,
    /// Its parameters.
    pub counts: Counts,
    /// Bytes that every step reads: all weights but experts and what is looked up a row a token.
    pub dense_bytes: f64,
    /// Bytes of all experts of all layers.
    pub expert_bytes: f64,
    /// Bytes of a position's keys and values in one layer.
    pub kv_bytes: f64,
    /// The name of the matrix ceiling that holds for it, or why none does.
    pub compute: Result<String, String>,
}

impl Model {
    /// Reads the model at `path`, a GGUF file or a Hugging Face folder, as the engine says that it runs it.
    ///
    /// # Errors
    /// A sentence for a person that says what of the model is not known.
    pub fn of(path: Option<&Path>, info: &EngineInfo) -> Result<Self, String> {
        let path = path.ok_or("the engine has no model")?;
        let named = |error: String| format!("{}: {error}", path.file_name().unwrap_or_default().to_string_lossy());
        if path.is_dir() {
            let text =
                std::fs::read(path.join("config.json")).map_err(|error| named(format!("config.json: {error}")))?;
            let config = serde_json::from_slice(&text).map_err(|error| named(format!("config.json: {error}")))?;
            Self::of_config(&config, info).map_err(named)
        } else {
            Self::of_gguf(&Header::read(path, Keep::Short).map_err(named)?, info).map_err(named)
        }
    }

    fn of_gguf(header: &Header, info: &EngineInfo) -> Result<Self, String> {
        let FromGguf { shape, dense_bytes, expert_bytes, n_params } = from_gguf::read(header)?;
        // Small tensors (biases, scales, rotary factors) are not in the shape; matrices that we misread would be.
        let counts = shape.counts();
        let apart = (counts.total as f64 - n_params as f64).abs() / n_params.max(1) as f64;
        if apart > 0.01 {
            return Err(format!(
                "its metadata mean {} parameters and its tensors have {n_params}: its architecture is not one that \
                 tacho can count",
                counts.total
            ));
        }
        let cache_type = |name: &str| cache_bytes(option(info, name).unwrap_or("f16"));
        let (k, v) = (cache_type("type_k")?, cache_type("type_v")?);
        let compute = match info.model.weights_dtype.as_deref() {
            Some(weights) => compute_of_file(weights),
            None => Err("the engine does not tell how the weights are stored".to_owned()),
        };
        Ok(Self::new(shape, counts, dense_bytes, expert_bytes, (k + v) / 2.0, compute).on(info))
    }

    fn of_config(config: &Value, info: &EngineInfo) -> Result<Self, String> {
        let shape = config::shape(config)?;
        let counts = shape.counts();
        let told = info.model.weights_dtype.as_deref();
        let base = told.or_else(|| config::text(config, "dtype")).or_else(|| config::text(config, "torch_dtype"));
        let base = base.ok_or("neither the engine nor its config.json tell how the weights are stored")?;
        let (base_bytes, base_name) =
            plain(base).ok_or_else(|| format!("weights of type '{base}' are not known here"))?;
        let quantised = Quantised::of(config, option(info, "quantization"), base_bytes, base_name)?;
        // Output projections stay as they are in all these methods.
        let head = counts.head as f64 * base_bytes;
        let dense_bytes = counts.dense as f64 * quantised.dense_bytes + head;
        let expert_bytes = counts.experts as f64 * quantised.expert_bytes;
        let cache = option(info, "kv_cache_dtype").unwrap_or("auto");
        let kv = if cache == "auto" { base_bytes } else { cache_bytes(cache)? };
        let compute = Ok(quantised.compute.to_owned());
        Ok(Self::new(shape, counts, dense_bytes, expert_bytes, kv, compute).on(info))
    }

    /// `element` is the bytes of a number of the KV cache.
    fn new(
        shape: ModelShape,
        counts: Counts,
        dense_bytes: f64,
        expert_bytes: f64,
        element: f64,
        compute: Result<String, String>,
    ) -> Self {
        let kv_bytes = 2.0 * (shape.kv_heads * shape.head_dim) as f64 * element;
        Self { shape, counts, dense_bytes, expert_bytes, kv_bytes, compute }
    }

    /// A processor's ceiling is measured in f32 alone: types for which it may have faster instructions have none.
    fn on(mut self, info: &EngineInfo) -> Self {
        if info.gpu_in_process.is_none()
            && let Ok(compute) = &self.compute
            && compute != "f32"
        {
            self.compute = Err(format!(
                "the processor's ceiling is measured in f32, and these weights are multiplied as {compute}"
            ));
        }
        self
    }

    /// Bytes of weights that a step over `tokens` tokens reads.
    pub fn step_bytes(&self, tokens: u64) -> f64 {
        let experts = match (self.shape.experts_touched(tokens), self.shape.mlp) {
            (Some(touched), super::Mlp::Experts { experts, .. }) => self.expert_bytes * touched / experts as f64,
            _ => 0.0,
        };
        self.dense_bytes + experts
    }
}

/// An option of the running engine that is a text.
fn option<'a>(info: &'a EngineInfo, name: &str) -> Option<&'a str> {
    info.effective.get(name)?.as_str()
}

/// Bytes of a plain type and the name of its ceiling.
fn plain(name: &str) -> Option<(f64, &'static str)> {
    match name.to_ascii_lowercase().trim_start_matches("torch.") {
        "float32" | "f32" | "float" => Some((4.0, "f32")),
        "float16" | "f16" | "half" => Some((2.0, "f16")),
        "bfloat16" | "bf16" => Some((2.0, "bf16")),
        _ => None,
    }
}

/// Bytes of a number in a KV cache of that type. ggml's have a scale for each 32 numbers.
fn cache_bytes(name: &str) -> Result<f64, String> {
    let blocks = match name {
        "q8_0" => 34.0,
        "q5_1" => 24.0,
        "q5_0" => 22.0,
        "q4_1" => 20.0,
        "q4_0" | "iq4_nl" => 18.0,
        fp8 if fp8.starts_with("fp8") => 32.0,
        other => match plain(other) {
            Some((bytes, _)) => 32.0 * bytes,
            None => return Err(format!("a KV cache of type '{other}' is not known here")),
        },
    };
    Ok(blocks / 32.0)
}

/// The ceiling of a GGUF file's weights by llama.cpp's name of their type.
fn compute_of_file(weights: &str) -> Result<String, String> {
    let name = weights.trim_end_matches("(guessed)").trim_start_matches("all ").trim();
    match plain(name) {
        Some((_, ceiling)) => Ok(ceiling.to_owned()),
        None => {
            Err(format!("weights of type {name} are multiplied in small integers, for which no ceiling is measured"))
        }
    }
}

/// Bytes of a weight, and what it is multiplied as.
struct Quantised {
    dense_bytes: f64,
    expert_bytes: f64,
    compute: &'static str,
}

impl Quantised {
    fn of(config: &Value, by_engine: Option<&str>, base_bytes: f64, base: &'static str) -> Result<Self, String> {
        let own = config.get("quantization_config").filter(|own| !own.is_null());
        let method = own.and_then(|own| config::text(own, "quant_method")).or(by_engine);
        let plain = Self { dense_bytes: base_bytes, expert_bytes: base_bytes, compute: base };
        let number = |name: &str| own.and_then(|own| own.get(name)).and_then(Value::as_f64);
        match method {
            None => Ok(plain),
            // A byte a weight; scales of tensors or of blocks of 128 × 128 are less than 0.03 %.
            Some("fp8") => Ok(Self { dense_bytes: 1.0, expert_bytes: 1.0, compute: "fp8_e4m3" }),
            // Of a group of weights one scale in f16 and one zero of as many bits as a weight; computed in the base type.
            Some(method @ ("gptq" | "awq")) => {
                let bits = number("bits").ok_or_else(|| format!("its {method} configuration tells no bits"))?;
                let group = number("group_size").filter(|size| *size > 0.0);
                let scales = group.map_or(0.0, |size| (2.0 + bits / 8.0) / size);
                let bytes = bits / 8.0 + scales;
                Ok(Self { dense_bytes: bytes, expert_bytes: bytes, compute: base })
            }
            // Experts alone: 4 bits and a scale of a byte for each 32 (OCP Microscaling Formats 1.0).
            Some("mxfp4") => Ok(Self { expert_bytes: 17.0 / 32.0, ..plain }),
            Some(other) => Err(format!("quantisation '{other}' is not known here (known: fp8, gptq, awq, mxfp4)")),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::results::testing;

    fn info(gpu: bool, weights: &str, effective: Value) -> EngineInfo {
        let mut info = testing::point(0, "sim", &[]).engine.unwrap();
        info.gpu_in_process = gpu.then_some(true);
        info.model.weights_dtype = Some(weights.to_owned());
        info.effective = serde_json::from_value(effective).unwrap();
        info
    }

    fn llama() -> Value {
        json!({"model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32,
            "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 128256, "torch_dtype": "bfloat16"})
    }

    #[test]
    fn an_8b_model_reads_its_15_gigabytes() {
        let model = Model::of_config(&llama(), &info(true, "bfloat16", json!({"kv_cache_dtype": "auto"}))).unwrap();
        // All but the embedding: 8,030,261,248 − 128,256 · 4,096 parameters of 2 bytes.
        assert_eq!(model.step_bytes(1), 2.0 * 7_504_924_672.0);
        assert_eq!(model.step_bytes(256), model.step_bytes(1));
        // 8 heads of 128, keys and values of 2 bytes: 128 KiB a position over all 32 layers.
        assert_eq!(model.kv_bytes * 32.0, 131_072.0);
        assert_eq!(model.compute.as_deref(), Ok("bf16"));
        let small = Model::of_config(&llama(), &info(true, "bfloat16", json!({"kv_cache_dtype": "fp8_e5m2"}))).unwrap();
        assert_eq!(small.kv_bytes, model.kv_bytes / 2.0);
    }

    #[test]
    fn quantised_weights_have_their_bytes() {
        let with = |quantization: Value| {
            let mut config = llama();
            config["quantization_config"] = quantization;
            Model::of_config(&config, &info(true, "bfloat16", json!({})))
        };
        let counts = config::shape(&llama()).unwrap().counts();
        let (dense, head) = (counts.dense as f64, counts.head as f64 * 2.0);
        let awq = with(json!({"quant_method": "awq", "bits": 4, "group_size": 128})).unwrap();
        assert!((awq.dense_bytes - (dense * (0.5 + 2.5 / 128.0) + head)).abs() < 1.0);
        assert_eq!(awq.compute.as_deref(), Ok("bf16"));
        let fp8 = with(json!({"quant_method": "fp8"})).unwrap();
        assert_eq!((fp8.dense_bytes, fp8.compute.as_deref()), (dense + head, Ok("fp8_e4m3")));
        assert!(with(json!({"quant_method": "hqq"})).unwrap_err().contains("'hqq' is not known"));
        // What the engine makes of plain weights.
        let online = Model::of_config(&llama(), &info(true, "bfloat16", json!({"quantization": "fp8"}))).unwrap();
        assert_eq!(online.dense_bytes, dense + head);
    }

    #[test]
    fn a_processor_has_a_ceiling_in_f32_alone() {
        let model = |weights| Model::of_config(&llama(), &info(false, weights, json!({}))).unwrap();
        assert_eq!(model("float32").compute.as_deref(), Ok("f32"));
        assert!(model("bfloat16").compute.unwrap_err().contains("multiplied as bf16"));
        assert_eq!(compute_of_file("all F32").as_deref(), Ok("f32"));
        assert_eq!(compute_of_file("F16").as_deref(), Ok("f16"));
        assert!(compute_of_file("Q4_1").unwrap_err().contains("small integers"));
    }

    #[test]
    fn cache_types_have_their_bytes() {
        for (name, bytes) in
            [("f16", 2.0), ("bf16", 2.0), ("f32", 4.0), ("q8_0", 1.0625), ("q4_0", 0.5625), ("fp8", 1.0)]
        {
            assert_eq!(cache_bytes(name), Ok(bytes), "{name}");
        }
        assert!(cache_bytes("int3").unwrap_err().contains("int3"));
    }
}
