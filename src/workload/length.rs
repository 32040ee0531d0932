//! How long prompts and outputs are.
use std::{fmt, str::FromStr};

use rand::RngExt;
use serde::{Deserialize, Serialize};

/// A distribution of lengths in tokens.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum LengthDist {
    /// Always this many.
    Fixed(u32),
    /// Every whole number from `lo` to `hi`, both included, alike.
    Uniform {
        /// Shortest.
        lo: u32,
        /// Longest.
        hi: u32,
    },
    /// Normal, rounded to whole tokens and drawn again until it lies in `lo..=hi`.
    Normal {
        /// Mean before truncation.
        mean: f64,
        /// Standard deviation before truncation.
        sd: f64,
        /// Shortest.
        lo: u32,
        /// Longest.
        hi: u32,
    },
    /// As a dataset has them; None until it has been read.
    Data(Option<DataLengths>),
}

/// The lengths that a dataset has, in tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DataLengths {
    /// Shortest.
    pub lo: u32,
    /// Longest.
    pub hi: u32,
    /// Arithmetic mean.
    pub mean: f64,
}

/// Why a text is no length distribution.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LengthError {
    /// Not one of the forms.
    #[error(
        "'{0}' is no length: expected a number of tokens (128), a uniform range (64..256, both ends included) or \
         normal(mean,sd) with optional bounds normal(mean,sd,lo,hi)"
    )]
    Syntax(String),
    /// A length below 1.
    #[error("length '{0}' allows fewer than 1 token: a request has at least one token in and one out")]
    Zero(String),
    /// The bounds are the wrong way round, or the spread is not a number.
    #[error(
        "length '{0}' is empty: expected lo <= hi and a finite, non-negative spread with the mean inside the bounds"
    )]
    Empty(String),
}

impl LengthDist {
    /// The shortest length it can give, in tokens.
    pub fn min(&self) -> u32 {
        match *self {
            Self::Fixed(n) => n,
            Self::Uniform { lo, .. } | Self::Normal { lo, .. } => lo,
            Self::Data(data) => data.map_or(1, |data| data.lo),
        }
    }

    /// The longest length it can give, in tokens.
    pub fn max(&self) -> u32 {
        match *self {
            Self::Fixed(n) => n,
            Self::Uniform { hi, .. } | Self::Normal { hi, .. } => hi,
            Self::Data(data) => data.map_or(1, |data| data.hi),
        }
    }

    /// Whether the lengths are a dataset's own.
    pub fn is_data(&self) -> bool {
        matches!(self, Self::Data(_))
    }

    /// The mean length in tokens; for a normal one, before truncation; not a number for a dataset that was not read yet.
    pub fn mean(&self) -> f64 {
        match *self {
            Self::Fixed(n) => f64::from(n),
            Self::Uniform { lo, hi } => (f64::from(lo) + f64::from(hi)) / 2.0,
            Self::Normal { mean, .. } => mean,
            Self::Data(data) => data.map_or(f64::NAN, |data| data.mean),
        }
    }

    /// Draws a length. A dataset's lengths are not drawn: for them this is the mean.
    pub fn draw(&self, rng: &mut impl RngExt) -> u32 {
        match *self {
            Self::Fixed(n) => n,
            Self::Uniform { lo, hi } => rng.random_range(lo..=hi),
            Self::Normal { mean, sd, lo, hi } => {
                // The mean lies inside the bounds, so at least about half of what falls on its wider side is kept; the
                // limit is for spreads that round to nothing inside narrow bounds.
                for _ in 0..1000 {
                    let drawn = (mean + sd * standard_normal(rng)).round();
                    if drawn >= f64::from(lo) && drawn <= f64::from(hi) {
                        return drawn as u32;
                    }
                }
                (mean.round() as u32).clamp(lo, hi)
            }
            Self::Data(_) => (self.mean().round() as u32).max(1),
        }
    }

    fn checked(self, text: &str) -> Result<Self, LengthError> {
        if self.min() < 1 {
            return Err(LengthError::Zero(text.to_owned()));
        }
        let empty = match self {
            Self::Fixed(_) | Self::Data(None) => false,
            Self::Data(Some(data)) => data.lo > data.hi,
            Self::Uniform { lo, hi } => lo > hi,
            Self::Normal { mean, sd, lo, hi } => {
                !(mean.is_finite() && sd.is_finite() && sd >= 0.0)
                    || lo > hi
                    || mean < f64::from(lo)
                    || mean > f64::from(hi)
            }
        };
        if empty { Err(LengthError::Empty(text.to_owned())) } else { Ok(self) }
    }
}

