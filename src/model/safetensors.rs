//! A model folder's weights: `model.safetensors`, or numbered parts and an index when there is much.
//!
//! Tensors are made when they are written, one at a time: memory is that of the largest.
use std::{
    borrow::Cow,
    cell::RefCell,
    collections::{BTreeMap, HashMap},
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
};

use safetensors::{View, serialize_to_file};
use serde_json::json;

use super::{Dtype, ModelError, Progress, layout::TensorSpec, write_json};

/// Bytes of tensors in a part; what the hub's own tools take.
const PART_BYTES: usize = 5_000_000_000;

/// Gives a tensor's bytes when they are to be written.
pub type Source<'a> = &'a dyn Fn(&TensorSpec) -> Result<Vec<u8>, ModelError>;

/// Writes all tensors into `dir`.
///
/// # Errors
/// What `source` says, or [`ModelError::Storage`].
pub fn write(dir: &Path, tensors: &[TensorSpec], source: Source, progress: &dyn Progress) -> Result<(), ModelError> {
    write_parts(dir, tensors, PART_BYTES, source, progress)
}

fn write_parts(
    dir: &Path,
    tensors: &[TensorSpec],
    part_bytes: usize,
    source: Source,
    progress: &dyn Progress,
) -> Result<(), ModelError> {
    let mut parts: Vec<Vec<&TensorSpec>> = Vec::new();
    let mut room = 0;
    for tensor in tensors {
        if parts.is_empty() || tensor.bytes() > room {
            parts.push(Vec::new());
            room = part_bytes;
        }
        room = room.saturating_sub(tensor.bytes());
        if let Some(part) = parts.last_mut() {
            part.push(tensor);
        }
    }
    if let [only] = &parts[..] {
        return write_file(&dir.join("model.safetensors"), only, source, progress);
    }
    let mut places = BTreeMap::new();
    for (index, part) in parts.iter().enumerate() {
        let name = format!("model-{:05}-of-{:05}.safetensors", index + 1, parts.len());
        write_file(&dir.join(&name), part, source, progress)?;
        places.extend(part.iter().map(|tensor| (tensor.name.clone(), name.clone())));
    }
    let total: usize = tensors.iter().map(TensorSpec::bytes).sum();
    let index = json!({ "metadata": { "total_size": total }, "weight_map": places });
    write_json(&dir.join("model.safetensors.index.json"), &index)
}

fn write_file(path: &Path, tensors: &[&TensorSpec], source: Source, progress: &dyn Progress) -> Result<(), ModelError> {
    let failure = RefCell::new(None);
    let views = tensors.iter().map(|tensor| (&tensor.name, Lazy { tensor, source, progress, failure: &failure }));
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let written = serialize_to_file(views, Some(metadata), path);
    if let Some(error) = failure.into_inner() {
        return Err(error);
    }
    written.map_err(|error| ModelError::storage(path, "written", &error))?;
    // The library makes it readable by its owner alone.
    fs::set_permissions(path, fs::Permissions::from_mode(0o644))
        .map_err(|error| ModelError::storage(path, "made readable", &error))
}

struct Lazy<'a> {
    tensor: &'a TensorSpec,
    source: Source<'a>,
    progress: &'a dyn Progress,
    /// The first failure: the library's interface has no place for one. The file is given up afterwards.
    failure: &'a RefCell<Option<ModelError>>,
}

impl View for Lazy<'_> {
    fn dtype(&self) -> safetensors::Dtype {
        match self.tensor.dtype {
            Dtype::F32 => safetensors::Dtype::F32,
            Dtype::F16 => safetensors::Dtype::F16,
            Dtype::Bf16 => safetensors::Dtype::BF16,
            Dtype::U8 => safetensors::Dtype::U8,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.tensor.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        if self.failure.borrow().is_some() {
            return Cow::Borrowed(&[]);
        }
        let bytes = (self.source)(self.tensor).and_then(|bytes| {
            let (expected, found) = (self.tensor.bytes(), bytes.len());
            let wrong = || ModelError::Cell(format!("{}: expected {expected} bytes, found {found}", self.tensor.name));
            if expected == found { Ok(bytes) } else { Err(wrong()) }
        });
        match bytes {
            Ok(bytes) => {
                self.progress.advance(bytes.len() as u64);
                Cow::Owned(bytes)
            }
            Err(error) => {
                *self.failure.borrow_mut() = Some(error);
                Cow::Borrowed(&[])
            }
        }
    }

    fn data_len(&self) -> usize {
        self.tensor.bytes()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use safetensors::SafeTensors;

    use super::*;
    use crate::model::Init;

    fn tensor(name: &str, shape: &[usize], dtype: Dtype) -> TensorSpec {
        TensorSpec { name: name.into(), shape: shape.into(), dtype, init: Init::Zeros }
    }

    struct Count(Cell<u64>);

    impl Progress for Count {
        fn advance(&self, bytes: u64) {
            self.0.set(self.0.get() + bytes);
        }
    }

    fn three() -> Vec<TensorSpec> {
        vec![tensor("z", &[2, 3], Dtype::F32), tensor("a", &[5], Dtype::Bf16), tensor("m", &[4], Dtype::U8)]
    }

    fn bytes_of(tensor: &TensorSpec) -> Result<Vec<u8>, ModelError> {
        Ok(vec![tensor.name.as_bytes()[0]; tensor.bytes()])
    }

    #[test]
    fn one_file_or_parts_hold_every_tensor_once() {
        for (part_bytes, files) in [
            (1000, vec!["model.safetensors"]),
            (30, vec!["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let count = Count(Cell::new(0));
            write_parts(dir.path(), &three(), part_bytes, &bytes_of, &count).unwrap();
            assert_eq!(count.0.get(), 24 + 10 + 4);
            let mut seen = BTreeMap::new();
            for file in &files {
                let bytes = fs::read(dir.path().join(file)).unwrap();
                let read = SafeTensors::deserialize(&bytes).unwrap();
                for (name, view) in read.iter() {
                    assert!(view.data().iter().all(|byte| *byte == name.as_bytes()[0]));
                    seen.insert(name.to_owned(), (view.shape().to_vec(), (*file).to_owned()));
                }
            }
            assert_eq!(seen.keys().map(String::as_str).collect::<Vec<_>>(), ["a", "m", "z"]);
            assert_eq!(seen["z"].0, [2, 3]);
            if files.len() == 2 {
                let index = fs::read_to_string(dir.path().join("model.safetensors.index.json")).unwrap();
                let index: serde_json::Value = serde_json::from_str(&index).unwrap();
                assert_eq!(index["metadata"]["total_size"], 38);
                assert!(seen.iter().all(|(name, (_, file))| index["weight_map"][name] == **file));
            }
        }
    }

    #[test]
    fn a_source_that_fails_or_gives_too_little_is_the_error() {
        let dir = tempfile::tempdir().unwrap();
        let broken = |_: &TensorSpec| Err(ModelError::Cell("it broke".into()));
        let error = write(dir.path(), &three(), &broken, &()).unwrap_err();
        assert_eq!(error, ModelError::Cell("it broke".into()));
        let short = |_: &TensorSpec| Ok(vec![0; 3]);
        let error = write(dir.path(), &three(), &short, &()).unwrap_err();
        assert!(error.to_string().contains("bytes, found 3"), "{error}");
    }
}
