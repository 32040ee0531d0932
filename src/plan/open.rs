//! The open load of a plan.
use super::{
    PlanError,
    draft::{Parameter, Setting},
    origin::Sourced,
    told::{DEFAULT, Told},
};
use crate::workload::arrivals::{ArrivalError, ArrivalSpec, Process, read_trace};

/// An open load as far as all points share it.
pub(super) struct Open {
    pub process: Sourced<Process>,
    pub max_in_flight: Option<u32>,
}

impl Open {
    /// Checks rates, and that a trace can be read and is long enough.
    pub(super) fn check(&self, arrivals: &ArrivalSpec, requests: u32) -> Result<(), PlanError> {
        let located = |error: ArrivalError| PlanError::at(&self.process.at, error.to_string());
        arrivals.check().map_err(located)?;
        match &arrivals.process {
            Process::Trace(file) => {
                read_trace(file, requests as usize).map(|_| ()).map_err(|error| located(error.into()))
            }
            _ => Ok(()),
        }
    }
}

/// The open load, if the plan asks for one: by a rate or by an arrival process.
pub(super) fn open(
    process: Option<Sourced<Process>>,
    max_in_flight: Option<Sourced<u32>>,
    settings: &[Setting],
    told: &mut Told,
) -> Result<Option<Open>, PlanError> {
    let of = |parameter: Parameter| settings.iter().find(|setting| setting.parameter == parameter);
    let rate = of(Parameter::Rate);
    if rate.is_none() && process.is_none() {
        return match max_in_flight {
            Some(cap) => Err(PlanError::at(&cap.at, "max_in_flight caps an open load, and the plan has none")
                .help("give --rate, or use --concurrency for a closed loop with so many in flight")),
            None => Ok(None),
        };
    }
    if let (Some(process), Some(other)) = (&process, of(Parameter::Batch).or(of(Parameter::Concurrency))) {
        let problem = format!("arrivals and '{}' (set at {}) exclude each other", other.parameter.name(), other.at);
        return Err(PlanError::at(&process.at, problem).help("arrivals are for an open load: give --rate"));
    }
    if let Some(cap) = max_in_flight.as_ref().filter(|cap| cap.value == 0) {
        return Err(
            PlanError::at(&cap.at, "expected max_in_flight of at least 1, found 0").help("leave it out for no cap")
        );
    }
    let process = process.unwrap_or(Sourced::new(Process::Poisson, DEFAULT));
    told.push("arrivals", process.value.to_string(), &process.at);
    if let Some(cap) = &max_in_flight {
        told.push("max_in_flight", cap.value.to_string(), &cap.at);
    }
    Ok(Some(Open { process, max_in_flight: max_in_flight.map(|cap| cap.value) }))
}
