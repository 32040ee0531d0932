//! The binding, made from the header that is linked: no checked-in copy can go stale.
use std::{
    env, fs,
    panic::{self, AssertUnwindSafe},
    path::PathBuf,
};

use crate::{Outcome, native::Built};

/// What the wrapper needs of the API and older trees lack.
const NEEDED: &[&str] = &["llama_version", "llama_n_ctx_seq", "llama_flash_attn_type", "load_mode", "kv_unified"];

/// The functions that the wrapper calls, as regular expressions; their types come along.
const FUNCTIONS: &[&str] = &[
    "llama_(version|backend_init|log_set|max_parallel_sequences|print_system_info)",
    "llama_model_(default_params|load_from_file|free|get_vocab|n_ctx_train|n_params|size|ftype|desc)",
    "llama_model_(meta_val_str|has_encoder|has_decoder)",
    "llama_(ftype_name|vocab_n_tokens|vocab_get_attr)",
    "llama_(context_default_params|init_from_model|free|get_memory|memory_clear|memory_seq_rm)",
    "llama_n_(ctx|ctx_seq|batch|ubatch|seq_max|threads|threads_batch)",
    "llama_(batch_init|batch_free|decode|get_logits_ith)",
    "llama_sampler_(chain_default_params|chain_init|chain_add|sample|free)",
    "llama_sampler_init_(dist|greedy|top_k|top_p|temp)",
    "llama_get_sampled_token_ith",
    "ggml_backend_(load_all_from_path|dev_count|dev_get|dev_name|dev_description|dev_type)",
    "ggml_(blck_size|type_size|type_name|get_type_traits)",
    "llama_model_(quantize|quantize_default_params)",
    "llama_vocab_type",
    "llama_(tokenize|detokenize)",
];

pub fn write(built: &Built) -> Outcome<()> {
    let header = built.include[0].join("llama.h");
    let text = fs::read_to_string(&header).map_err(|error| {
        format!(
            "Cannot read {} ({error}): set TACHO_LLAMA_CPP_DIR to a whole llama.cpp checkout or install prefix.",
            header.display()
        )
    })?;
    if let Some(missing) = NEEDED.iter().find(|name| !text.contains(*name)) {
        return Err(format!(
            "{} knows no {missing}, so it is older than what this adapter is written for: use llama.cpp 0.5.0 or newer.",
            header.display()
        ));
    }
    println!("cargo::rerun-if-changed={}", header.display());
    let mut builder = bindgen::Builder::default()
        .header(header.to_string_lossy())
        .clang_args(built.include.iter().map(|dir| format!("-I{}", dir.display())))
        .allowlist_var("LLAMA_DEFAULT_SEED")
        .default_enum_style(bindgen::EnumVariation::Consts)
        .prepend_enum_name(false)
        .rust_edition(bindgen::RustEdition::Edition2024)
        .layout_tests(false)
        .generate_comments(false);
    for function in FUNCTIONS {
        builder = builder.allowlist_function(function);
    }
    // bindgen panics when there is no libclang: say what to do, and only that.
    panic::set_hook(Box::new(|_| {}));
    let bindings = panic::catch_unwind(AssertUnwindSafe(|| builder.generate()))
        .map_err(|_| {
            "bindgen could not start: it needs libclang (Debian: apt-get install libclang-dev), or LIBCLANG_PATH naming \
             its folder."
                .to_owned()
        })?
        .map_err(|error| format!("bindgen could not read {}: {error}.", header.display()))?;
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("llama.rs");
    bindings.write_to_file(&out).map_err(|error| format!("Cannot write {}: {error}.", out.display()))
}
