//! A model's `config.json`, as the Hugging Face hub has them: the figures that decide which tensors there are.
use serde_json::{Map, Value};

use super::{Dtype, ModelError};

/// The largest dimension believed: a vocabulary of a million is far beyond any model's.
const MAX_DIM: u64 = 1 << 21;
const MAX_LAYERS: u64 = 1024;

/// Architectures whose tensors are known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// `LlamaForCausalLM`.
    Llama,
    /// `Qwen2ForCausalLM`: as Llama, with biases on the queries, keys and values.
    Qwen2,
    /// `OPTForCausalLM`.
    Opt,
    /// `GptOssForCausalLM`: experts in MXFP4.
    GptOss,
}

/// Figures of a model. Lengths are in elements; every one is at least 1 and was checked against a bound.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Which tensors there are.
    pub family: Family,
    /// Width of the residual stream.
    pub hidden: u64,
    /// Transformer blocks.
    pub layers: u64,
    /// Query heads.
    pub heads: u64,
    /// Key and value heads.
    pub kv_heads: u64,
    /// Width of a head.
    pub head_dim: u64,
    /// Width of the feed-forward layer, of one expert where there are several.
    pub intermediate: u64,
    /// Rows of the embedding.
    pub vocab: u64,
    /// Longest sequence, in tokens.
    pub max_positions: u64,
    /// Experts of a block; 0 when it has none.
    pub experts: u64,
    /// Whether the output layer is the embedding.
    pub tied: bool,
    /// How the weights are stored.
    pub dtype: Dtype,
    raw: Map<String, Value>,
}

impl Config {
    /// Reads `config.json`.
    ///
    /// # Errors
    /// [`ModelError::Unsupported`] naming the key that is missing, out of range or of an unknown architecture.
    pub fn parse(text: &str) -> Result<Self, ModelError> {
        let raw: Map<String, Value> = serde_json::from_str(text)
            .map_err(|error| ModelError::Unsupported(format!("config.json is not readable: {error}")))?;
        let model_type = raw.get("model_type").and_then(Value::as_str).unwrap_or("none");
        let family = match model_type {
            "llama" => Family::Llama,
            "qwen2" => Family::Qwen2,
            "opt" => Family::Opt,
            "gpt_oss" => Family::GptOss,
            other => {
                return Err(ModelError::Unsupported(format!(
                    "config.json: expected the model_type llama, qwen2, opt or gpt_oss, found {other}"
                )));
            }
        };
        let keys = Keys(&raw);
        let hidden = keys.number("hidden_size", MAX_DIM)?;
        let heads = keys.number("num_attention_heads", MAX_DIM)?;
        let dtype = ["torch_dtype", "dtype"].iter().find_map(|key| raw.get(*key)).and_then(Value::as_str);
        let config = Self {
            hidden,
            heads,
            layers: keys.number("num_hidden_layers", MAX_LAYERS)?,
            kv_heads: keys.number_or("num_key_value_heads", MAX_DIM, heads)?,
            head_dim: keys.number_or("head_dim", MAX_DIM, hidden / heads)?,
            intermediate: keys.number(if family == Family::Opt { "ffn_dim" } else { "intermediate_size" }, MAX_DIM)?,
            vocab: keys.number("vocab_size", MAX_DIM)?,
            max_positions: keys.number("max_position_embeddings", 1 << 30)?,
            experts: if family == Family::GptOss { keys.number("num_local_experts", 4096)? } else { 0 },
            tied: raw.get("tie_word_embeddings").and_then(Value::as_bool).unwrap_or(family == Family::Opt),
            dtype: Dtype::parse(dtype.unwrap_or("float32"))?,
            family,
            raw,
        };
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ModelError> {
        let refuse = |why: String| Err(ModelError::Unsupported(format!("config.json: {why}")));
        if !self.heads.is_multiple_of(self.kv_heads) {
            return refuse(format!(
                "num_attention_heads ({}) is no multiple of num_key_value_heads ({})",
                self.heads, self.kv_heads
            ));
        }
        if self.head_dim == 0 || !self.head_dim.is_multiple_of(2) {
            return refuse(format!("expected an even head_dim, found {}", self.head_dim));
        }
        let projected = self.raw.get("word_embed_proj_dim").and_then(Value::as_u64).unwrap_or(self.hidden);
        let plain = |key: &str| self.raw.get(key).and_then(Value::as_bool).unwrap_or(true);
        if self.family == Family::Opt
            && (projected != self.hidden || !plain("do_layer_norm_before") || !plain("enable_bias"))
        {
            return refuse(
                "OPT with projected embeddings, with norms after the layers or without biases is not known here".into(),
            );
        }
        if matches!(self.family, Family::Llama) && ["attention_bias", "mlp_bias"].iter().any(|key| self.flag(key)) {
            return refuse("Llama with biases is not known here".into());
        }
        if self.family == Family::GptOss && (!self.hidden.is_multiple_of(32) || !self.intermediate.is_multiple_of(32)) {
            return refuse("MXFP4 needs hidden_size and intermediate_size to be multiples of 32".into());
        }
        Ok(())
    }

    fn flag(&self, key: &str) -> bool {
        self.raw.get(key).and_then(Value::as_bool).unwrap_or(false)
    }

    /// A number by its key, such as `rope_theta`.
    ///
    /// # Errors
    /// [`ModelError::Unsupported`] when it is missing.
    pub fn float(&self, key: &str) -> Result<f64, ModelError> {
        self.raw.get(key).and_then(Value::as_f64).ok_or_else(|| missing(key, self.raw.get(key)))
    }

    /// A whole number by its key, at least 1.
    ///
    /// # Errors
    /// [`ModelError::Unsupported`] when it is missing or too large for a dimension.
    pub fn whole(&self, key: &str) -> Result<u64, ModelError> {
        Keys(&self.raw).number(key, MAX_DIM)
    }

    /// The table `rope_scaling`, when there is one.
    pub fn rope_scaling(&self) -> Option<&Map<String, Value>> {
        self.raw.get("rope_scaling").and_then(Value::as_object)
    }
}

struct Keys<'a>(&'a Map<String, Value>);

impl Keys<'_> {
    fn number(&self, key: &str, most: u64) -> Result<u64, ModelError> {
        let found = self.0.get(key);
        let number = found.and_then(Value::as_u64).ok_or_else(|| missing(key, found))?;
        if number == 0 || number > most {
            return Err(ModelError::Unsupported(format!(
                "config.json: expected {key} from 1 to {most}, found {number}"
            )));
        }
        Ok(number)
    }

    fn number_or(&self, key: &str, most: u64, otherwise: u64) -> Result<u64, ModelError> {
        match self.0.get(key) {
            None | Some(Value::Null) => Ok(otherwise),
            Some(_) => self.number(key, most),
        }
    }
}

fn missing(key: &str, found: Option<&Value>) -> ModelError {
    let found = found.map_or_else(|| "none".to_owned(), Value::to_string);
    ModelError::Unsupported(format!("config.json: expected a number for {key}, found {found}"))
}
