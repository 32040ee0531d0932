//! The commands that the documentation shows print what it says they print.
//!
//! A ```console block is run: `$ ` begins a command, the lines after it are what it prints (standard output, then standard
//! error), with `...` for any lines and `[..]` for any text. The blocks of a page run in one empty folder, in order. Other
//! languages, such as ```sh, are not run: they need a model, a GPU or a network.
use std::{fs, path::Path, process::Command};

use snapbox::{Data, assert_data_eq};

/// A command with what it prints.
struct Example {
    command: String,
    output: String,
    line: usize,
}

fn examples(page: &str) -> Vec<Example> {
    let mut found: Vec<Example> = Vec::new();
    let mut inside = false;
    let mut open = false;
    for (index, line) in page.lines().enumerate() {
        if line.starts_with("```") {
            inside = !inside && line == "```console";
            open = false;
        } else if !inside {
        } else if let Some(command) = line.strip_prefix("$ ") {
            found.push(Example { command: command.to_owned(), output: String::new(), line: index + 1 });
            open = true;
        } else if let (true, Some(last)) = (open, found.last_mut()) {
            last.output.push_str(line);
            last.output.push('\n');
        } else {
            panic!("line {}: a console block begins with a command after `$ `, found '{line}'", index + 1);
        }
    }
    found
}

/// Runs a command as a shell would, in that folder, and gives what it printed.
fn run(command: &str, folder: &Path) -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_tacho"));
    let path = std::env::var("PATH").unwrap_or_default();
    let mut shell = Command::new("bash");
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("TACHO_")) {
        shell.env_remove(name);
    }
    shell.env("PATH", format!("{}:{path}", program.parent().unwrap().display()));
    // Nothing of this machine, such as kept ceilings.
    shell.env("TACHO_CACHE_DIR", folder.join(".cache")).env_remove("COLUMNS");
    let output = shell.args(["-c", command]).current_dir(folder).output().unwrap();
    String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
}

fn check(page: &Path) -> usize {
    let text = fs::read_to_string(page).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let examples = examples(&text);
    for example in &examples {
        let printed = run(&example.command, folder.path());
        let at = format!("{}:{}\n$ {}\n", page.display(), example.line, example.command);
        assert_data_eq!(
            Data::text(format!("{at}{}", without_trailing_space(&printed))),
            Data::text(format!("{at}{}", example.output))
        );
    }
    examples.len()
}

/// Editors take spaces at line ends away from a page.
fn without_trailing_space(text: &str) -> String {
    text.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

#[test]
fn every_console_block_prints_what_it_shows() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let pages = fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut pages: Vec<_> = pages.filter(|path| path.extension().is_some_and(|ending| ending == "md")).collect();
    pages.push(root.join("README.md"));
    let run: usize = pages.iter().map(|page| check(page)).sum();
    assert!(run >= 5, "expected the quick start's commands at least, found {run}");
}
