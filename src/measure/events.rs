//! What a device's events are worth: how finely they tell time, what recording one costs the host, and whether two of them around
//! an interval agree with the host's clock. Measured by the program `tacho-cuda`, judged by `tacho calibrate`.
use serde::{Deserialize, Serialize};

use super::{DeviceClock, monotonic_ns};

/// Raised when a field changes its meaning.
pub const EVENT_SCHEMA: u32 = 1;
/// Elapsed times that differ by less are the same: the driver gives milliseconds in 32 bits.
const SAME_NS: f64 = 0.5;

/// What a device's events are worth, as `tacho-cuda clock --json` writes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventFigures {
    /// [`EVENT_SCHEMA`].
    pub schema: u32,
    /// The device's name.
    pub device: String,
    /// `GPU-` and the UUID.
    pub uuid: String,
    /// The smallest non-zero time between neighbouring events of a stream that had nothing to do between them.
    pub closest_ns: f64,
    /// The smallest non-zero amount by which such times differ from each other or from 0: the step of the device's clock.
    pub resolution_ns: f64,
    /// How many neighbours these two were looked for among.
    pub neighbours: u32,
    /// Host time of recording one event: the median of rounds.
    pub record_ns: f64,
    /// Intervals in which the device was busy, by both clocks.
    pub brackets: Vec<Bracket>,
}

/// One interval by two clocks.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bracket {
    /// By the host's.
    pub host_seconds: f64,
    /// By a pair of the device's events.
    pub event_seconds: f64,
}

impl Bracket {
    /// By how much of the host's time the events' is longer.
    pub fn disagreement(&self) -> f64 {
        self.event_seconds / self.host_seconds - 1.0
    }
}

impl EventFigures {
    /// Reads what the program wrote.
    ///
    /// # Errors
    /// A sentence for a person when it is not of this schema, or no figures.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let found: Self =
            serde_json::from_slice(text).map_err(|error| format!("not an event clock's figures: {error}"))?;
        if found.schema != EVENT_SCHEMA {
            return Err(format!("figures of schema {}, expected {EVENT_SCHEMA}", found.schema));
        }
        if found.brackets.is_empty() {
            return Err("no interval was measured by both clocks".to_owned());
        }
        let intervals = found.brackets.iter().flat_map(|bracket| [bracket.host_seconds, bracket.event_seconds]);
        let mut figures = [found.closest_ns, found.resolution_ns, found.record_ns].into_iter().chain(intervals);
        match figures.find(|figure| !(figure.is_finite() && *figure > 0.0)) {
            Some(figure) => Err(format!("a figure of {figure}, expected a number above 0")),
            None => Ok(found),
        }
    }

    /// The bracket whose clocks disagree the most.
    pub fn worst(&self) -> Option<&Bracket> {
        self.brackets.iter().max_by(|a, b| a.disagreement().abs().total_cmp(&b.disagreement().abs()))
    }
}

/// `closest_ns` and `resolution_ns` of the times between neighbouring events.
///
/// # Errors
/// A sentence when all events have the same time.
pub fn resolution(neighbours_ns: &[f64]) -> Result<(f64, f64), String> {
    let mut times: Vec<f64> = neighbours_ns.iter().copied().filter(|ns| *ns >= SAME_NS).collect();
    times.sort_by(f64::total_cmp);
    let closest = *times.first().ok_or_else(|| {
        format!("expected events at different times, found {} neighbours at the same one", neighbours_ns.len())
    })?;
    let steps = times.windows(2).map(|pair| pair[1] - pair[0]).filter(|step| *step >= SAME_NS);
    Ok((closest, steps.fold(closest, f64::min)))
}

/// Host time of one mark, in nanoseconds: the mean of `marks` in a row.
///
/// # Errors
/// The clock's, or a sentence when it does not make so many.
pub fn record_cost(clock: &mut dyn DeviceClock, marks: usize) -> Result<f64, String> {
    clock.start(marks)?;
    let start_ns = monotonic_ns();
    let made = (0..marks).filter_map(|_| clock.mark()).count();
    let took_ns = monotonic_ns() - start_ns;
    clock.stop()?;
    if made == marks && made > 0 {
        Ok(took_ns as f64 / made as f64)
    } else {
        Err(format!("expected {marks} marks on the device's clock, found {made}"))
    }
}

