//! The records of a `.tkt` file, as `ffi/cupti/src/format.rs` writes them: 48 bytes each, little endian.
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Bytes of the header and of every record.
pub(super) const RECORD: usize = 48;
pub(super) const MAGIC: [u8; 8] = *b"TACHOTKT";
pub(super) const VERSION: u32 = 1;
const NAME_PIECE: usize = 40;
const NAME_MORE: u16 = 0x8000;

/// Why a trace cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The file cannot be opened or read.
    #[error("the trace {} cannot be read: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not what the collector writes.
    #[error("the trace {} is damaged at byte {at}: expected {expected}, found {found}; take the trace anew", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where, in bytes from the file's beginning.
        at: u64,
        /// What belongs there.
        expected: &'static str,
        /// What is there.
        found: String,
    },
}

impl TraceError {
    pub(super) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}

/// What did not come into the file, all told since its process began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// Records that CUPTI dropped.
    pub dropped: u64,
    /// Buffers that CUPTI asked for while all were in use.
    pub refused: u64,
    /// Records whose times were not known when recording ended.
    pub incomplete: u64,
    /// Records that the collector did not understand.
    pub unreadable: u64,
}

impl Lost {
    /// What was lost since `before`.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            dropped: self.dropped.saturating_sub(before.dropped),
            refused: self.refused.saturating_sub(before.refused),
            incomplete: self.incomplete.saturating_sub(before.incomplete),
            unreadable: self.unreadable.saturating_sub(before.unreadable),
        }
    }

    /// Both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            dropped: self.dropped + other.dropped,
            refused: self.refused + other.refused,
            incomplete: self.incomplete + other.incomplete,
            unreadable: self.unreadable + other.unreadable,
        }
    }
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A kernel (1), copy (2) or memset (3); times are CUPTI's.
    Activity {
        /// 1, 2 or 3.
        kind: u16,
        /// CUPTI's copy kind, for a copy.
        detail: u16,
        /// The device's number in its process.
        device: u32,
        /// Beginning.
        start: u64,
        /// End.
        end: u64,
        /// The stream's number.
        stream: u32,
        /// The number of the launch that caused it.
        correlation: u32,
        /// The graph's number; 0 outside graphs.
        graph: u32,
        /// A kernel's name by number; a copy's or memset's bytes.
        value: u64,
    },
    /// A piece of a kernel's name.
    Name {
        /// The name's number.
        number: u32,
        /// The piece.
        piece: Vec<u8>,
        /// Whether another piece follows.
        more: bool,
    },
    /// CUPTI's clock between two readings of CLOCK_MONOTONIC.
    Clock {
        /// The first reading, in nanoseconds.
        before_ns: u64,
        /// CUPTI's, in nanoseconds.
        cupti_ns: u64,
        /// The second reading, in nanoseconds.
        after_ns: u64,
    },
    /// What was lost so far.
    Lost(Lost),
    /// The process ended by itself.
    End,
}

fn u16_at(bytes: &[u8; RECORD], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

pub(super) fn u32_at(bytes: &[u8; RECORD], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

pub(super) fn u64_at(bytes: &[u8; RECORD], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

impl Record {
    /// Reads a record.
    ///
    /// # Errors
    /// What was expected and what was found.
    pub fn decode(bytes: &[u8; 48]) -> Result<Self, (&'static str, String)> {
        match u16_at(bytes, 0) {
            kind @ 1..=3 => {
                let (start, end) = (u64_at(bytes, 8), u64_at(bytes, 16));
                if end < start {
                    return Err(("an end after its start", format!("{start} to {end}")));
                }
                Ok(Self::Activity {
                    kind,
                    detail: u16_at(bytes, 2),
                    device: u32_at(bytes, 4),
                    start,
                    end,
                    stream: u32_at(bytes, 24),
                    correlation: u32_at(bytes, 32),
                    graph: u32_at(bytes, 36),
                    value: u64_at(bytes, 40),
                })
            }
            4 => {
                let length = usize::from(u16_at(bytes, 2) & !NAME_MORE);
                if length > NAME_PIECE {
                    return Err(("a piece of a name of at most 40 bytes", format!("{length} bytes")));
                }
                let more = u16_at(bytes, 2) & NAME_MORE != 0;
                Ok(Self::Name { number: u32_at(bytes, 4), piece: bytes[8..8 + length].to_vec(), more })
            }
            5 => {
                let (before_ns, cupti_ns, after_ns) = (u64_at(bytes, 8), u64_at(bytes, 16), u64_at(bytes, 24));
                if after_ns < before_ns {
                    return Err(("a clock reading that ends after it begins", format!("{before_ns} to {after_ns}")));
                }
                Ok(Self::Clock { before_ns, cupti_ns, after_ns })
            }
            6 => Ok(Self::Lost(Lost {
                dropped: u64_at(bytes, 8),
                refused: u64_at(bytes, 16),
                incomplete: u64_at(bytes, 24),
                unreadable: u64_at(bytes, 32),
            })),
            7 => Ok(Self::End),
            other => Err(("a record of kind 1 to 7", format!("kind {other}"))),
        }
    }
}
