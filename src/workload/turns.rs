//! Conversations: requests that follow one another, each after the end of the one before it and a time to think.
use std::{fmt, ops::Range};

use rand::RngExt;
use serde::{Deserialize, Serialize};
use zerocopy::IntoBytes;

use super::synthetic::rng_for;

/// Tells the draws of think times apart from those of prompts and arrivals.
const STREAM: u64 = 0x7468_696e_6b74_696d;

/// How long a user thinks between an answer's end and the next question. As text: `500ms`, `exponential:2s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ThinkTime {
    /// Always this long; 0 asks at once.
    Fixed {
        /// In nanoseconds.
        ns: u64,
    },
    /// Drawn from the seed, exponential.
    Exponential {
        /// The mean, in nanoseconds.
        mean_ns: u64,
    },
}

impl ThinkTime {
    /// The mean, in nanoseconds.
    pub fn mean_ns(self) -> u64 {
        match self {
            Self::Fixed { ns } => ns,
            Self::Exponential { mean_ns } => mean_ns,
        }
    }
}

impl Default for ThinkTime {
    fn default() -> Self {
        Self::Fixed { ns: 0 }
    }
}

impl fmt::Display for ThinkTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed { ns } => write!(f, "{}ms", *ns as f64 / 1e6),
            Self::Exponential { mean_ns } => write!(f, "exponential:{}ms", *mean_ns as f64 / 1e6),
        }
    }
}

/// The conversations of a trial. Its requests stand conversation after conversation, turn after turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turns {
    /// The first request of each conversation, and one past the last request.
    starts: Vec<u32>,
    /// Before each request; 0 before first turns.
    think_ns: Vec<u64>,
}

impl Turns {
    /// From how many turns each conversation has. Think times depend on the seed, the stream and the request's number.
    pub(super) fn new(turns: &[u32], think: ThinkTime, seed: u64, stream: u64) -> Self {
        let mut starts = vec![0];
        let mut think_ns = Vec::new();
        for count in turns {
            let start = think_ns.len() as u32;
            think_ns.extend((start..start + count).map(|request| match think {
                _ if request == start => 0,
                ThinkTime::Fixed { ns } => ns,
                ThinkTime::Exponential { mean_ns } => {
                    let drawn: f64 = rng_for(&[seed, stream, STREAM, u64::from(request)]).random();
                    (-(1.0 - drawn).ln() * mean_ns as f64).round() as u64
                }
            }));
            starts.push(think_ns.len() as u32);
        }
        Self { starts, think_ns }
    }

    /// How many conversations.
    pub fn sessions(&self) -> u32 {
        self.starts.len() as u32 - 1
    }

    /// The requests of a conversation, in order.
    ///
    /// # Panics
    /// When there is none of that number.
    pub fn requests(&self, session: u32) -> Range<u32> {
        self.starts[session as usize]..self.starts[session as usize + 1]
    }

    /// A request's conversation, and its turn in it, both from 0.
    pub fn place(&self, request: u32) -> (u32, u32) {
        let session = self.starts.partition_point(|start| *start <= request).saturating_sub(1);
        (session as u32, request - self.starts[session])
    }

    /// The request after this one in its conversation, and the time to think before it.
    pub fn after(&self, request: u32) -> Option<(u32, u64)> {
        let (session, _) = self.place(request);
        let next = Some(request + 1).filter(|next| *next < self.requests(session).end)?;
        Some((next, self.think_ns[next as usize]))
    }

    /// The content hash of the think times: BLAKE3, in hex, over nanoseconds as little-endian `u64`, a request after another.
    pub fn digest(&self) -> String {
        blake3::hash(self.think_ns.as_slice().as_bytes()).to_hex().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_their_places_and_their_next_ones() {
        let turns = Turns::new(&[2, 1, 3], ThinkTime::Fixed { ns: 7 }, 1, 0);
        let places: Vec<_> = (0..6).map(|request| turns.place(request)).collect();
        assert_eq!(places, [(0, 0), (0, 1), (1, 0), (2, 0), (2, 1), (2, 2)]);
        let after: Vec<_> = (0..6).map(|request| turns.after(request)).collect();
        assert_eq!(after, [Some((1, 7)), None, None, Some((4, 7)), Some((5, 7)), None]);
        assert_eq!((turns.sessions(), turns.requests(2)), (3, 3..6));
    }

    #[test]
    fn think_times_have_their_mean_and_repeat() {
        let drawn = |seed| Turns::new(&[20_001], ThinkTime::Exponential { mean_ns: 1_000_000 }, seed, 3);
        let mean = drawn(1).think_ns.iter().sum::<u64>() as f64 / 20_000.0;
        // The mean of 20,000 has a standard error of 0.7 %.
        assert!((mean / 1e6 - 1.0).abs() < 0.03, "{mean}");
        assert_eq!(drawn(1).digest(), drawn(1).digest());
        assert_ne!(drawn(1).digest(), drawn(2).digest());
    }
}
