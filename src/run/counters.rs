//! The telemetry of a traced trial as the counters of its timeline.
use crate::measure::{
    telemetry::{GpuReading, GpuSample, Samples},
    trace::Counter,
};

/// A quantity of a GPU reading: its name with the unit, and how it is had.
type Quantity = (&'static str, fn(&GpuReading) -> Option<f64>);

const GPU: [Quantity; 7] = [
    ("utilisation, %", |reading| reading.utilization_percent.map(f64::from)),
    ("memory utilisation, %", |reading| reading.memory_utilization_percent.map(f64::from)),
    ("memory used, GiB", |reading| reading.memory_used_bytes.map(|bytes| bytes as f64 / f64::from(1 << 30))),
    ("SM clock, MHz", |reading| reading.sm_clock_mhz.map(f64::from)),
    ("memory clock, MHz", |reading| reading.memory_clock_mhz.map(f64::from)),
    ("power, W", |reading| reading.power_mw.map(|milliwatt| f64::from(milliwatt) / 1e3)),
    ("temperature, °C", |reading| reading.temperature_c.map(f64::from)),
];

/// A counter a quantity that was read at least once, of each GPU, and the cores that the cell's processes kept busy since
/// the sample before. GPUs are named by their UUIDs, because NVML's numbers need not be those of the trace.
pub(super) fn counters(samples: &Samples) -> Vec<Counter> {
    let mut found: Vec<Counter> = Vec::new();
    for device in &samples.devices {
        let own: Vec<&GpuSample> = samples.gpu.iter().filter(|sample| sample.uuid.as_str() == device.uuid).collect();
        for (name, quantity) in GPU {
            let read = own.iter().filter_map(|sample| Some((sample.time_ns, quantity(&sample.reading)?))).collect();
            found.push(Counter { name: format!("{} {name}", device.uuid), samples: read });
        }
    }
    let busy = samples.host.windows(2).filter(|pair| pair[1].time_ns > pair[0].time_ns).map(|pair| {
        let cpu_ns = pair[1].cpu_ns.saturating_sub(pair[0].cpu_ns) as f64;
        (pair[1].time_ns, cpu_ns / (pair[1].time_ns - pair[0].time_ns) as f64)
    });
    found.push(Counter { name: "cell's processes, busy cores".to_owned(), samples: busy.collect() });
    found.retain(|counter| !counter.samples.is_empty());
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::telemetry::{GpuDevice, HostSample, Uuid};

    #[test]
    fn what_was_never_read_is_no_counter() {
        let device = |uuid: &str| GpuDevice { uuid: uuid.to_owned(), ..GpuDevice::default() };
        let sample = |time_ns, uuid, power_mw| GpuSample {
            time_ns,
            uuid: Uuid::new(uuid),
            reading: GpuReading { power_mw, ..GpuReading::default() },
        };
        let host = |time_ns, cpu_ns| HostSample { time_ns, cpu_ns, ..HostSample::default() };
        let samples = Samples {
            devices: vec![device("GPU-a"), device("GPU-b")],
            gpu: vec![sample(10, "GPU-a", Some(1500)), sample(11, "GPU-b", None), sample(20, "GPU-a", Some(2500))],
            host: vec![host(10, 0), host(20, 15), host(30, 15)],
            ..Samples::default()
        };
        let expected = vec![
            Counter { name: "GPU-a power, W".to_owned(), samples: vec![(10, 1.5), (20, 2.5)] },
            Counter { name: "cell's processes, busy cores".to_owned(), samples: vec![(20, 1.5), (30, 0.0)] },
        ];
        assert_eq!(counters(&samples), expected);
        assert_eq!(counters(&Samples::default()), []);
    }
}
