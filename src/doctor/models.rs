//! The plan's models: there, of a kind that engines load, and readable to the last file.
use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Read},
    path::Path,
};

use super::{Check, bytes_text, name_of};
use crate::{
    gguf::{Header, Keep},
    plan::Plan,
};

const NAME: &str = "model";

pub(super) fn checks(plan: Option<&Plan>) -> Vec<Check> {
    let Some(plan) = plan else { return Vec::new() };
    let models: BTreeSet<&Path> = plan.points.iter().filter_map(|point| point.model.as_deref()).collect();
    if models.is_empty() {
        return vec![Check::not_applicable(NAME, "no engine of the plan loads one")];
    }
    models.into_iter().map(|model| check(model).of(name_of(model))).collect()
}

fn check(model: &Path) -> Check {
    let advice = "give a GGUF file or a model folder with config.json and its weights; `tacho model fetch` gets one";
    match fs::metadata(model) {
        Err(error) => Check::problem(NAME, format!("{} cannot be read: {error}", model.display()), advice),
        Ok(data) if data.is_dir() => match folder(model) {
            Ok((files, _)) if !files.iter().any(|name| name == "config.json") => {
                Check::problem(NAME, format!("the folder {} has no config.json", model.display()), advice)
            }
            Ok((files, bytes))
                if !files.iter().any(|name| name.ends_with(".safetensors") || name.ends_with(".bin")) =>
            {
                let found = format!("a folder without weights ({} files, {})", files.len(), bytes_text(bytes as f64));
                Check::warning(
                    NAME,
                    found,
                    "that is enough only for engines that make dummy weights (load_format=dummy)",
                )
            }
            Ok((files, bytes)) => Check::ok(
                NAME,
                format!("a folder of {} files, {}, all readable", files.len(), bytes_text(bytes as f64)),
            ),
            Err(error) => Check::problem(NAME, format!("{error}"), "make its files readable, or fetch it again"),
        },
        Ok(data) => match Header::read(model, Keep::Short) {
            Ok(_) => Check::ok(NAME, format!("GGUF, {}", bytes_text(data.len() as f64))),
            Err(error) => Check::problem(NAME, format!("{} is no GGUF file: {error}", model.display()), advice),
        },
    }
}

/// Names and bytes of the files below, hidden ones apart, each opened and read at once: what the digest will read.
fn folder(dir: &Path) -> io::Result<(Vec<String>, u64)> {
    let (mut names, mut bytes) = (Vec::new(), 0);
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = name_of(&path);
        if name.starts_with('.') {
            continue;
        }
        if path.is_dir() {
            let (more, size) = folder(&path)?;
            names.extend(more);
            bytes += size;
            continue;
        }
        let in_file =
            |error: io::Error| io::Error::new(error.kind(), format!("{} cannot be read: {error}", path.display()));
        let mut file = File::open(&path).map_err(in_file)?;
        let _ = file.read(&mut [0]).map_err(in_file)?;
        bytes += file.metadata().map_err(in_file)?.len();
        names.push(name);
    }
    Ok((names, bytes))
}

#[cfg(test)]
mod tests {
    use super::{super::State, *};

    #[test]
    fn a_model_is_looked_at_before_it_is_loaded() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(check(&dir.path().join("none")).state, State::Problem);
        assert!(check(dir.path()).found.contains("no config.json"));
        fs::write(dir.path().join("config.json"), "{}").unwrap();
        assert_eq!(check(dir.path()).state, State::Warning);
        fs::create_dir(dir.path().join("part")).unwrap();
        fs::write(dir.path().join("part/model.safetensors"), "x").unwrap();
        assert_eq!(check(dir.path()).found, "a folder of 2 files, 0.0 MB, all readable");
        // A link to nothing, as an interrupted fetch leaves it in the hub's cache.
        std::os::unix::fs::symlink("nowhere", dir.path().join("model-2.safetensors")).unwrap();
        let broken = check(dir.path());
        assert!(broken.state == State::Problem && broken.found.contains("model-2"), "{broken:?}");
        let file = dir.path().join("x.gguf");
        fs::write(&file, "GGU").unwrap();
        assert!(check(&file).found.contains("is no GGUF file"));
    }
}
