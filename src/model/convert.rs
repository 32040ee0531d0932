//! GGUF to a model folder of the Hugging Face kind, and to GGUF in another type: the same weights for every engine.
use std::{collections::HashMap, fs, path::Path};

use half::{bf16, f16};
use serde_json::{Map, Value, json};

use super::{
    Config, Dtype, Exporter, ModelError, Progress, Staged, export,
    export::GgufTensor,
    layout::{self, TensorSpec},
    names, safetensors, tokenizer, write_json,
};
use crate::cell::parent::CellProgram;

/// What came out of a conversion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Converted {
    /// How many tensors.
    pub tensors: usize,
    /// Why there is no tokenizer beside the weights; None when there is one.
    pub no_tokenizer: Option<String>,
}

/// Writes a model folder (`config.json`, `model.safetensors`, and the tokenizer where the file's is of a known kind) that
/// holds the weights of `input`, a GGUF file of the architecture `llama`, in `dtype`.
///
/// # Errors
/// [`ModelError::Unsupported`] for a file that is none, is cut short, or is of an architecture or with tensors that are
/// not known here; [`ModelError::Cell`] when llama.cpp's cell program cannot be used; [`ModelError::Storage`].
pub fn gguf_to_safetensors(
    program: &CellProgram,
    input: &Path,
    output: &Path,
    dtype: Dtype,
    progress: &dyn Progress,
) -> Result<Converted, ModelError> {
    let staged = Staged::folder(output)?;
    let file = Exporter::open(program, input)?;
    let named = |error: ModelError| match error {
        ModelError::Unsupported(why) => ModelError::Unsupported(format!("{}: {why}", input.display())),
        other => other,
    };
    let tied = !file.tensors.iter().any(|tensor| tensor.name == "output.weight");
    let json = config(&file.metadata, dtype, tied).map_err(named)?;
    let config = Config::parse(&json.to_string()).map_err(named)?;
    let tensors = layout::tensors(&config, dtype)?;
    let places = places(&tensors, &file.tensors).map_err(named)?;
    progress.begin(tensors.iter().map(|tensor| tensor.bytes() as u64).sum());
    let source = |tensor: &TensorSpec| {
        let mut values = file.read(places[tensor.name.as_str()])?;
        // GGUF keeps these rotated by pairs of neighbours, the hub by halves.
        if let Some(heads) = heads(&config, &tensor.name) {
            values = halves_from_pairs(&values, heads, tensor.shape[1]);
        }
        Ok(encode(&values, dtype))
    };
    safetensors::write(staged.path(), &tensors, &source, progress)?;
    write_json(&staged.path().join("config.json"), &json)?;
    let ids = tokenizer::special_ids(&file.metadata);
    write_json(&staged.path().join("generation_config.json"), &Value::Object(ids))?;
    let no_tokenizer = match tokenizer::from_gguf(&file.metadata) {
        Ok(files) => {
            write_json(&staged.path().join("tokenizer.json"), &files.tokenizer)?;
            write_json(&staged.path().join("tokenizer_config.json"), &files.config)?;
            None
        }
        Err(why) => Some(why),
    };
    staged.finish()?;
    Ok(Converted { tensors: tensors.len(), no_tokenizer })
}

/// Writes a GGUF file with the weights of another one in `dtype`, by llama.cpp's own quantizer.
///
/// # Errors
/// As [`gguf_to_safetensors`].
pub fn gguf_to_gguf(program: &CellProgram, input: &Path, output: &Path, dtype: Dtype) -> Result<(), ModelError> {
    let staged = Staged::new(output)?;
    export::requantize(program, input, staged.path(), dtype.short())?;
    if !fs::metadata(staged.path()).is_ok_and(|meta| meta.len() > 0) {
        return Err(ModelError::Cell("llama.cpp's cell program wrote nothing".into()));
    }
    staged.finish()
}

