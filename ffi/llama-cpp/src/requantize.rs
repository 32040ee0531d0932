//! The same weights in another type, by llama.cpp's own quantizer.
use std::{ffi::CString, os::unix::ffi::OsStrExt, path::Path};

use tacho::engine::EngineError;

use crate::{backend::Backend, gguf, log, sys};

/// Writes the weights of `from` to `to`, every tensor of two dimensions in type `kind`: `f32`, `f16` or `bf16`. Norms stay
/// in float32, as in all of llama.cpp's files.
///
/// # Errors
/// `Load` with the file, the reason and llama.cpp's last words; `Unsupported` for another type.
pub(crate) fn requantize(from: &Path, to: &Path, kind: &str) -> Result<(), EngineError> {
    let ftype = match kind {
        "f32" => sys::LLAMA_FTYPE_ALL_F32,
        "f16" => sys::LLAMA_FTYPE_MOSTLY_F16,
        "bf16" => sys::LLAMA_FTYPE_MOSTLY_BF16,
        _ => return Err(EngineError::unsupported(format!("expected the type f32, f16 or bf16, found {kind:?}"))),
    };
    gguf::check(from)?;
    let _: &Backend = Backend::get();
    let path = |path: &Path| {
        CString::new(path.as_os_str().as_bytes())
            .map_err(|_| EngineError::load(format!("{}: a path with a NUL byte cannot be opened", path.display())))
    };
    let (input, output) = (path(from)?, path(to)?);
    // SAFETY: plain values.
    let mut params = unsafe { sys::llama_model_quantize_default_params() };
    params.ftype = ftype;
    params.allow_requantize = true;
    // Without it llama.cpp keeps some tensors in a type of its own choice.
    params.pure_ = true;
    log::forget();
    // SAFETY: both paths and the parameters outlive the call, the parameters hold no pointer but null, and the backend is
    // started.
    let status = unsafe { sys::llama_model_quantize(input.as_ptr(), output.as_ptr(), &params) };
    if status == 0 {
        return Ok(());
    }
    Err(EngineError::load(format!("{}: llama.cpp could not convert it to {kind}.{}", from.display(), log::said())))
}
