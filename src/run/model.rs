//! The identity of a model: a hash of its bytes.
use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

/// BLAKE3, in hex, of a model file, or of a model folder's files: each file's path below the folder and its content,
/// in order of path. Hidden files are left out.
///
/// # Errors
/// When a file cannot be read.
pub fn digest(model: &Path) -> io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    if model.is_dir() {
        let mut files = Vec::new();
        collect(model, &mut files)?;
        files.sort();
        for path in files {
            let name = path.strip_prefix(model).unwrap_or(&path).to_string_lossy().into_owned();
            hasher.update(&(name.len() as u64).to_le_bytes());
            hasher.update(name.as_bytes());
            hasher.update(blake3::Hasher::new().update_reader(File::open(&path)?)?.finalize().as_bytes());
        }
    } else {
        hasher.update_reader(File::open(model)?)?;
    }
    Ok(hasher.finalize().to_hex().to_string())
}

fn collect(dir: &Path, into: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')) {
            continue;
        }
        if path.is_dir() {
            collect(&path, into)?;
        } else {
            into.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_its_names_and_contents() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a"), "1").unwrap();
        fs::create_dir(dir.path().join("sub")).unwrap();
        fs::write(dir.path().join("sub/b"), "2").unwrap();
        let first = digest(dir.path()).unwrap();
        fs::write(dir.path().join(".cache"), "3").unwrap();
        assert_eq!(digest(dir.path()).unwrap(), first);
        fs::rename(dir.path().join("a"), dir.path().join("c")).unwrap();
        assert_ne!(digest(dir.path()).unwrap(), first);
    }

    #[test]
    fn a_file_is_its_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.gguf");
        fs::write(&path, "GGUF").unwrap();
        assert_eq!(digest(&path).unwrap(), blake3::hash(b"GGUF").to_hex().to_string());
        assert_eq!(digest(&dir.path().join("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
