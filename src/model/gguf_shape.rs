//! A shape as llama.cpp wants it: GGUF's metadata and tensors for the figures of a `config.json`.
use super::{
    Config, Dtype, Family, Init, ModelError,
    gguf::{GgmlType, GgufSpec, GgufValue},
    layout, names,
};

/// A file to write, with what goes into each tensor.
pub struct GgufShape {
    /// The header's metadata.
    pub metadata: Vec<(String, GgufValue)>,
    /// The tensors, with what untrained ones hold.
    pub tensors: Vec<(GgufSpec, Init)>,
}

/// The file for a model of these figures, named `name`, with its matrices in `dtype`. It has no vocabulary: engines are
/// given token ids.
///
/// # Errors
/// [`ModelError::Unsupported`] for an architecture that llama.cpp does not run, or a figure that it needs and that is
/// missing.
pub fn shape(name: &str, config: &Config, dtype: Dtype) -> Result<GgufShape, ModelError> {
    let arch = match config.family {
        Family::Llama => "llama",
        Family::Qwen2 => "qwen2",
        Family::GptOss => "gpt-oss",
        Family::Opt => {
            return Err(ModelError::Unsupported(format!(
                "{name}: llama.cpp runs no OPT; make it with --format safetensors, for the other engines"
            )));
        }
    };
    Ok(GgufShape { metadata: metadata(name, arch, config, dtype)?, tensors: tensors(config, dtype)? })
}

fn metadata(name: &str, arch: &str, config: &Config, dtype: Dtype) -> Result<Vec<(String, GgufValue)>, ModelError> {
    // Every figure was checked against a bound far below 2^32.
    let number = |key: &str, value: u64| (format!("{arch}.{key}"), GgufValue::U32(value as u32));
    let float = |key: &str, value: f64| (format!("{arch}.{key}"), GgufValue::F32(value as f32));
    let text = |key: &str, value: &str| (key.to_owned(), GgufValue::Text(value.to_owned()));
    let file_type = match dtype {
        Dtype::F16 => 1,
        Dtype::Bf16 => 32,
        Dtype::F32 | Dtype::U8 => 0,
    };
    let file_type = if config.family == Family::GptOss { 38 } else { file_type };
    let mut metadata = vec![
        text("general.architecture", arch),
        text("general.name", &format!("{name}, random weights")),
        ("general.file_type".to_owned(), GgufValue::U32(file_type)),
        text("tokenizer.ggml.model", "no_vocab"),
        number("vocab_size", config.vocab),
        number("context_length", config.max_positions),
        number("embedding_length", config.hidden),
        number("block_count", config.layers),
        number("feed_forward_length", config.intermediate),
        number("attention.head_count", config.heads),
        number("attention.head_count_kv", config.kv_heads),
        number("attention.key_length", config.head_dim),
        number("attention.value_length", config.head_dim),
        number("rope.dimension_count", config.head_dim),
        float("attention.layer_norm_rms_epsilon", config.float("rms_norm_eps")?),
        float("rope.freq_base", config.float("rope_theta")?),
    ];
    if config.family == Family::GptOss {
        metadata.extend([
            number("expert_count", config.experts),
            number("expert_used_count", config.whole("num_experts_per_tok")?),
            number("expert_feed_forward_length", config.intermediate),
            number("attention.sliding_window", config.whole("sliding_window")?),
        ]);
    }
    if let Some(scaling) = config.rope_scaling() {
        let figure = |key: &str| {
            let found = scaling.get(key).and_then(serde_json::Value::as_f64);
            found.ok_or_else(|| ModelError::Unsupported(format!("config.json: rope_scaling has no {key}")))
        };
        let kind = scaling.get("rope_type").and_then(serde_json::Value::as_str).unwrap_or("none");
        if kind != "yarn" {
            return Err(ModelError::Unsupported(format!(
                "{name}: rope_scaling of the kind {kind} is not written to GGUF"
            )));
        }
        metadata.extend([
            (format!("{arch}.rope.scaling.type"), GgufValue::Text(kind.to_owned())),
            float("rope.scaling.factor", figure("factor")?),
            number("rope.scaling.original_context_length", figure("original_max_position_embeddings")? as u64),
        ]);
    }
    Ok(metadata)
}

fn tensors(config: &Config, dtype: Dtype) -> Result<Vec<(GgufSpec, Init)>, ModelError> {
    let matrix = match dtype {
        Dtype::F16 => GgmlType::F16,
        Dtype::Bf16 => GgmlType::Bf16,
        Dtype::F32 | Dtype::U8 => GgmlType::F32,
    };
    let gpt_oss = config.family == Family::GptOss;
    let translate = if gpt_oss { names::gpt_oss_to_gguf } else { names::to_gguf };
    let mut tensors = Vec::new();
    for tensor in layout::tensors(config, dtype)? {
        let Some(name) = translate(&tensor.name) else {
            if gpt_oss {
                continue; // Experts, below.
            }
            return Err(ModelError::Unsupported(format!("{} has no name in GGUF", tensor.name)));
        };
        let shape: Vec<u64> = tensor.shape.iter().map(|length| *length as u64).collect();
        // llama.cpp computes with norms, biases and routers in float32 alone.
        let plain = shape.len() == 1 || name.contains("ffn_gate_inp");
        let kind = if plain { GgmlType::F32 } else { matrix };
        tensors.push((GgufSpec { name, shape, kind }, tensor.init));
    }
    if gpt_oss {
        (0..config.layers).for_each(|layer| experts(config, layer, &mut tensors));
    }
    Ok(tensors)
}

/// The hub's fused and packed experts are three tensors of blocks in GGUF, with their biases in float32.
fn experts(config: &Config, layer: u64, into: &mut Vec<(GgufSpec, Init)>) {
    let Config { hidden, intermediate, experts, .. } = *config;
    for (part, rows, columns) in
        [("gate", intermediate, hidden), ("up", intermediate, hidden), ("down", hidden, intermediate)]
    {
        let name = |kind: &str| format!("blk.{layer}.ffn_{part}_exps.{kind}");
        let blocks = GgufSpec { name: name("weight"), shape: vec![experts, rows, columns], kind: GgmlType::Mxfp4 };
        let bias = GgufSpec { name: name("bias"), shape: vec![experts, rows], kind: GgmlType::F32 };
        into.extend([(blocks, Init::Blocks), (bias, Init::Zeros)]);
    }
}