/// A standard normal number by the Box–Muller transform (Box and Muller 1958).
pub(crate) fn standard_normal(rng: &mut impl RngExt) -> f64 {
    let u: f64 = 1.0 - rng.random::<f64>(); // (0, 1]: its logarithm is finite
    let v: f64 = rng.random();
    (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

impl FromStr for LengthDist {
    type Err = LengthError;

    fn from_str(text: &str) -> Result<Self, LengthError> {
        let text = text.trim();
        let syntax = || LengthError::Syntax(text.to_owned());
        if let Some(rest) = text.strip_prefix("data") {
            return data(rest).map(Self::Data).ok_or_else(syntax)?.checked(text);
        }
        if let Some(inner) = text.strip_prefix("normal(").and_then(|rest| rest.strip_suffix(')')) {
            let fields: Vec<f64> =
                inner.split(',').map(|field| field.trim().parse()).collect::<Result<_, _>>().map_err(|_| syntax())?;
            let (mean, sd, lo, hi) = match fields[..] {
                [mean, sd] => (mean, sd, 1.0, f64::from(u32::MAX)),
                [mean, sd, lo, hi] => (mean, sd, lo, hi),
                _ => return Err(syntax()),
            };
            if lo.fract() != 0.0 || hi.fract() != 0.0 || !(0.0..=f64::from(u32::MAX)).contains(&lo) {
                return Err(syntax());
            }
            return Self::Normal { mean, sd, lo: lo as u32, hi: hi as u32 }.checked(text);
        }
        if let Some((lo, hi)) = text.split_once("..") {
            let lo = lo.trim().parse().map_err(|_| syntax())?;
            let hi = hi.trim().parse().map_err(|_| syntax())?;
            return Self::Uniform { lo, hi }.checked(text);
        }
        Self::Fixed(text.parse().map_err(|_| syntax())?).checked(text)
    }
}

/// What follows the word `data`: nothing, or shortest, longest and mean.
fn data(rest: &str) -> Option<Option<DataLengths>> {
    if rest.is_empty() {
        return Some(None);
    }
    let mut fields = rest.strip_prefix('(')?.strip_suffix(')')?.split(',');
    let (lo, hi, mean) = (fields.next()?, fields.next()?, fields.next()?);
    let data = DataLengths { lo: lo.parse().ok()?, hi: hi.parse().ok()?, mean: mean.parse().ok()? };
    (fields.next().is_none() && data.mean.is_finite()).then_some(Some(data))
}

impl fmt::Display for LengthDist {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Fixed(n) => write!(f, "{n}"),
            Self::Uniform { lo, hi } => write!(f, "{lo}..{hi}"),
            Self::Normal { mean, sd, lo: 1, hi: u32::MAX } => write!(f, "normal({mean},{sd})"),
            Self::Normal { mean, sd, lo, hi } => write!(f, "normal({mean},{sd},{lo},{hi})"),
            Self::Data(None) => f.write_str("data"),
            Self::Data(Some(DataLengths { lo, hi, mean })) => write!(f, "data({lo},{hi},{mean})"),
        }
    }
}

impl From<LengthDist> for String {
    fn from(dist: LengthDist) -> Self {
        dist.to_string()
    }
}

impl TryFrom<String> for LengthDist {
    type Error = LengthError;

    fn try_from(text: String) -> Result<Self, LengthError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_xoshiro::Xoshiro256PlusPlus;

    use super::*;

    #[test]
    fn every_form_reads_back_as_it_was_written() {
        for text in ["128", "64..256", "normal(128,32)", "normal(128,32,16,512)", "data", "data(3,9,4.5)"] {
            let dist: LengthDist = text.parse().unwrap();
            assert_eq!(dist.to_string(), text);
        }
    }

    #[test]
    fn bad_lengths_are_refused_with_the_reason() {
        for text in ["", "x", "-3", "1.5", "normal(3)", "normal(a,b)", "1..2..3", "data(1)", "data(1,2,nan)"] {
            assert!(matches!(text.parse::<LengthDist>(), Err(LengthError::Syntax(_))), "{text}");
        }
        for text in ["0", "0..4", "normal(4,1,0,9)"] {
            assert!(matches!(text.parse::<LengthDist>(), Err(LengthError::Zero(_))), "{text}");
        }
        for text in ["9..4", "normal(4,-1)", "normal(4,nan)", "normal(4,1,8,9)"] {
            assert!(matches!(text.parse::<LengthDist>(), Err(LengthError::Empty(_))), "{text}");
        }
    }

    #[test]
    fn draws_have_the_named_mean_and_stay_in_bounds() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
        for (text, mean, tolerance) in [("7", 7.0, 0.0), ("10..30", 20.0, 0.2), ("normal(100,10,50,150)", 100.0, 0.3)] {
            let dist: LengthDist = text.parse().unwrap();
            let n = 20_000;
            let mut sum = 0.0;
            for _ in 0..n {
                let length = dist.draw(&mut rng);
                assert!((dist.min()..=dist.max()).contains(&length));
                sum += f64::from(length);
            }
            assert!((sum / f64::from(n) - mean).abs() <= tolerance, "{text}: {}", sum / f64::from(n));
        }
    }

    #[test]
    fn uniform_reaches_both_ends() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(2);
        let dist: LengthDist = "1..3".parse().unwrap();
        let drawn: std::collections::BTreeSet<u32> = (0..200).map(|_| dist.draw(&mut rng)).collect();
        assert_eq!(drawn.into_iter().collect::<Vec<_>>(), [1, 2, 3]);
    }
}
