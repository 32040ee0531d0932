//! Models are data: weights that run code when they are read are refused, and headers that lie are found before anything is
//! allocated for them.
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use crate::engine::Options;

/// What Python's pickle reads, and by that runs.
const PICKLED: [&str; 6] = ["bin", "pt", "pth", "ckpt", "pkl", "pickle"];
/// The format's own limit of a header.
const LONGEST_HEADER: u64 = 100_000_000;
/// The option by which a plan says, by name, that an engine is to read pickled weights.
const BY_NAME: (&str, &str) = ("load_format", "pt");

/// Whether a model may be handed to an engine with those options.
///
/// # Errors
/// A sentence that says what was found and what to do.
pub fn check(model: &Path, options: &Options) -> Result<(), String> {
    let files = files(model).map_err(|error| format!("{} cannot be read: {error}", model.display()))?;
    for path in files.iter().filter(|path| has_extension(path, &["safetensors"])) {
        check_safetensors(path).map_err(|why| format!("{}: {why}: fetch the file again", path.display()))?;
    }
    let safe = files.iter().any(|path| has_extension(path, &["safetensors", "gguf"]));
    let pickled = files.iter().find(|path| has_extension(path, &PICKLED));
    let asked = options.get(BY_NAME.0).and_then(|format| format.as_str()).is_some_and(|format| format == BY_NAME.1);
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
    let (mut end, mut reversed) = (0, false);
    for (_, entry) in tensors.iter().filter(|(name, _)| *name != "__metadata__") {
        let [start, stop] = entry.data_offsets.unwrap_or([1, 0]);
        reversed |= start > stop;
        end = end.max(stop);
    }
    if reversed || end != data {
        return Err(format!("its tensors need {end} bytes, in order, and the file has {data} for them"));
    }
    Ok(())
}

/// What a header says of a tensor, as far as it is looked at here; `__metadata__` has no offsets.
#[derive(Deserialize)]
struct Entry {
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
    }

    #[test]
    fn headers_that_lie_are_found() {
        let huge = [u64::MAX.to_le_bytes().as_slice(), b"{}"].concat();
        let far = r#"{"w":{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,18446744073709551615]}}"#;
        for (bytes, words) in [
            (huge, "header says"),
            (b"abc".to_vec(), "3 bytes"),
            (safetensors(HEADER, 7), "need"),
            (safetensors(HEADER, 9), "need"),
            (safetensors("{nonsense", 0), "damaged"),
            (safetensors(far, 8), "need"),
        ] {
            let folder = written(&[("model.safetensors", bytes)]);
            let error = check(folder.path(), &Options::new()).unwrap_err();
            assert!(error.contains(words), "{words}: {error}");
        }
    }
}
