//! What of this program's environment a cell gets, and a server that Tacho starts: what programs and engines need, and nothing
//! that may hold a secret. A list of what passes, since no list of what must not is ever whole.
use std::ffi::OsString;

use crate::secrets;

/// Names more variables that pass, with commas between: for an engine that has variables of its own.
pub const MORE_VARIABLE: &str = "TACHO_CELL_ENV";

/// Variables of any program.
const ORDINARY: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "PWD",
    "HOSTNAME",
    "TMPDIR",
    "TZ",
    "TERM",
    "NO_COLOR",
    "LANG",
    "LANGUAGE",
    "RUST_BACKTRACE",
    "RUST_LIB_BACKTRACE",
    "RUST_LOG",
    "DO_NOT_TRACK",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "VIRTUAL_ENV",
    "CONDA_PREFIX",
    "LLVM_PROFILE_FILE",
];

/// The beginnings of names that belong to programs, compilers, launchers and sanitizers, and say nothing of an engine.
const ORDINARY_BEGINNINGS: &[&str] =
    &["LC_", "XDG_", "ASAN_", "LSAN_", "TSAN_", "UBSAN_", "DOCKER_", "DBUS_", "SLURM_", "SLURMD_"];

/// The beginnings of names by which engines and their libraries are set up; `run.json` keeps these too.
pub(crate) const ENGINES: &[&str] = &[
    "TACHO_",
    "OMP_",
    "MKL_",
    "OPENBLAS_",
    "BLIS_",
    "NUMEXPR_",
    "GGML_",
    "LLAMA_",
    "VLLM_",
    "SGLANG_",
    "SGL_",
    "FLASHINFER_",
    "TLLM_",
    "TRTLLM_",
    "TENSORRT_",
    "TRT_",
    "MODULAR_",
    "MAX_",
    "TORCH",
    "PYTORCH_",
    "TRITON_",
    "TVM_",
    "XGRAMMAR_",
    "OUTLINES_",
    "DG_",
    "RAY_",
    "NCCL_",
    "GLOO_",
    "TP_",
    "UCX_",
    "NVSHMEM_",
    "OMPI_",
    "PMI_",
    "PMIX_",
    "MPI",
    "I_MPI_",
    "MASTER_ADDR",
    "MASTER_PORT",
    "WORLD_SIZE",
    "RANK",
    "LOCAL_RANK",
    "HOST_IP",
    "CUDA_",
    "CUDNN_",
    "CUBLAS",
    "NVIDIA_",
    "NVCC_",
    "NVRTC_",
    "NVTX_",
    "NSYS_",
    "NV_",
    "HIP_",
    "HSA_",
    "ROCR_",
    "HF_",
    "HUGGINGFACE_",
    "TRANSFORMERS_",
    "TOKENIZERS_",
    "SAFETENSORS_",
    "ACCELERATE_",
    "RAYON_",
    "MALLOC_",
    "GLIBC_TUNABLES",
    "LD_PRELOAD",
    "LD_LIBRARY_PATH",
    "LIBRARY_PATH",
    "CPATH",
    "CC",
    "CXX",
    "CUDAHOSTCXX",
    "PYTHON",
    "GOMP_",
    "KMP_",
    "NUMA",
];

/// Whether a name is one by which engines and their libraries are set up.
pub(crate) fn sets_up_engines(name: &str) -> bool {
    ENGINES.iter().any(|known| begins(name, known))
}

/// Whole names pass whole: `CC` is no beginning of `CCACHE_REMOTE_STORAGE`.
fn begins(name: &str, known: &str) -> bool {
    const OPEN: &[&str] = &["TORCH", "MPI", "CUBLAS", "PYTHON", "NUMA"];
    name == known || ((known.ends_with('_') || OPEN.contains(&known)) && name.starts_with(known))
}

/// The variables of this program that its cells get.
pub(crate) fn inherited() -> Vec<(OsString, OsString)> {
    let more = std::env::var(MORE_VARIABLE).unwrap_or_default();
    chosen(std::env::vars_os(), &more, &secrets::redact)
}

fn chosen(
    all: impl Iterator<Item = (OsString, OsString)>,
    more: &str,
    redact: &dyn Fn(&str) -> String,
) -> Vec<(OsString, OsString)> {
    let asked: Vec<&str> = more.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    let passes = |name: &str| {
        ORDINARY.contains(&name)
            || ORDINARY_BEGINNINGS.iter().any(|known| begins(name, known))
            || sets_up_engines(name)
            || asked.contains(&name)
    };
    let open = |name: &str, value: &OsString| {
        let text = value.to_string_lossy();
        let open = redact(&text) == text;
        if !open {
            tracing::warn!(name, "a variable is kept from cells: its value holds a secret");
        }
        open
    };
    all.filter(|(name, value)| {
        name.to_str().is_some_and(|name| passes(name) && !secrets::is_secret_name(name) && open(name, value))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_stays_behind_and_so_does_a_known_name_with_a_secret() {
        let all = [
            ("PATH", "/bin"),
            ("LC_ALL", "C"),
            ("CUDA_VISIBLE_DEVICES", "0"),
            ("VLLM_USE_V1", "1"),
            ("TORCHINDUCTOR_CACHE_DIR", "/x"),
            ("CC", "gcc"),
            ("MINE", "1"),
            ("CCACHE_REMOTE_STORAGE", "x"),
            ("PATHOLOGY", "x"),
            ("HARMLESS", "x"),
            ("HF_TOKEN", "hf_0123456789"),
            ("MY_KEY", "x"),
            ("VLLM_NOTE", "it is hf_0123456789"),
        ];
        let redact = |text: &str| text.replace("hf_0123456789", "");
        let found = chosen(all.iter().map(|(name, value)| (name.into(), value.into())), "MINE, MY_KEY", &redact);
        let names: Vec<&str> = found.iter().filter_map(|(name, _)| name.to_str()).collect();
        assert_eq!(
            names,
            ["PATH", "LC_ALL", "CUDA_VISIBLE_DEVICES", "VLLM_USE_V1", "TORCHINDUCTOR_CACHE_DIR", "CC", "MINE"]
        );
    }
}
