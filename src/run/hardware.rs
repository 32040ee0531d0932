//! What a run knows of its hardware: who samples it, what it can do, and what a trial's samples and work come to.
use std::{path::Path, time::Duration};

use super::Progress;
use crate::{
    cell::protocol::{TrialSpec, TrialSummary},
    engine::{EngineInfo, stat},
    measure::telemetry::{GpuProbe, ProcessTree, Sampler, Samples, Telemetry, Window, figures, visible_from_env},
    results::{Host, RunHardware, TrialHardware, TrialRecord},
    roofline::{Ceilings, CeilingsDevice, Known, Model, Roofline, cpu_device, judge, work},
    validity::{Limits, disturbance},
    workload::Workload,
};

const OFF: &str = "telemetry is off";
const VIRTUAL: &str = "the trial ran in virtual time";

/// Opens whatever answers for the machine's GPUs; the error is a sentence for a person and no failure.
pub type OpenGpus<'a> = &'a dyn Fn() -> Result<Box<dyn GpuProbe>, String>;

/// A run's hardware.
pub(super) struct Hardware<'a> {
    sampler: Option<Sampler>,
    ceilings: &'a Path,
    cpu: CeilingsDevice,
    processors: Option<u32>,
    known: RunHardware,
}

impl<'a> Hardware<'a> {
    /// Finds the GPUs that CUDA shows and, unless `period` is None, starts to sample.
    pub(super) fn start(period: Option<Duration>, open: OpenGpus<'_>, ceilings: &'a Path) -> Self {
        let found = open().and_then(|probe| {
            let devices = visible_from_env(&probe.devices()?)?;
            Ok((probe, devices))
        });
        let known = RunHardware {
            gpus: found.as_ref().map(|(_, devices)| devices.clone()).unwrap_or_default(),
            gpu_null_reason: found.as_ref().err().cloned(),
            telemetry_period_ms: period.map(|period| period.as_secs_f64() * 1e3),
            ..RunHardware::default()
        };
        let sampler = period.map(|period| Sampler::start(period, found));
        let host = Host::read();
        Self { sampler, ceilings, cpu: cpu_device(), processors: host.processors.or(host.cores), known }
    }

    /// What is known, for `run.json`.
    pub(super) fn known(&self) -> &RunHardware {
        &self.known
    }

    /// A cell with its engine loaded: from now on its process tree is sampled.
    pub(super) fn cell(
        &mut self,
        pid: u32,
        model: Option<&Path>,
        info: &EngineInfo,
        progress: &mut dyn Progress,
    ) -> CellHardware {
        if let Some(sampler) = &self.sampler {
            sampler.watch(Box::new(ProcessTree::new(pid)));
        }
        let on_gpu = info.gpu_in_process.is_some();
        let ways = on_gpu.then(|| info.parallelism.0.saturating_mul(info.parallelism.1).max(1));
        let limit = Model::of(model, info).map(|model| {
            let ceilings = self.ceilings_of(on_gpu, progress);
            let known = known(&model, ceilings, f64::from(ways.unwrap_or(1)));
            (model, known)
        });
        CellHardware { ways, limit }
    }

    /// From now on this process's tree is sampled: of several cells, the one whose turn it is.
    pub(super) fn watch(&self, pid: u32) {
        if let Some(sampler) = &self.sampler {
            sampler.watch(Box::new(ProcessTree::new(pid)));
        }
    }

    fn ceilings_of(&mut self, on_gpu: bool, progress: &mut dyn Progress) -> Result<Ceilings, String> {
        let found = match (on_gpu, self.known.gpus.first()) {
            (false, _) => Ceilings::of_cpu(self.ceilings, &self.cpu),
            (true, Some(device)) => Ceilings::of_gpu(self.ceilings, device),
            (true, None) => {
                let reason = self.known.gpu_null_reason.clone();
                Err(reason.unwrap_or_else(|| "no GPU is visible to CUDA".to_owned()))
            }
        };
        match &found {
            Ok(ceilings) if !self.known.ceilings.contains(ceilings) => self.known.ceilings.push(ceilings.clone()),
            Err(reason) if !self.known.ceilings_null_reasons.contains(reason) => {
                progress.note(&format!("no MFU and MBU: {reason}"));
                self.known.ceilings_null_reasons.push(reason.clone());
            }
            _ => {}
        }
        found
    }

    /// What others did to a trial on what it ran on; see [`disturbance`].
    pub(super) fn disturbance(&self, trial: &TrialRecord, engine: &EngineInfo, limits: &Limits) -> Option<String> {
        disturbance(trial, engine.gpu_in_process.is_some(), limits.max_machine_load, self.processors)
    }

