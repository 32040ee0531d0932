//! What disturbs figures on this machine now: other programs, frequency scaling, other users of a GPU.
use super::{Check, Surroundings};
use crate::{measure::telemetry::GpuDevice, plan::Plan, validity::Limits};

pub(super) fn checks(around: &mut Surroundings<'_>, plan: Option<&Plan>) -> Vec<Check> {
    let limit = plan.map_or_else(|| Limits::default().max_machine_load, |plan| plan.validity.max_machine_load);
    let mut checks = vec![governor(around), load(around, limit)];
    checks.extend(gpu_processes(around));
    checks
}

fn governor(around: &Surroundings<'_>) -> Check {
    const NAME: &str = "governor";
    match around.read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") {
        None => Check::not_applicable(NAME, "the kernel does not scale the processor's frequency, or does not tell"),
        Some(governor) if governor == "performance" => Check::ok(NAME, governor),
        Some(governor) => Check::warning(
            NAME,
            format!("'{governor}': the processor's clock follows its load"),
            "cpupower frequency-set -g performance (as root)",
        ),
    }
}

fn load(around: &Surroundings<'_>, limit: f64) -> Check {
    const NAME: &str = "load";
    let before = ticks(around);
    std::thread::sleep(around.pause);
    let share = before.zip(ticks(around)).and_then(|(before, after)| busy_share(before, after));
    let Some(share) = share else {
        return Check::not_applicable(NAME, "the kernel does not tell what the processors do");
    };
    let processors = around.processors().map_or_else(|| "the".to_owned(), |n| n.to_string());
    let found = format!("{:.1} % of {processors} processors busy", share * 100.0);
    if share <= limit {
        return Check::ok(NAME, found);
    }
    let advice = format!(
        "end other programs (`top` shows them), or wait: points of engines on the processor are invalid beyond {:.0} %",
        limit * 100.0
    );
    Check::warning(NAME, found, advice)
}

/// (busy, all) of the machine's processors, in the kernel's ticks.
fn ticks(around: &Surroundings<'_>) -> Option<(u64, u64)> {
    let text = around.read("/proc/stat")?;
    let numbers: Vec<u64> =
        text.lines().next()?.split_whitespace().skip(1).map_while(|word| word.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq, steal; guests are in user already.
    let all = numbers.iter().take(8).sum();
    let idle: u64 = numbers.iter().skip(3).take(2).sum();
    (numbers.len() >= 5).then_some((all - idle, all))
}

fn busy_share((busy, all): (u64, u64), (busy_later, all_later): (u64, u64)) -> Option<f64> {
    let passed = all_later.checked_sub(all).filter(|passed| *passed > 0)?;
    Some(busy_later.saturating_sub(busy) as f64 / passed as f64)
}

fn gpu_processes(around: &mut Surroundings<'_>) -> Vec<Check> {
    const NAME: &str = "gpu_processes";
    let devices = match around.devices() {
        Ok(devices) => devices,
        Err(why) => return vec![Check::not_applicable(NAME, why)],
    };
    let Ok(probe) = &mut around.gpus else { return Vec::new() };
    let mut one = |device: &GpuDevice| match probe.read(device, &[]) {
        Err(why) => Check::problem(NAME, why, "look at `nvidia-smi`"),
        Ok(reading) => {
            let used = reading
                .memory_used_bytes
                .map_or_else(String::new, |bytes| format!(", {} in use", super::bytes_text(bytes as f64)));
            match reading.other_processes {
                Some(0) => Check::ok(NAME, format!("no process{used}")),
                Some(others) => Check::warning(
                    NAME,
                    format!("{others} processes compute on it{used}"),
                    "end them (`nvidia-smi` shows them), or choose another GPU with CUDA_VISIBLE_DEVICES",
                ),
                None => Check::not_applicable(NAME, format!("the driver does not list its processes{used}")),
            }
        }
    };
    devices.iter().map(|device| one(device).of(format!("GPU {}", device.index))).collect()
}

#[cfg(test)]
mod tests {
    use super::{
        super::{State, testing},
        *,
    };

    #[test]
    fn a_governor_that_scales_is_a_warning() {
        let machine = testing::Machine::new();
        assert_eq!(governor(&machine.around()).state, State::NotApplicable);
        for (name, state) in [("performance\n", State::Ok), ("powersave\n", State::Warning)] {
            machine.write("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", name);
            assert_eq!(governor(&machine.around()).state, state);
        }
    }

    #[test]
    fn load_is_what_the_processors_did_meanwhile() {
        let machine = testing::Machine::new();
        assert_eq!(load(&machine.around(), 0.05).state, State::NotApplicable);
        machine.write("/proc/stat", "cpu  100 0 50 800 50 0 0 0 0 0\ncpu0 1 1\ncpu1 1 1\n");
        assert_eq!(ticks(&machine.around()), Some((150, 1000)));
        assert_eq!(machine.around().processors(), Some(2));
        assert_eq!(busy_share((150, 1000), (175, 1100)), Some(0.25));
        assert_eq!(busy_share((150, 1000), (150, 1000)), None, "no time has passed");
    }

    #[test]
    fn processes_on_a_gpu_are_counted() {
        let machine = testing::Machine::new();
        let state = |around: &mut Surroundings<'_>| gpu_processes(around).remove(0);
        assert_eq!(state(&mut machine.around()).state, State::NotApplicable);
        for (others, expected) in [(None, State::NotApplicable), (Some(0), State::Ok), (Some(2), State::Warning)] {
            let mut around = machine.around();
            around.gpus = Ok(testing::gpu_with(others));
            let found = state(&mut around);
            assert_eq!(found.state, expected, "{found:?}");
            assert_eq!(found.of.as_deref(), Some("GPU 0"));
        }
    }
}
