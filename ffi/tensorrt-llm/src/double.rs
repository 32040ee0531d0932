//! The cell program that hosts the double of TensorRT-LLM, for tests.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    tacho_tensorrt_llm::cell()
}
