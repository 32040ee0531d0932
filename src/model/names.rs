//! One tensor, two names: the hub's `model.layers.0.self_attn.q_proj.weight` is GGUF's `blk.0.attn_q.weight`.

/// Tensors outside of the layers: (hub, GGUF).
const OUTER: &[(&str, &str)] = &[
    ("model.embed_tokens.weight", "token_embd.weight"),
    ("model.norm.weight", "output_norm.weight"),
    ("lm_head.weight", "output.weight"),
];

/// Parts of a layer of Llama and Qwen2: (hub, GGUF).
const PARTS: &[(&str, &str)] = &[
    ("input_layernorm", "attn_norm"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("post_attention_layernorm", "ffn_norm"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
];

/// Parts that gpt-oss names otherwise, or alone has.
const GPT_OSS_PARTS: &[(&str, &str)] =
    &[("post_attention_layernorm", "post_attention_norm"), ("mlp.router", "ffn_gate_inp")];

/// GGUF's name of a tensor of Llama or Qwen2. None for one that is not known.
pub fn to_gguf(hub: &str) -> Option<String> {
    translate(hub, OUTER.iter().copied(), "model.layers.", "blk.", PARTS.iter().copied())
}

/// As [`to_gguf`], of gpt-oss; its experts are stored otherwise and have no counterpart.
pub fn gpt_oss_to_gguf(hub: &str) -> Option<String> {
    let parts = GPT_OSS_PARTS.iter().chain(PARTS).copied();
    let sinks = || Some(format!("blk.{}.attn_sinks.weight", layer_of(hub, "model.layers.", "self_attn.sinks")?));
    sinks().or_else(|| translate(hub, OUTER.iter().copied(), "model.layers.", "blk.", parts))
}

/// The hub's name of a tensor of Llama. None for one that is not known.
pub fn from_gguf(gguf: &str) -> Option<String> {
    let turned = |(hub, gguf): &(&'static str, &'static str)| (*gguf, *hub);
    translate(gguf, OUTER.iter().map(turned), "blk.", "model.layers.", PARTS.iter().map(turned))
}

fn translate<'a>(
    name: &str,
    outer: impl Iterator<Item = (&'a str, &'a str)>,
    prefix: &str,
    to_prefix: &str,
    mut parts: impl Iterator<Item = (&'a str, &'a str)>,
) -> Option<String> {
    if let Some((_, to)) = { outer }.find(|(from, _)| *from == name) {
        return Some(to.to_owned());
    }
    let (layer, rest) = name.strip_prefix(prefix)?.split_once('.')?;
    layer.parse::<u32>().ok()?;
    let (part, kind) = rest.rsplit_once('.')?;
    let (_, to) = parts.find(|(from, _)| *from == part)?;
    matches!(kind, "weight" | "bias").then(|| format!("{to_prefix}{layer}.{to}.{kind}"))
}

fn layer_of(name: &str, prefix: &str, rest: &str) -> Option<u32> {
    let (layer, found) = name.strip_prefix(prefix)?.split_once('.')?;
    if found == rest { layer.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_there_and_back() {
        for (hub, gguf) in [
            ("model.embed_tokens.weight", "token_embd.weight"),
            ("model.layers.11.self_attn.k_proj.weight", "blk.11.attn_k.weight"),
            ("model.layers.0.mlp.down_proj.weight", "blk.0.ffn_down.weight"),
        ] {
            assert_eq!(to_gguf(hub).as_deref(), Some(gguf));
            assert_eq!(from_gguf(gguf).as_deref(), Some(hub));
        }
        assert_eq!(to_gguf("model.layers.3.self_attn.v_proj.bias").as_deref(), Some("blk.3.attn_v.bias"));
        let gpt_oss = |hub| gpt_oss_to_gguf(hub).unwrap();
        assert_eq!(gpt_oss("model.layers.3.self_attn.sinks"), "blk.3.attn_sinks.weight");
        assert_eq!(gpt_oss("model.layers.3.post_attention_layernorm.weight"), "blk.3.post_attention_norm.weight");
        assert_eq!(gpt_oss("model.layers.3.mlp.router.bias"), "blk.3.ffn_gate_inp.bias");
        for unknown in ["rope_freqs.weight", "blk.x.attn_q.weight", "blk.0.attn_q", "blk.0.attn_q.scale", ""] {
            assert_eq!(from_gguf(unknown), None, "{unknown}");
        }
    }
}
