//! llama.cpp's own tokenizer: text to ids and back.
use tacho::engine::{EngineError, TokenId};

use crate::{model::Model, sys};

/// Ids of a text, with what the model puts before every text; words that look like control tokens stay words.
///
/// # Errors
/// `Unsupported` for a model without a vocabulary, `Engine` when llama.cpp's tokenizer fails, `BadRequest` for more text than it can take.
pub fn tokenise(model: &Model, text: &str) -> Result<Vec<TokenId>, EngineError> {
    let (vocab, length) = (vocabulary(model)?, count(text.len())?);
    let mut ids: Vec<sys::llama_token> = vec![0; text.len() + 2];
    let call = |ids: &mut Vec<sys::llama_token>| -> Result<i32, EngineError> {
        let room = count(ids.len())?;
        // SAFETY: the vocabulary belongs to the model, the text is `length` bytes long and `ids` has room for `room` ids.
        Ok(unsafe { sys::llama_tokenize(vocab, text.as_ptr().cast(), length, ids.as_mut_ptr(), room, true, false) })
    };
    let mut found = call(&mut ids)?;
    if found < 0 && found != i32::MIN {
        // It tells how much room it needs.
        ids.resize(found.unsigned_abs() as usize, 0);
        found = call(&mut ids)?;
    }
    let found = usize::try_from(found).map_err(|_| EngineError::engine("llama.cpp's tokenizer failed on a prompt"))?;
    Ok(ids.iter().take(found).map(|id| TokenId(*id as u32)).collect())
}

/// The text of ids, control tokens left out; bytes that are no UTF-8 become the replacement character.
///
/// # Errors
/// As [`tokenise`].
pub fn detokenise(model: &Model, ids: &[TokenId]) -> Result<String, EngineError> {
    let ids: Vec<sys::llama_token> = ids.iter().map(|id| id.0 as sys::llama_token).collect();
    let (vocab, length) = (vocabulary(model)?, count(ids.len())?);
    let mut text = vec![0_u8; ids.len() * 8 + 16];
    let call = |text: &mut Vec<u8>| -> Result<i32, EngineError> {
        let room = count(text.len())?;
        // SAFETY: the vocabulary belongs to the model, `ids` holds `length` ids and `text` has room for `room` bytes.
        Ok(unsafe { sys::llama_detokenize(vocab, ids.as_ptr(), length, text.as_mut_ptr().cast(), room, true, false) })
    };
    let mut found = call(&mut text)?;
    if found < 0 {
        text.resize(found.unsigned_abs() as usize, 0);
        found = call(&mut text)?;
    }
    let found = usize::try_from(found).map_err(|_| EngineError::engine("llama.cpp could not decode its output"))?;
    text.truncate(found);
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Asked to tokenise without a vocabulary, llama.cpp ends the process.
fn vocabulary(model: &Model) -> Result<*const sys::llama_vocab, EngineError> {
    // SAFETY: the model is valid and owns the vocabulary.
    let (vocab, kind) = unsafe {
        let vocab = sys::llama_model_get_vocab(model.as_ptr());
        (vocab, sys::llama_vocab_type(vocab))
    };
    if kind == sys::LLAMA_VOCAB_TYPE_NONE {
        return Err(EngineError::unsupported("llama.cpp: this model has no vocabulary: it takes and gives ids alone"));
    }
    Ok(vocab)
}

fn count(length: usize) -> Result<i32, EngineError> {
    i32::try_from(length)
        .map_err(|_| EngineError::bad_request(format!("llama.cpp: a text of {length} bytes is too long")))
}
