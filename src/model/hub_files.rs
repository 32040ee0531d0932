//! Which of the files that the hub names are fetched.

/// Weights in formats that no engine here loads when there are safetensors.
const OTHER_WEIGHTS: &[&str] = &["bin", "pt", "pth", "h5", "msgpack", "onnx", "ot", "gguf", "tflite", "mlmodel"];

/// Checks that all files lie inside of their folder.
pub(super) fn inside(names: &[String]) -> Result<(), String> {
    let inside = |name: &str| {
        name.split('/').all(|part| !part.is_empty() && part != "." && part != "..") && !name.contains(['\\', '\0'])
    };
    match names.iter().find(|name| !inside(name)) {
        Some(odd) => Err(format!("the hub names a file that would lie outside of the model's folder: {odd:?}")),
        None => Ok(()),
    }
}

/// The data files of a dataset, in order: one file, or the shards of one. `subset` and `split` are words of the path, such as
/// `default` and `train`. The error says which files there are.
pub(crate) fn data_files<'a>(
    names: &'a [String],
    subset: Option<&str>,
    split: Option<&str>,
) -> Result<Vec<&'a str>, String> {
    let data = |name: &&str| {
        let kind = name.rsplit_once('.').map_or("", |(_, kind)| kind);
        matches!(kind, "json" | "jsonl" | "parquet" | "csv") && !name.starts_with('.') && *name != "dataset_infos.json"
    };
    let has = |name: &str, word: Option<&str>| {
        word.is_none_or(|word| {
            name.split('/').any(|part| part == word) || name.split(['/', '-', '_', '.']).any(|part| part == word)
        })
    };
    let all: Vec<&str> = names.iter().map(String::as_str).filter(data).collect();
    let mut chosen: Vec<&str> = all.iter().copied().filter(|name| has(name, subset) && has(name, split)).collect();
    chosen.sort_unstable();
    let some = |names: &[&str]| names.iter().take(20).copied().collect::<Vec<_>>().join(", ");
    let shards = |name: &str| {
        name.split_once("-of-").and_then(|(first, _)| first.rsplit_once('-')).map(|(stem, _)| stem.to_owned())
    };
    match chosen.as_slice() {
        [] if all.is_empty() => Err(format!(
            "it has no data file of json, jsonl, parquet or csv; it has: {}",
            some(&names.iter().map(String::as_str).collect::<Vec<_>>())
        )),
        [] => Err(format!("no data file has these words in its path; it has: {}", some(&all))),
        [_] => Ok(chosen),
        [first, rest @ ..] if shards(first).is_some() && rest.iter().all(|name| shards(name) == shards(first)) => {
            Ok(chosen)
        }
        _ => Err(format!("it has several data files: choose by --hf-subset and --hf-split: {}", some(&chosen))),
    }
}

/// The files to fetch. The error says why there are none.
pub(super) fn choose<'a>(names: &'a [String], include: &[String]) -> Result<Vec<&'a str>, String> {
    inside(names)?;
    let kind = |name: &str| name.rsplit_once('.').map_or("", |(_, kind)| kind).to_ascii_lowercase();
    let visible = names.iter().map(String::as_str).filter(|name| !name.starts_with('.') && *name != "README.md");
    let chosen: Vec<&str> = if include.is_empty() {
        let has = |wanted: &str| names.iter().any(|name| kind(name) == wanted);
        if has("gguf") && !has("safetensors") {
            let files: Vec<&str> = names.iter().map(String::as_str).filter(|name| kind(name) == "gguf").collect();
            return Err(format!(
                "its weights are in GGUF, of which one is enough: name it by --include: {}",
                files.join(", ")
            ));
        }
        let others = has("safetensors");
        visible
            .filter(|name| !others || !(OTHER_WEIGHTS.contains(&kind(name).as_str()) || name.contains('/')))
            .collect()
    } else {
        let patterns =
            include.iter().map(|text| glob::Pattern::new(text).map_err(|error| format!("--include {text}: {error}")));
        let patterns = patterns.collect::<Result<Vec<_>, String>>()?;
        names.iter().map(String::as_str).filter(|name| patterns.iter().any(|pattern| pattern.matches(name))).collect()
    };
    if chosen.is_empty() {
        let some: Vec<&str> = names.iter().map(String::as_str).take(20).collect();
        return Err(format!("none of its files is wanted; it has: {}", some.join(", ")));
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(names: &[&str], include: &[&str]) -> Result<Vec<String>, String> {
        let own = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<String>>();
        choose(&own(names), &own(include)).map(|names| names.into_iter().map(str::to_owned).collect())
    }

    #[test]
    fn what_engines_need_is_chosen() {
        let repo = [
            ".gitattributes",
            "README.md",
            "config.json",
            "model.safetensors",
            "pytorch_model.bin",
            "onnx/a.onnx",
            "tokenizer.json",
        ];
        assert_eq!(chosen(&repo, &[]).unwrap(), ["config.json", "model.safetensors", "tokenizer.json"]);
        assert_eq!(chosen(&repo, &["*.bin", "c?nfig.json"]).unwrap(), ["config.json", "pytorch_model.bin"]);
        assert_eq!(chosen(&["config.json", "pytorch_model.bin"], &[]).unwrap(), ["config.json", "pytorch_model.bin"]);
        assert!(chosen(&repo, &["*.gguf"]).unwrap_err().contains("model.safetensors"));
        assert!(chosen(&["a.Q4.gguf", "a.Q8.gguf"], &[]).unwrap_err().contains("a.Q8.gguf"));
        assert!(chosen(&["../../evil"], &[]).unwrap_err().contains("outside"));
        assert!(chosen(&["/etc/x"], &["*"]).unwrap_err().contains("outside"));
    }

    #[test]
    fn one_data_file_or_its_shards_are_chosen() {
        let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<String>>();
        let repo = own(&[
            "README.md",
            "dataset_infos.json",
            "a/train-00001-of-00002.parquet",
            "a/train-00000-of-00002.parquet",
            "a/test-00000-of-00001.parquet",
            "b/train-00000-of-00001.parquet",
        ]);
        let shards = ["a/train-00000-of-00002.parquet", "a/train-00001-of-00002.parquet"];
        assert_eq!(data_files(&repo, Some("a"), Some("train")).unwrap(), shards);
        assert_eq!(data_files(&repo, None, Some("test")).unwrap(), ["a/test-00000-of-00001.parquet"]);
        assert!(data_files(&repo, None, Some("train")).unwrap_err().contains("--hf-subset"));
        assert!(data_files(&repo, Some("c"), None).unwrap_err().contains("b/train"));
        assert!(data_files(&own(&["x.txt"]), None, None).unwrap_err().contains("x.txt"));
        assert_eq!(data_files(&own(&["x.jsonl", "README.md"]), None, None).unwrap(), ["x.jsonl"]);
    }
}
