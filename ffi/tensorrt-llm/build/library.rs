//! Finds the real library and checks that the bridge can be built against it. Each failure is a sentence that says what
//! to do.
use std::{
    env,
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
};

/// The folder with `include` and `lib` (or `libs`), as the vendor's container has it in `/app/tensorrt_llm`.
const ROOT: &str = "TENSORRT_LLM_ROOT";
/// The version, where no file under the root tells it.
const VERSION: &str = "TENSORRT_LLM_VERSION";
/// The CUDA toolkit: `executor.h` includes `cuda_fp16.h`.
const CUDA: &str = "CUDA_HOME";
const DOCS: &str = "docs/engines/tensorrt-llm.md says how to get there";

/// Where what was found lies.
pub struct Library {
    /// What `TENSORRT_LLM_ROOT` named.
    pub root: PathBuf,
    /// Its own headers and CUDA's.
    pub includes: Vec<PathBuf>,
    /// The folder with the shared libraries.
    pub lib: PathBuf,
}

impl Library {
    /// Looks where the environment says.
    pub fn find() -> Result<Self, String> {
        for name in [ROOT, VERSION, CUDA] {
            println!("cargo::rerun-if-env-changed={name}");
        }
        let named = |name| env::var_os(name).filter(|value| !value.is_empty());
        let version = named(VERSION).map(|version| version.to_string_lossy().into_owned());
        Self::at(named(ROOT).map(PathBuf::from), version, named(CUDA).map(PathBuf::from))
    }

    /// Looks under `root`. `version` and `cuda` stand for what no file tells and for the usual place.
    pub fn at(root: Option<PathBuf>, version: Option<String>, cuda: Option<PathBuf>) -> Result<Self, String> {
        let root = root.ok_or_else(|| {
            format!(
                "feature tensorrt-llm: {ROOT} is not set; expected the folder with TensorRT-LLM's include and lib, such as \
                 /app/tensorrt_llm in the vendor's container. {DOCS}"
            )
        })?;
        let include = ["include", "cpp/include"]
            .iter()
            .map(|name| root.join(name))
            .find(|path| path.join("tensorrt_llm/executor/executor.h").is_file())
            .ok_or_else(|| {
                format!(
                    "{ROOT}={}: expected include/tensorrt_llm/executor/executor.h in it, found none. The Python wheel has \
                     no such headers: take cpp/include of the same release's source. {DOCS}",
                    root.display()
                )
            })?;
        check_header(&include.join("tensorrt_llm/executor/executor.h"))?;
        let lib = ["lib", "libs", "lib64"]
            .iter()
            .map(|name| root.join(name))
            .find(|path| path.join("libtensorrt_llm.so").is_file())
            .ok_or_else(|| {
                format!(
                    "{ROOT}={}: expected lib/libtensorrt_llm.so in it, found none; link the folder tensorrt_llm/libs of the \
                     installed Python package there. {DOCS}",
                    root.display()
                )
            })?;
        let plugin = lib.join("libnvinfer_plugin_tensorrt_llm.so");
        if !plugin.is_file() {
            return Err(format!(
                "{} is missing: this TensorRT-LLM has no TensorRT engine backend. {DOCS}",
                plugin.display()
            ));
        }
        check_symbols(&lib.join("libtensorrt_llm.so"))?;
        check_version(&root, &include, version)?;
        let cuda = cuda.unwrap_or_else(|| PathBuf::from("/usr/local/cuda")).join("include");
        if !cuda.join("cuda_fp16.h").is_file() {
            return Err(format!(
                "expected cuda_fp16.h in {}, found none: set {CUDA} to the CUDA toolkit that this TensorRT-LLM was built with",
                cuda.display()
            ));
        }
        Ok(Self { root, includes: vec![include, cuda], lib })
    }
}

/// The header stayed when the executor went: newer ones declare data types only.
fn check_header(header: &Path) -> Result<(), String> {
    let text = fs::read_to_string(header).map_err(|error| format!("{} cannot be read: {error}", header.display()))?;
    if text.contains("enqueueRequests") {
        return Ok(());
    }
    Err(format!(
        "{} declares no Executor: TensorRT-LLM removed it after 1.3.0rc20. Use a release from 1.0 to 1.3.0rc20, or the \
         engine tensorrt-llm, which takes the Python door",
        header.display()
    ))
}

