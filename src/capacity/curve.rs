//! The throughput-latency curve.
use super::Probe;

/// Which probe is the knee: where throughput / mean latency, the power of a queue, is largest (Kleinrock 1979): more load
/// costs more latency than it gives throughput. None without a probe that has both.
pub fn knee(probes: &[Probe]) -> Option<u32> {
    let power = |probe: &Probe| Some(probe.request_throughput / probe.e2e_mean_ms.filter(|ms| *ms > 0.0)?);
    let usable = probes.iter().filter(|probe| probe.valid && !probe.saturated && probe.load.is_some());
    usable
        .filter_map(|probe| Some((probe.point, power(probe)?)))
        .max_by(|one, other| one.1.total_cmp(&other.1))
        .map(|(point, _)| point)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_knee_of_an_m_m_1_queue_is_at_half_its_rate() {
        // Mean time in system 1 / (100 − rate): power rate · (100 − rate), largest at 50.
        let probe = |point: u32, rate: f64| Probe {
            point,
            load: Some(rate),
            request_throughput: rate,
            output_token_throughput: rate,
            ttft_p99_ms: None,
            e2e_mean_ms: Some(1000.0 / (100.0 - rate)),
            service: None,
            met_probability: None,
            saturated: false,
            growth: None,
            valid: true,
        };
        let probes = [probe(0, 10.0), probe(1, 90.0), probe(2, 52.0), probe(3, 70.0)];
        assert_eq!(knee(&probes), Some(2));
        assert_eq!(knee(&[]), None);
    }
}
