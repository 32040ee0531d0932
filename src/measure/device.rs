//! The device's own clock beside the host's: what a trial took by both, and whether they agree.
//!
//! Behind [`DeviceClock`] stands, in a cell, a pair of CUDA events (crate `tacho-cuda`); in tests, [`RecordedDeviceClock`].
//! The clock is read before the trial's first host stamp and after its last one, each time after waiting for the device to be
//! idle. Inside a trial nothing waits: a step's boundary only asks the device to note its time.
use serde::{Deserialize, Serialize};

/// Above this, host and device do not agree on how long a trial took, and the trial is flagged.
pub const MAX_DISAGREEMENT: f64 = 0.005;

/// When the device's clock is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceClockMode {
    /// Never.
    Off,
    /// Around each trial.
    Trial,
    /// Around each trial, and at each step's boundary in step-loop trials.
    #[default]
    Steps,
}

impl DeviceClockMode {
    /// All, in order.
    pub const ALL: [Self; 3] = [Self::Off, Self::Trial, Self::Steps];

    /// As it stands in a plan.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Trial => "trial",
            Self::Steps => "steps",
        }
    }
}

impl std::str::FromStr for DeviceClockMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|mode| mode.as_str() == text)
            .ok_or_else(|| format!("expected off, trial or steps, found '{text}'"))
    }
}

/// A clock of the device that an engine in this process computes on.
pub trait DeviceClock {
    /// Waits until the device has nothing to do, and notes its time: the trial begins. Makes room for `marks` boundaries.
    ///
    /// # Errors
    /// A sentence for a person; the trial then has no device time.
    fn start(&mut self, marks: usize) -> Result<(), String>;

    /// Asks the device to note its time, and returns at once: a step has ended. Beyond the room that was made, and after a
    /// failure, it does nothing. Returns the mark's number from 0, or none when nothing was noted.
    fn mark(&mut self) -> Option<u64>;

    /// Waits until the device has nothing to do, and notes its time: the trial has ended.
    ///
    /// # Errors
    /// A sentence for a person; the trial then has no device time.
    fn stop(&mut self) -> Result<DeviceSpan, String>;
}

/// What a device's clock said of a trial.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeviceSpan {
    /// From start to stop.
    pub seconds: f64,
    /// Nanoseconds from the mark before (for the first: from the start) to each mark, in order.
    pub marks_ns: Vec<u64>,
}

/// What a device's clock says that a trial took, or why none does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceTime {
    /// Seconds between the two events.
    Seconds(f64),
    /// Why there are none.
    Missing(String),
}

impl Default for DeviceTime {
    fn default() -> Self {
        Self::Missing("recorded by a tacho that read no device clock".to_owned())
    }
}

impl DeviceTime {
    /// The seconds.
    pub fn seconds(&self) -> Option<f64> {
        match self {
            Self::Seconds(seconds) => Some(*seconds),
            Self::Missing(_) => None,
        }
    }

    /// Why there are none.
    pub fn null_reason(&self) -> Option<&str> {
        match self {
            Self::Seconds(_) => None,
            Self::Missing(reason) => Some(reason),
        }
    }

    /// By how much the device's time differs from the host's: device / host − 1. None without either.
    pub fn disagreement(&self, host_seconds: f64) -> Option<f64> {
        self.seconds().filter(|_| host_seconds > 0.0).map(|seconds| seconds / host_seconds - 1.0)
    }
}

/// A cell's device clock, or why it has none.
pub type DeviceClockSource = Result<Box<dyn DeviceClock>, String>;

/// One trial's use of a device clock: remembers the first thing that went wrong and carries on without.
pub(crate) struct TrialClock<'a> {
    source: Result<&'a mut dyn DeviceClock, String>,
    marks: bool,
}

impl<'a> TrialClock<'a> {
    /// Starts the clock, as the mode says. `steps` is the most boundaries that the trial can have.
    pub(crate) fn start(source: &'a mut DeviceClockSource, mode: DeviceClockMode, steps: usize) -> Self {
        let marks = if mode == DeviceClockMode::Steps { steps } else { 0 };
        let source = match source {
            _ if mode == DeviceClockMode::Off => Err("switched off by device_clock = \"off\"".to_owned()),
            Ok(clock) => clock.start(marks).map(|()| &mut **clock as &mut dyn DeviceClock),
            Err(reason) => Err(reason.clone()),
        };
        Self { source, marks: marks > 0 }
    }

    /// A step has ended.
    pub(crate) fn mark(&mut self) -> Option<u64> {
        match &mut self.source {
            Ok(clock) if self.marks => clock.mark(),
            _ => None,
        }
    }

