//! The instruction sets of the machine that builds, as ggml's cmake options.
//!
//! `GGML_NATIVE` would do this, but ggml refuses it together with loadable backends. Read from the kernel's list, which
//! leaves out what the kernel does not save and restore.
use std::{env, fs};

/// Option, and the flags in /proc/cpuinfo that must all be there.
const X86: &[(&str, &[&str])] = &[
    ("GGML_SSE42", &["sse4_2"]),
    ("GGML_AVX", &["avx"]),
    ("GGML_AVX2", &["avx2"]),
    ("GGML_FMA", &["fma"]),
    ("GGML_F16C", &["f16c"]),
    ("GGML_BMI2", &["bmi2"]),
    ("GGML_AVX_VNNI", &["avx_vnni"]),
    ("GGML_AVX512", &["avx512f", "avx512cd", "avx512vl", "avx512dq", "avx512bw"]),
    ("GGML_AVX512_VBMI", &["avx512_vbmi", "avx512vbmi"]),
    ("GGML_AVX512_VNNI", &["avx512_vnni"]),
    ("GGML_AVX512_BF16", &["avx512_bf16"]),
    ("GGML_AMX_TILE", &["amx_tile"]),
    ("GGML_AMX_INT8", &["amx_int8"]),
    ("GGML_AMX_BF16", &["amx_bf16"]),
];

/// `-DGGML_…=ON|OFF` for each; nothing when building for another machine than this kind, where ggml's own baseline holds.
pub fn cmake_args() -> Vec<String> {
    let target_arch = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    if target_arch != "x86_64" || env::var("HOST") != env::var("TARGET") {
        return Vec::new();
    }
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("flags")).unwrap_or_default();
    let has = |flag: &str| line.split_whitespace().any(|found| found == flag);
    X86.iter()
        .map(|(option, flags)| {
            // VBMI's name has changed between kernels: either will do.
            let on =
                if *option == "GGML_AVX512_VBMI" { flags.iter().any(|f| has(f)) } else { flags.iter().all(|f| has(f)) };
            format!("-D{option}={}", if on { "ON" } else { "OFF" })
        })
        .collect()
}
