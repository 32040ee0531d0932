//! Whether each point's weights and KV cache have room, by the model's own figures.
//!
//! Least bytes = weights + sequences at once × Σ over layers of min(window, prompt + output) × bytes of a position's keys
//! and values ([`Model::kv_bytes`]). Activations, graphs and what an engine sets aside come on top.
use std::fmt;

use super::{Check, Surroundings, bytes_text, name_of};
use crate::{
    engine::{Boundary, Capabilities, EngineInfo, ModelInfo, Options, Scheduler},
    plan::{CellPlan, Plan},
    roofline::Model,
};

const NAME: &str = "memory";
/// Beyond this share of what there is, what comes on top of the formula has no room.
const TIGHT: f64 = 0.9;
/// Options by which engines spread over GPUs, by their own names.
const WAYS: [&str; 4] = ["tensor_parallel_size", "pipeline_parallel_size", "tp_size", "pp_size"];

pub(super) fn checks(around: &mut Surroundings<'_>, plan: Option<&Plan>) -> Vec<Check> {
    let Some(plan) = plan else { return Vec::new() };
    plan.cells().iter().map(|cell| check(around, plan, cell).of(label(cell))).collect()
}

fn label(cell: &CellPlan) -> String {
    let model = cell.load.model.as_deref().map(name_of);
    let words = [Some(cell.load.engine.clone()), model];
    words.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

fn check(around: &mut Surroundings<'_>, plan: &Plan, cell: &CellPlan) -> Check {
    let Some(path) = cell.load.model.as_deref() else {
        return Check::not_applicable(NAME, "the engine loads no model");
    };
    let info = as_asked(cell);
    let model = match Model::of(Some(path), &info) {
        Ok(model) => model,
        Err(why) => return Check::not_applicable(NAME, format!("the model's shape is not known: {why}")),
    };
    let room = match room(around, cell) {
        Ok(room) => room,
        Err(why) => return Check::not_applicable(NAME, why),
    };
    let weights = info.model.size_bytes.map_or_else(|| weights_of(&model), |bytes| bytes as f64);
    let mut lines: Vec<(u32, f64)> = Vec::new();
    for &number in &cell.points {
        let point = &plan.points[number as usize];
        let (seqs, length) = (point.most_at_once(), u64::from(point.longest()));
        lines.push((number, f64::from(seqs) * kv_of_sequence(&model, length)));
    }
    judge(weights, &lines, &room)
}

/// `kv` are the points with the bytes of their KV caches.
fn judge(weights: f64, kv: &[(u32, f64)], room: &Room) -> Check {
    let there = room.free;
    let most = kv.iter().map(|(_, bytes)| *bytes).fold(0.0, f64::max);
    let beyond = |share: f64| -> Vec<String> {
        let over = kv.iter().filter(|(_, bytes)| weights + bytes > there * share);
        over.map(|(number, _)| number.to_string()).collect()
    };
    let needs = format!("weights {} + KV cache at most {} of {room}", bytes_text(weights), bytes_text(most),);
    let named =
        |points: &[String]| format!("{} {}", if points.len() == 1 { "point" } else { "points" }, points.join(", "));
    let (too_large, tight) = (beyond(1.0), beyond(TIGHT));
    if !too_large.is_empty() {
        let found = format!("{needs}: no room for {}", named(&too_large));
        return Check::problem(
            NAME,
            found,
            "leave these points out, lower batch, concurrency or lengths, or use a smaller type",
        );
    }
    if !tight.is_empty() {
        let found = format!("{needs}: less than 10 % left for all else in {}", named(&tight));
        return Check::warning(
            NAME,
            found,
            "expect preemptions or failures there; lower batch, concurrency or lengths",
        );
    }
    if room.unknown_use {
        return Check::warning(NAME, needs, "see that nothing else holds memory there (nvidia-smi)");
    }
    Check::ok(NAME, needs)
}

/// Bytes of a sequence of that length.
fn kv_of_sequence(model: &Model, length: u64) -> f64 {
    let positions: u64 =
        model.shape.windows.iter().map(|window| window.map_or(length, |window| window.min(length))).sum();
    positions as f64 * model.kv_bytes
}

/// What every step reads, all experts, and what is looked up, at the mean width of the first.
fn weights_of(model: &Model) -> f64 {
    let read = (model.counts.dense + model.counts.head).max(1) as f64;
    let looked_up = if model.shape.tied { 0.0 } else { model.counts.looked_up as f64 * model.dense_bytes / read };
    model.dense_bytes + model.expert_bytes + looked_up
}

/// What the engine may use now, in bytes.
struct Room {
    free: f64,
    /// Of GPUs: all their memory, and how many they are. What is free is as much as the fullest has, on each.
    total: Option<(f64, usize)>,
    /// Whether the driver did not tell how much of it others hold.
    unknown_use: bool,
}

impl fmt::Display for Room {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.total {
            None => write!(out, "{} of free memory", bytes_text(self.free)),
            Some((total, gpus)) => {
                let place = if gpus == 1 { "the GPU".to_owned() } else { format!("{gpus} GPUs, by the fullest") };
                if self.unknown_use {
                    write!(out, "{} on {place}, of which the driver does not tell how much is free", bytes_text(total))
                } else {
                    write!(out, "{} free of {} on {place}", bytes_text(self.free), bytes_text(total))
                }
            }
        }
    }
}

