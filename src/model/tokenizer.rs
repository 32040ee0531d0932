//! `tokenizer.json` and `tokenizer_config.json` from a GGUF file's vocabulary, for the kinds that can be told exactly.
use serde_json::{Map, Value, json};

/// ggml's numbers for what a token is.
const CONTROL: u64 = 3;
const USER_DEFINED: u64 = 4;

/// The two files.
pub struct TokenizerFiles {
    /// `tokenizer.json`, as the library `tokenizers` reads it.
    pub tokenizer: Value,
    /// `tokenizer_config.json`, as transformers reads it.
    pub config: Value,
}

/// The ids that a model's own configuration names: `bos_token_id`, `eos_token_id`, `pad_token_id`, as far as the file has
/// them.
pub fn special_ids(metadata: &Map<String, Value>) -> Map<String, Value> {
    let names = [("bos", "bos"), ("eos", "eos"), ("pad", "padding")];
    let id = |gguf: &str| metadata.get(&format!("tokenizer.ggml.{gguf}_token_id")).filter(|id| id.is_u64()).cloned();
    names.iter().filter_map(|(hub, gguf)| Some((format!("{hub}_token_id"), id(gguf)?))).collect()
}

/// How text is cut before byte pairs are merged, by GGUF's name for it. The list has what could be compared with the
/// original; another one would give other tokens without a word.
fn cutting(pre: &str) -> Option<Value> {
    let bytes = json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true });
    match pre {
        "gpt-2" => Some(bytes),
        "smollm" => {
            let digits = json!({ "type": "Digits", "individual_digits": true });
            Some(json!({ "type": "Sequence", "pretokenizers": [digits, bytes] }))
        }
        _ => None,
    }
}

/// Both files, for vocabularies of byte pairs (`gpt2`).
///
/// # Errors
/// Why there can be none.
pub fn from_gguf(metadata: &Map<String, Value>) -> Result<TokenizerFiles, String> {
    let get = |key: &str| metadata.get(&format!("tokenizer.ggml.{key}"));
    let word = |key: &str| get(key).and_then(Value::as_str).unwrap_or("none");
    if word("model") != "gpt2" {
        return Err(format!("its vocabulary is of the kind {}; expected gpt2 (byte pairs)", word("model")));
    }
    let pre = cutting(word("pre"))
        .ok_or_else(|| format!("it cuts text in the way {}; gpt-2 and smollm are known", word("pre")))?;
    if get("add_bos_token").and_then(Value::as_bool) == Some(true) {
        return Err("it puts a token before every text".into());
    }
    let list = |key: &str| get(key).and_then(Value::as_array).ok_or_else(|| format!("it has no list of {key}"));
    let (tokens, types, merges) = (list("tokens")?, list("token_type")?, list("merges")?);
    if tokens.len() != types.len() || tokens.iter().chain(merges).any(|text| !text.is_string()) {
        return Err("its lists of tokens and of their kinds do not fit together".into());
    }
    let vocab: Map<String, Value> =
        (0_u64..).zip(tokens).filter_map(|(id, text)| Some((text.as_str()?.to_owned(), id.into()))).collect();
    if vocab.len() != tokens.len() {
        return Err("two of its tokens have the same text".into());
    }
    let added: Vec<Value> = (0_u64..)
        .zip(tokens.iter().zip(types))
        .filter(|(_, (_, kind))| matches!(kind.as_u64(), Some(CONTROL | USER_DEFINED)))
        .map(|(id, (text, kind))| {
            json!({ "id": id, "content": text, "single_word": false, "lstrip": false, "rstrip": false,
                    "normalized": false, "special": kind.as_u64() == Some(CONTROL) })
        })
        .collect();
    let tokenizer = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": null,
        "pre_tokenizer": pre,
        "post_processor": null,
        "decoder": { "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true },
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocab, "merges": merges,
        },
    });
    let text = |key: &str| {
        let id = get(&format!("{key}_token_id")).and_then(Value::as_u64).and_then(|id| usize::try_from(id).ok());
        id.and_then(|id| tokens.get(id)).cloned()
    };
    let mut config = json!({ "tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": false });
    let named = [("bos_token", "bos"), ("eos_token", "eos"), ("unk_token", "unknown"), ("pad_token", "padding")];
    for (hub, gguf) in named {
        if let Some(text) = text(gguf) {
            config[hub] = text;
        }
    }
    if let Some(template) = metadata.get("tokenizer.chat_template") {
        config["chat_template"] = template.clone();
    }
    Ok(TokenizerFiles { tokenizer, config })
}
