//! The fields of a lock record: what they are, where engines in general tell them, and which of them forbid a ratio.

/// How a field's values are made comparable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// As they are.
    Plain,
    /// Names of number types: `bfloat16`, `BF16` and `torch.bfloat16` are one.
    Dtype,
}

/// A field.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// As it stands in `tacho.lock.json` and in `--allow-difference`.
    pub name: &'static str,
    /// What it is, with its unit.
    pub doc: &'static str,
    /// Why a ratio across a difference is refused; None when it is only listed.
    pub blocking: Option<&'static str>,
    /// Where every engine tells it, unless its `[lock]` table says otherwise: a path into what the engine says of itself.
    pub(super) common: Option<&'static str>,
    pub(super) kind: Kind,
}

impl Field {
    /// Whether every engine tells it in the same place.
    pub fn has_common(&self) -> bool {
        self.common.is_some()
    }
}

const fn listed(name: &'static str, doc: &'static str, common: Option<&'static str>) -> Field {
    Field { name, doc, blocking: None, common, kind: Kind::Plain }
}

const fn blocking(name: &'static str, doc: &'static str, common: Option<&'static str>, why: &'static str) -> Field {
    Field { name, doc, blocking: Some(why), common, kind: Kind::Plain }
}

const fn dtype(field: Field) -> Field {
    Field { kind: Kind::Dtype, ..field }
}

/// The field that says which weights were loaded.
pub(super) const MODEL_FAMILY: &str = "model_family";
/// The field that says how tokens were chosen.
pub(super) const SAMPLING: &str = "sampling";

/// The fields that mode `equal` sets: a ratio across them is refused where both engines were set and what they told is not the same.
pub const EQUAL: [&str; 3] = ["kv_tokens", "max_seqs", "max_batched_tokens"];

/// All fields, in the order of tables.
pub const FIELDS: &[Field] = &[
    blocking(
        "stand_in",
        "what stands in for an engine, or no",
        Some("double"),
        "a stand-in's figures say nothing of an engine's",
    ),
    blocking(
        MODEL_FAMILY,
        "digest of the weights; that of the agreed model where `tacho agree` found the same model in other files",
        None,
        "other files may be another model; `tacho agree` shows whether they are one",
    ),
    dtype(blocking(
        "weights_dtype",
        "type of the weights as computed with",
        Some("model.weights_dtype"),
        "another type is other arithmetic and other bytes read for every token",
    )),
    dtype(blocking(
        "quantisation",
        "how weights are quantised, or none",
        None,
        "quantised weights are other arithmetic and other bytes read for every token",
    )),
    dtype(blocking(
        "kv_dtype",
        "type of cached keys and values",
        None,
        "another type is other bytes read and another capacity",
    )),
    dtype(listed("logits_dtype", "type of the logits that tokens are chosen from", None)),
    blocking(SAMPLING, "how requests ask for tokens to be chosen", None, "other rules are other work for every token"),
    listed("sampler", "what chooses the tokens", None),
    blocking(
        "prefix_cache",
        "whether prompts are answered from earlier ones",
        None,
        "a cached prompt is work not done",
    ),
    blocking(
        "parallelism",
        "tensor-parallel × pipeline-parallel ways",
        Some("parallelism"),
        "other ways are another number of devices",
    ),
    blocking("device_kind", "cpu or gpu", Some("gpu_in_process"), "another kind of device is another machine"),
    listed("boundary", "where the engine's work runs", Some("boundary")),
    listed("scheduler", "who schedules", Some("scheduler")),
    listed("kv_tokens", "tokens that the KV cache holds", Some("kv_capacity_tokens")),
    listed("max_seqs", "the most sequences that run at once", Some("max_seqs")),
    listed("max_model_len", "the longest sequence, prompt plus output, in tokens", Some("max_model_len")),
    listed("max_batched_tokens", "the most tokens of a step", None),
    listed("chunked_prefill", "whether a prompt may be computed over several steps", None),
    listed("overlap", "whether a step is prepared while another runs", None),
    listed("graph_sizes", "batch sizes for which device graphs were captured", None),
    listed("compile_mode", "how the engine compiles or captures, in its own words", Some("compile_mode")),
    listed("attention_backend", "what computes attention", None),
    listed("threads", "threads that compute on the CPU", None),
];

/// A field by its name.
pub(super) fn field(name: &str) -> Option<&'static Field> {
    FIELDS.iter().find(|field| field.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_documented() {
        for (index, one) in FIELDS.iter().enumerate() {
            assert!(!one.doc.is_empty() && one.blocking.is_none_or(|why| !why.is_empty()), "{}", one.name);
            assert!(FIELDS[..index].iter().all(|other| other.name != one.name), "{}", one.name);
        }
        assert!([MODEL_FAMILY, SAMPLING].iter().chain(&EQUAL).all(|name| field(name).is_some()));
    }
}