/// `config.json` from a GGUF file's metadata.
fn config(metadata: &Map<String, Value>, dtype: Dtype, tied: bool) -> Result<Value, ModelError> {
    let refuse = |why: String| Err(ModelError::Unsupported(why));
    let architecture = metadata.get("general.architecture").and_then(Value::as_str).unwrap_or("none");
    if architecture != "llama" {
        return refuse(format!("expected the architecture llama, found {architecture}: others are not converted"));
    }
    let get = |key: &str| metadata.get(&format!("llama.{key}"));
    let number = |key: &str| {
        let found = get(key).and_then(Value::as_u64);
        found.ok_or_else(|| ModelError::Unsupported(format!("expected a whole number for llama.{key}, found none")))
    };
    let float = |key: &str| get(key).and_then(Value::as_f64);
    if let Some(scaling) = get("rope.scaling.type").and_then(Value::as_str).filter(|kind| *kind != "none") {
        return refuse(format!("scaled rotary positions ({scaling}) are not converted"));
    }
    if get("expert_count").and_then(Value::as_u64).is_some_and(|experts| experts > 0) {
        return refuse("a mixture of experts is not converted".into());
    }
    let heads = number("attention.head_count")?;
    let hidden = number("embedding_length")?;
    let head_dim = match get("attention.key_length").and_then(Value::as_u64) {
        Some(length) => length,
        None => hidden.checked_div(heads).unwrap_or(0),
    };
    if let Some(rotated) = get("rope.dimension_count").and_then(Value::as_u64).filter(|rotated| *rotated != head_dim) {
        return refuse(format!("heads of {head_dim} of which {rotated} are rotated are not converted"));
    }
    let epsilon = float("attention.layer_norm_rms_epsilon");
    let vocab = metadata.get("tokenizer.ggml.tokens").and_then(Value::as_array).map(Vec::len);
    let mut config = json!({
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": hidden,
        "num_hidden_layers": number("block_count")?,
        "num_attention_heads": heads,
        "num_key_value_heads": get("attention.head_count_kv").and_then(Value::as_u64).unwrap_or(heads),
        "head_dim": head_dim,
        "intermediate_size": number("feed_forward_length")?,
        "vocab_size": vocab.map_or_else(|| number("vocab_size"), |vocab| Ok(vocab as u64))?,
        "max_position_embeddings": number("context_length")?,
        "rms_norm_eps": epsilon.ok_or_else(|| ModelError::Unsupported("the file names no epsilon for its norms".into()))?,
        "rope_theta": float("rope.freq_base").unwrap_or(10000.0),
        "hidden_act": "silu",
        "tie_word_embeddings": tied,
        "attention_bias": false,
        "mlp_bias": false,
        "torch_dtype": dtype.torch(),
    });
    if let Some(config) = config.as_object_mut() {
        config.extend(tokenizer::special_ids(metadata));
    }
    Ok(config)
}

/// Where in the file each tensor lies. The file's tensors must be exactly those that the figures call for.
fn places<'a>(expected: &'a [TensorSpec], found: &[GgufTensor]) -> Result<HashMap<&'a str, usize>, ModelError> {
    let refuse = |why: String| Err(ModelError::Unsupported(why));
    let mut by_name = HashMap::new();
    for (index, tensor) in found.iter().enumerate() {
        let Some(name) = names::from_gguf(&tensor.name) else {
            return refuse(format!("its tensor {} has no counterpart in the hub's Llama", tensor.name));
        };
        by_name.insert(name, index);
    }
    let mut places = HashMap::new();
    for tensor in expected {
        let Some(index) = by_name.remove(&tensor.name) else {
            return refuse(format!("expected a tensor for {}, found none", tensor.name));
        };
        let shape: Vec<u64> = found[index].dims.iter().rev().copied().collect();
        if !shape.iter().copied().eq(tensor.shape.iter().map(|length| *length as u64)) {
            return refuse(format!("{}: expected the shape {:?}, found {shape:?}", tensor.name, tensor.shape));
        }
        places.insert(tensor.name.as_str(), index);
    }
    match by_name.keys().next() {
        Some(name) => refuse(format!("its tensor for {name} is one that its figures do not call for")),
        None => Ok(places),
    }
}

/// How many heads the rows of a tensor are, when GGUF has them in another order.
fn heads(config: &Config, name: &str) -> Option<u64> {
    match name {
        name if name.ends_with("self_attn.q_proj.weight") => Some(config.heads),
        name if name.ends_with("self_attn.k_proj.weight") => Some(config.kv_heads),
        _ => None,
    }
}

/// Rows of each head from the order 0, n/2, 1, n/2 + 1, … to 0, 1, 2, …: the reverse of llama.cpp's `permute` in
/// `convert_hf_to_gguf.py`.
fn halves_from_pairs(values: &[f32], heads: u64, columns: usize) -> Vec<f32> {
    let rows = values.len() / columns;
    let head = rows / heads as usize;
    let row = |index: usize| {
        let (start, within) = (index - index % head, index % head);
        let from = start + 2 * (within % (head / 2)) + within / (head / 2);
        &values[from * columns..][..columns]
    };
    (0..rows).flat_map(row).copied().collect()
}