/// One interval by both clocks, as a trial is bracketed. `work` keeps the device busy and returns when that is done.
///
/// # Errors
/// The clock's and the work's.
pub fn bracket(clock: &mut dyn DeviceClock, work: &mut dyn FnMut() -> Result<(), String>) -> Result<Bracket, String> {
    clock.start(0)?;
    let start_ns = monotonic_ns();
    work()?;
    let host_seconds = (monotonic_ns() - start_ns) as f64 / 1e9;
    Ok(Bracket { host_seconds, event_seconds: clock.stop()?.seconds })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::{DeviceSpan, RecordedDeviceClock};

    #[test]
    fn the_step_of_a_clock_is_found_below_the_closest_events() {
        let times = [1056.0, 1024.0, 0.0, 2080.0, 1024.25, 1088.0];
        assert_eq!(resolution(&times), Ok((1024.0, 31.75)));
        assert_eq!(resolution(&[500.0, 500.0]), Ok((500.0, 500.0)));
        assert!(resolution(&[0.0, 0.1]).unwrap_err().contains("found 2 neighbours at the same one"));
        assert!(resolution(&[]).is_err());
    }

    #[test]
    fn a_recorded_clock_double_is_asked_as_a_trial_asks() {
        let span = DeviceSpan { seconds: 0.02, marks_ns: vec![1000; 8] };
        let mut clock = RecordedDeviceClock { span, ..Default::default() };
        assert!(record_cost(&mut clock, 8).is_ok_and(|ns| ns >= 0.0));
        assert_eq!((clock.room, clock.made), (8, 8));
        assert!(record_cost(&mut clock, 9).unwrap_err().contains("expected 9 marks on the device's clock, found 8"));

        let mut work = || {
            std::thread::sleep(std::time::Duration::from_millis(20));
            Ok(())
        };
        let found = bracket(&mut clock, &mut work).unwrap();
        assert_eq!((clock.room, found.event_seconds), (0, 0.02));
        assert!(found.host_seconds >= 0.02 && found.disagreement() <= 0.0, "{found:?}");
        assert_eq!(bracket(&mut clock, &mut || Err("lost".to_owned())), Err("lost".to_owned()));
        let mut broken = RecordedDeviceClock { start: Some("no context".to_owned()), ..Default::default() };
        assert_eq!(bracket(&mut broken, &mut || Ok(())), Err("no context".to_owned()));
    }

    #[test]
    fn figures_are_read_back_and_what_are_none_is_refused() {
        let bracket = |event_seconds| Bracket { host_seconds: 0.1, event_seconds };
        let figures = EventFigures {
            schema: EVENT_SCHEMA,
            device: "made up".to_owned(),
            uuid: "GPU-a".to_owned(),
            closest_ns: 1024.0,
            resolution_ns: 32.0,
            neighbours: 1000,
            record_ns: 900.0,
            brackets: vec![bracket(0.1001), bracket(0.0998)],
        };
        let text = |figures: &EventFigures| serde_json::to_vec(figures).unwrap();
        assert_eq!(EventFigures::parse(&text(&figures)), Ok(figures.clone()));
        assert_eq!(figures.worst().map(|bracket| bracket.event_seconds), Some(0.0998));
        let refused = |change: fn(&mut EventFigures)| {
            let mut figures = figures.clone();
            change(&mut figures);
            EventFigures::parse(&text(&figures)).unwrap_err()
        };
        assert!(refused(|figures| figures.schema = 2).contains("schema 2, expected 1"));
        assert!(refused(|figures| figures.brackets.clear()).contains("no interval"));
        assert!(refused(|figures| figures.brackets[1].host_seconds = 0.0).contains("a figure of 0"));
        assert!(EventFigures::parse(b"{}").unwrap_err().contains("not an event clock's figures"));
    }
}