/// Looks into the library for the constructor that the bridge calls, by its mangled name: it tells the C++ ABI too.
fn check_symbols(library: &Path) -> Result<(), String> {
    const WANTED: &str = "_ZN12tensorrt_llm8executor8ExecutorC1ERKNSt10filesystem7__cxx114pathE";
    const OLD_ABI: &str = "_ZN12tensorrt_llm8executor8ExecutorC1ERKNSt10filesystem4pathE";
    let found = holds(library, &[WANTED.as_bytes(), OLD_ABI.as_bytes()])
        .map_err(|error| format!("{} cannot be read: {error}", library.display()))?;
    match found {
        Some(0) => Ok(()),
        Some(_) => Err(format!(
            "{} was built with the C++ ABI from before C++11 (_GLIBCXX_USE_CXX11_ABI=0), Rust's cxx with the newer one: they \
             cannot be linked. Take the vendor's wheels or containers of 1.0 and later, which have the newer one",
            library.display()
        )),
        None => Err(format!(
            "{} has no C++ Executor: TensorRT-LLM removed it after 1.3.0rc20. Use a release from 1.0 to 1.3.0rc20, or the \
             engine tensorrt-llm, which takes the Python door",
            library.display()
        )),
    }
}

/// Which of `needles` comes first in the file; read in pieces, because the library has a gigabyte.
fn holds(path: &Path, needles: &[&[u8]]) -> std::io::Result<Option<usize>> {
    let longest = needles.iter().map(|needle| needle.len()).max().unwrap_or(1);
    let mut file = File::open(path)?;
    let mut piece = vec![0; 1 << 22];
    let mut kept = 0;
    loop {
        let read = file.read(&mut piece[kept..])?;
        if read == 0 {
            return Ok(None);
        }
        let have = &piece[..kept + read];
        for (index, needle) in needles.iter().enumerate() {
            // Names begin with an underscore: most positions are left at once.
            let mut starts = have.iter().enumerate().filter(|(_, byte)| **byte == needle[0]).map(|(at, _)| at);
            if starts.any(|at| have[at..].starts_with(needle)) {
                return Ok(Some(index));
            }
        }
        let tail = have.len().saturating_sub(longest);
        let end = have.len();
        piece.copy_within(tail..end, 0);
        kept = end - tail;
    }
}

/// The version by the first file that tells it, or by the variable; an untold one is only warned of.
fn check_version(root: &Path, include: &Path, told: Option<String>) -> Result<(), String> {
    let files = [
        include.join("tensorrt_llm/executor/version.h"),
        root.join("version.py"),
        root.join("tensorrt_llm/version.py"),
        root.join("../tensorrt_llm/version.py"),
    ];
    let Some(version) = told.or_else(|| files.iter().find_map(|path| version_in(&fs::read_to_string(path).ok()?)))
    else {
        println!(
            "cargo::warning=the version of the TensorRT-LLM in {} is told by no file; set {VERSION} to check it",
            root.display()
        );
        return Ok(());
    };
    if supported(&version) {
        return Ok(());
    }
    Err(format!(
        "{} is TensorRT-LLM {version}; the bridge is for 1.0 up to 1.3.0rc20, the last with the C++ Executor. Use one of those, \
         or the engine tensorrt-llm, which takes the Python door",
        root.display()
    ))
}

/// The first quoted text that begins with a digit: `__version__ = "1.2.1"`, `kTensorRtLlmVersion = "1.2.1"`.
fn version_in(text: &str) -> Option<String> {
    text.split('"').skip(1).step_by(2).find(|part| part.starts_with(|c: char| c.is_ascii_digit())).map(str::to_owned)
}

/// From 1.0 up to 1.3.0rc20.
fn supported(version: &str) -> bool {
    let mut parts = version.splitn(3, '.');
    let mut number = || parts.next().and_then(|part| part.parse::<u32>().ok());
    match (number(), number()) {
        (Some(1), Some(0..=2)) => true,
        (Some(1), Some(3)) => {
            let rest = version.splitn(3, '.').nth(2).unwrap_or("");
            let candidate = rest.strip_prefix("0rc").map(|digits| {
                digits.chars().take_while(char::is_ascii_digit).collect::<String>().parse::<u32>().unwrap_or(u32::MAX)
            });
            candidate.is_some_and(|candidate| candidate <= 20)
        }
        _ => false,
    }
}
