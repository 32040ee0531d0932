//! Whom a run tells how far it is.

/// Told how far a run is. Called between trials and, in step-loop trials, a few times a second; never while the engine's
/// own `generate` is being timed.
pub trait Progress {
    /// The run begins.
    fn begin(&mut self, total_points: u32);
    /// The point with this place (from 0) begins; `label` names it for a person.
    fn point(&mut self, place: u32, total_points: u32, label: &str);
    /// A trial of the point begins, such as `warm-up 2` or `trial 3`.
    fn trial(&mut self, label: &str, expected_output_tokens: u64);
    /// Output tokens of the trial so far.
    fn tokens(&mut self, so_far: u64);
    /// The trial is over; with the interval of the median so far, both in output tokens a second.
    fn trial_done(&mut self, tokens_per_second: f64, interval: Option<(f64, f64)>);
    /// What the GPUs did in the trial before: utilisation, power, clock, heat. Not called where no GPU was sampled.
    fn gpu(&mut self, state: &str);
    /// The point is over; one line says how.
    fn point_done(&mut self, line: &str);
    /// Something to know that belongs to no point.
    fn note(&mut self, line: &str);
}

/// Tells nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quiet;

impl Progress for Quiet {
    fn begin(&mut self, _: u32) {}
    fn point(&mut self, _: u32, _: u32, _: &str) {}
    fn trial(&mut self, _: &str, _: u64) {}
    fn tokens(&mut self, _: u64) {}
    fn trial_done(&mut self, _: f64, _: Option<(f64, f64)>) {}
    fn gpu(&mut self, _: &str) {}
    fn point_done(&mut self, _: &str) {}
    fn note(&mut self, _: &str) {}
}
