//! A model's tokenizer and chat template, from the files beside its weights, or from the vocabulary in a GGUF file.
use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use tokenizers::Tokenizer;

use super::{DatasetError, Message, spec::ChatTemplate, template::Template};
use crate::{gguf, model::tokenizer};

/// A tokenizer, ready.
pub struct Tokens {
    tokenizer: Tokenizer,
    template: Option<Template>,
    /// The `tokenizer.json`, or the GGUF file, it was read from.
    pub file: PathBuf,
    /// BLAKE3 of that `tokenizer.json`, or of the one made of the GGUF file's vocabulary, in hex.
    pub digest: String,
}

impl Tokens {
    /// The tokenizer of a model: `named` (a `tokenizer.json`, the folder of one, or a GGUF file), else the one in the model's
    /// folder or beside its file, else the GGUF file's own vocabulary.
    ///
    /// # Errors
    /// [`DatasetError`] saying where it was looked for and what to give.
    pub fn find(model: Option<&Path>, named: Option<&Path>, template: &ChatTemplate) -> Result<Self, DatasetError> {
        let (file, bytes, config) = match place(model, named)? {
            Place::Json(file) => {
                let bytes = fs::read(&file)
                    .map_err(|error| DatasetError::Storage(format!("{}: cannot be read: {error}", file.display())))?;
                (file, bytes, None)
            }
            Place::Gguf(file) => {
                let (bytes, config) = vocabulary(&file)?;
                (file, bytes, Some(config))
            }
        };
        let mut tokenizer = Tokenizer::from_bytes(&bytes).map_err(|error| {
            DatasetError::input(format!("{}: no tokenizer.json that can be read: {error}", file.display()))
        })?;
        // Both may be written into the file, and would change ids without a word.
        tokenizer.with_truncation(None).map_err(|error| DatasetError::input(error.to_string()))?;
        tokenizer.with_padding(None);
        let digest = blake3::hash(&bytes).to_hex().to_string();
        let template = find_template(&file, config, template)?;
        Ok(Self { tokenizer, template, file, digest })
    }

    /// Ids of texts. `special`: with what the tokenizer puts around every text, such as a token for its beginning.
    ///
    /// # Errors
    /// [`DatasetError::Input`] with the tokenizer's words.
    pub fn encode(&self, texts: Vec<&str>, special: bool) -> Result<Vec<Vec<u32>>, DatasetError> {
        let encoded = self
            .tokenizer
            .encode_batch_fast(texts, special)
            .map_err(|error| DatasetError::input(format!("the tokenizer {} fails: {error}", self.file.display())))?;
        Ok(encoded.iter().map(|encoding| encoding.get_ids().to_vec()).collect())
    }

    /// The ids of a conversation, with the beginning of the answer.
    ///
    /// # Errors
    /// [`DatasetError::Input`] where there is no template or it fails.
    pub fn chat(&self, messages: &[Message]) -> Result<Vec<u32>, DatasetError> {
        let text = self.render(messages).map_err(DatasetError::Input)?;
        Ok(self.encode(vec![&text], false)?.pop().unwrap_or_default())
    }

    /// The text of a conversation.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) fn render(&self, messages: &[Message]) -> Result<String, String> {
        match &self.template {
            Some(template) => template.render(messages),
            None => Err(format!(
                "{}: there is no chat template beside it, in tokenizer_config.json or chat_template.jinja: give one by \
                 --chat-template FILE",
                self.file.display()
            )),
        }
    }

    /// BLAKE3 of the template, in hex.
    pub fn template_digest(&self) -> Option<&str> {
        self.template.as_ref().map(|template| template.digest.as_str())
    }

    /// Ids that random prompts are drawn from: those of ordinary text, no special or byte-fallback ones. Ascending.
    pub fn ordinary(&self) -> Vec<u32> {
        let added = self.tokenizer.get_added_tokens_decoder();
        let byte = |text: &str| text.len() == 6 && text.starts_with("<0x") && text.ends_with('>');
        let vocabulary = self.tokenizer.get_vocab(false);
        let mut ids: Vec<u32> = vocabulary
            .into_iter()
            .filter(|(text, id)| !added.contains_key(id) && !byte(text))
            .map(|(_, id)| id)
            .collect();
        ids.sort_unstable();
        ids
    }
}

/// Where a tokenizer is.
enum Place {
    Json(PathBuf),
    Gguf(PathBuf),
}

impl Place {
    fn of(file: PathBuf) -> Self {
        let gguf = file.extension().is_some_and(|kind| kind.eq_ignore_ascii_case("gguf"));
        if gguf { Self::Gguf(file) } else { Self::Json(file) }
    }
}

