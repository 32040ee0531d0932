//! The same prompts as ids and as text: every rung gets the same token ids, whichever way they come.
//!
//! Prompts are sequences of whole words that are one token each, and that the tokenizer turns into the very same ids again.
//! Where there is no tokenizer, prompts are ids drawn at random, and no rung takes text.
use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

use rand::RngExt;
use serde_json::json;
use tokenizers::Tokenizer;

use crate::{
    cell::parent::CellProgram,
    model::{Exporter, tokenizer_from_gguf},
    workload::{
        rng_for,
        saved::{Order, Saved, SavedRef},
    },
};

/// Fewer words than this would make prompts of too few different ones.
const FEWEST_WORDS: usize = 100;
/// Prompts that are drawn for one that comes back as it went; nearly all do.
const ATTEMPTS: usize = 200;

/// A model's tokenizer with the words that prompts are made of.
pub(super) struct Words {
    tokenizer: Tokenizer,
    /// Each a word with a space before it, and alone in its token.
    ids: Vec<u32>,
    /// What the tokenizer puts before every text.
    before: Vec<u32>,
    /// Where it came from.
    pub source: String,
}

impl Words {
    /// The tokenizer that was named, the one beside the model, or the one in a GGUF file.
    ///
    /// # Errors
    /// A sentence saying why there is none.
    pub fn find(
        model: Option<&Path>,
        named: Option<&Path>,
        llama: &dyn Fn() -> Result<CellProgram, String>,
    ) -> Result<Self, String> {
        let beside = |model: &Path| {
            let folder = if model.is_dir() { model } else { model.parent().unwrap_or(Path::new(".")) };
            Some(folder.join("tokenizer.json")).filter(|file| file.is_file())
        };
        let file = match named {
            Some(named) if named.is_dir() => Some(named.join("tokenizer.json")),
            Some(named) => Some(named.to_owned()),
            None => model.and_then(beside),
        };
        match (file, model) {
            (Some(file), _) => {
                let bytes = fs::read(&file).map_err(|error| format!("{}: cannot be read: {error}", file.display()))?;
                Self::new(&bytes, file.display().to_string())
            }
            (None, Some(model)) if model.extension().is_some_and(|kind| kind == "gguf") => {
                let file = Exporter::open(&llama()?, model).map_err(|error| error.to_string())?;
                let files = tokenizer_from_gguf(&file.metadata).map_err(|why| {
                    format!("no tokenizer.json lies beside the model, and none can be made of it: {why}")
                })?;
                Self::new(files.tokenizer.to_string().as_bytes(), format!("{} (its own vocabulary)", model.display()))
            }
            (None, Some(model)) => Err(format!("{} has no tokenizer.json; name one with --tokenizer", model.display())),
            (None, None) => Err("this engine loads no model, and so has no tokenizer".to_owned()),
        }
    }

    fn new(bytes: &[u8], source: String) -> Result<Self, String> {
        let failed = |error: tokenizers::Error| format!("{source}: no tokenizer that can be used: {error}");
        let mut tokenizer = Tokenizer::from_bytes(bytes).map_err(failed)?;
        tokenizer.with_truncation(None).map_err(failed)?;
        tokenizer.with_padding(None);
        let before = tokenizer.encode("", true).map_err(failed)?.get_ids().to_vec();
        let added = tokenizer.get_added_tokens_decoder();
        let mut ids: Vec<u32> = Vec::new();
        let mut vocabulary: Vec<u32> =
            tokenizer.get_vocab(false).into_values().filter(|id| !added.contains_key(id)).collect();
        vocabulary.sort_unstable();
        for id in vocabulary {
            // Twice, because some decoders take the space of the first word away.
            let text = tokenizer.decode(&[id, id], true).map_err(failed)?;
            let word = text.split_ascii_whitespace().next().unwrap_or_default();
            let is_word = word.chars().all(|c| c.is_ascii_alphabetic()) && text.split_ascii_whitespace().count() == 2;
            if is_word && tokenizer.encode(text.as_str(), false).map_err(failed)?.get_ids() == [id, id] {
                ids.push(id);
            }
        }
        if ids.len() < FEWEST_WORDS {
            return Err(format!("{source}: expected at least {FEWEST_WORDS} words of one token, found {}", ids.len()));
        }
        Ok(Self { tokenizer, ids, before, source })
    }

    /// A prompt of exactly `length` ids, with a text that the tokenizer makes them of.
    fn prompt(&self, length: u32, rng: &mut impl RngExt) -> Result<(Vec<u32>, String), String> {
        let words = (length as usize).checked_sub(self.before.len()).filter(|words| *words > 0).ok_or_else(|| {
            format!("prompts of {length} tokens leave no room: the tokenizer puts {} before each", self.before.len())
        })?;
        for _ in 0..ATTEMPTS {
            let drawn: Vec<u32> = (0..words).map(|_| self.ids[rng.random_range(0..self.ids.len())]).collect();
            let text = self.tokenizer.decode(&drawn, true).map_err(|error| error.to_string())?;
            let encoded = self.tokenizer.encode(text.as_str(), true).map_err(|error| error.to_string())?;
            let ids = encoded.get_ids();
            if ids.len() == length as usize
                && ids[..self.before.len()] == self.before
                && ids[self.before.len()..] == drawn
            {
                return Ok((ids.to_vec(), text));
            }
        }
        Err(format!("{}: of {ATTEMPTS} texts none came back from the tokenizer as it went in", self.source))
    }
}