fn encode(values: &[f32], dtype: Dtype) -> Vec<u8> {
    match dtype {
        Dtype::F16 => values.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect(),
        Dtype::Bf16 => values.iter().flat_map(|value| bf16::from_f32(*value).to_le_bytes()).collect(),
        Dtype::F32 | Dtype::U8 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(changes: &[(&str, Value)]) -> Map<String, Value> {
        let base = json!({
            "general.architecture": "llama", "llama.embedding_length": 8, "llama.block_count": 1,
            "llama.attention.head_count": 2, "llama.attention.head_count_kv": 1, "llama.feed_forward_length": 16,
            "llama.context_length": 64, "llama.attention.layer_norm_rms_epsilon": 1e-5, "llama.vocab_size": 10,
            "tokenizer.ggml.eos_token_id": 2,
        });
        let mut map = base.as_object().unwrap().clone();
        map.extend(changes.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
        map
    }

    /// The file's tensors for the figures above.
    fn file() -> Vec<GgufTensor> {
        let config = Config::parse(&config(&metadata(&[]), Dtype::F32, true).unwrap().to_string()).unwrap();
        let turn = |tensor: TensorSpec| GgufTensor {
            name: names::to_gguf(&tensor.name).unwrap(),
            dims: tensor.shape.iter().rev().map(|length| *length as u64).collect(),
            kind: "f32".into(),
        };
        layout::tensors(&config, Dtype::F32).unwrap().into_iter().map(turn).collect()
    }

    #[test]
    fn rows_come_back_in_the_hubs_order() {
        // llama.cpp's permutation of one head of 6 rows: reshape to (2, 3), swap, so rows 0 3 1 4 2 5.
        let permuted: Vec<f32> =
            [0, 3, 1, 4, 2, 5].into_iter().flat_map(|row| [row as f32, row as f32 + 0.5]).collect();
        let both: Vec<f32> = permuted.iter().copied().chain(permuted.iter().map(|value| value + 6.0)).collect();
        let rows: Vec<f32> = halves_from_pairs(&both, 2, 2).chunks(2).map(|row| row[0]).collect();
        assert_eq!(rows, [0., 1., 2., 3., 4., 5., 6., 7., 8., 9., 10., 11.]);
    }

    #[test]
    fn figures_become_a_config() {
        let json = config(&metadata(&[]), Dtype::Bf16, true).unwrap();
        assert_eq!(
            (&json["head_dim"], &json["torch_dtype"], &json["eos_token_id"]),
            (&json!(4), &json!("bfloat16"), &json!(2))
        );
        assert_eq!(json["tie_word_embeddings"], json!(true));
        for (key, value, word) in [
            ("general.architecture", json!("mamba"), "found mamba"),
            ("llama.rope.scaling.type", json!("yarn"), "yarn"),
            ("llama.rope.dimension_count", json!(2), "2 are rotated"),
            ("llama.block_count", json!("many"), "llama.block_count"),
            ("llama.expert_count", json!(8), "experts"),
        ] {
            let error = config(&metadata(&[(key, value)]), Dtype::F32, true).unwrap_err();
            assert!(error.to_string().contains(word), "{error}");
        }
        for (key, value, word) in [
            ("llama.embedding_length", json!(u64::MAX), "hidden_size from 1 to"),
            ("llama.block_count", json!(0), "num_hidden_layers from 1"),
            ("llama.attention.head_count", json!(0), "num_attention_heads from 1"),
            ("llama.attention.head_count_kv", json!(3), "no multiple"),
        ] {
            let json = config(&metadata(&[(key, value)]), Dtype::F32, true).unwrap();
            let error = Config::parse(&json.to_string()).unwrap_err();
            assert!(error.to_string().contains(word), "{error}");
        }
    }

    #[test]
    fn a_file_must_hold_exactly_the_tensors_of_its_figures() {
        let config = Config::parse(&config(&metadata(&[]), Dtype::F32, true).unwrap().to_string()).unwrap();
        let expected = layout::tensors(&config, Dtype::F32).unwrap();
        assert_eq!(places(&expected, &file()).unwrap().len(), 11);
        let refused = |change: &dyn Fn(&mut Vec<GgufTensor>)| {
            let mut tensors = file();
            change(&mut tensors);
            places(&expected, &tensors).unwrap_err().to_string()
        };
        assert!(refused(&|tensors| tensors.truncate(10)).contains("found none"));
        assert!(refused(&|tensors| tensors[3].dims[1] = 5).contains("found [5, 8]"));
        assert!(refused(&|tensors| tensors[3].name = "rope_freqs.weight".into()).contains("rope_freqs"));
        let more = GgufTensor { name: "blk.0.attn_q.bias".into(), dims: vec![8], kind: "f32".into() };
        assert!(refused(&|tensors| tensors.push(more.clone())).contains("do not call for"));
    }
}
