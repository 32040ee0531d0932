//! What a context says of itself in llama.cpp's log as it is made, where the C API has no getter: the types of its cache, whether it
//! uses flash attention, whether its sequences share one cache. The lines are llama.cpp's own words and change with its
//! versions: what is not found stays unknown.

/// What was said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    /// Type of the cached keys, by ggml's name.
    pub type_k: Option<String>,
    /// Type of the cached values.
    pub type_v: Option<String>,
    /// Whether attention is computed by the fused operation.
    pub flash_attn: Option<bool>,
    /// Whether all sequences share one cache.
    pub kv_unified: Option<bool>,
}

impl Told {
    /// From the lines of the making of one context.
    pub(crate) fn from_lines<'a>(lines: impl IntoIterator<Item = &'a str>) -> Self {
        let mut told = Self::default();
        for line in lines {
            // A model with two caches (sliding windows) tells of both, which are of the same types.
            if line.contains("size =") && line.contains(" cells") {
                told.type_k = between(line, "K (", ")").or(told.type_k);
                told.type_v = between(line, "V (", ")").or(told.type_v);
            }
            match setting(line, "flash_attn") {
                Some("enabled" | "1") => told.flash_attn = Some(true),
                Some("disabled" | "0") => told.flash_attn = Some(false),
                _ => {}
            }
            // Which `auto` came to be; it follows the setting.
            if line.contains("Flash Attention") && line.ends_with(" enabled") {
                told.flash_attn = Some(true);
            } else if line.contains("Flash Attention") && line.ends_with(" set to disabled") {
                told.flash_attn = Some(false);
            } else if line.contains("enabling flash_attn since") {
                told.flash_attn = Some(true);
            }
            if let Some(value) = setting(line, "kv_unified") {
                told.kv_unified = value.parse().ok();
            }
        }
        told
    }
}

/// The value of a line such as `llama_context: n_ctx = 512`.
fn setting<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let (left, value) = line.split_once('=')?;
    (left.trim().rsplit([' ', ':']).next() == Some(name)).then_some(value.trim())
}

fn between(line: &str, start: &str, end: &str) -> Option<String> {
    let (_, rest) = line.split_once(start)?;
    Some(rest.split_once(end)?.0.trim().to_owned()).filter(|found| !found.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_tells_what_it_was_made_with_and_what_auto_came_to_be() {
        let lines = [
            "llama_context: n_seq_max             = 4",
            "llama_context: flash_attn            = auto",
            "llama_context: kv_unified            = false",
            "llama_kv_cache:        CPU KV buffer size =    15.94 MiB",
            "llama_kv_cache: size =   15.94 MiB (   256 cells,  30 layers,  4/4 seqs), K (q8_0):    5.98 MiB, V (f16):    11.25 MiB",
            "resolve_fused_ops: Flash Attention enabled",
        ];
        let told = Told::from_lines(lines);
        assert_eq!((told.type_k.as_deref(), told.type_v.as_deref()), (Some("q8_0"), Some("f16")));
        assert_eq!((told.flash_attn, told.kv_unified), (Some(true), Some(false)));
        assert_eq!(Told::from_lines(lines[..3].iter().copied()).flash_attn, None, "auto alone says nothing");
    }

    #[test]
    fn other_versions_words_are_known_or_leave_it_unknown() {
        let flash = |line: &str| Told::from_lines([line]).flash_attn;
        assert_eq!(flash("llama_context: flash_attn    = disabled"), Some(false));
        assert_eq!(flash("llama_context: Flash Attention was auto, set to enabled"), Some(true));
        assert_eq!(flash("llama_context: Flash Attention was auto, set to disabled"), Some(false));
        assert_eq!(flash("resolve_fused_ops: Flash Attention not supported, set to disabled"), Some(false));
        assert_eq!(flash("layer 3 is assigned to device CUDA0 but Flash Attention is assigned to device CPU"), None);
        assert_eq!(Told::from_lines(["llama_kv_cache: size = 1 MiB (256 cells), no types here"]), Told::default());
    }
}
