//! Models are data: weights that run code when they are read are refused, and headers that lie are found before anything is
//! allocated for them.
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use serde_json::Value as Json;

use crate::engine::{LoadConfig, Options};

/// What Python's pickle reads, and by that runs.
const PICKLED: [&str; 6] = ["bin", "pt", "pth", "ckpt", "pkl", "pickle"];
/// The format's own limit of a header.
const LONGEST_HEADER: u64 = 100_000_000;
/// The option by which a plan says, by name, that an engine is to read pickled weights.
const BY_NAME: (&str, &str) = ("load_format", "pt");
/// The value of that option that has an engine read pickled weights where there are others, too.
const PICKLED_FIRST: &str = "npcache";

/// Whether an engine may be loaded like that: its model, and each file or folder that an option names.
///
/// # Errors
/// As [`check`].
pub fn check_load(config: &LoadConfig) -> Result<(), String> {
    let mut paths: Vec<PathBuf> = config.model.iter().cloned().collect();
    config.options.values().for_each(|value| named(value, &mut paths));
    paths.iter().try_for_each(|path| check(path, &config.options))
}

/// The files and folders that an option's value names, however deep in it.
fn named(value: &Json, paths: &mut Vec<PathBuf>) {
    match value {
        Json::String(text) => paths.extend(Some(PathBuf::from(text)).filter(|path| path.exists())),
        Json::Array(values) => values.iter().for_each(|value| named(value, paths)),
        Json::Object(table) => table.values().for_each(|value| named(value, paths)),
        _ => {}
    }
}

/// Whether a model may be handed to an engine with those options.
///
/// # Errors
/// A sentence that says what was found and what to do.
pub fn check(model: &Path, options: &Options) -> Result<(), String> {
    let files = files(model).map_err(|error| format!("{} cannot be read: {error}", model.display()))?;
    for path in files.iter().filter(|path| has_extension(path, &["safetensors"])) {
        check_safetensors(path).map_err(|why| format!("{}: {why}: fetch the file again", path.display()))?;
    }
    let format = options.get(BY_NAME.0).and_then(Json::as_str).unwrap_or_default();
    let asked = format == BY_NAME.1;
    // Of a folder, engines that read pickled weights take the safetensors first; GGUF they take by its own name alone.
    let safe = format != PICKLED_FIRST && files.iter().any(|path| has_extension(path, &["safetensors"]));
    let pickled = files.iter().find(|path| has_extension(path, &PICKLED));
    match pickled {
        Some(path) if !asked && (!safe || path.as_path() == model) => Err(format!(
            "{} holds weights in Python's pickle format, which runs code when it is read: expected safetensors or GGUF; convert \
             them, or say {}={} for the engine to read them all the same",
            path.display(),
            BY_NAME.0,
            BY_NAME.1
        )),
        _ => Ok(()),
    }
}

fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    path.extension()
        .and_then(|extension| extension.to_str())
        .is_some_and(|extension| extensions.iter().any(|known| known.eq_ignore_ascii_case(extension)))
}

fn files(model: &Path) -> std::io::Result<Vec<PathBuf>> {
    if !model.is_dir() {
        return Ok(vec![model.to_owned()]);
    }
    let mut files = fs::read_dir(model)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    files.sort();
    Ok(files)
}

/// Whether the header fits in the file and its tensors fill the rest.
fn check_safetensors(path: &Path) -> Result<(), String> {
    let read = |error: std::io::Error| format!("cannot be read: {error}");
    let mut file = File::open(path).map_err(read)?;
    let size = file.metadata().map_err(read)?.len();
    let mut length = [0; 8];
    if size < 8 {
        return Err(format!("expected a safetensors file, found {size} bytes"));
    }
    file.read_exact(&mut length).map_err(read)?;
    let header = u64::from_le_bytes(length);
    if header > LONGEST_HEADER || header > size - 8 {
        return Err(format!("its header says it has {header} bytes, the file has {size}"));
    }
    let mut bytes = Vec::new();
    file.take(header).read_to_end(&mut bytes).map_err(read)?;
    let tensors: BTreeMap<String, Entry> =
        serde_json::from_slice(&bytes).map_err(|error| format!("its header is damaged: {error}"))?;
    let data = size - 8 - header;
    let mut ranges = Vec::new();
    for (name, entry) in tensors.iter().filter(|(name, _)| *name != "__metadata__") {
        let [start, stop] = entry.data_offsets.unwrap_or([1, 0]);
        let held = stop.checked_sub(start).ok_or_else(|| format!("tensor '{name}' ends before it starts"))?;
        if let Some(bits) = bits(&entry.dtype) {
            let all = entry.shape.iter().try_fold(bits, |product, size| product.checked_mul(*size));
            if all.is_none_or(|all| !all.is_multiple_of(8) || all / 8 != held) {
                let (dtype, shape) = (&entry.dtype, &entry.shape);
                return Err(format!("tensor '{name}' is {dtype} of shape {shape:?} and has {held} bytes"));
            }
        }
        ranges.push((start, stop));
    }
    ranges.sort_unstable();
    let mut end = 0;
    for (start, stop) in ranges {
        if start != end {
            return Err(format!("its tensors overlap or leave a gap: expected one at byte {end}, found {start}"));
        }
        end = stop;
    }
    if end != data {
        return Err(format!("its tensors need {end} bytes, and the file has {data} for them"));
    }
    Ok(())
}