    /// A trial is about to be handed over.
    pub(super) fn begin(&self) {
        if let Some(sampler) = &self.sampler {
            sampler.begin();
        }
    }

    /// The trial is back.
    pub(super) fn end(&self) -> Option<Samples> {
        self.sampler.as_ref().map(Sampler::end)
    }
}

/// What is known of a cell's limits.
pub(super) struct CellHardware {
    /// Over how many GPUs the engine is spread; None when it uses none.
    ways: Option<u32>,
    limit: Result<(Model, Known), String>,
}

impl CellHardware {
    /// What a trial's samples and work come to.
    pub(super) fn trial(&self, samples: Option<&Samples>, spec: &TrialSpec, summary: &TrialSummary) -> TrialHardware {
        let window = Window { start_ns: summary.start_ns, end_ns: summary.end_ns };
        let telemetry = match samples {
            None => Telemetry::none(OFF),
            Some(_) if summary.virtual_time => Telemetry::none(VIRTUAL),
            Some(samples) => figures(samples, window, self.ways),
        };
        let roofline = self.roofline(spec, summary).unwrap_or_else(|reason| Roofline::none(&reason));
        TrialHardware { telemetry, roofline, ..TrialHardware::default() }
    }

    fn roofline(&self, spec: &TrialSpec, summary: &TrialSummary) -> Result<Roofline, String> {
        let (model, known) = self.limit.as_ref().map_err(Clone::clone)?;
        if summary.virtual_time {
            return Err(VIRTUAL.to_owned());
        }
        let cached = summary.stats.get(stat::PREFIX_HIT_TOKENS).copied().unwrap_or(0.0);
        if cached > 0.0 {
            return Err(format!(
                "{cached:.0} prompt tokens were answered from a prefix cache and cost less than the model"
            ));
        }
        let workload = Workload::new(spec.workload.clone()).map_err(|error| error.to_string())?;
        let lengths = (0..workload.len()).map(|request| workload.lengths(request));
        Ok(judge(&work(model, spec.load.clone(), lengths, known.rates()), summary.seconds(), known, None))
    }
}

