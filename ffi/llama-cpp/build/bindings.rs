//! The binding, made from the header that is linked: no checked-in copy can go stale.
use std::{env, fs, path::PathBuf};

use crate::{Outcome, native::Built};

/// What the wrapper needs of the API and older trees lack.
const NEEDED: &[&str] = &["llama_version", "llama_n_ctx_seq", "llama_flash_attn_type", "load_mode", "kv_unified"];

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
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("llama.rs");
    // bindgen panics when there is no libclang: say what to do instead.
    let builder = bindgen::Builder::default()
        .header(header.to_string_lossy())
        .clang_args(built.include.iter().map(|dir| format!("-I{}", dir.display())))
        .allowlist_function("llama_(version|backend_init|backend_free|log_set|max_parallel_sequences|print_system_info|numa_init)")
        .allowlist_function("llama_(model_default_params|model_load_from_file|model_free|model_get_vocab|model_n_ctx_train)")
        .allowlist_function("llama_(model_n_params|model_size|model_desc|model_ftype|ftype_name|model_meta_val_str)")
        .allowlist_function("llama_(model_has_encoder|model_has_decoder|supports_gpu_offload)")
        .allowlist_function("llama_(vocab_n_tokens|vocab_get_attr)")
        .allowlist_function("llama_(context_default_params|init_from_model|free|n_ctx|n_ctx_seq|n_batch|n_ubatch|n_seq_max)")
        .allowlist_function("llama_(n_threads|n_threads_batch|get_memory|memory_clear|memory_seq_rm|decode|synchronize|get_logits_ith)")
        .allowlist_function("llama_(batch_init|batch_free)")
        .allowlist_function("llama_sampler_(chain_default_params|chain_init|chain_add|init_dist|init_top_k|init_top_p|init_temp|init_greedy|sample|free)")
        .allowlist_function("ggml_backend_(load_all_from_path|dev_count|dev_get|dev_name|dev_description|dev_type|reg_count|reg_get|reg_name)")
        .allowlist_function("ggml_(blck_size|type_size|type_name)")
        .allowlist_var("LLAMA_DEFAULT_SEED")
        .default_enum_style(bindgen::EnumVariation::Consts)
        .prepend_enum_name(false)
        .rust_edition(bindgen::RustEdition::Edition2024)
        .layout_tests(false)
        .generate_comments(false);
    let bindings = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| builder.generate()))
        .map_err(|_| "bindgen could not start: it needs libclang (Debian: apt-get install libclang-dev), or LIBCLANG_PATH naming its folder.".to_owned())?
        .map_err(|error| format!("bindgen could not read {}: {error}.", header.display()))?;
    bindings.write_to_file(&out).map_err(|error| format!("Cannot write {}: {error}.", out.display()))
}
