//! `tacho ceilings`, and what `tacho run` needs of the same.
use std::{
    env,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use comfy_table::{Table, presets};
use serde_json::json;
use tacho::{
    cache,
    measure::telemetry::{GpuProbe, Nvml, RecordedGpu, visible_from_env},
    plan::registry::beside,
    roofline::{Ceilings, GPU_PROGRAM, cpu_device, measure_cpu},
};

use super::exit::{self, Failure};

/// Names a recording that is played instead of asking a driver: for tests.
const RECORDING_VARIABLE: &str = "TACHO_GPU_RECORDING";

/// Where measured ceilings are kept.
pub fn dir() -> PathBuf {
    cache::dir().join("ceilings")
}

/// The driver, or a recording of one.
pub fn open_gpus() -> Result<Box<dyn GpuProbe>, String> {
    match env::var_os(RECORDING_VARIABLE) {
        Some(path) => Ok(Box::new(RecordedGpu::open(path.as_ref())?)),
        None => Ok(Box::new(Nvml::open()?)),
    }
}

/// The program that measures a GPU. The error says how to build it.
fn gpu_program() -> Result<PathBuf, String> {
    beside(GPU_PROGRAM).map_err(|folders| {
        format!(
            "the program {GPU_PROGRAM}, which measures a GPU, is in none of {}: build it with \
             `cargo build --release -p tacho-cuda`",
            folders.join(", ")
        )
    })
}

/// The program that measures a GPU, where the driver shows one to CUDA programs. The error says why there is none.
pub fn program_for_a_gpu() -> Result<PathBuf, String> {
    let devices = open_gpus().and_then(|probe| visible_from_env(&probe.devices()?))?;
    if devices.is_empty() { Err("no GPU is visible to CUDA".to_owned()) } else { gpu_program() }
}

/// The first GPU's, measured or kept. The error says why there are none.
fn of_gpu(kept: bool) -> Result<Ceilings, String> {
    let devices = open_gpus().and_then(|probe| visible_from_env(&probe.devices()?))?;
    let device = devices.first().ok_or("no GPU is visible to CUDA")?;
    if kept {
        return Ceilings::of_gpu(&dir(), device);
    }
    let program = gpu_program()?;
    let mut found = Ceilings::measure_gpu(&program)?;
    // By the same name as a run will look for.
    found.device.driver = device.driver.clone().or(found.device.driver);
    match found.device.uuid.as_deref() {
        Some(uuid) if uuid == device.uuid => Ok(found),
        other => Err(format!(
            "{GPU_PROGRAM} measured GPU {}, but the first one that the driver shows to CUDA programs is {}",
            other.unwrap_or("without a UUID"),
            device.uuid
        )),
    }
}

fn of_cpu(kept: bool) -> Result<Ceilings, String> {
    if kept { Ceilings::of_cpu(&dir(), &cpu_device()) } else { measure_cpu() }
}

/// `tacho ceilings`.
pub fn ceilings(kept: bool, as_json: bool) -> Result<ExitCode, Failure> {
    let mut found = Vec::new();
    let mut missing = Vec::new();
    type Measure = fn(bool) -> Result<Ceilings, String>;
    let both: [(&str, Measure); 2] = [("processor", of_cpu), ("GPU", of_gpu)];
    for (what, measure) in both {
        if !kept {
            eprintln!("measuring the {what} …");
        }
        match measure(kept) {
            Ok(ceilings) => {
                if !kept {
                    ceilings.keep(&dir()).map_err(|error| Failure::new(exit::STORAGE, anyhow::Error::msg(error)))?;
                }
                found.push(ceilings);
            }
            Err(reason) => missing.push((what, reason)),
        }
    }
    let mut out = io::stdout().lock();
    if as_json {
        let reasons: serde_json::Map<String, serde_json::Value> =
            missing.iter().map(|(what, reason)| ((*what).to_owned(), json!(reason))).collect();
        writeln!(out, "{:#}", json!({ "ceilings": found, "missing": reasons }))?;
    } else {
        print(&found, &mut out)?;
        for (what, reason) in &missing {
            writeln!(out, "no ceilings of a {what}: {reason}")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn print(found: &[Ceilings], out: &mut impl Write) -> io::Result<()> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["device", "ceiling", "value"]);
    for ceilings in found {
        let bytes = [
            ("read", ceilings.read_bytes_per_s),
            ("copy", ceilings.copy_bytes_per_s),
            ("host to device", ceilings.h2d_bytes_per_s),
            ("device to host", ceilings.d2h_bytes_per_s),
        ];
        let name = &ceilings.device.name;
        for (what, rate) in bytes {
            if let Some(rate) = rate {
                table.add_row([name.as_str(), what, &format!("{:.1} GB/s", rate / 1e9)]);
            }
        }
        for (dtype, rate) in &ceilings.matmul_flops_per_s {
            let value = rate.map_or_else(|| "not measured".to_owned(), |rate| format!("{:.3} TFLOP/s", rate / 1e12));
            table.add_row([name.as_str(), &format!("arithmetic, {dtype}"), &value]);
        }
        if let Some(rate) = ceilings.launches_per_s {
            table.add_row([name.as_str(), "kernel launches", &format!("{:.0} /s", rate)]);
        }
    }
    writeln!(out, "{table}")
}
