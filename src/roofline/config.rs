//! A model's shape from the `config.json` of a Hugging Face folder.
use serde_json::Value;

use super::shape::{Mlp, ModelShape, Small};

const KNOWN: &str = "llama, mistral, qwen2, qwen3, mixtral, qwen3_moe, gpt_oss, opt";

/// Reads a shape. Defaults are those of the model's own configuration class in `transformers`.
///
/// # Errors
/// A sentence for a person: a model type that is not known here, a field that is missing or not supported.
pub(super) fn shape(config: &Value) -> Result<ModelShape, String> {
    let kind = text(config, "model_type").ok_or("its config.json has no model_type")?;
    let read = Reader { config, kind };
    match kind {
        "opt" => read.opt(),
        "llama" | "mistral" | "qwen2" | "qwen3" | "mixtral" | "qwen3_moe" | "gpt_oss" => read.llama_like(),
        _ => Err(format!("the shape of model type '{kind}' is not known; known are {KNOWN}")),
    }
}

pub(super) fn text<'a>(config: &'a Value, name: &str) -> Option<&'a str> {
    config.get(name)?.as_str()
}

struct Reader<'a> {
    config: &'a Value,
    kind: &'a str,
}

impl Reader<'_> {
    fn maybe(&self, name: &str) -> Option<u64> {
        self.config.get(name)?.as_u64()
    }

    fn need(&self, name: &str) -> Result<u64, String> {
        let found = self.maybe(name).filter(|value| *value > 0);
        found.ok_or_else(|| format!("its config.json ({}) has no whole number above 0 for {name}", self.kind))
    }

    fn flag(&self, name: &str, default: bool) -> bool {
        self.config.get(name).and_then(Value::as_bool).unwrap_or(default)
    }

    fn llama_like(&self) -> Result<ModelShape, String> {
        let (hidden, heads) = (self.need("hidden_size")?, self.need("num_attention_heads")?);
        let layers = self.need("num_hidden_layers")?;
        let bias = self.flag("attention_bias", self.kind == "gpt_oss");
        let small = Small {
            qkv_bias: bias || self.kind == "qwen2",
            out_bias: bias,
            mlp_bias: self.flag("mlp_bias", self.kind == "gpt_oss"),
            head_norms: self.kind.starts_with("qwen3"),
            sinks: self.kind == "gpt_oss",
            ..Small::default()
        };
        Ok(ModelShape {
            layers,
            hidden,
            heads,
            kv_heads: self.maybe("num_key_value_heads").unwrap_or(heads),
            head_dim: self.maybe("head_dim").unwrap_or(hidden / heads),
            vocab: self.need("vocab_size")?,
            tied: self.flag("tie_word_embeddings", false),
            mlp: self.mlp()?,
            small,
            windows: self.windows(layers),
        })
    }

    fn mlp(&self) -> Result<Mlp, String> {
        let matrices = 3;
        let intermediate = self.need("intermediate_size");
        match self.kind {
            "mixtral" | "gpt_oss" => Ok(Mlp::Experts {
                experts: self.need("num_local_experts")?,
                active: self
                    .need("num_experts_per_tok")
                    .or_else(|error| self.need("experts_per_token").map_err(|_| error))?,
                intermediate: intermediate?,
                matrices,
            }),
            "qwen3_moe" => {
                let dense_layers = self.config.get("mlp_only_layers").and_then(Value::as_array).map_or(0, Vec::len);
                if dense_layers > 0 || self.maybe("decoder_sparse_step").is_some_and(|step| step != 1) {
                    return Err("a mixture of experts in some layers only is not supported".to_owned());
                }
                Ok(Mlp::Experts {
                    experts: self.need("num_experts")?,
                    active: self.need("num_experts_per_tok")?,
                    intermediate: self.need("moe_intermediate_size")?,
                    matrices,
                })
            }
            _ => Ok(Mlp::Dense { intermediate: intermediate?, matrices }),
        }
    }

    fn windows(&self, layers: u64) -> Vec<Option<u64>> {
        let window = self.maybe("sliding_window");
        if let Some(kinds) = self.config.get("layer_types").and_then(Value::as_array) {
            return kinds.iter().map(|kind| window.filter(|_| kind.as_str() == Some("sliding_attention"))).collect();
        }
        let full_until = match self.kind {
            // gpt_oss alternates, beginning with a window.
            "gpt_oss" => return (0..layers).map(|layer| window.filter(|_| layer % 2 == 0)).collect(),
            "qwen2" | "qwen3" | "qwen3_moe" if !self.flag("use_sliding_window", false) => layers,
            "qwen2" | "qwen3" | "qwen3_moe" => self.maybe("max_window_layers").unwrap_or(layers),
            _ => 0,
        };
        (0..layers).map(|layer| window.filter(|_| layer >= full_until)).collect()
    }

    fn opt(&self) -> Result<ModelShape, String> {
        let (hidden, heads) = (self.need("hidden_size")?, self.need("num_attention_heads")?);
        if self.maybe("word_embed_proj_dim").is_some_and(|width| width != hidden) {
            return Err("an OPT model whose embeddings have a width of their own is not supported".to_owned());
        }
        let layers = self.need("num_hidden_layers")?;
        let bias = self.flag("enable_bias", true);
        Ok(ModelShape {
            layers,
            hidden,
            heads,
            kv_heads: heads,
            head_dim: hidden / heads,
            vocab: self.need("vocab_size")?,
            tied: self.flag("tie_word_embeddings", true),
            mlp: Mlp::Dense { intermediate: self.need("ffn_dim")?, matrices: 2 },
            small: Small {
                qkv_bias: bias,
                out_bias: bias,
                mlp_bias: bias,
                norm_bias: true,
                // OPT's positions begin at 2.
                positions: self.need("max_position_embeddings")? + 2,
                ..Small::default()
            },
            windows: vec![None; layers as usize],
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Parameters as the models' publishers count them (the sum over the tensors of their safetensors files).
    #[test]
    fn parameters_are_as_published() {
        let llama = json!({"model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32,
            "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 128256, "tie_word_embeddings": false});
        let opt = json!({"model_type": "opt", "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
            "ffn_dim": 3072, "word_embed_proj_dim": 768, "vocab_size": 50272, "max_position_embeddings": 2048});
        let qwen = json!({"model_type": "qwen2", "hidden_size": 2048, "num_hidden_layers": 36, "num_attention_heads": 16,
            "num_key_value_heads": 2, "intermediate_size": 11008, "vocab_size": 151936, "tie_word_embeddings": true,
            "sliding_window": 32768, "use_sliding_window": false, "max_window_layers": 70});
        let mistral = json!({"model_type": "mistral", "hidden_size": 4096, "num_hidden_layers": 32,
            "num_attention_heads": 32, "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 32000,
            "sliding_window": 4096});
        let smollm = json!({"model_type": "llama", "hidden_size": 576, "num_hidden_layers": 30, "num_attention_heads": 9,
            "num_key_value_heads": 3, "intermediate_size": 1536, "vocab_size": 49152, "tie_word_embeddings": true});
        let mixtral = json!({"model_type": "mixtral", "hidden_size": 4096, "num_hidden_layers": 32,
            "num_attention_heads": 32, "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 32000,
            "num_local_experts": 8, "num_experts_per_tok": 2, "sliding_window": null});
        let qwen3 = json!({"model_type": "qwen3", "hidden_size": 1024, "num_hidden_layers": 28, "num_attention_heads": 16,
            "num_key_value_heads": 8, "head_dim": 128, "intermediate_size": 3072, "vocab_size": 151936,
            "tie_word_embeddings": true});
        let qwen3_moe = json!({"model_type": "qwen3_moe", "hidden_size": 2048, "num_hidden_layers": 48,
            "num_attention_heads": 32, "num_key_value_heads": 4, "head_dim": 128, "intermediate_size": 6144,
            "moe_intermediate_size": 768, "num_experts": 128, "num_experts_per_tok": 8, "vocab_size": 151936,
            "decoder_sparse_step": 1, "mlp_only_layers": []});
        for (config, total) in [
            (&llama, 8_030_261_248),
            (&opt, 125_239_296),
            (&qwen, 3_085_938_688),
            (&mistral, 7_241_732_096),
            (&smollm, 134_515_008),
            (&mixtral, 46_702_792_704_u64),
            (&qwen3, 596_049_920),
            (&qwen3_moe, 30_532_122_624),
        ] {
            assert_eq!(shape(config).unwrap().counts().total, total, "{config}");
        }
        assert!(shape(&qwen).unwrap().windows.iter().all(Option::is_none));
        assert!(shape(&mistral).unwrap().windows.iter().all(|window| *window == Some(4096)));
        // Qwen3-30B-A3B: "3.3B activated".
        let active = shape(&qwen3_moe).unwrap().counts().active as f64;
        assert!((3.0e9..3.4e9).contains(&active), "{active}");
    }

    #[test]
    fn gpt_oss_20b_has_its_parameters_active_ones_and_windows() {
        let config = json!({"model_type": "gpt_oss", "hidden_size": 2880, "num_hidden_layers": 24,
            "num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 64, "intermediate_size": 2880,
            "vocab_size": 201088, "num_local_experts": 32, "num_experts_per_tok": 4, "sliding_window": 128,
            "attention_bias": true, "tie_word_embeddings": false});
        let shape = shape(&config).unwrap();
        let counts = shape.counts();
        // OpenAI's model card: 20.9 billion in all, 3.61 billion active, the output projection among them.
        assert_eq!(counts.total, 20_914_757_184);
        assert_eq!((counts.active as f64 / 1e7).round() / 100.0, 3.61);
        assert_eq!(shape.windows.iter().filter(|window| **window == Some(128)).count(), 12);
    }

    #[test]
    fn what_is_not_known_is_named() {
        let error = |config| shape(&config).unwrap_err();
        assert!(error(json!({"model_type": "mamba"})).contains("'mamba' is not known; known are llama"));
        assert!(error(json!({"model_type": "llama"})).contains("hidden_size"));
        assert!(error(json!({})).contains("no model_type"));
    }
}
