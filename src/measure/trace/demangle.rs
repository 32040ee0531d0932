//! Kernel names as people write them.
use cpp_demangle::{DemangleOptions, Symbol};

/// A C++ kernel's name without its parameters, as `cuobjdump` would write it before the parenthesis; any other name as it
/// is, since Triton's and cuBLAS's kernels are not mangled.
pub fn readable(name: &str) -> String {
    let options = DemangleOptions::new().no_params().no_return_type();
    let demangled = Symbol::new(name).ok().and_then(|symbol| symbol.demangle_with_options(&options).ok());
    demangled.unwrap_or_else(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::readable;

    #[test]
    fn mangled_names_are_demangled_and_others_left_alone() {
        assert_eq!(readable("_ZN4vllm15rms_norm_kernelIfEEvPT_PKS1_S4_fii"), "vllm::rms_norm_kernel<float>");
        assert_eq!(readable("nvjet_tst_64x8_64x16_4x1_v_bz_TNT"), "nvjet_tst_64x8_64x16_4x1_v_bz_TNT");
        assert_eq!(readable("_Znonsense"), "_Znonsense");
        assert_eq!(readable(""), "");
    }
}
