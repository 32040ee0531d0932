//! Baselines: runs kept under a name to compare later ones with. A copy of `run.json` and `journal.jsonl`, which is all that
//! a comparison reads, in a folder of the store.
use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{ReadRun, ResultsError, files::replace, read_run};

/// The files of a run that a baseline keeps.
const FILES: [&str; 2] = ["run.json", "journal.jsonl"];

/// Where baselines are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Baselines {
    dir: PathBuf,
}

/// Why a baseline could not be kept, found or removed.
#[derive(Debug, thiserror::Error)]
pub enum BaselineError {
    /// Not a name.
    #[error("'{0}' cannot name a baseline: expected letters, digits, '-', '_' and '.', not beginning with '.'")]
    Name(String),
    /// There is none.
    #[error("there is no baseline '{name}' in {}; {}", dir.display(), known(names))]
    Missing {
        /// What was asked for.
        name: String,
        /// The store.
        dir: PathBuf,
        /// Those that there are.
        names: Vec<String>,
    },
    /// The run cannot be read, or the copy not be written.
    #[error(transparent)]
    Results(#[from] ResultsError),
}

fn known(names: &[String]) -> String {
    match names {
        [] => "none has been saved yet: `tacho baseline save NAME DIR`".to_owned(),
        names => format!("saved are {}", names.join(", ")),
    }
}

impl Baselines {
    /// The store in that folder, which may not exist yet.
    pub fn at(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Keeps the run in `run` under `name`, instead of what had that name.
    ///
    /// # Errors
    /// [`BaselineError::Results`] where the directory holds no run that can be compared.
    pub fn save(&self, name: &str, run: &Path) -> Result<ReadRun, BaselineError> {
        let folder = self.folder(name)?;
        let read = read_run(run)?;
        fs::create_dir_all(&folder).map_err(ResultsError::io(&folder, "create"))?;
        for file in FILES {
            let from = run.join(file);
            let content = fs::read(&from).map_err(ResultsError::io(&from, "read"))?;
            replace(&folder.join(file), &content)?;
        }
        Ok(read)
    }

    /// The names, in order.
    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries
            .filter(|entry| entry.path().join(FILES[0]).is_file())
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        names.sort();
        names
    }

    /// The folder of a baseline, which is a run directory as far as [`read_run`] goes.
    ///
    /// # Errors
    /// [`BaselineError::Missing`] naming those that there are.
    pub fn find(&self, name: &str) -> Result<PathBuf, BaselineError> {
        let folder = self.folder(name)?;
        if folder.join(FILES[0]).is_file() {
            return Ok(folder);
        }
        Err(BaselineError::Missing { name: name.to_owned(), dir: self.dir.clone(), names: self.names() })
    }

    /// Removes one.
    ///
    /// # Errors
    /// As [`Baselines::find`], or when the file system refuses.
    pub fn remove(&self, name: &str) -> Result<(), BaselineError> {
        let folder = self.find(name)?;
        for file in FILES {
            match fs::remove_file(folder.join(file)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(ResultsError::io(&folder, "remove")(error).into());
                }
                _ => {}
            }
        }
        fs::remove_dir(&folder).map_err(ResultsError::io(&folder, "remove"))?;
        Ok(())
    }

    fn folder(&self, name: &str) -> Result<PathBuf, BaselineError> {
        crate::plan::check_name(name).map_err(|_| BaselineError::Name(name.to_owned()))?;
        Ok(self.dir.join(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::{RunDir, testing};

    #[test]
    fn a_baseline_is_kept_found_replaced_and_removed() {
        let scratch = tempfile::tempdir().unwrap();
        let store = Baselines::at(scratch.path().join("baselines"));
        assert!(store.find("main").unwrap_err().to_string().contains("none has been saved"));
        let run = scratch.path().join("run");
        let mut dir = RunDir::create(&run, &testing::info()).unwrap();
        dir.point_done(testing::records().remove(0)).unwrap();
        let saved = store.save("main", &run).unwrap();
        assert_eq!(saved.records.len(), 1);
        assert_eq!(read_run(&store.find("main").unwrap()).unwrap(), saved);
        store.save("main", &run).unwrap();
        assert_eq!(store.names(), ["main"]);
        assert!(store.find("other").unwrap_err().to_string().contains("saved are main"));
        for bad in ["../up", "", ".hidden", "a/b"] {
            assert!(matches!(store.save(bad, &run), Err(BaselineError::Name(_))), "{bad}");
        }
        assert!(store.save("none", scratch.path()).unwrap_err().to_string().contains("run.json"));
        store.remove("main").unwrap();
        assert!(store.names().is_empty() && store.remove("main").is_err());
    }

    #[test]
    fn half_a_run_directory_is_a_clear_sentence() {
        let scratch = tempfile::tempdir().unwrap();
        let run = scratch.path().join("run");
        let said = |dir: &Path| read_run(dir).unwrap_err().to_string();
        assert!(said(&run).contains("no directory"));
        let mut dir = RunDir::create(&run, &testing::info()).unwrap();
        dir.point_done(testing::records().remove(0)).unwrap();
        drop(dir);
        let journal = run.join("journal.jsonl");
        let whole = fs::read_to_string(&journal).unwrap();
        fs::write(&journal, format!("{whole}{}", &whole[..40])).unwrap();
        let read = read_run(&run).unwrap();
        assert!(read.notes.iter().any(|note| note.contains("torn")) && read.records.len() == 1);
        assert!(read.notes.iter().any(|note| note.contains("1 of 4 points")), "{:?}", read.notes);
        fs::write(&journal, "{}\n").unwrap();
        let damaged = read_run(&run).unwrap();
        assert!(
            damaged.notes[0].contains("line 1 of the journal") && damaged.records.is_empty(),
            "{:?}",
            damaged.notes
        );
        fs::remove_file(&journal).unwrap();
        assert!(said(&run).contains("no journal.jsonl"));
        fs::write(run.join("run.json"), r#"{"format":"tacho-run","schema":99}"#).unwrap();
        assert!(said(&run).contains("schema 99"));
    }
}
