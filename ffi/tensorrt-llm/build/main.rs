//! Builds the bridge against the real library (feature `tensorrt-llm`), against the double (feature `double`), or not at
//! all, which is what a plain workspace build does.
#[cfg(feature = "bridge")]
mod bridge;
#[cfg(feature = "tensorrt-llm")]
mod library;

fn main() {
    println!("cargo::rerun-if-changed=build");
    println!("cargo::rustc-check-cfg=cfg(trtllm_double)");
    #[cfg(feature = "bridge")]
    if let Err(reason) = bridge::build() {
        // One sentence that says what to do, where a panic would bury it under a backtrace.
        for line in reason.lines() {
            println!("cargo::error={line}");
        }
    }
}
