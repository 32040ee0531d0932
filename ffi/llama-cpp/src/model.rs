//! A loaded model and its vocabulary.
use std::{
    ffi::{CString, c_char},
    os::unix::ffi::OsStrExt,
    path::Path,
    ptr::NonNull,
};

use tacho::engine::{EngineError, IdRange, ModelInfo};

use crate::{
    backend::{Backend, text},
    gguf, log,
    options::LlamaOptions,
    sys,
};

/// Weights in memory; freed on drop. Contexts share it by reference count, so that it outlives them.
#[derive(Debug)]
pub struct Model {
    pointer: NonNull<sys::llama_model>,
    name: String,
    /// What llama.cpp was told to use, ended by null: its parameters point here.
    _devices: Option<Vec<sys::ggml_backend_dev_t>>,
}

impl Drop for Model {
    fn drop(&mut self) {
        // SAFETY: the pointer came from the library, is freed once, and no context is left: each holds a count.
        unsafe { sys::llama_model_free(self.pointer.as_ptr()) };
    }
}

impl Model {
    /// Loads a GGUF file, after checking that it is one and that it is whole.
    ///
    /// # Errors
    /// `Load`, naming the file, what was expected, what was found, and llama.cpp's last words.
    pub fn load(path: &Path, options: &LlamaOptions) -> Result<Self, EngineError> {
        gguf::check(path)?;
        let backend = Backend::get();
        let mut devices = match options.device_names() {
            Some(names) => Some(
                backend.find(&names).map_err(|problem| EngineError::unsupported(format!("llama.cpp: {problem}")))?,
            ),
            None => None,
        };
        let place = CString::new(path.as_os_str().as_bytes())
            .map_err(|_| EngineError::load(format!("{}: a path with a NUL byte cannot be opened", path.display())))?;
        // SAFETY: plain values.
        let mut params = unsafe { sys::llama_model_default_params() };
        params.progress_callback = Some(silent);
        if let Some(layers) = options.n_gpu_layers {
            params.n_gpu_layers = layers;
        }
        if let Some(devices) = &mut devices {
            devices.push(std::ptr::null_mut());
            params.devices = devices.as_mut_ptr();
        }
        if let Some(mmap) = options.use_mmap {
            params.load_mode = if mmap { sys::LLAMA_LOAD_MODE_MMAP } else { sys::LLAMA_LOAD_MODE_NONE };
        }
        log::forget();
        // SAFETY: the path outlives the call; of the params' pointers the callback is static and the list of devices, ended by
        // null, outlives the model; the backend is started.
        let pointer = unsafe { sys::llama_model_load_from_file(place.as_ptr(), params) };
        let pointer = NonNull::new(pointer).ok_or_else(|| {
            EngineError::load(format!(
                "{}: llama.cpp {} could not load this file. Check that its architecture is one this version knows and \
                 that memory suffices, or fetch the file again.{}",
                path.display(),
                Backend::get().version(),
                log::said(),
            ))
        })?;
        let name = path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
        let model = Self { pointer, name, _devices: devices };
        // SAFETY: the model is valid.
        let (encoder, decoder) =
            unsafe { (sys::llama_model_has_encoder(model.as_ptr()), sys::llama_model_has_decoder(model.as_ptr())) };
        if encoder || !decoder {
            return Err(EngineError::load(format!(
                "{}: expected a decoder-only model, found one with an encoder: this engine generates from prompts alone",
                path.display()
            )));
        }
        if model.vocab_size() == 0 {
            return Err(EngineError::load(format!("{}: the model has no vocabulary", path.display())));
        }
        Ok(model)
    }

    pub(crate) fn as_ptr(&self) -> *mut sys::llama_model {
        self.pointer.as_ptr()
    }

    /// Layers on the GPU when nobody says: llama.cpp's own default.
    pub fn default_gpu_layers() -> i32 {
        // SAFETY: plain values.
        unsafe { sys::llama_model_default_params() }.n_gpu_layers
    }

    /// The longest sequence that it was trained for, in tokens.
    pub fn context_len(&self) -> u32 {
        // SAFETY: the model is valid.
        unsafe { sys::llama_model_n_ctx_train(self.as_ptr()) }.max(0) as u32
    }

