//! Shape models: the exact figures of a known architecture, with random weights or none, so that speed can be measured
//! where no weights can be had. Shapes are data: `benches/shapes/<name>/config.json`, embedded by `build.rs`.
use std::{fs, path::Path};

use serde_json::{Map, Value, json};

use super::{
    Config, Dtype, ModelError, Progress, Staged,
    gguf::{self, GgmlType},
    gguf_shape, layout,
    random::Filler,
    safetensors, write_json,
};

mod embedded {
    include!(concat!(env!("OUT_DIR"), "/shapes.rs"));
}

/// A shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    /// Its name, such as `llama-3-8b`.
    pub name: String,
    /// The text of its `config.json`.
    pub text: String,
    /// Its figures.
    pub config: Config,
}

/// The shapes that Tacho brings along, by name.
///
/// # Errors
/// [`ModelError::Unsupported`]; the tests see to it that it does not happen.
pub fn shapes() -> Result<Vec<Shape>, ModelError> {
    embedded::FILES.iter().map(|(name, text)| Shape::parse(name, text)).collect()
}

impl Shape {
    /// A shape of one's own.
    ///
    /// # Errors
    /// [`ModelError::Unsupported`] when the text is no `config.json` of a known architecture.
    pub fn parse(name: &str, text: &str) -> Result<Self, ModelError> {
        let config = Config::parse(text).map_err(|error| ModelError::Unsupported(format!("{name}: {error}")))?;
        Ok(Self { name: name.to_owned(), text: text.to_owned(), config })
    }

    /// One that Tacho brings along, or the `config.json` at a path (or in the folder there).
    ///
    /// # Errors
    /// [`ModelError::Unsupported`] with the known names, or with what is wrong with the file.
    pub fn find(name: &str) -> Result<Self, ModelError> {
        let mut known = shapes()?;
        if let Some(index) = known.iter().position(|shape| shape.name == name) {
            return Ok(known.swap_remove(index));
        }
        let path = Path::new(name);
        let file = if path.is_dir() { path.join("config.json") } else { path.to_owned() };
        let text = fs::read_to_string(&file).map_err(|_| {
            let names: Vec<&str> = known.iter().map(|shape| shape.name.as_str()).collect();
            let names = names.join(", ");
            ModelError::Unsupported(format!("no shape '{name}', and no config.json there; the shapes are {names}"))
        })?;
        let folder = fs::canonicalize(&file).ok().and_then(|file| Some(file.parent()?.file_name()?.to_owned()));
        Self::parse(&folder.map_or_else(|| name.to_owned(), |folder| folder.to_string_lossy().into_owned()), &text)
    }

    /// How many elements its weights have.
    ///
    /// # Errors
    /// [`ModelError::Unsupported`] when a tensor would not fit into any memory.
    pub fn parameters(&self) -> Result<u64, ModelError> {
        let tensors = layout::tensors(&self.config, self.config.dtype)?;
        let count = |tensor: &layout::TensorSpec| match tensor.name.rsplit_once('_') {
            // MXFP4: two elements a byte, and an exponent that is no parameter.
            Some((_, "blocks")) => 2 * tensor.elements() as u64,
            Some((_, "scales")) => 0,
            _ => tensor.elements() as u64,
        };
        Ok(tensors.iter().map(count).sum())
    }
}

/// Writes the folder with `config.json` alone, for engines that make weights up themselves (`load_format=dummy`).
///
/// # Errors
/// [`ModelError::Storage`].
pub fn write_config(shape: &Shape, output: &Path) -> Result<(), ModelError> {
    let staged = Staged::folder(output)?;
    config_files(shape, None, staged.path())?;
    staged.finish()
}

/// Writes a model folder with random weights from `seed`, in `dtype` or the shape's own.
///
/// # Errors
/// [`ModelError::Storage`], [`ModelError::Unsupported`].
pub fn write_safetensors(
    shape: &Shape,
    dtype: Option<Dtype>,
    seed: u64,
    output: &Path,
    progress: &dyn Progress,
) -> Result<(), ModelError> {
    let staged = Staged::folder(output)?;
    config_files(shape, dtype, staged.path())?;
    let dtype = dtype.unwrap_or(shape.config.dtype);
    let tensors = layout::tensors(&shape.config, dtype)?;
    progress.begin(tensors.iter().map(|tensor| tensor.bytes() as u64).sum());
    let filler = Filler::new(seed, dtype);
    let source = |tensor: &layout::TensorSpec| Ok(filler.fill(&tensor.name, tensor.init, tensor.elements()));
    safetensors::write(staged.path(), &tensors, &source, progress)?;
    staged.finish()
}

/// Writes a GGUF file with random weights from `seed`, its matrices in `dtype` (F16 unless named).
///
/// # Errors
/// [`ModelError::Storage`], [`ModelError::Unsupported`].
pub fn write_gguf(
    shape: &Shape,
    dtype: Option<Dtype>,
    seed: u64,
    output: &Path,
    progress: &dyn Progress,
) -> Result<(), ModelError> {
    let dtype = dtype.unwrap_or(Dtype::F16);
    let file = gguf_shape::shape(&shape.name, &shape.config, dtype)?;
    let staged = Staged::new(output)?;
    let specs: Vec<gguf::GgufSpec> = file.tensors.iter().map(|(spec, _)| spec.clone()).collect();
    progress.begin(specs.iter().map(gguf::GgufSpec::bytes).sum());
    let (narrow, wide) = (Filler::new(seed, dtype), Filler::new(seed, Dtype::F32));
    let source = |index: usize| {
        let (spec, init) = &file.tensors[index];
        let elements = spec.shape.iter().product::<u64>() as usize;
        match spec.kind {
            GgmlType::Mxfp4 => narrow.fill(&spec.name, *init, spec.bytes() as usize),
            GgmlType::F32 => wide.fill(&spec.name, *init, elements),
            GgmlType::F16 | GgmlType::Bf16 => narrow.fill(&spec.name, *init, elements),
        }
    };
    gguf::write(staged.path(), &file.metadata, &specs, &source, progress)?;
    staged.finish()
}

fn config_files(shape: &Shape, dtype: Option<Dtype>, dir: &Path) -> Result<(), ModelError> {
    let mut config: Map<String, Value> = serde_json::from_str(&shape.text)
        .map_err(|error| ModelError::Unsupported(format!("{}: {error}", shape.name)))?;
    if let Some(dtype) = dtype {
        config.remove("dtype");
        config.insert("torch_dtype".into(), dtype.torch().into());
    }
    let ids = ["bos_token_id", "eos_token_id", "pad_token_id"];
    let ids: Map<String, Value> =
        ids.iter().filter_map(|key| Some(((*key).to_owned(), config.get(*key)?.clone()))).collect();
    write_json(&dir.join("config.json"), &Value::Object(config))?;
    write_json(&dir.join("generation_config.json"), &json!(ids))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_have_as_many_parameters_as_the_models_that_they_are_of() {
        let shapes = shapes().unwrap();
        let counts: Vec<(&str, u64)> =
            shapes.iter().map(|shape| (shape.name.as_str(), shape.parameters().unwrap())).collect();
        // As the models' own pages and files count them.
        let known = [
            ("gpt-oss-20b", 20_914_757_184),
            ("llama-3-8b", 8_030_261_248),
            ("opt-125m", 125_239_296),
            ("qwen2.5-3b", 3_085_938_688),
            ("smollm2-135m", 134_515_008),
        ];
        assert_eq!(counts, known);
    }
}
