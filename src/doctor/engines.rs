//! The engines: their cell programs, what those were built from, the Python environments that they need.
use std::path::Path;

use super::{Check, Surroundings};
use crate::{
    cell::{
        PYTHON_VARIABLE,
        parent::{Cell, CellError, CellProgram},
    },
    environment::{self, Checked, PYTHON},
    plan::{
        Plan,
        registry::{EngineEntry, Registry},
    },
};

const CELL: &str = "cell";
const ENVIRONMENT: &str = "environment";

pub(super) fn checks(around: &Surroundings<'_>, plan: Option<&Plan>, registry: &Registry) -> Vec<Check> {
    let wanted =
        |entry: &&EngineEntry| plan.is_none_or(|plan| plan.points.iter().any(|point| point.engine.id == entry.id));
    registry.engines().iter().filter(wanted).flat_map(|entry| engine(around, plan.is_some(), entry)).collect()
}

/// An engine that a plan names must be there; of the others it is said what it takes.
fn engine(around: &Surroundings<'_>, needed: bool, entry: &EngineEntry) -> Vec<Check> {
    let missing = |name, found: String, advice: String| {
        let check = if needed { Check::problem(name, found, advice) } else { not_there(name, found, advice) };
        check.of(&entry.id)
    };
    if let Err(error) = entry.cell_program() {
        let found = error.to_string();
        return vec![missing(CELL, found, format!("build it: {}", entry.build_with))];
    }
    let program = match (around.cell_program)(&entry.id) {
        Ok(program) => program,
        Err(why) => {
            let advice = match entry.variants.is_empty() {
                true => format!("name the `python` of yours with --python: docs/engines/{}.md", entry.id),
                false => format!("tacho engines install {}, or name an environment of yours with --python", entry.id),
            };
            return vec![missing(ENVIRONMENT, why, advice)];
        }
    };
    let mut checks: Vec<Check> = python(&program, entry).into_iter().collect();
    checks.push(built_from(&program).of(&entry.id));
    checks
}

fn not_there(name: &'static str, found: String, advice: String) -> Check {
    Check { advice: Some(advice), ..Check::not_applicable(name, found) }
}

/// The environment of a Python engine: what it holds and whether the cell can use its Python.
fn python(program: &CellProgram, entry: &EngineEntry) -> Option<Check> {
    let named = program.env.iter().find(|(name, _)| name == PYTHON_VARIABLE).map(|(_, value)| value.clone());
    let python = named.or_else(|| std::env::var_os(PYTHON_VARIABLE).filter(|_| !entry.variants.is_empty()))?;
    let python = Path::new(&python);
    let check = match (python.exists(), version(python)) {
        (false, _) => Check::problem(
            ENVIRONMENT,
            format!("{} does not exist", python.display()),
            format!("tacho engines install {}, or name another with --python", entry.id),
        ),
        (true, None) => Check::warning(
            ENVIRONMENT,
            format!("{} is no virtual environment (no pyvenv.cfg that tells its version)", python.display()),
            format!("name the `python` of a virtual environment of Python {PYTHON}"),
        ),
        (true, Some(version)) if minor(&version) == Some(PYTHON) => {
            Check::ok(ENVIRONMENT, format!("Python {version}; {}", contents(python)))
        }
        (true, Some(version)) => Check::problem(
            ENVIRONMENT,
            format!("{} is Python {version}, and the cell hosts Python {PYTHON} alone", python.display()),
            format!("make the environment with Python {PYTHON}, as `tacho engines install {}` does", entry.id),
        ),
    };
    Some(check.of(&entry.id))
}

/// `version_info` of the environment that `python` belongs to.
fn version(python: &Path) -> Option<String> {
    let text = std::fs::read_to_string(python.parent()?.parent()?.join("pyvenv.cfg")).ok()?;
    text.lines().find_map(|line| {
        let (name, value) = line.split_once('=')?;
        matches!(name.trim(), "version_info" | "version").then(|| value.trim().to_owned())
    })
}

