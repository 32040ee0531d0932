//! TensorRT-LLM's double, installed where its module would be.
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// An environment in which `import tensorrt_llm` finds the double.
pub fn environment(folder: &Path) -> PathBuf {
    let made = Command::new(env!("TACHO_BUILD_PYTHON")).args(["-m", "venv", "--without-pip"]).arg(folder).status();
    assert!(made.unwrap().success());
    let python = folder.join("bin/python");
    let site = Command::new(&python).args(["-c", "import site; print(site.getsitepackages()[0])"]).output().unwrap();
    let site = String::from_utf8(site.stdout).unwrap();
    let double = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/doubles/tensorrt_llm_python");
    let double = double.canonicalize().unwrap();
    std::fs::write(Path::new(site.trim()).join("double.pth"), double.to_str().unwrap()).unwrap();
    python
}