fn room(around: &mut Surroundings<'_>, cell: &CellPlan) -> Result<Room, String> {
    if on_gpu(around, cell) {
        let devices = around.devices()?;
        let ways = cell.load.options.iter().filter(|(name, _)| WAYS.contains(&name.as_str()));
        let ways = ways.filter_map(|(_, value)| value.as_u64()).product::<u64>().max(1) as usize;
        let used_of = &devices[..ways.min(devices.len())];
        let probe = around.gpus.as_mut().map_err(|why| why.clone())?;
        let mut unknown_use = false;
        let mut each = Vec::new();
        for device in used_of {
            let total = device.memory_bytes.ok_or("the GPU does not tell its memory")?;
            let used = probe.read(device, &[]).ok().and_then(|reading| reading.memory_used_bytes);
            unknown_use |= used.is_none();
            each.push((total.saturating_sub(used.unwrap_or(0)), total));
        }
        // An engine shares its work out evenly: the fullest GPU is the first that has no room.
        let least = each.iter().map(|(free, _)| *free).min().unwrap_or(0);
        let total: u64 = each.iter().map(|(_, total)| total).sum();
        return Ok(Room {
            free: (least * each.len() as u64) as f64,
            total: Some((total as f64, each.len())),
            unknown_use,
        });
    }
    let text = around.read("/proc/meminfo").ok_or("the kernel does not tell how much memory is free")?;
    let kib = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:")?.split_whitespace().next()?.parse::<f64>().ok());
    kib.map(|kib| Room { free: kib * 1024.0, total: None, unknown_use: false })
        .ok_or_else(|| "the kernel does not tell how much memory is free".to_owned())
}

/// Whether the engine will work on a GPU, as far as can be told before it is loaded: by its environment's variant, or by
/// llama.cpp's layers on the GPU.
fn on_gpu(around: &Surroundings<'_>, cell: &CellPlan) -> bool {
    if around.devices().is_err() {
        return false;
    }
    let layers = cell.load.options.get("n_gpu_layers").and_then(serde_json::Value::as_i64);
    let specs = crate::environment::specs().unwrap_or_default();
    let own: Vec<_> = specs.into_iter().filter(|spec| spec.engine == cell.load.engine).collect();
    let installed = crate::environment::chosen(&own);
    layers.is_some_and(|layers| layers != 0) || installed.is_some_and(|installed| installed.variant.starts_with("cuda"))
}

