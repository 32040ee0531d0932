//! What the clock of [`clock`](crate::clock) is worth on a device: its resolution, its cost, and whether it agrees with the host's.
use cudarc::driver::sys::CUevent_flags;
use tacho::measure::events::{Bracket, EVENT_SCHEMA, EventFigures, bracket, record_cost, resolution};

use crate::{
    clock::EventClock,
    driver::{self, guarded},
};

/// Events recorded in a row.
const EVENTS: usize = 1000;
/// Rounds whose median is a mark's cost; the first one, which makes the events, is not among them.
const ROUNDS: usize = 7;
/// Intervals by both clocks.
const BRACKETS: usize = 7;
/// Seconds that the device is busy in each.
const BUSY: f64 = 0.1;
/// Bytes set at a time to keep the device busy.
const BYTES: usize = 256 << 20;

/// Measures a device's event clock, in about two seconds. Nothing else should use the device meanwhile.
///
/// # Errors
/// Why there is no such clock, or what the driver said.
pub fn measure(ordinal: usize) -> Result<EventFigures, String> {
    let context = driver::context(ordinal)?;
    let device = driver::describe(&context)?;
    let mut clock = EventClock::new(ordinal)?;

    let (stream, mut buffer) = guarded("allocating device memory", || {
        let stream = context.new_stream()?;
        let (free, _) = context.mem_get_info()?;
        let buffer = stream.alloc_zeros::<u8>(BYTES.min(free / 4))?;
        stream.synchronize()?;
        Ok((stream, buffer))
    })?;

    // Behind work on their own stream, so that they lie ready when the device comes to them: otherwise the time between two would
    // be the host's, of recording them.
    let neighbours_ns = guarded("recording events in a row", || {
        let events = (0..EVENTS).map(|_| context.new_event(Some(CUevent_flags::CU_EVENT_DEFAULT)));
        let events = events.collect::<Result<Vec<_>, _>>()?;
        for _ in 0..64 {
            stream.memset_zeros(&mut buffer)?;
        }
        for event in &events {
            event.record(&stream)?;
        }
        stream.synchronize()?;
        let pairs = events.windows(2);
        pairs.map(|pair| Ok(f64::from(pair[0].elapsed_ms(&pair[1])?) * 1e6)).collect::<Result<Vec<f64>, _>>()
    })?;
    let (closest_ns, resolution_ns) = resolution(&neighbours_ns)?;

    record_cost(&mut clock, EVENTS)?;
    let mut costs = (0..ROUNDS).map(|_| record_cost(&mut clock, EVENTS)).collect::<Result<Vec<f64>, String>>()?;
    costs.sort_by(f64::total_cmp);

    let mut busy = |times: u32| {
        guarded("keeping the device busy", || {
            for _ in 0..times {
                stream.memset_zeros(&mut buffer)?;
            }
            stream.synchronize()
        })
    };
    busy(8)?;
    let probe = bracket(&mut clock, &mut || busy(32))?;
    let times = (BUSY / (probe.host_seconds / 32.0)).ceil().clamp(1.0, 1e5) as u32;
    let brackets = (0..BRACKETS).map(|_| bracket(&mut clock, &mut || busy(times)));
    Ok(EventFigures {
        schema: EVENT_SCHEMA,
        device: device.name,
        uuid: device.uuid,
        closest_ns,
        resolution_ns,
        neighbours: neighbours_ns.len() as u32,
        record_ns: costs[ROUNDS / 2],
        brackets: brackets.collect::<Result<Vec<Bracket>, String>>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_has_figures_and_a_machine_without_one_the_drivers_reason() {
        if let Err(reason) = driver::device_count() {
            assert_eq!(measure(0), Err(reason.clone()));
            eprintln!("skipped: the figures of a device: {reason}");
            return;
        }
        let found = measure(0).unwrap();
        assert_eq!(EventFigures::parse(&serde_json::to_vec(&found).unwrap()), Ok(found.clone()));
        assert!(found.brackets.iter().all(|bracket| (0.05..1.0).contains(&bracket.host_seconds)), "{found:?}");
        assert!(found.worst().unwrap().disagreement().abs() < 0.005, "{found:?}");
    }
}