    /// Rows of the vocabulary.
    pub fn vocab_size(&self) -> u32 {
        // SAFETY: the model is valid, and so is the vocabulary that it owns.
        unsafe { sys::llama_vocab_n_tokens(sys::llama_model_get_vocab(self.as_ptr())) }.max(0) as u32
    }

    /// What the model says of itself.
    pub fn info(&self) -> ModelInfo {
        // SAFETY: the model is valid; the file type's name is a static string.
        let (n_params, size_bytes, weights) = unsafe {
            (
                sys::llama_model_n_params(self.as_ptr()),
                sys::llama_model_size(self.as_ptr()),
                text(sys::llama_ftype_name(sys::llama_model_ftype(self.as_ptr()))),
            )
        };
        ModelInfo {
            name: self.meta(c"general.name").unwrap_or_else(|| self.name.clone()),
            architecture: self.meta(c"general.architecture"),
            weights_dtype: (!weights.is_empty()).then_some(weights),
            n_params: Some(n_params),
            size_bytes: Some(size_bytes),
            context_len: Some(self.context_len()),
            vocab_size: self.vocab_size(),
            ordinary_ids: self.ordinary_ids(),
        }
    }

    /// What llama.cpp calls it: architecture, size class and file type, as llama-bench shows it.
    pub fn desc(&self) -> String {
        let mut buffer = [0_u8; 128];
        // SAFETY: the model is valid, the buffer is as long as said, and the result ends with NUL inside it.
        unsafe {
            let start = buffer.as_mut_ptr().cast::<c_char>();
            sys::llama_model_desc(self.as_ptr(), start, buffer.len());
            text(start)
        }
    }

    fn meta(&self, key: &std::ffi::CStr) -> Option<String> {
        let mut buffer = [0_u8; 256];
        // SAFETY: the buffer is as long as said, and the result ends with NUL inside it.
        let length = unsafe {
            let buffer = buffer.as_mut_ptr().cast::<c_char>();
            sys::llama_model_meta_val_str(self.as_ptr(), key.as_ptr(), buffer, 256)
        };
        let length = usize::try_from(length).ok()?.min(buffer.len() - 1);
        let value = String::from_utf8_lossy(&buffer[..length]).trim().to_owned();
        (!value.is_empty()).then_some(value)
    }

    /// Tokens that are plain text: the attribute NORMAL and none of the special ones.
    fn ordinary_ids(&self) -> Vec<IdRange> {
        let special = sys::LLAMA_TOKEN_ATTR_UNKNOWN
            | sys::LLAMA_TOKEN_ATTR_UNUSED
            | sys::LLAMA_TOKEN_ATTR_CONTROL
            | sys::LLAMA_TOKEN_ATTR_USER_DEFINED
            | sys::LLAMA_TOKEN_ATTR_BYTE;
        // SAFETY: the vocabulary belongs to the model.
        let vocab = unsafe { sys::llama_vocab_type(sys::llama_model_get_vocab(self.as_ptr())) };
        if vocab == sys::LLAMA_VOCAB_TYPE_NONE {
            // A shape model has no tokens with attributes to ask for, and llama.cpp aborts when asked: all are alike.
            return vec![IdRange { start: 0, end: self.vocab_size() }];
        }
        let mut ranges: Vec<IdRange> = Vec::new();
        for id in 0..self.vocab_size() {
            // SAFETY: the vocabulary belongs to the model, and the id lies inside it.
            let attr = unsafe { sys::llama_vocab_get_attr(sys::llama_model_get_vocab(self.as_ptr()), id as i32) };
            if attr & sys::LLAMA_TOKEN_ATTR_NORMAL == 0 || attr & special != 0 {
                continue;
            }
            match ranges.last_mut() {
                Some(last) if last.end == id => last.end = id + 1,
                _ => ranges.push(IdRange { start: id, end: id + 1 }),
            }
        }
        ranges
    }
}

/// Loading goes on, and nothing is printed.
unsafe extern "C" fn silent(_: f32, _: *mut std::ffi::c_void) -> bool {
    true
}
