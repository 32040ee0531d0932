//! Which token ids are ordinary, by a model folder's `tokenizer.json`: the rule of `python_shims/tacho_shims/_vocab.py`,
//! so that every engine over the same model draws from the same ids.
use std::{collections::BTreeSet, fs, path::Path};

use serde_json::Value;
use tacho::engine::{EngineError, IdRange};

/// Ids that prompts may be drawn from: none special, added, unused or byte-fallback. Without a `tokenizer.json`, all ids
/// but those that the folder's configuration names.
///
/// # Errors
/// `Load` when a file is there and cannot be understood.
pub fn ordinary_ids(folder: &Path, vocab_size: u32) -> Result<Vec<IdRange>, EngineError> {
    let path = folder.join("tokenizer.json");
    let mut keep: BTreeSet<u32> = if path.is_file() {
        let tokenizer = read(&path)?;
        let added: BTreeSet<u32> = items(&tokenizer["added_tokens"]).filter_map(|token| number(&token["id"])).collect();
        pieces(&tokenizer["model"]["vocab"])
            .filter(|(piece, id)| *id < vocab_size && !added.contains(id) && is_ordinary(piece))
            .map(|(_, id)| id)
            .collect()
    } else {
        eprintln!(
            "{} has no tokenizer.json: all ids are ordinary but those that its configuration names",
            folder.display()
        );
        (0..vocab_size).collect()
    };
    for name in ["config.json", "generation_config.json"] {
        let path = folder.join(name);
        if path.is_file() {
            for id in named_ids(&read(&path)?) {
                keep.remove(&id);
            }
        }
    }
    Ok(ranges(&keep))
}

fn read(path: &Path) -> Result<Value, EngineError> {
    let text = fs::read_to_string(path)
        .map_err(|error| EngineError::load(format!("{} cannot be read: {error}", path.display())))?;
    serde_json::from_str(&text).map_err(|error| EngineError::load(format!("{} is no JSON: {error}", path.display())))
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn number(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|id| u32::try_from(id).ok())
}

/// Pieces with their ids: a map of them (BPE, WordPiece), or a list of pairs (Unigram) whose places are the ids.
fn pieces(vocab: &Value) -> impl Iterator<Item = (&str, u32)> {
    let map = vocab.as_object().into_iter().flatten().filter_map(|(piece, id)| Some((piece.as_str(), number(id)?)));
    let list = items(vocab).enumerate().filter_map(|(id, pair)| Some((pair[0].as_str()?, u32::try_from(id).ok()?)));
    map.chain(list)
}

/// Not `<0x0A>` (a byte without a piece of its own), nor `[unused7]`, `<reserved_7>`, `<extra_id_7>`, `<|reserved…|>`.
fn is_ordinary(piece: &str) -> bool {
    let inner = match piece.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')) {
        Some(inner) => {
            if inner.strip_prefix("0x").is_some_and(|hex| hex.len() == 2 && hex.chars().all(|c| c.is_ascii_hexdigit()))
            {
                return false;
            }
            inner
        }
        None => match piece.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(inner) => inner,
            None => return true,
        },
    };
    let inner = inner.strip_prefix('|').unwrap_or(inner);
    let inner = inner.strip_suffix('|').unwrap_or(inner);
    let rest = ["unused", "reserved", "extra_id"].iter().find_map(|word| inner.strip_prefix(word));
    let Some(rest) = rest else { return true };
    let rest = rest.strip_prefix(' ').unwrap_or(rest);
    !rest.chars().all(|c| c.is_alphanumeric() || c == '_')
}

/// Ids that a configuration gives a meaning: `bos_token_id`, `eos_token_id` (one or several), `pad_token_id`… An engine's
/// own `config.json` names them one level deeper.
fn named_ids(config: &Value) -> Vec<u32> {
    let mut found = Vec::new();
    for level in [config, &config["pretrained_config"]] {
        for (key, value) in level.as_object().into_iter().flatten() {
            if key.ends_with("_token_id") {
                found.extend(number(value));
                found.extend(items(value).filter_map(number));
            }
        }
    }
    found
}

fn ranges(ids: &BTreeSet<u32>) -> Vec<IdRange> {
    let mut out: Vec<IdRange> = Vec::new();
    for &id in ids {
        match out.last_mut() {
            Some(last) if last.end == id => last.end = id + 1,
            _ => out.push(IdRange { start: id, end: id + 1 }),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_byte_unused_and_named_ids_are_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let tokenizer = r#"{"added_tokens": [{"id": 0, "content": "<s>"}], "model": {"vocab":
            {"<s>": 0, "<0x0A>": 1, "[unused3]": 2, "<|reserved_4|>": 3, "a": 4, "<b>": 5, "[c]": 6, "eos": 7, "far": 99}}}"#;
        fs::write(dir.path().join("tokenizer.json"), tokenizer).unwrap();
        fs::write(dir.path().join("config.json"), r#"{"eos_token_id": [7], "pad_token_id": null}"#).unwrap();
        let found = ordinary_ids(dir.path(), 10).unwrap();
        assert_eq!(found, [IdRange { start: 4, end: 7 }]);
    }

    #[test]
    fn a_list_of_pieces_counts_by_place_and_an_absent_tokenizer_leaves_all() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(
            dir.path().join("tokenizer.json"),
            r#"{"model": {"vocab": [["<0x00>", 0.0], ["x", -1.0], ["y", -2.0]]}}"#,
        )
        .unwrap();
        assert_eq!(ordinary_ids(dir.path(), 3).unwrap(), [IdRange { start: 1, end: 3 }]);
        let bare = tempfile::tempdir().unwrap();
        fs::write(bare.path().join("config.json"), r#"{"pretrained_config": {"bos_token_id": 1}}"#).unwrap();
        let found = ordinary_ids(bare.path(), 4).unwrap();
        assert_eq!(found, [IdRange { start: 0, end: 1 }, IdRange { start: 2, end: 4 }]);
    }
}
