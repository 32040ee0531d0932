//! The `[lock]` table of an engine's `engine.toml`: from the engine's own names to the fields of a lock record.
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value as Json;

use super::{
    fields::{Field, Kind},
    lock::Known,
};

/// An engine's `[lock]` table.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct LockMapping {
    /// The engine's own option for a field, by which equal limits are set.
    #[serde(default)]
    pub set: BTreeMap<String, Setting>,
    /// Where a field's value is read.
    #[serde(flatten)]
    pub read: BTreeMap<String, Reading>,
}

/// Where a field's value is read: paths into what the engine says of itself ([`crate::engine::EngineInfo`]), such as
/// `effective.n_ctx`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum Reading {
    /// One path.
    Path(String),
    /// Something that the adapter's source says and the running engine does not.
    Declared {
        /// The value.
        declared: Json,
        /// What makes it so.
        why: String,
    },
    /// The engine does not tell.
    Unknown {
        /// Why.
        unknown: String,
    },
    /// Paths, and what their values mean.
    Mapped {
        /// One path, or several whose values are told together.
        from: OneOrMore,
        /// The field's value for a value found (`null` for none, `*` for any other). `@path` reads another path instead.
        #[serde(default)]
        map: BTreeMap<String, Json>,
        /// Whether true and false change places.
        #[serde(default)]
        not: bool,
        /// For a value that the engine was told and does not tell back: why it does not.
        #[serde(default)]
        set: Option<String>,
        /// Where it is read instead, when it is not found here.
        #[serde(default)]
        or: Option<Box<Reading>>,
    },
}

/// A path or several.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum OneOrMore {
    /// One.
    One(String),
    /// Several.
    More(Vec<String>),
}

/// How a field is set: by the engine's own option.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(from = "SettingText")]
pub struct Setting {
    /// The option's name.
    pub option: String,
    /// What one of the option's units is in the field's: 64 for blocks of 64 tokens.
    pub per: u64,
    /// How many of the option's units the engine keeps for itself.
    pub plus: u64,
    /// A sequence's share is rounded up to a multiple of this, for fields in tokens of all sequences.
    pub multiple: u64,
    /// Options that must be set with it.
    pub with: BTreeMap<String, Json>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum SettingText {
    Name(String),
    Full {
        option: String,
        #[serde(default = "one")]
        per: u64,
        #[serde(default)]
        plus: u64,
        #[serde(default = "one")]
        multiple: u64,
        #[serde(default)]
        with: BTreeMap<String, Json>,
    },
}

fn one() -> u64 {
    1
}

impl From<SettingText> for Setting {
    fn from(text: SettingText) -> Self {
        match text {
            SettingText::Name(option) => Self { option, per: 1, plus: 0, multiple: 1, with: BTreeMap::new() },
            SettingText::Full { option, per, plus, multiple, with } => {
                Self { option, per: per.max(1), plus, multiple: multiple.max(1), with }
            }
        }
    }
}

impl LockMapping {
    /// A field's value from what an engine said of itself, as JSON.
    pub(super) fn read(&self, field: &Field, told: &Json) -> Known {
        let common = field.common.map(|path| Reading::Path(path.to_owned()));
        match self.read.get(field.name).or(common.as_ref()) {
            None => Known::unknown("this engine's [lock] table does not say where it stands"),
            Some(reading) => reading.read(field, told),
        }
    }
}

impl Reading {
    fn read(&self, field: &Field, told: &Json) -> Known {
        let (found, why_set, or) = match self {
            Self::Unknown { unknown } => return Known::unknown(unknown),
            Self::Declared { declared, why } => {
                let value = comparable(field, declared.clone());
                return Known::Value { value, declared: Some(why.clone()), set: None };
            }
            Self::Path(path) => (read_path(field, told, path, &BTreeMap::new(), false), None, None),
            Self::Mapped { from: OneOrMore::One(path), map, not, set, or } => {
                (read_path(field, told, path, map, *not), set.as_ref(), or.as_ref())
            }
            Self::Mapped { from: OneOrMore::More(paths), map, not, set, or } => {
                let all = paths.iter().map(|path| read_path(field, told, path, map, *not)).collect();
                (joined(all), set.as_ref(), or.as_ref())
            }
        };
        match (found, or) {
            (Known::Unknown { .. }, Some(or)) => or.read(field, told),
            (Known::Value { value, declared, .. }, _) => Known::Value { value, declared, set: why_set.cloned() },
            (unknown, None) => unknown,
        }
    }
}

/// Several values told together: one where they are the same.
fn joined(parts: Vec<Known>) -> Known {
    let mut values: Vec<Json> = Vec::new();
    for part in parts {
        match part {
            Known::Value { value, .. } if values.contains(&value) => {}
            Known::Value { value, .. } => values.push(value),
            unknown => return unknown,
        }
    }
    match values.as_slice() {
        [one] => Known::value(one.clone()),
        _ => Known::value(Json::Array(values)),
    }
}

fn find<'a>(told: &'a Json, path: &str) -> Option<&'a Json> {
    path.split('.').try_fold(told, |at, key| at.get(key))
}

