//! The GPU's facts, its clock and its ceilings, as text or JSON. A machine without a CUDA device gets an answer that says so; only
//! what is measured, which then cannot be had, ends with status 3.
use std::process::ExitCode;

use serde::Serialize;
use tacho::measure::events::EventFigures;
use tacho_cuda::{
    ceilings::{self, Ceilings, SCHEMA},
    clock_check,
    driver::{self, Device},
};

const USAGE: &str = "\
Usage: tacho-cuda info|clock|ceilings [--json] [--device N]

  info       what the CUDA driver shows to this process
  clock      how finely a device's events tell time, what one costs, whether they agree with the host (about 2 s)
  ceilings   what a device can do at most: bandwidths, matrix rates, launches (about 20 s; nothing else should use it)

  --json     print JSON
  --device   the device's number among those that are visible [default: 0]";

/// What `info` prints.
#[derive(Serialize)]
struct Info {
    schema: u32,
    devices: Vec<Device>,
    /// Why there is none.
    reason: Option<String>,
}

/// Exit status of `clock` and `ceilings` without a device.
const NO_DEVICE: u8 = 3;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok((text, missing)) => {
            println!("{text}");
            match missing {
                None => ExitCode::SUCCESS,
                Some(reason) => {
                    eprintln!("tacho-cuda: {reason}");
                    ExitCode::from(NO_DEVICE)
                }
            }
        }
        Err(problem) => {
            eprintln!("tacho-cuda: {problem}\n\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

/// What to print, and why what was asked for cannot be had.
fn run(arguments: &[String]) -> Result<(String, Option<String>), String> {
    let (mut command, mut json, mut device) = (None, false, 0);
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--json" => json = true,
            "--device" => {
                let number = rest.next().map(String::as_str).unwrap_or_default();
                device = number.parse().map_err(|_| format!("expected a number after --device, found '{number}'"))?;
            }
            "--help" | "-h" => return Ok((USAGE.to_owned(), None)),
            other if command.is_none() && !other.starts_with('-') => command = Some(other),
            other => return Err(format!("unexpected argument '{other}'")),
        }
    }
    match command {
        Some("info") => {
            let info = info();
            Ok((if json { pretty(&info)? } else { info_text(&info) }, None))
        }
        Some("ceilings") => {
            let found = ceilings::measure(device);
            let reason = || found.notes.get("device").map_or("", String::as_str);
            let missing = found.device.is_none().then(|| format!("no ceilings: {}", reason()));
            Ok((if json { pretty(&found)? } else { ceilings_text(&found) }, missing))
        }
        Some("clock") => match clock_check::measure(device) {
            Ok(found) => Ok((if json { pretty(&found)? } else { clock_text(&found) }, None)),
            Err(reason) => {
                let shown = if json { "null".to_owned() } else { format!("no event clock: {reason}") };
                Ok((shown, Some(format!("no event clock: {reason}"))))
            }
        },
        Some(other) => Err(format!("expected info, clock or ceilings, found '{other}'")),
        None => Err("expected info, clock or ceilings".to_owned()),
    }
}

fn pretty(value: &impl Serialize) -> Result<String, String> {
    serde_json::to_string_pretty(value).map_err(|error| error.to_string())
}

fn info() -> Info {
    let devices = driver::device_count().and_then(|count| {
        (0..count).map(|ordinal| driver::describe(&driver::context(ordinal)?)).collect::<Result<Vec<_>, _>>()
    });
    match devices {
        Ok(devices) => Info { schema: SCHEMA, devices, reason: None },
        Err(reason) => Info { schema: SCHEMA, devices: Vec::new(), reason: Some(reason) },
    }
}

fn info_text(info: &Info) -> String {
    if let Some(reason) = &info.reason {
        return format!("no CUDA device: {reason}");
    }
    info.devices.iter().enumerate().map(|(n, device)| line(n, device)).collect::<Vec<_>>().join("\n")
}

fn line(number: usize, device: &Device) -> String {
    let (major, minor) = device.compute_capability;
    format!(
        "{number}: {} {} sm_{major}{minor} {} multiprocessors {:.1} GiB, driver {}",
        device.uuid,
        device.name,
        device.multiprocessors,
        device.memory_bytes as f64 / (1_u64 << 30) as f64,
        device.driver.as_deref().unwrap_or("unknown")
    )
}

fn clock_text(found: &EventFigures) -> String {
    let mut lines = vec![
        format!("{} {}", found.uuid, found.device),
        format!("step of the events' clock    {:>10.1} ns", found.resolution_ns),
        format!("closest events               {:>10.1} ns, of {} neighbours", found.closest_ns, found.neighbours),
        format!("recording one, on the host   {:>10.1} ns", found.record_ns),
    ];
    lines.extend(found.brackets.iter().map(|bracket| {
        format!(
            "busy for {:.6} s by the host, {:.6} s by events: {:+.4} %",
            bracket.host_seconds,
            bracket.event_seconds,
            bracket.disagreement() * 100.0
        )
    }));
    lines.join("\n")
}

fn ceilings_text(found: &Ceilings) -> String {
    let Some(device) = &found.device else {
        return format!("no CUDA device: {}", found.notes.get("device").map_or("", String::as_str));
    };
    let rate = |name: &str, value: Option<f64>, scale: f64, unit: &str| match value {
        Some(value) => format!("{name:<22} {:>10.1} {unit}", value / scale),
        None => format!("{name:<22} {:>10} {}", "-", found.notes.get(name).map_or("", String::as_str)),
    };
    let mut lines = vec![line(0, device)];
    lines.push(rate("copy_bytes_per_s", found.copy_bytes_per_s, 1e9, "GB/s, read plus written"));
    lines.push(rate("read_bytes_per_s", found.read_bytes_per_s, 1e9, "GB/s"));
    lines.push(rate("h2d_bytes_per_s", found.h2d_bytes_per_s, 1e9, "GB/s"));
    lines.push(rate("d2h_bytes_per_s", found.d2h_bytes_per_s, 1e9, "GB/s"));
    for (name, value) in &found.matmul_flops_per_s {
        lines.push(rate(&format!("matmul_flops_per_s.{name}"), *value, 1e12, "TFLOP/s"));
    }
    lines.push(rate("launches_per_s", found.launches_per_s, 1e3, "thousand/s"));
    lines.push(rate("graph_kernels_per_s", found.graph_kernels_per_s, 1e3, "thousand/s"));
    lines.join("\n")
}