fn minor(version: &str) -> Option<&str> {
    let second = version.match_indices('.').nth(1).map_or(version.len(), |(place, _)| place);
    version.get(..second)
}

/// What Tacho noted when it made the environment.
fn contents(python: &Path) -> String {
    let specs = environment::specs().unwrap_or_default();
    let made = specs.iter().filter_map(environment::status).find(|installed| installed.python == python);
    match made.map(|installed| installed.checked) {
        Some(Checked::Generation { version, device }) => format!("{version} generated on {device} when it was made"),
        Some(Checked::ImportOnly) => "its modules could be imported when it was made; nothing was generated".to_owned(),
        None => format!("not made by tacho: {}", python.display()),
    }
}

/// Starts the cell and hears what it was built from.
fn built_from(program: &CellProgram) -> Check {
    let log = match tempfile_path() {
        Ok(log) => log,
        Err(error) => {
            return Check::warning(CELL, format!("not asked: {error}"), "make the folder for temporary files writable");
        }
    };
    let started = Cell::start(program, &log);
    let check = match &started {
        Ok(_) => Check::ok(CELL, format!("built from the same sources as this tacho ({})", crate::BUILD_HASH)),
        Err(error @ CellError::Stale { build_with, .. }) => Check::problem(CELL, error.to_string(), build_with.clone()),
        Err(error) => Check::problem(CELL, error.to_string(), format!("build it again: {}", program.build_with)),
    };
    drop(started);
    let _ = std::fs::remove_file(log);
    check
}

fn tempfile_path() -> std::io::Result<std::path::PathBuf> {
    let path = std::env::temp_dir().join(format!("tacho-doctor-{}.log", std::process::id()));
    std::fs::File::create(&path).map(|_| path)
}

#[cfg(test)]
mod tests {
    use super::{
        super::{State, testing},
        *,
    };

    fn program(python: &Path) -> CellProgram {
        CellProgram {
            program: "/nowhere/tacho-cell-python".into(),
            args: Vec::new(),
            env: vec![(PYTHON_VARIABLE.into(), python.into())],
            build_with: "make it".to_owned(),
        }
    }

    #[test]
    fn an_environment_must_be_of_the_cells_python() {
        let registry = Registry::embedded().unwrap();
        let entry = registry.get("vllm").unwrap();
        let dir = tempfile::tempdir().unwrap();
        let python_path = dir.path().join("bin/python");
        let state = || python(&program(&python_path), entry).unwrap();
        assert_eq!(state().state, State::Problem);
        std::fs::create_dir(dir.path().join("bin")).unwrap();
        std::fs::write(&python_path, "").unwrap();
        assert_eq!(state().state, State::Warning);
        for (version, expected) in [("3.11.4", State::Problem), ("3.12.1", State::Ok), ("3.12", State::Ok)] {
            std::fs::write(dir.path().join("pyvenv.cfg"), format!("home = /x\nversion_info = {version}\n")).unwrap();
            assert_eq!((state().state, version), (expected, version));
        }
        assert!(state().found.contains("not made by tacho"), "{:?}", state());
    }

    #[test]
    fn a_cell_that_does_not_start_is_a_problem_with_its_command() {
        let check = built_from(&program(Path::new("/x")));
        assert_eq!(check.state, State::Problem);
        assert!(check.advice.unwrap().contains("make it"));
    }

    #[test]
    fn an_engine_is_a_problem_only_where_a_plan_wants_it() {
        let machine = testing::Machine::new();
        let registry = Registry::embedded().unwrap();
        let refuse = |_: &str| Err("no environment yet".to_owned());
        let around = Surroundings { cell_program: &refuse, ..machine.around() };
        let sim = registry.get("sim").unwrap();
        // In tests the program tacho may not be beside the test; either way something is missing.
        let states = |needed| engine(&around, needed, sim).iter().map(|check| check.state).collect::<Vec<_>>();
        assert_eq!((states(true), states(false)), (vec![State::Problem], vec![State::NotApplicable]));
    }
}
