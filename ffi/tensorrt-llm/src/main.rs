//! The cell program that hosts TensorRT-LLM's C++ executor.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    tacho_tensorrt_llm::cell()
}
