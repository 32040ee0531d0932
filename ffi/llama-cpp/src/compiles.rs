//! Graphs captured and code compiled while an engine runs, as far as they can be known. On the processor ggml computes its graph
//! node by node with code that was compiled before. ggml's CUDA backend captures graphs as it goes, has no counter of them, and says
//! so in its log, which is counted ([`crate::log::captures`]) where its module is one that has the words.
use std::{fs::File, io::Read, path::Path};

use crate::{backend::Backend, log};

/// Modules made from ggml's CUDA sources.
const CUDA: [&str; 3] = ["libggml-cuda", "libggml-hip", "libggml-musa"];

/// Why not all is counted; None where it is.
pub(crate) fn uncounted(backend: &Backend, on_gpu: bool) -> Option<String> {
    if !on_gpu {
        return None;
    }
    let modules = backend.module_paths();
    let named = |path: &&std::path::PathBuf, names: &[&str]| {
        let file = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        names.iter().any(|name| file.starts_with(name))
    };
    match modules.iter().find(|path| named(path, &CUDA)) {
        Some(module) if has(module, log::CAPTURES.as_bytes()) => None,
        Some(_) => Some("this build of ggml's CUDA backend does not say when it captures a graph".to_owned()),
        None => Some("this GPU's backend of ggml does not tell what it compiles or captures".to_owned()),
    }
}

/// Whether a file holds these bytes. A file that cannot be read holds nothing.
fn has(path: &Path, wanted: &[u8]) -> bool {
    let Ok(mut file) = File::open(path) else { return false };
    let (mut kept, mut chunk) = (Vec::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut chunk) {
            Ok(0) | Err(_) => return false,
            Ok(read) => kept.extend_from_slice(&chunk[..read]),
        }
        if kept.windows(wanted.len()).any(|bytes| bytes == wanted) {
            return true;
        }
        // Words may lie across two chunks.
        kept.drain(..kept.len().saturating_sub(wanted.len() - 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_across_chunks_and_not_where_they_are_not() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let words = log::CAPTURES.as_bytes();
        let mut bytes = vec![7; (1 << 20) - 5];
        bytes.extend_from_slice(words);
        std::fs::write(file.path(), &bytes).unwrap();
        assert!(has(file.path(), words));
        bytes.truncate(bytes.len() - 1);
        std::fs::write(file.path(), &bytes).unwrap();
        assert!(!has(file.path(), words));
        assert!(!has(Path::new("/no/such/module"), words));
    }

    #[test]
    fn the_processor_compiles_nothing() {
        assert_eq!(uncounted(Backend::get(), false), None);
    }
}
