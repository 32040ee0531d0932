//! Environment variables that change engines, with what they change: an engine inherits them, and no plan shows them.
use super::{Check, Surroundings};

const NAME: &str = "variable";

/// A variable, or a family of them by the beginning of their names (ending in `_`), and what it changes. The first that
/// fits counts.
const KNOWN: [(&str, &str); 38] = [
    ("CUDA_VISIBLE_DEVICES", "which GPUs engines see, and in which order"),
    ("CUDA_DEVICE_ORDER", "how GPUs are numbered"),
    ("CUDA_LAUNCH_BLOCKING", "makes every kernel launch wait: figures with it are no figures"),
    ("CUDA_MODULE_LOADING", "when kernels are loaded: lazily is within the first trials"),
    ("CUDA_DEVICE_MAX_CONNECTIONS", "how many queues of work a GPU has"),
    ("CUDA_", "CUDA's runtime and driver"),
    ("NVIDIA_", "the container's GPUs and the driver's behaviour"),
    ("NCCL_", "how GPUs talk to each other"),
    ("VLLM_CPU_KVCACHE_SPACE", "the size of vLLM's KV cache on the processor"),
    ("VLLM_CPU_OMP_THREADS_BIND", "which cores vLLM's threads run on"),
    ("VLLM_ATTENTION_BACKEND", "vLLM's attention kernels"),
    ("VLLM_USE_V1", "which of vLLM's engines runs"),
    ("VLLM_", "vLLM"),
    ("SGLANG_", "SGLang"),
    ("SGL_", "SGLang"),
    ("TLLM_", "TensorRT-LLM"),
    ("TRTLLM_", "TensorRT-LLM"),
    ("LLAMA_", "llama.cpp"),
    ("GGML_", "llama.cpp's backends"),
    ("MODULAR_", "MAX"),
    ("MAX_", "MAX"),
    ("TORCH", "PyTorch: compilation, caches, logging"),
    ("PYTORCH_", "PyTorch's allocators"),
    ("TRITON_", "how Triton compiles and caches kernels"),
    ("OMP_NUM_THREADS", "how many threads engines compute with"),
    ("OMP_", "how OpenMP's threads are bound and wait"),
    ("GOMP_", "how OpenMP's threads are bound and wait"),
    ("KMP_", "how OpenMP's threads are bound and wait"),
    ("MKL_", "Intel's mathematical kernels and their threads"),
    ("OPENBLAS_", "OpenBLAS and its threads"),
    ("MALLOC_", "glibc's allocator"),
    ("LD_PRELOAD", "which libraries come before all others, such as another allocator"),
    ("LD_LIBRARY_PATH", "which libraries engines load"),
    ("PYTHONPATH", "which modules Python finds first"),
    ("PYTHONHOME", "which Python's modules are used"),
    ("PYTHONOPTIMIZE", "whether Python checks assertions"),
    ("PYTHONMALLOC", "Python's allocator"),
    ("PYTHONDEVMODE", "Python's checks while it runs"),
];

/// Those whose being set is no fault: they choose among what is there.
const HARMLESS: [&str; 4] = ["CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "NVIDIA_", "LD_LIBRARY_PATH"];

pub(super) fn checks(around: &Surroundings<'_>) -> Vec<Check> {
    let set: Vec<Check> = around.variables.iter().filter_map(|(name, value)| check(name, value)).collect();
    if set.is_empty() {
        return vec![Check::ok(NAME, "none is set that changes engines")];
    }
    set
}

fn check(name: &str, value: &str) -> Option<Check> {
    let fits = |known: &str| name == known || (known.ends_with('_') || *known == *"TORCH") && name.starts_with(known);
    let (family, what) = KNOWN.iter().find(|(known, _)| fits(known))?;
    let found = format!("'{}' changes {what}", short(value));
    Some(
        if HARMLESS.contains(family) {
            Check::ok(NAME, found)
        } else {
            Check::warning(
                NAME,
                found,
                format!("unset {name}, unless the run is meant to have it (run.json will name it)"),
            )
        }
        .of(name),
    )
}

/// Values may be long, and may be secret: no more than their beginning.
fn short(value: &str) -> String {
    const SHOWN: usize = 40;
    let clean: String = value.chars().filter(|c| !c.is_control()).collect();
    if clean.chars().count() <= SHOWN { clean } else { clean.chars().take(SHOWN).chain(['…']).collect() }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{State, testing},
        *,
    };

    #[test]
    fn variables_are_named_with_what_they_change() {
        let machine = testing::Machine::new();
        let mut around = machine.around();
        assert_eq!(checks(&around)[0].state, State::Ok);
        for (name, value) in [
            ("OMP_NUM_THREADS", "1"),
            ("VLLM_CPU_KVCACHE_SPACE", "4"),
            ("VLLM_SOMETHING_NEW", "1"),
            ("GGML_NLOOP", "2"),
            ("CUDA_VISIBLE_DEVICES", "0"),
            ("PYTHONPATH", "/x"),
            ("TORCHINDUCTOR_CACHE_DIR", "/y"),
            ("HOME", "/root"),
            ("PYTHONUNBUFFERED", "1"),
            ("LD_PRELOADED", "no"),
        ] {
            around.variables.insert(name.to_owned(), value.to_owned());
        }
        let found = checks(&around);
        let of = |name: &str| found.iter().find(|check| check.of.as_deref() == Some(name));
        assert!(of("OMP_NUM_THREADS").unwrap().found.contains("how many threads"));
        assert!(of("VLLM_CPU_KVCACHE_SPACE").unwrap().found.contains("KV cache"));
        assert_eq!(of("VLLM_SOMETHING_NEW").unwrap().found, "'1' changes vLLM");
        assert_eq!(of("GGML_NLOOP").unwrap().state, State::Warning);
        assert_eq!(of("CUDA_VISIBLE_DEVICES").unwrap().state, State::Ok);
        assert!(of("PYTHONPATH").is_some() && of("TORCHINDUCTOR_CACHE_DIR").is_some());
        assert!(of("HOME").is_none() && of("PYTHONUNBUFFERED").is_none() && of("LD_PRELOADED").is_none());
    }

    #[test]
    fn what_is_long_is_cut() {
        assert_eq!(short("a\nb"), "ab");
        assert_eq!(short(&"x".repeat(100)).chars().count(), 41);
    }
}