fn read_path(field: &Field, told: &Json, path: &str, map: &BTreeMap<String, Json>, not: bool) -> Known {
    let Some(found) = find(told, path) else {
        return Known::unknown(format!("the engine told no {path}"));
    };
    let text = found.as_str().map_or_else(|| found.to_string(), str::to_owned);
    let value = match map.get(&text).or_else(|| map.get("*").filter(|_| !found.is_null())) {
        Some(Json::String(other)) if other.starts_with('@') => {
            return read_path(field, told, &other[1..], &BTreeMap::new(), false);
        }
        Some(mapped) => mapped.clone(),
        None => found.clone(),
    };
    let value = comparable(field, value);
    // A dtype has several names: the map may hold the common one.
    let value = value.as_str().and_then(|text| map.get(text)).filter(|to| !to.is_null()).cloned().unwrap_or(value);
    match value {
        Json::Null => Known::unknown(format!("the engine's {path} is null")),
        Json::Bool(set) if not => Known::value(Json::Bool(!set)),
        value => Known::value(value),
    }
}

fn comparable(field: &Field, value: Json) -> Json {
    match (field.kind, &value) {
        (Kind::Dtype, Json::String(text)) => Json::String(dtype(text)),
        _ => value,
    }
}

/// A number type by its common name.
fn dtype(text: &str) -> String {
    let lower = text.to_lowercase();
    let bare = lower.rsplit('.').next().unwrap_or(&lower);
    // llama.cpp's name of files in one float type: `all F32`.
    match bare.strip_prefix("all ").unwrap_or(bare) {
        "float32" | "float" | "fp32" => "f32".to_owned(),
        "float16" | "half" | "fp16" => "f16".to_owned(),
        "bfloat16" => "bf16".to_owned(),
        other => other.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fairness::fields::field;

    fn mapping(text: &str) -> LockMapping {
        toml::from_str(text).unwrap()
    }

    fn read(text: &str, name: &str) -> Known {
        let told = json!({
            "kv_capacity_tokens": 512, "max_seqs": null, "model": {"weights_dtype": "torch.BFloat16"},
            "effective": {"type_k": "f16", "type_v": "q8_0", "dtype": "bfloat16", "kv": "auto", "off": true, "none": null},
        });
        mapping(text).read(field(name).unwrap(), &told)
    }

    #[test]
    fn paths_maps_and_declarations() {
        let value = |value: Json| Known::value(value);
        assert_eq!(read("", "kv_tokens"), value(json!(512)));
        assert_eq!(read("", "weights_dtype"), value(json!("bf16")));
        assert_eq!(
            read("quantisation = { from = 'model.weights_dtype', map = { bf16 = 'none' } }", "quantisation"),
            value(json!("none"))
        );
        assert_eq!(
            read("quantisation = { from = 'effective.none', map = { null = 'none' } }", "quantisation"),
            value(json!("none"))
        );
        assert_eq!(
            read("kv_dtype = { from = 'effective.kv', map = { auto = '@effective.dtype' } }", "kv_dtype"),
            value(json!("bf16"))
        );
        assert_eq!(
            read("kv_dtype = { from = ['effective.type_k', 'effective.type_v'] }", "kv_dtype"),
            value(json!(["f16", "q8_0"]))
        );
        assert_eq!(read("overlap = { from = 'effective.off', not = true }", "overlap"), value(json!(false)));
        assert_eq!(
            read(
                "chunked_prefill = { from = 'kv_capacity_tokens', map = { '-1' = false, '*' = true } }",
                "chunked_prefill"
            ),
            value(json!(true))
        );
        let declared = Known::Value { value: json!("f32"), declared: Some("the header".to_owned()), set: None };
        assert_eq!(read("logits_dtype = { declared = 'float32', why = 'the header' }", "logits_dtype"), declared);
    }

    #[test]
    fn what_is_not_read_back_is_told_as_it_was_set_and_says_why() {
        let table = "kv_dtype = { from = 'effective.cache', or = { from = ['effective.type_k', 'effective.kv'], \
                     map = { auto = '@effective.dtype' }, set = 'no getter' } }";
        let set = Known::Value { value: json!(["f16", "bf16"]), declared: None, set: Some("no getter".to_owned()) };
        assert_eq!((read(table, "kv_dtype"), set.mark()), (set.clone(), Some("as set")));
        let read_back = read(&table.replace("effective.cache", "effective.type_v"), "kv_dtype");
        assert_eq!((read_back.mark(), &read_back), (None, &Known::value(json!("q8_0"))));
        // The same value however it is known; in the file the reason stands beside it.
        assert_eq!(serde_json::to_value(&set).unwrap(), json!({"value": ["f16", "bf16"], "set": "no getter"}));
        let nowhere = table.replace("type_k", "nowhere");
        assert_eq!(read(&nowhere, "kv_dtype"), Known::unknown("the engine told no effective.nowhere"));
    }

    #[test]
    fn what_is_not_told_is_unknown_with_a_reason() {
        assert_eq!(read("", "max_seqs"), Known::unknown("the engine's max_seqs is null"));
        assert_eq!(read("", "parallelism"), Known::unknown("the engine told no parallelism"));
        assert_eq!(["all F32", "torch.bfloat16", "DType.float16", "Q4_1"].map(dtype), ["f32", "bf16", "f16", "q4_1"]);
        assert_eq!(read("overlap = { unknown = 'it is silent' }", "overlap"), Known::unknown("it is silent"));
        assert!(matches!(read("", "overlap"), Known::Unknown { .. }));
    }

    #[test]
    fn settings_are_a_name_or_a_table() {
        let mapping = mapping(
            "[set]\nmax_seqs = 'n'\nkv_tokens = { option = 'blocks', per = 64, plus = 1, with = { block_size = 64 } }",
        );
        assert_eq!((mapping.set["max_seqs"].option.as_str(), mapping.set["max_seqs"].per), ("n", 1));
        assert_eq!((mapping.set["kv_tokens"].per, mapping.set["kv_tokens"].plus), (64, 1));
    }
}
