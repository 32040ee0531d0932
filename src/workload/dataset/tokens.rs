//! A model's tokenizer and chat template, from the files beside its weights.
use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use tokenizers::Tokenizer;

use super::{DatasetError, Message, spec::ChatTemplate, template::Template};

/// A tokenizer, ready.
pub struct Tokens {
    tokenizer: Tokenizer,
    template: Option<Template>,
    /// The `tokenizer.json` it was read from.
    pub file: PathBuf,
    /// BLAKE3 of that file, in hex.
    pub digest: String,
}

impl Tokens {
    /// The tokenizer of a model: `named` (a `tokenizer.json`, or the folder of one), else the one in the model's folder or
    /// beside its file.
    ///
    /// # Errors
    /// [`DatasetError`] saying where it was looked for and what to give.
    pub fn find(model: Option<&Path>, named: Option<&Path>, template: &ChatTemplate) -> Result<Self, DatasetError> {
        let file = place(model, named)?;
        let bytes = fs::read(&file)
            .map_err(|error| DatasetError::Storage(format!("{}: cannot be read: {error}", file.display())))?;
        let mut tokenizer = Tokenizer::from_bytes(&bytes).map_err(|error| {
            DatasetError::input(format!("{}: no tokenizer.json that can be read: {error}", file.display()))
        })?;
        // Both may be written into the file, and would change ids without a word.
        tokenizer.with_truncation(None).map_err(|error| DatasetError::input(error.to_string()))?;
        tokenizer.with_padding(None);
        let digest = blake3::hash(&bytes).to_hex().to_string();
        let template = find_template(file.parent().unwrap_or(Path::new(".")), template)?;
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

fn place(model: Option<&Path>, named: Option<&Path>) -> Result<PathBuf, DatasetError> {
    if let Some(named) = named {
        let file = if named.is_dir() { named.join("tokenizer.json") } else { named.to_owned() };
        if file.is_file() {
            return Ok(file);
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
        return Ok(file);
    }
    let help = if model.is_dir() {
        "give --tokenizer, a tokenizer.json or its folder"
    } else {
        "give --tokenizer, a tokenizer.json or its folder; `tacho model convert FILE.gguf FOLDER` writes one for the \
         vocabularies it knows, and `tacho model fetch ORG/NAME --include 'tokenizer*'` fetches one"
    };
    Err(DatasetError::input(format!("the model {} has no tokenizer.json beside it: {help}", model.display())))
}

/// The template in a file that was named, else in the tokenizer's folder; None where there is none.
fn find_template(folder: &Path, asked: &ChatTemplate) -> Result<Option<Template>, DatasetError> {
    let unreadable = |path: &Path, error: &dyn std::fmt::Display| {
        DatasetError::input(format!("{}: cannot be read: {error}", path.display()))
    };
    let config_file = folder.join("tokenizer_config.json");
    let config: Value = match fs::read(&config_file) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| unreadable(&config_file, &error))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Value::Null,
        Err(error) => return Err(unreadable(&config_file, &error)),
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