fn place(model: Option<&Path>, named: Option<&Path>) -> Result<Place, DatasetError> {
    if let Some(named) = named {
        let file = if named.is_dir() { named.join("tokenizer.json") } else { named.to_owned() };
        if file.is_file() {
            return Ok(Place::of(file));
        }
        return Err(DatasetError::input(format!("--tokenizer: there is no file {}", file.display())));
    }
    let Some(model) = model else {
        return Err(DatasetError::input(
            "a dataset needs a tokenizer, and this engine loads no model: give --tokenizer, a tokenizer.json or its folder",
        ));
    };
    let folder = if model.is_dir() { model } else { model.parent().unwrap_or(Path::new(".")) };
    let file = folder.join("tokenizer.json");
    if file.is_file() {
        return Ok(Place::Json(file));
    }
    if let found @ Place::Gguf(_) = Place::of(model.to_owned()) {
        return Ok(found);
    }
    let help = "give --tokenizer, a tokenizer.json or its folder";
    Err(DatasetError::input(format!("the model {} has no tokenizer.json beside it: {help}", model.display())))
}

/// `tokenizer.json` and `tokenizer_config.json` of a GGUF file's own vocabulary.
fn vocabulary(file: &Path) -> Result<(Vec<u8>, Value), DatasetError> {
    let refuse = |why: String| {
        DatasetError::input(format!(
            "{} has no tokenizer.json beside it, and its own vocabulary cannot be taken: {why}; give --tokenizer, a \
             tokenizer.json or its folder (`tacho model fetch ORG/NAME --include 'tokenizer*'` fetches one)",
            file.display()
        ))
    };
    let header = gguf::Header::read(file, gguf::Keep::Tokenizer).map_err(refuse)?;
    let files = tokenizer::from_gguf(&header.metadata).map_err(refuse)?;
    let bytes = serde_json::to_vec(&files.tokenizer).map_err(|error| DatasetError::input(error.to_string()))?;
    Ok((bytes, files.config))
}

/// The template in a file that was named, else in the tokenizer's folder, else in `own`; None where there is none.
fn find_template(file: &Path, own: Option<Value>, asked: &ChatTemplate) -> Result<Option<Template>, DatasetError> {
    let folder = file.parent().unwrap_or(Path::new("."));
    let unreadable = |path: &Path, error: &dyn std::fmt::Display| {
        DatasetError::input(format!("{}: cannot be read: {error}", path.display()))
    };
    let beside = folder.join("tokenizer_config.json");
    let (config_file, config): (PathBuf, Value) = match (own, fs::read(&beside)) {
        (Some(own), _) => (file.to_owned(), own),
        (None, Ok(bytes)) => {
            let config = serde_json::from_slice(&bytes).map_err(|error| unreadable(&beside, &error))?;
            (beside, config)
        }
        (None, Err(error)) if error.kind() == std::io::ErrorKind::NotFound => (beside, Value::Null),
        (None, Err(error)) => return Err(unreadable(&beside, &error)),
    };
    let beside = folder.join("chat_template.jinja");
    let (name, text) = match asked {
        ChatTemplate::Off => return Ok(None),
        ChatTemplate::File(file) => {
            (file.clone(), Some(fs::read_to_string(file).map_err(|error| unreadable(file, &error))?))
        }
        ChatTemplate::Auto | ChatTemplate::On if beside.is_file() => {
            (beside.clone(), Some(fs::read_to_string(&beside).map_err(|error| unreadable(&beside, &error))?))
        }
        ChatTemplate::Auto | ChatTemplate::On => (config_file, in_config(&config)),
    };
    let Some(text) = text else { return Ok(None) };
    let word = |name: &str| {
        let said = config.get(name)?;
        said.as_str().or_else(|| said.get("content")?.as_str()).map(str::to_owned)
    };
    let names = ["bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token"];
    let tokens = names.iter().filter_map(|name| Some(((*name).to_owned(), word(name)?))).collect();
    let template = Template::new(&text, tokens);
    template.map(Some).map_err(|why| DatasetError::input(format!("{}: {why}", name.display())))
}

/// One template, or the one named `default` of several.
fn in_config(config: &Value) -> Option<String> {
    match config.get("chat_template")? {
        Value::String(text) => Some(text.clone()),
        Value::Array(several) => {
            let default = several.iter().find(|one| one.get("name").and_then(Value::as_str) == Some("default"))?;
            default.get("template")?.as_str().map(str::to_owned)
        }
        _ => None,
    }
}
