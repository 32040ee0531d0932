//! Where a dataset's files are, and how long a model's sequences may be.
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    DatasetError,
    spec::{DatasetSpec, Kind},
};
use crate::{
    gguf,
    model::{Fetch, FetchNews, Wanted, data_files, fetch},
};

/// The dataset's files, in order, those of the hub fetched first.
pub(super) fn files(
    spec: &DatasetSpec,
    patience: Duration,
    news: &mut dyn FnMut(FetchNews),
) -> Result<Vec<PathBuf>, DatasetError> {
    let path = spec.path.clone().unwrap_or_default();
    if spec.kind != Kind::Hf {
        return Ok(vec![PathBuf::from(path)]);
    }
    let hub = &spec.hub;
    let request = Fetch {
        repo: path,
        revision: hub.revision.clone().unwrap_or_else(|| "main".to_owned()),
        include: Vec::new(),
        patience,
        wanted: Wanted::Dataset { subset: hub.subset.clone(), split: hub.split.clone() },
    };
    let folder = fetch(&request, news)?;
    let mut names = Vec::new();
    walk(&folder, &folder, &mut names)
        .map_err(|error| DatasetError::Storage(format!("{}: cannot be read: {error}", folder.display())))?;
    let chosen = data_files(&names, hub.subset.as_deref(), hub.split.as_deref());
    let chosen = chosen.map_err(|why| DatasetError::input(format!("{}: {why}", request.repo)))?;
    Ok(chosen.into_iter().map(|name| folder.join(name)).collect())
}

/// Names of the files below a folder, with `/` between folders.
fn walk(root: &Path, folder: &Path, names: &mut Vec<String>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            walk(root, &path, names)?;
        } else if let Ok(name) = path.strip_prefix(root) {
            names.push(name.to_string_lossy().into_owned());
        }
    }
    names.sort_unstable();
    Ok(())
}

/// The longest sequence that a model was made for, in tokens, by its `config.json` or its GGUF header; None where neither says.
pub fn context_of(model: &Path) -> Option<u32> {
    let length = if model.is_dir() {
        let config: serde_json::Value = serde_json::from_slice(&fs::read(model.join("config.json")).ok()?).ok()?;
        let own = config.get("max_position_embeddings");
        own.or_else(|| config.get("text_config")?.get("max_position_embeddings"))?.as_u64()
    } else {
        let metadata = gguf::Header::read(model, gguf::Keep::Short).ok()?.metadata;
        let architecture = metadata.get("general.architecture")?.as_str()?.to_owned();
        metadata.get(&format!("{architecture}.context_length"))?.as_u64()
    };
    u32::try_from(length?).ok()
}