/// Prompts in a file that cells read, with their texts.
pub(super) struct Pool {
    pub saved: SavedRef,
    texts: HashMap<Vec<u32>, String>,
}

impl Pool {
    /// Makes `count` prompts and writes them to `folder`.
    ///
    /// # Errors
    /// A sentence when they cannot be made or written.
    pub fn make(words: &Words, length: u32, count: u32, seed: u64, folder: &Path) -> Result<Self, String> {
        let mut rng = rng_for(&[seed, u64::from(length)]);
        let mut texts = HashMap::new();
        let mut prompts = Vec::new();
        for _ in 0..count {
            let (ids, text) = words.prompt(length, &mut rng)?;
            texts.insert(ids.clone(), text);
            prompts.push((ids, None));
        }
        let source = json!({ "made_by": "tacho ledger", "tokenizer": words.source, "seed": seed });
        let saved = Saved::new(&prompts, source)?;
        let path: PathBuf = folder.join(format!("prompts-{length}-{}.tacho", &saved.header().digest[..8]));
        saved.write(&path).map_err(|error| error.to_string())?;
        let path = fs::canonicalize(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self {
            saved: SavedRef { path, digest: saved.header().digest.clone(), order: Order::Sample, think: None },
            texts,
        })
    }

    /// The text of a prompt of this pool.
    pub fn text(&self, ids: &[u32]) -> Option<&String> {
        self.texts.get(ids)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A vocabulary of byte pairs whose words are one token each, with a token before every text where `begin` says so.
    fn tokenizer(begin: bool) -> Vec<u8> {
        let names: Vec<String> = ('a'..='z').flat_map(|a| ('a'..='z').map(move |b| format!("{a}{b}"))).collect();
        let mut vocab = serde_json::Map::new();
        let mut merges = Vec::new();
        for (id, piece) in ('a'..='z').map(String::from).chain(["Ġ".to_owned(), "<s>".to_owned()]).enumerate() {
            vocab.insert(piece, id.into());
        }
        for name in &names {
            let (a, b) = name.split_at(1);
            for (left, right) in [("Ġ", a), (&format!("Ġ{a}"), b)] {
                let piece = format!("{left}{right}");
                if !vocab.contains_key(&piece) {
                    let id = vocab.len();
                    vocab.insert(piece, id.into());
                    merges.push(format!("{left} {right}"));
                }
            }
        }
        let post = json!({ "type": "TemplateProcessing", "single": [{ "SpecialToken": { "id": "<s>", "type_id": 0 } },
            { "Sequence": { "id": "A", "type_id": 0 } }], "pair": [{ "Sequence": { "id": "A", "type_id": 0 } },
            { "Sequence": { "id": "B", "type_id": 1 } }],
            "special_tokens": { "<s>": { "id": "<s>", "ids": [27], "tokens": ["<s>"] } } });
        let bytes = json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true });
        json!({
            "version": "1.0", "truncation": null, "padding": null, "normalizer": null,
            "added_tokens": [{ "id": 27, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false,
                               "normalized": false, "special": true }],
            "pre_tokenizer": bytes, "decoder": bytes, "post_processor": if begin { post } else { json!(null) },
            "model": { "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                       "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
                       "vocab": vocab, "merges": merges },
        })
        .to_string()
        .into_bytes()
    }

    #[test]
    fn texts_come_back_as_the_same_ids_and_are_found_again() {
        for begin in [false, true] {
            let words = Words::new(&tokenizer(begin), "test".to_owned()).unwrap();
            let folder = tempfile::tempdir().unwrap();
            let pool = Pool::make(&words, 12, 20, 7, folder.path()).unwrap();
            let saved = Saved::read(&pool.saved.path).unwrap();
            for index in 0..saved.len() {
                let ids: Vec<u32> = saved.prompt(index).iter().map(|id| id.0).collect();
                let text = pool.text(&ids).unwrap();
                assert_eq!(words.tokenizer.encode(text.as_str(), true).unwrap().get_ids(), ids);
                assert_eq!((ids.len(), ids[0] == 27), (12, begin), "{text}");
            }
            let again = Pool::make(&words, 12, 20, 7, folder.path()).unwrap();
            assert_eq!(again.saved.digest, pool.saved.digest);
        }
    }

    #[test]
    fn a_model_without_a_tokenizer_says_so() {
        let none = || Err("no cell".to_owned());
        let error = Words::find(None, None, &none).err().unwrap();
        assert!(error.contains("no model"), "{error}");
        let folder = tempfile::tempdir().unwrap();
        let error = Words::find(Some(folder.path()), None, &none).err().unwrap();
        assert!(error.contains("--tokenizer"), "{error}");
        let words = Words::new(&tokenizer(true), "test".to_owned()).unwrap();
        let error = Pool::make(&words, 1, 1, 7, folder.path()).err().unwrap();
        assert!(error.contains("leave no room"), "{error}");
    }
}