    /// The trial's device time, and the marks' distances.
    pub(crate) fn stop(self) -> (DeviceTime, Vec<u64>) {
        match self.source.and_then(|clock| clock.stop()) {
            Ok(span) => (DeviceTime::Seconds(span.seconds), span.marks_ns),
            Err(reason) => (DeviceTime::Missing(reason), Vec::new()),
        }
    }
}

/// A test double: a device clock that says what it was told to say, and remembers what it was asked.
#[derive(Clone, Debug, Default)]
pub struct RecordedDeviceClock {
    /// What [`DeviceClock::start`] answers.
    pub start: Option<String>,
    /// What [`DeviceClock::stop`] answers; its marks are cut to those that were made.
    pub span: DeviceSpan,
    /// Why [`DeviceClock::stop`] fails.
    pub stop: Option<String>,
    /// Room for marks, as last asked for.
    pub room: usize,
    /// Marks made since the last start.
    pub made: u64,
}

impl DeviceClock for RecordedDeviceClock {
    fn start(&mut self, marks: usize) -> Result<(), String> {
        (self.room, self.made) = (marks, 0);
        self.start.clone().map_or(Ok(()), Err)
    }

    fn mark(&mut self) -> Option<u64> {
        let number = self.made;
        let room = (number as usize) < self.room.min(self.span.marks_ns.len());
        self.made += u64::from(room);
        room.then_some(number)
    }

    fn stop(&mut self) -> Result<DeviceSpan, String> {
        if let Some(reason) = &self.stop {
            return Err(reason.clone());
        }
        let marks_ns = self.span.marks_ns.iter().copied().take(self.made as usize).collect();
        Ok(DeviceSpan { seconds: self.span.seconds, marks_ns })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded(clock: RecordedDeviceClock) -> DeviceClockSource {
        Ok(Box::new(clock))
    }

    #[test]
    fn modes_are_read_as_they_are_written() {
        for mode in DeviceClockMode::ALL {
            assert_eq!(mode.as_str().parse(), Ok(mode));
            assert_eq!(serde_json::to_value(mode).unwrap(), mode.as_str());
        }
        assert_eq!("on".parse::<DeviceClockMode>().unwrap_err(), "expected off, trial or steps, found 'on'");
    }

    #[test]
    fn the_modes_ask_for_what_they_say() {
        let span = DeviceSpan { seconds: 2.0, marks_ns: vec![10, 20, 30] };
        for (mode, marks) in [(DeviceClockMode::Trial, 0), (DeviceClockMode::Steps, 2)] {
            let mut source = recorded(RecordedDeviceClock { span: span.clone(), ..Default::default() });
            let mut clock = TrialClock::start(&mut source, mode, 2);
            let made: Vec<_> = (0..3).filter_map(|_| clock.mark()).collect();
            assert_eq!(made, (0..marks).collect::<Vec<u64>>(), "{mode:?}");
            let (time, distances) = clock.stop();
            assert_eq!((time, distances), (DeviceTime::Seconds(2.0), span.marks_ns[..marks as usize].to_vec()));
        }
        let mut source = recorded(RecordedDeviceClock { span, ..Default::default() });
        let (time, _) = TrialClock::start(&mut source, DeviceClockMode::Off, 2).stop();
        assert!(time.null_reason().unwrap().contains("off"), "{time:?}");
    }

    #[test]
    fn a_clock_that_fails_leaves_its_reason_and_no_figure() {
        let broken = [
            RecordedDeviceClock { start: Some("no context".to_owned()), ..Default::default() },
            RecordedDeviceClock { stop: Some("no context".to_owned()), ..Default::default() },
        ];
        for clock in broken {
            let mut source = recorded(clock);
            let (time, marks) = TrialClock::start(&mut source, DeviceClockMode::Steps, 2).stop();
            assert_eq!((time.seconds(), time.null_reason(), marks.len()), (None, Some("no context"), 0));
        }
        let mut none: DeviceClockSource = Err("no driver".to_owned());
        assert_eq!(TrialClock::start(&mut none, DeviceClockMode::Trial, 0).stop().0.null_reason(), Some("no driver"));
    }

    #[test]
    fn disagreement_is_relative_to_the_host() {
        let close = |found: Option<f64>, expected: f64| (found.unwrap() - expected).abs() < 1e-12;
        assert!(close(DeviceTime::Seconds(1.01).disagreement(1.0), 0.01));
        assert!(close(DeviceTime::Seconds(0.99).disagreement(1.0), -0.01));
        assert_eq!(DeviceTime::Seconds(1.0).disagreement(0.0), None);
        assert_eq!(DeviceTime::default().disagreement(1.0), None);
    }
}
