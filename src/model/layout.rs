//! Which tensors a model of some figures has, by the names of the Hugging Face hub.
use super::{Config, Dtype, Family, Init, ModelError};

/// A tensor to make or to expect.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorSpec {
    /// Its name, such as `model.layers.0.self_attn.q_proj.weight`.
    pub name: String,
    /// Elements along each dimension, the slowest first; the product fits into a `usize`.
    pub shape: Vec<usize>,
    /// How it is stored.
    pub dtype: Dtype,
    /// What is in it when nobody trained it.
    pub init: Init,
}

impl TensorSpec {
    /// Its length.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Its length in bytes.
    pub fn bytes(&self) -> usize {
        self.elements() * self.dtype.bytes()
    }
}

struct List {
    dtype: Dtype,
    tensors: Vec<TensorSpec>,
    overflow: Option<String>,
}

impl List {
    fn push(&mut self, name: String, shape: &[u64], dtype: Dtype, init: Init) {
        // In bytes, and with room for a sum over a model's tensors.
        let bytes = shape.iter().try_fold(dtype.bytes() as u64, |product, length| product.checked_mul(*length));
        if bytes.is_none_or(|bytes| bytes > 1 << 44) {
            self.overflow.get_or_insert_with(|| name.clone());
            return;
        }
        let shape = shape.iter().map(|length| *length as usize).collect();
        self.tensors.push(TensorSpec { name, shape, dtype, init });
    }

    fn matrix(&mut self, name: impl Into<String>, rows: u64, columns: u64) {
        self.push(name.into(), &[rows, columns], self.dtype, Init::Uniform);
    }

    fn vector(&mut self, name: impl Into<String>, length: u64, init: Init) {
        self.push(name.into(), &[length], self.dtype, init);
    }

    /// A linear layer with a bias.
    fn biased(&mut self, name: &str, rows: u64, columns: u64) {
        self.matrix(format!("{name}.weight"), rows, columns);
        self.vector(format!("{name}.bias"), rows, Init::Zeros);
    }

    fn layer_norm(&mut self, name: &str, length: u64) {
        self.vector(format!("{name}.weight"), length, Init::Ones);
        self.vector(format!("{name}.bias"), length, Init::Zeros);
    }
}

/// The tensors of a model, all in `dtype` but those of a packed format.
///
/// # Errors
/// [`ModelError::Unsupported`] when one would not fit into any memory.
pub fn tensors(config: &Config, dtype: Dtype) -> Result<Vec<TensorSpec>, ModelError> {
    let mut list = List { dtype, tensors: Vec::new(), overflow: None };
    match config.family {
        Family::Opt => opt(config, &mut list),
        Family::Llama | Family::Qwen2 | Family::GptOss => llama_like(config, &mut list),
    }
    match list.overflow {
        Some(name) => Err(ModelError::Unsupported(format!("config.json: the tensor {name} would be over 16 TiB"))),
        None => Ok(list.tensors),
    }
}

fn llama_like(config: &Config, list: &mut List) {
    let Config { hidden, heads, kv_heads, head_dim, intermediate, vocab, .. } = *config;
    list.matrix("model.embed_tokens.weight", vocab, hidden);
    for layer in 0..config.layers {
        let name = |part: &str| format!("model.layers.{layer}.{part}");
        list.vector(name("input_layernorm.weight"), hidden, Init::Ones);
        let projections =
            [("q_proj", heads * head_dim), ("k_proj", kv_heads * head_dim), ("v_proj", kv_heads * head_dim)];
        for (part, rows) in projections {
            list.matrix(name(&format!("self_attn.{part}.weight")), rows, hidden);
            if config.family != Family::Llama {
                list.vector(name(&format!("self_attn.{part}.bias")), rows, Init::Zeros);
            }
        }
        list.matrix(name("self_attn.o_proj.weight"), hidden, heads * head_dim);
        list.vector(name("post_attention_layernorm.weight"), hidden, Init::Ones);
        if config.family == Family::GptOss {
            list.vector(name("self_attn.o_proj.bias"), hidden, Init::Zeros);
            list.vector(name("self_attn.sinks"), heads, Init::Zeros);
            list.biased(&name("mlp.router"), config.experts, hidden);
            experts(config, layer, list);
        } else {
            list.matrix(name("mlp.gate_proj.weight"), intermediate, hidden);
            list.matrix(name("mlp.up_proj.weight"), intermediate, hidden);
            list.matrix(name("mlp.down_proj.weight"), hidden, intermediate);
        }
    }
    list.vector("model.norm.weight", hidden, Init::Ones);
    if !config.tied {
        list.matrix("lm_head.weight", vocab, hidden);
    }
}

/// MXFP4: blocks of 32 elements are 16 bytes of two each, with a byte of exponent of their own.
fn experts(config: &Config, layer: u64, list: &mut List) {
    let Config { hidden, intermediate, experts, .. } = *config;
    for (part, rows, columns) in [("gate_up_proj", 2 * intermediate, hidden), ("down_proj", hidden, intermediate)] {
        let name = |kind: &str| format!("model.layers.{layer}.mlp.experts.{part}_{kind}");
        list.push(name("blocks"), &[experts, rows, columns / 32, 16], Dtype::U8, Init::Bytes);
        list.push(name("scales"), &[experts, rows, columns / 32], Dtype::U8, Init::Scale);
        list.push(name("bias"), &[experts, rows], list.dtype, Init::Zeros);
    }
}

fn opt(config: &Config, list: &mut List) {
    let hidden = config.hidden;
    list.matrix("model.decoder.embed_tokens.weight", config.vocab, hidden);
    // OPT's positions start at 2.
    list.matrix("model.decoder.embed_positions.weight", config.max_positions + 2, hidden);
    for layer in 0..config.layers {
        let name = |part: &str| format!("model.decoder.layers.{layer}.{part}");
        for part in ["k_proj", "v_proj", "q_proj", "out_proj"] {
            list.biased(&name(&format!("self_attn.{part}")), hidden, hidden);
        }
        list.layer_norm(&name("self_attn_layer_norm"), hidden);
        list.biased(&name("fc1"), config.intermediate, hidden);
        list.biased(&name("fc2"), hidden, config.intermediate);
        list.layer_norm(&name("final_layer_norm"), hidden);
    }
    list.layer_norm("model.decoder.final_layer_norm", hidden);
    if !config.tied {
        list.matrix("lm_head.weight", config.vocab, hidden);
    }
}
