//! Trace files made by hand.
use std::{io::Write, path::Path};

use super::format::{MAGIC, RECORD, VERSION};

/// CUPTI's clock in these files runs this far ahead.
pub const AHEAD_NS: u64 = 1_000_000_000_000;

/// A trace file's bytes.
pub struct Bytes(pub Vec<u8>);

/// One kernel, copy or memset; times on CLOCK_MONOTONIC.
#[derive(Clone, Copy, Default)]
pub struct Made {
    pub kind: u16,
    pub device: u32,
    pub start: u64,
    pub end: u64,
    pub stream: u32,
    pub correlation: u32,
    pub graph: u32,
    pub value: u64,
}

impl Bytes {
    pub fn new(pid: u32) -> Self {
        let mut bytes = MAGIC.to_vec();
        for word in [VERSION, RECORD as u32, pid, 0] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.resize(RECORD, 0);
        Self(bytes)
    }

    fn record(&mut self, kind: u16, detail: u16, fill: &[(usize, &[u8])]) -> &mut Self {
        let mut record = [0; RECORD];
        record[..2].copy_from_slice(&kind.to_le_bytes());
        record[2..4].copy_from_slice(&detail.to_le_bytes());
        for (at, bytes) in fill {
            record[*at..at + bytes.len()].copy_from_slice(bytes);
        }
        self.0.extend(record);
        self
    }

    pub fn name(&mut self, number: u32, text: &str) -> &mut Self {
        let pieces: Vec<&[u8]> = text.as_bytes().chunks(40).collect();
        for (place, piece) in pieces.iter().enumerate() {
            let more = if place + 1 < pieces.len() { 0x8000 } else { 0 };
            self.record(4, piece.len() as u16 | more, &[(4, &number.to_le_bytes()), (8, piece)]);
        }
        self
    }

    pub fn clock(&mut self, before: u64, after: u64, ahead: u64) -> &mut Self {
        let cupti = before + (after - before) / 2 + ahead;
        self.record(5, 0, &[(8, &before.to_le_bytes()), (16, &cupti.to_le_bytes()), (24, &after.to_le_bytes())])
    }

    pub fn lost(&mut self, dropped: u64) -> &mut Self {
        self.record(6, 0, &[(8, &dropped.to_le_bytes())])
    }

    pub fn add(&mut self, made: Made) -> &mut Self {
        self.record(
            made.kind,
            0,
            &[
                (4, &made.device.to_le_bytes()),
                (8, &(made.start + AHEAD_NS).to_le_bytes()),
                (16, &(made.end + AHEAD_NS).to_le_bytes()),
                (24, &made.stream.to_le_bytes()),
                (32, &made.correlation.to_le_bytes()),
                (36, &made.graph.to_le_bytes()),
                (40, &made.value.to_le_bytes()),
            ],
        )
    }

    pub fn save(&self, path: &Path) {
        std::fs::File::create(path).unwrap().write_all(&self.0).unwrap();
    }
}

/// A stream of numbers for tests that need many cases: xorshift.
pub struct Numbers(pub u64);

impl Numbers {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}
