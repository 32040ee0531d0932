//! Does what the CUDA driver does when a program starts CUDA: loads the library that `CUDA_INJECTION64_PATH` names and
//! calls its `InitializeInjection`. Then it is a cell that hosts the simulated engine; or, as `--emit N`, a program that
//! waits until a trace is wanted, makes up N kernels, waits for the second change of mind after that, and ends.
use std::{env, path::Path, process::ExitCode, time::Duration};

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};

fn inject() {
    let Some(path) = env::var_os("CUDA_INJECTION64_PATH") else { return };
    // SAFETY: the collector's initialisers have no preconditions.
    match unsafe { Library::open(Some(&path), RTLD_NOW | RTLD_GLOBAL) } {
        Err(error) => eprintln!("double of the driver: {} cannot be loaded: {error}", Path::new(&path).display()),
        Ok(library) => {
            // SAFETY: the function has this signature by the driver's contract.
            if let Ok(start) = unsafe { library.get::<extern "C" fn() -> i32>(b"InitializeInjection") } {
                eprintln!("double of the driver: InitializeInjection answered {}", start());
            }
            let _ = library.into_raw();
        }
    }
}

fn emit(count: u64) -> ExitCode {
    inject();
    let (Some(folder), Some(double)) = (env::var_os("TACHO_TRACE_DIR"), env::var_os("TACHO_CUPTI")) else {
        eprintln!("expected TACHO_TRACE_DIR and TACHO_CUPTI in the environment");
        return ExitCode::from(2);
    };
    let state = Path::new(&folder).join(format!("{}.state", std::process::id()));
    let wait_for = |generation: &str| {
        while !std::fs::read_to_string(&state).is_ok_and(|text| text.starts_with(generation)) {
            std::thread::sleep(Duration::from_millis(2));
        }
    };
    wait_for("generation 1\n");
    // SAFETY: the double's own function, with its declared signature; the library is loaded and stays so.
    unsafe {
        let Ok(library) = Library::open(Some(&double), RTLD_NOW) else { return ExitCode::FAILURE };
        let Ok(make) = library.get::<extern "C" fn(u64)>(b"tacho_cupti_double_emit") else { return ExitCode::FAILURE };
        make(count);
    }
    println!("emitted");
    if env::var_os("TACHO_DOUBLE_EXIT_EARLY").is_none() {
        wait_for("generation 3\n");
    }
    ExitCode::SUCCESS
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().collect();
    if let [_, first, count] = arguments.as_slice()
        && first == "--emit"
        && let Ok(count) = count.parse()
    {
        return emit(count);
    }
    // `--plain`: an engine that starts no CUDA.
    let plain = arguments.iter().any(|argument| argument == "--plain");
    tacho::cell::serve(|config| {
        if !plain {
            inject();
        }
        Ok(Box::new(tacho::engine::sim::Sim::load(config)?))
    })
}