/// What the engine would say of itself, as far as the plan says it: [`Model::of`] asks for the types of weights and cache.
fn as_asked(cell: &CellPlan) -> EngineInfo {
    let text = |name: &str| cell.load.options.get(name).and_then(|value| value.as_str()).map(str::to_owned);
    let file = cell.load.model.as_deref().filter(|path| path.is_file());
    EngineInfo {
        engine: cell.load.engine.clone(),
        version: String::new(),
        double: None,
        boundary: Boundary::InCore,
        scheduler: Scheduler::Engine,
        device: String::new(),
        compile_mode: None,
        gpu_in_process: None,
        parallelism: (1, 1),
        model: ModelInfo {
            weights_dtype: text("dtype").filter(|dtype| dtype != "auto"),
            size_bytes: file.and_then(|path| path.metadata().ok()).map(|data| data.len()),
            ..ModelInfo::default()
        },
        kv_capacity_tokens: None,
        max_seqs: None,
        max_model_len: None,
        virtual_time: false,
        capabilities: Capabilities::ALL,
        effective: cell.load.options.clone(),
        observed: Options::new(),
        uncounted: std::collections::BTreeMap::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{
        super::{State, testing},
        *,
    };
    use crate::measure::telemetry::{GpuDevice, GpuReading, RecordedGpu};

    /// The figures of Llama 3 8B.
    fn llama(dir: &std::path::Path) {
        let config = json!({"model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 32,
            "num_attention_heads": 32, "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 128256,
            "torch_dtype": "bfloat16"});
        std::fs::write(dir.join("config.json"), config.to_string()).unwrap();
    }

    #[test]
    fn points_are_held_against_free_memory() {
        let machine = testing::Machine::new();
        llama(machine.path("/").as_path());
        // Batches of 1 and 1,000 of 128 + 64 tokens, 128 KiB a position: 25 MB and 25 GB, beside 16 GB of weights.
        let mut plan = testing::plan(2, 1000);
        for point in &mut plan.points {
            point.engine.id = "vllm".to_owned();
            point.model = Some(machine.path("/"));
        }
        plan.points[0].load = crate::cell::protocol::Load::Offline { batch: 1 };
        let found = |kib: u64| {
            machine.write("/proc/meminfo", &format!("MemTotal: 1 kB\nMemAvailable:  {kib} kB\n"));
            checks(&mut machine.around(), Some(&plan)).remove(0)
        };
        let small = found(20 << 20);
        assert!(small.state == State::Problem && small.found.contains("no room for point 1"), "{small:?}");
        assert!(small.found.contains("weights 16.1 GB + KV cache at most 25.2 GB"), "{small:?}");
        assert_eq!(found(40 << 20).state, State::Warning);
        assert_eq!(found(100 << 20).state, State::Ok);
    }

    /// What is said of a point on GPUs of 24 GB each, of which so much is in use.
    fn on_gpus(used: &[Option<u64>]) -> Check {
        let machine = testing::Machine::new();
        llama(machine.path("/").as_path());
        let mut plan = testing::plan(1, 1);
        plan.points[0].engine.id = "llama.cpp".to_owned();
        let options = [("n_gpu_layers", 99), ("tensor_parallel_size", used.len())];
        plan.points[0].engine.options.extend(options.map(|(name, value)| (name.to_owned(), json!(value))));
        plan.points[0].model = Some(machine.path("/"));
        let device = |number| GpuDevice {
            uuid: format!("GPU-{number}"),
            memory_bytes: Some(24_000_000_000),
            ..GpuDevice::default()
        };
        let reading = |bytes: &Option<u64>| vec![GpuReading { memory_used_bytes: *bytes, ..GpuReading::default() }];
        let mut around = machine.around();
        let (devices, readings) = ((0..used.len()).map(device).collect(), used.iter().map(reading).collect());
        around.gpus = Ok(Box::new(RecordedGpu::new(devices, readings)));
        checks(&mut around, Some(&plan)).remove(0)
    }

    #[test]
    fn what_others_hold_of_a_gpu_is_not_free() {
        let alone = on_gpus(&[Some(500_000_000)]);
        assert!(
            alone.state == State::Ok && alone.found.ends_with("of 23.5 GB free of 24.0 GB on the GPU"),
            "{alone:?}"
        );
        let shared = on_gpus(&[Some(12_000_000_000)]);
        assert!(shared.state == State::Problem && shared.found.contains("of 12.0 GB free of 24.0 GB"), "{shared:?}");
        let untold = on_gpus(&[None]);
        assert!(
            untold.state == State::Warning && untold.found.contains("does not tell how much is free"),
            "{untold:?}"
        );
    }

    #[test]
    fn of_several_gpus_the_fullest_decides() {
        let even = on_gpus(&[Some(8_000_000_000); 2]);
        assert!(
            even.state == State::Ok && even.found.ends_with("of 32.0 GB free of 48.0 GB on 2 GPUs, by the fullest"),
            "{even:?}"
        );
        // As much is free in all, and half of 16 GB of weights does not fit into what the one has.
        let odd = on_gpus(&[Some(0), Some(18_000_000_000)]);
        assert!(odd.state == State::Problem && odd.found.contains("of 12.0 GB free of 48.0 GB"), "{odd:?}");
    }

    #[test]
    fn a_window_bounds_what_a_layer_keeps() {
        let machine = testing::Machine::new();
        llama(machine.path("/").as_path());
        let plan = testing::plan(1, 1);
        let mut cell = plan.cells().remove(0);
        cell.load.model = Some(machine.path("/"));
        let mut model = Model::of(cell.load.model.as_deref(), &as_asked(&cell)).unwrap();
        assert_eq!(kv_of_sequence(&model, 1000), 1000.0 * 131_072.0);
        model.shape.windows[0] = Some(10);
        assert_eq!(kv_of_sequence(&model, 1000), 1000.0 * 131_072.0 - 990.0 * 4096.0);
    }
}
