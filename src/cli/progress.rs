//! Progress on standard error: bars on a terminal, plain lines elsewhere.
use std::{
    io::{self, IsTerminal, Write},
    sync::OnceLock,
    time::{Duration, Instant},
};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tacho::run::{Progress, Quiet};

/// The bars that stand on the terminal, for who must write past them or away with them.
static ON_SCREEN: OnceLock<MultiProgress> = OnceLock::new();

/// Says a line on standard error, above the bars where there are any.
pub fn say(line: &str) {
    match ON_SCREEN.get() {
        Some(bars) => drop(bars.println(line)),
        None => Lines::line(line),
    }
}

/// Takes the bars off the terminal.
pub fn clear() {
    if let Some(bars) = ON_SCREEN.get() {
        let _ = bars.clear();
    }
}

/// Whatever suits standard error.
pub fn choose(quiet: bool) -> Box<dyn Progress> {
    if quiet {
        Box::new(Quiet)
    } else if io::stderr().is_terminal() {
        Box::new(Bars::default())
    } else {
        Box::new(Lines::default())
    }
}

/// One line an event, without control characters: for logs and pipes.
#[derive(Default)]
struct Lines {
    point: String,
    trial: String,
}

impl Lines {
    fn line(text: &str) {
        // Standard error may be closed; a run goes on without it.
        let _ = writeln!(io::stderr(), "{text}");
    }
}

impl Progress for Lines {
    fn begin(&mut self, total_points: u32) {
        Self::line(&format!("{total_points} point{}", if total_points == 1 { "" } else { "s" }));
    }

    fn point(&mut self, place: u32, total: u32, label: &str) {
        self.point = format!("[{}/{total}]", place + 1);
        Self::line(&format!("{} {label}", self.point));
    }

    fn trial(&mut self, label: &str, _: u64) {
        label.clone_into(&mut self.trial);
    }

    fn tokens(&mut self, _: u64) {}

    fn trial_done(&mut self, tokens_per_second: f64, interval: Option<(f64, f64)>) {
        Self::line(&format!("{} {}: {}", self.point, self.trial, rate_text(tokens_per_second, interval)));
    }

    fn gpu(&mut self, state: &str) {
        Self::line(&format!("{} {}: {state}", self.point, self.trial));
    }

    fn point_done(&mut self, line: &str) {
        Self::line(&format!("{} {line}", self.point));
    }

    fn note(&mut self, line: &str) {
        Self::line(line);
    }
}

fn rate_text(tokens_per_second: f64, interval: Option<(f64, f64)>) -> String {
    match interval {
        Some((lo, hi)) => format!("{tokens_per_second:.1} output tok/s, median within {lo:.1} to {hi:.1}"),
        None => format!("{tokens_per_second:.1} output tok/s"),
    }
}

/// How often the bars are drawn anew. Seldom: a trial is being timed on the same machine.
const TICK: Duration = Duration::from_millis(250);

/// A bar over all points and one for what runs now; they are gone when the run is over.
struct Bars {
    all: MultiProgress,
    points: ProgressBar,
    now: ProgressBar,
    label: String,
    rate: String,
    /// When the trial that runs began, and how long the point's one before it took.
    began: Option<Instant>,
    last: Option<Duration>,
}

impl Default for Bars {
    fn default() -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(4));
        let points = all.add(ProgressBar::new(0));
        let _ = ON_SCREEN.set(all.clone());
        points.set_style(style("{bar:24} {pos}/{len} points  {elapsed} gone  {msg}"));
        let now = all.add(ProgressBar::new(0));
        Self { all, points, now, label: String::new(), rate: String::new(), began: None, last: None }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

impl Progress for Bars {
    fn begin(&mut self, total_points: u32) {
        self.points.set_length(u64::from(total_points));
        self.points.enable_steady_tick(TICK);
        self.now.enable_steady_tick(TICK);
    }

    fn point(&mut self, place: u32, _: u32, label: &str) {
        self.points.set_position(u64::from(place));
        if place > 0 {
            // Before a point is done nothing is known of how long one takes.
            self.points.set_style(style("{bar:24} {pos}/{len} points  {elapsed} gone, {eta} left  {msg}"));
        }
        self.points.set_message(label.to_owned());
        self.now.set_style(style("{spinner} {msg}"));
        self.now.set_message("loading".to_owned());
        self.rate.clear();
        (self.began, self.last) = (None, None);
    }

    fn trial(&mut self, label: &str, expected_output_tokens: u64) {
        label.clone_into(&mut self.label);
        self.last = self.began.map(|began| began.elapsed());
        // Loading, which expects no tokens, says nothing of how long a trial takes.
        self.began = (expected_output_tokens > 0).then(Instant::now);
        self.now.reset();
        self.now.set_length(expected_output_tokens);
        // Until the first count comes in, and a generate call gives none, there is only time to show.
        let about = self.last.map(|last| format!(" of about {:.0} s", last.as_secs_f64().max(1.0)));
        self.now.set_style(style(&format!("{{spinner}} {{msg}}  {{elapsed}}{}", about.unwrap_or_default())));
        self.now.set_message(format!("{label}  {}", self.rate));
    }

    fn tokens(&mut self, so_far: u64) {
        if self.now.position() == 0 {
            self.now.set_style(style("{bar:24} {pos}/{len} tokens  {per_sec}  {eta} left  {msg}"));
        }
        self.now.set_position(so_far);
    }

    fn trial_done(&mut self, tokens_per_second: f64, interval: Option<(f64, f64)>) {
        self.rate = format!("last {}", rate_text(tokens_per_second, interval));
        self.now.set_message(format!("{}  {}", self.label, self.rate));
    }

    fn gpu(&mut self, state: &str) {
        self.rate = format!("{}  {state}", self.rate);
        self.now.set_message(format!("{}  {}", self.label, self.rate));
    }

    fn point_done(&mut self, line: &str) {
        self.points.inc(1);
        let _ = self.all.println(line);
    }

    fn note(&mut self, line: &str) {
        let _ = self.all.println(line);
    }
}

impl Drop for Bars {
    /// Leaves the terminal clean, also on an error's way out.
    fn drop(&mut self) {
        self.now.finish_and_clear();
        self.points.finish_and_clear();
        let _ = self.all.clear();
    }
}
