//! The file: a header and records of 48 bytes, little endian. `docs/measure-trace.md` is the description.

/// Bytes of the header and of every record.
pub const RECORD: usize = 48;
/// What the file begins with.
pub const MAGIC: [u8; 8] = *b"TACHOTKT";
/// Raised when a record changes.
pub const VERSION: u32 = 1;
/// Bytes of a name in one record.
pub const NAME_PIECE: usize = 40;
/// A name's piece that another one follows.
pub const NAME_MORE: u16 = 0x8000;
/// Longer names are cut: mangled C++ names have no bound.
pub const NAME_LONGEST: usize = 2048;

const NAME: u16 = 4;
const CLOCK: u16 = 5;
const LOST: u16 = 6;
const END: u16 = 7;

/// A kernel, copy or memset; times are CUPTI's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Activity {
    pub kind: u16,
    /// CUPTI's copy kind for a copy.
    pub detail: u16,
    pub device: u32,
    pub start: u64,
    pub end: u64,
    pub stream: u32,
    pub context: u32,
    pub correlation: u32,
    /// The graph's id; 0 outside graphs.
    pub graph: u32,
    /// A kernel's name, by number; a copy's or memset's bytes.
    pub value: u64,
}

impl Activity {
    pub const KERNEL: u16 = 1;
    pub const MEMCPY: u16 = 2;
    pub const MEMSET: u16 = 3;

    pub fn encode(&self) -> [u8; RECORD] {
        let mut out = Record::new(self.kind, self.detail);
        out.u32(4, self.device).u64(8, self.start).u64(16, self.end);
        out.u32(24, self.stream).u32(28, self.context).u32(32, self.correlation).u32(36, self.graph);
        out.u64(40, self.value).0
    }
}

/// What did not come into the file, all told since the process began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Records that CUPTI dropped.
    pub dropped: u64,
    /// Buffers that CUPTI asked for while all were in use.
    pub refused: u64,
    /// Records without times.
    pub incomplete: u64,
    /// Records that were not understood.
    pub unreadable: u64,
}

struct Record([u8; RECORD]);

impl Record {
    fn new(kind: u16, detail: u16) -> Self {
        let mut out = Self([0; RECORD]);
        out.0[..2].copy_from_slice(&kind.to_le_bytes());
        out.0[2..4].copy_from_slice(&detail.to_le_bytes());
        out
    }

    fn u32(&mut self, at: usize, value: u32) -> &mut Self {
        self.0[at..at + 4].copy_from_slice(&value.to_le_bytes());
        self
    }

    fn u64(&mut self, at: usize, value: u64) -> &mut Self {
        self.0[at..at + 8].copy_from_slice(&value.to_le_bytes());
        self
    }
}

pub fn header(pid: u32, cupti: u32, monotonic_ns: u64) -> [u8; RECORD] {
    let mut out = Record([0; RECORD]);
    out.0[..8].copy_from_slice(&MAGIC);
    out.u32(8, VERSION).u32(12, RECORD as u32).u32(16, pid).u32(20, cupti).u64(24, monotonic_ns).0
}

/// A name, in as many records as it needs; they follow one another.
pub fn name(number: u32, text: &[u8]) -> Vec<u8> {
    let text = &text[..text.len().min(NAME_LONGEST)];
    let pieces: Vec<&[u8]> = if text.is_empty() { vec![text] } else { text.chunks(NAME_PIECE).collect() };
    let last = pieces.len() - 1;
    let record = |(place, piece): (usize, &&[u8])| {
        let more = if place < last { NAME_MORE } else { 0 };
        let mut out = Record::new(NAME, piece.len() as u16 | more);
        out.u32(4, number).0[8..8 + piece.len()].copy_from_slice(piece);
        out.0
    };
    pieces.iter().enumerate().flat_map(record).collect()
}

/// CUPTI's clock, read between two readings of CLOCK_MONOTONIC.
pub fn clock(before_ns: u64, cupti_ns: u64, after_ns: u64) -> [u8; RECORD] {
    let mut out = Record::new(CLOCK, 0);
    out.u64(8, before_ns).u64(16, cupti_ns).u64(24, after_ns).0
}

pub fn lost(lost: Lost, monotonic_ns: u64) -> [u8; RECORD] {
    let mut out = Record::new(LOST, 0);
    out.u64(8, lost.dropped).u64(16, lost.refused).u64(24, lost.incomplete).u64(32, lost.unreadable);
    out.u64(40, monotonic_ns).0
}

/// The last record of a process that ended by itself.
pub fn end(monotonic_ns: u64) -> [u8; RECORD] {
    Record::new(END, 0).u64(8, monotonic_ns).0
}
