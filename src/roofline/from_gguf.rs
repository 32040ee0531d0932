//! A model's shape and the bytes of its weights from a GGUF header.
use serde_json::Value;

use super::shape::{Mlp, ModelShape, Small};
use crate::gguf::Header;

/// What the header says.
#[derive(Debug)]
pub(super) struct FromGguf {
    pub shape: ModelShape,
    /// Bytes read for every token of a step: all but experts and what is looked up.
    pub dense_bytes: f64,
    /// Bytes of all experts of all layers.
    pub expert_bytes: f64,
    /// Parameters by the tensors' table.
    pub n_params: u64,
}

/// Reads shape and bytes. Bytes are exact but for padding of at most 31 a tensor.
///
/// # Errors
/// A sentence for a person: a key that is missing, or layers that differ.
pub(super) fn read(header: &Header) -> Result<FromGguf, String> {
    let architecture = header.metadata.get("general.architecture").and_then(Value::as_str);
    let architecture = architecture.ok_or("its metadata has no general.architecture")?;
    let value = |name: &str| header.metadata.get(&format!("{architecture}.{name}"));
    let maybe = |name: &str| -> Result<Option<u64>, String> {
        match value(name) {
            // Some models have a number a layer.
            Some(Value::Array(all)) if all.windows(2).all(|pair| pair[0] == pair[1]) => {
                Ok(all.first().and_then(Value::as_u64))
            }
            Some(Value::Array(_)) => Err(format!("its layers differ in {architecture}.{name}, which is not supported")),
            value => Ok(value.and_then(Value::as_u64)),
        }
    };
    let need = |name: &str| -> Result<u64, String> {
        maybe(name)?.filter(|value| *value > 0).ok_or_else(|| format!("its metadata has no {architecture}.{name}"))
    };
    let tensor = |name: &str| header.tensors.iter().find(|tensor| tensor.name == name);
    let (hidden, heads, layers) = (need("embedding_length")?, need("attention.head_count")?, need("block_count")?);
    let embedding = tensor("token_embd.weight").ok_or("it has no tensor token_embd.weight")?;
    let tied = tensor("output.weight").is_none();
    let gated = header.tensors.iter().any(|tensor| tensor.name.contains("ffn_gate"));
    let matrices = if gated { 3 } else { 2 };
    let mlp = match maybe("expert_count")?.filter(|experts| *experts > 0) {
        Some(experts) => Mlp::Experts {
            experts,
            active: need("expert_used_count")?,
            intermediate: match maybe("expert_feed_forward_length")? {
                Some(width) => width,
                None => need("feed_forward_length")?,
            },
            matrices,
        },
        None => Mlp::Dense { intermediate: need("feed_forward_length")?, matrices },
    };
    let window = maybe("attention.sliding_window")?.filter(|window| *window > 0);
    // As llama.cpp does: gpt-oss alternates, beginning with a window.
    let windowed = |layer: u64| architecture != "gpt-oss" || layer.is_multiple_of(2);
    let shape = ModelShape {
        layers,
        hidden,
        heads,
        kv_heads: maybe("attention.head_count_kv")?.unwrap_or(heads),
        head_dim: maybe("attention.key_length")?.unwrap_or(hidden / heads),
        vocab: embedding.dims.get(1).copied().unwrap_or(0),
        tied,
        mlp,
        small: Small::default(),
        windows: (0..layers).map(|layer| window.filter(|_| windowed(layer))).collect(),
    };
    let (mut dense, mut experts, mut n_params) = (0, 0, 0_u64);
    for (tensor, bytes) in header.tensors.iter().zip(header.spans()) {
        n_params = n_params.saturating_add(tensor.elements().unwrap_or(0));
        let looked_up = tensor.name.starts_with("token_embd") && !tied || tensor.name.starts_with("position_embd");
        if tensor.name.contains("_exps.") {
            experts += bytes;
        } else if !looked_up {
            dense += bytes;
        }
    }
    Ok(FromGguf { shape, dense_bytes: dense as f64, expert_bytes: experts as f64, n_params })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::{
        Keep,
        testing::{file, text},
    };

    fn number(value: u32) -> Vec<u8> {
        value.to_le_bytes().to_vec()
    }

    fn header(metadata: &[(&str, u32, Vec<u8>)], tensors: &[(&str, &[u64], u64)]) -> Header {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.gguf");
        std::fs::write(&path, file(metadata, tensors)).unwrap();
        Header::read(&path, Keep::Short).unwrap()
    }

    fn metadata() -> Vec<(&'static str, u32, Vec<u8>)> {
        vec![
            ("general.architecture", 8, text("llama")),
            ("llama.block_count", 4, number(2)),
            ("llama.embedding_length", 4, number(64)),
            ("llama.feed_forward_length", 4, number(96)),
            ("llama.attention.head_count", 4, number(4)),
            ("llama.attention.head_count_kv", 4, number(2)),
        ]
    }

    #[test]
    fn bytes_are_those_of_the_file() {
        let tensors: [(&str, &[u64], u64); 4] = [
            ("token_embd.weight", &[64, 100], 3600),
            ("blk.0.ffn_gate.weight", &[64, 96], 3456),
            ("blk.0.attn_norm.weight", &[64], 256),
            ("output.weight", &[64, 100], 6400),
        ];
        let found = read(&header(&metadata(), &tensors)).unwrap();
        assert_eq!((found.dense_bytes, found.expert_bytes), (3456.0 + 256.0 + 6400.0, 0.0));
        assert_eq!(found.n_params, 6400 * 2 + 6144 + 64);
        assert_eq!(
            (found.shape.kv_heads, found.shape.head_dim, found.shape.vocab, found.shape.tied),
            (2, 16, 100, false)
        );
        assert_eq!(found.shape.mlp, Mlp::Dense { intermediate: 96, matrices: 3 });
        // Tied, the embedding is read in whole as the output projection.
        let tied = read(&header(&metadata(), &tensors[..3])).unwrap();
        assert!(tied.shape.tied && tied.dense_bytes == 3616.0 + 3456.0 + 256.0, "{tied:?}");
    }

    #[test]
    fn experts_are_told_apart() {
        let mut metadata = metadata();
        metadata.push(("llama.expert_count", 4, number(8)));
        metadata.push(("llama.expert_used_count", 4, number(2)));
        let tensors: [(&str, &[u64], u64); 3] = [
            ("token_embd.weight", &[64, 100], 3200),
            ("blk.0.ffn_gate_inp.weight", &[64, 8], 2048),
            ("blk.0.ffn_up_exps.weight", &[64, 96, 8], 32000),
        ];
        let found = read(&header(&metadata, &tensors)).unwrap();
        assert_eq!((found.dense_bytes, found.expert_bytes), (3200.0 + 2048.0, 32000.0));
        assert_eq!(found.shape.mlp, Mlp::Experts { experts: 8, active: 2, intermediate: 96, matrices: 3 });
    }

    #[test]
    fn what_is_missing_is_named() {
        let mut metadata = metadata();
        metadata.remove(1);
        let error = read(&header(&metadata, &[("token_embd.weight", &[64, 100], 32)])).unwrap_err();
        assert_eq!(error, "its metadata has no llama.block_count");
    }
}