/// The ceilings that hold for a model on `ways` such devices.
fn known(model: &Model, ceilings: Result<Ceilings, String>, ways: f64) -> Known {
    let ceilings = match ceilings {
        Ok(ceilings) => ceilings,
        Err(reason) => return Known { flops_per_s: Err(reason.clone()), bytes_per_s: Err(reason) },
    };
    let device = &ceilings.device;
    let flops_per_s = model.compute.clone().and_then(|compute| {
        let rate = ceilings.matmul_flops_per_s.get(&compute).copied().flatten();
        rate.ok_or_else(|| format!("no {compute} ceiling of {} has been measured", device.name))
    });
    let weights = model.dense_bytes + model.expert_bytes;
    let bytes_per_s = match device.cache_bytes {
        Some(cache) if weights < cache as f64 * ways => Err(format!(
            "the weights ({:.0} MB) fit in the caches of {} ({:.0} MB), which the read ceiling leaves out",
            weights / 1e6,
            device.name,
            cache as f64 * ways / 1e6
        )),
        _ => ceilings.read_bytes_per_s.ok_or_else(|| format!("no read ceiling of {} has been measured", device.name)),
    };
    Known { flops_per_s: flops_per_s.map(|rate| rate * ways), bytes_per_s: bytes_per_s.map(|rate| rate * ways) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cell::protocol::{Load, Method, TrialKind},
        engine::{IdRange, Sampling},
        results::testing,
        roofline::{Mlp, ModelShape, Small},
        workload::{LengthDist, WorkloadSpec},
    };

    fn model(compute: Result<String, String>) -> Model {
        let shape = ModelShape {
            layers: 1,
            hidden: 8,
            heads: 2,
            kv_heads: 1,
            head_dim: 4,
            vocab: 100,
            tied: false,
            mlp: Mlp::Dense { intermediate: 16, matrices: 3 },
            small: Small::default(),
            windows: vec![None],
        };
        Model { counts: shape.counts(), shape, dense_bytes: 2e6, expert_bytes: 0.0, kv_bytes: 16.0, compute }
    }

    fn ceilings(cache_bytes: Option<u64>) -> Ceilings {
        let device = CeilingsDevice { name: "X".to_owned(), cache_bytes, ..CeilingsDevice::default() };
        let mut ceilings = Ceilings { read_bytes_per_s: Some(1e9), ..Ceilings::of(device) };
        ceilings.matmul_flops_per_s.insert("f32".to_owned(), Some(1e9));
        ceilings.matmul_flops_per_s.insert("fp8_e4m3".to_owned(), None);
        ceilings
    }

    fn spec() -> TrialSpec {
        TrialSpec {
            trial: 0,
            kind: TrialKind::Timed,
            method: Method::Generate,
            load: Load::Offline { batch: 1 },
            device_clock: crate::measure::DeviceClockMode::Off,
            workload: WorkloadSpec {
                requests: 1,
                input: LengthDist::Fixed(4),
                output: LengthDist::Fixed(5),
                sampling: Sampling::default(),
                seed: 1,
                stream: 1,
                ids: vec![IdRange { start: 0, end: 100 }],
                saved: None,
            },
        }
    }

    #[test]
    fn ceilings_hold_for_the_models_type_and_all_devices() {
        let of = |compute: &str, ceilings, ways| known(&model(Ok(compute.to_owned())), ceilings, ways);
        let two = of("f32", Ok(ceilings(None)), 2.0);
        assert_eq!((two.flops_per_s, two.bytes_per_s), (Ok(2e9), Ok(2e9)));
        for unknown in ["bf16", "fp8_e4m3"] {
            assert!(of(unknown, Ok(ceilings(None)), 1.0).flops_per_s.unwrap_err().contains(unknown));
        }
        // 2 MB of weights: in one cache of 4 MB they fit, in one of 1 MB not, in four of those together again.
        let read = |cache, ways| of("f32", Ok(ceilings(Some(cache))), ways).bytes_per_s;
        assert!(read(4_000_000, 1.0).unwrap_err().contains("fit in the caches"));
        assert_eq!(read(1_000_000, 1.0), Ok(1e9));
        assert!(read(1_000_000, 4.0).is_err());
        let none = of("f32", Err("run tacho ceilings".to_owned()), 1.0);
        assert_eq!((none.flops_per_s.clone(), none.flops_per_s), (none.bytes_per_s.clone(), none.bytes_per_s));
    }

    #[test]
    fn a_trial_is_judged_by_its_own_requests() {
        let model = model(Ok("f32".to_owned()));
        let known = known(&model, Ok(ceilings(None)), 1.0);
        let limits = CellHardware { ways: None, limit: Ok((model.clone(), known)) };
        let mut summary = testing::summary(1, 5, 1.0);
        summary.stats.clear();
        let found = limits.trial(None, &spec(), &summary);
        // Five steps read the weights five times; the trial took a second at 1 GB/s.
        assert_eq!(found.roofline.weight_bytes, Some(1e7));
        assert!((found.roofline.mbu.unwrap() - 0.01).abs() < 1e-4, "{found:?}");
        assert_eq!(found.telemetry.host_null_reason.as_deref(), Some(OFF));

        // In a hundredth of the time it cannot have been: an error, and no figure.
        summary.end_ns = summary.start_ns + 1_000_000;
        let impossible = limits.trial(None, &spec(), &summary).roofline;
        assert!(impossible.error.unwrap().starts_with("mbu is 1000"), "{:?}", impossible.mbu_null_reason);
        assert_eq!((impossible.mbu, impossible.mfu), (None, None));
    }

    #[test]
    fn what_breaks_the_model_of_the_work_is_refused() {
        let model = model(Ok("f32".to_owned()));
        let known = known(&model, Ok(ceilings(None)), 1.0);
        let limits = CellHardware { ways: None, limit: Ok((model, known)) };
        let mut summary = testing::summary(1, 5, 1.0);
        summary.stats.insert(stat::PREFIX_HIT_TOKENS.to_owned(), 4.0);
        let cached = limits.trial(None, &spec(), &summary).roofline;
        assert!(cached.mfu_null_reason.unwrap().contains("4 prompt tokens were answered from a prefix cache"));
        summary.stats.clear();
        summary.virtual_time = true;
        let simulated = limits.trial(Some(&Samples::default()), &spec(), &summary);
        assert_eq!(simulated.roofline.mbu_null_reason.as_deref(), Some(VIRTUAL));
        assert_eq!(simulated.telemetry.gpu_null_reason.as_deref(), Some(VIRTUAL));
        let unknown = CellHardware { ways: None, limit: Err("no such model".to_owned()) };
        assert_eq!(unknown.trial(None, &spec(), &summary).roofline.mfu_null_reason.as_deref(), Some("no such model"));
    }
}