/// Bits of an element; None for a type that is newer than this list.
fn bits(dtype: &str) -> Option<u64> {
    Some(match dtype {
        "F4" => 4,
        "F6_E2M3" | "F6_E3M2" => 6,
        "BOOL" | "U8" | "I8" | "F8_E5M2" | "F8_E4M3" | "F8_E8M0" => 8,
        "U16" | "I16" | "F16" | "BF16" => 16,
        "U32" | "I32" | "F32" => 32,
        "U64" | "I64" | "F64" | "C64" => 64,
        _ => return None,
    })
}

/// What a header says of a tensor; `__metadata__` has none of it.
#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    dtype: String,
    #[serde(default)]
    shape: Vec<u64>,
    data_offsets: Option<[u64; 2]>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(files: &[(&str, Vec<u8>)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            fs::write(folder.path().join(name), bytes).unwrap();
        }
        folder
    }

    fn safetensors(header: &str, data: usize) -> Vec<u8> {
        [(header.len() as u64).to_le_bytes().as_slice(), header.as_bytes(), &vec![0; data]].concat()
    }

    const HEADER: &str = r#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;

    #[test]
    fn pickled_weights_need_to_be_asked_for_by_name() {
        let pickled = written(&[("config.json", b"{}".to_vec()), ("pytorch_model.bin", b"\x80\x02".to_vec())]);
        let error = check(pickled.path(), &Options::new()).unwrap_err();
        assert!(error.contains("pytorch_model.bin") && error.contains("load_format=pt"), "{error}");
        assert!(check(&pickled.path().join("pytorch_model.bin"), &Options::new()).is_err());
        let asked = Options::from([("load_format".to_owned(), "pt".into())]);
        check(pickled.path(), &asked).unwrap();
        // Engines take the safetensors where there are both.
        let both = written(&[("a.bin", Vec::new()), ("model.safetensors", safetensors(HEADER, 8))]);
        check(both.path(), &Options::new()).unwrap();
        check(written(&[("config.json", b"{}".to_vec())]).path(), &Options::new()).unwrap();
        // Unless they are told otherwise; and a GGUF file in the folder is not what they read.
        let cached = Options::from([("load_format".to_owned(), "npcache".into())]);
        assert!(check(both.path(), &cached).is_err());
        let beside = written(&[("pytorch_model.bin", Vec::new()), ("model.gguf", Vec::new())]);
        assert!(check(beside.path(), &Options::new()).is_err());
        // A second model, deep in an option.
        let options = serde_json::json!({ "speculative_config": { "model": beside.path() } });
        let options = serde_json::from_value(options).unwrap();
        let config =
            LoadConfig { engine: "vllm".to_owned(), model: None, max_seqs: 1, max_model_len: 8, seed: 0, options };
        assert!(check_load(&config).unwrap_err().contains("pytorch_model.bin"));
    }

    #[test]
    fn headers_that_lie_are_found() {
        let huge = [u64::MAX.to_le_bytes().as_slice(), b"{}"].concat();
        let far = r#"{"w":{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,18446744073709551615]}}"#;
        let two = |b: &str| {
            format!(
                r#"{{"a":{{"dtype":"F16","shape":[2],"data_offsets":[0,4]}},"b":{{"dtype":"F16","shape":[2],"data_offsets":{b}}}}}"#
            )
        };
        let small = r#"{"w":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}"#;
        let reversed = r#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}"#;
        for (bytes, words) in [
            (safetensors(small, 8), "shape [3]"),
            (safetensors(reversed, 8), "before it starts"),
            (safetensors(&two("[2,6]"), 6), "overlap"),
            (safetensors(&two("[6,10]"), 10), "gap"),
            (huge, "header says"),
            (b"abc".to_vec(), "3 bytes"),
            (safetensors(HEADER, 7), "need"),
            (safetensors(HEADER, 9), "need"),
            (safetensors("{nonsense", 0), "damaged"),
            (safetensors(far, 8), "shape"),
        ] {
            let folder = written(&[("model.safetensors", bytes)]);
            let error = check(folder.path(), &Options::new()).unwrap_err();
            assert!(error.contains(words), "{words}: {error}");
        }
    }
}
