//! Reads a process's trace, record by record, while it may still grow; times come out on CLOCK_MONOTONIC.
use std::{
    collections::HashMap,
    fs::File,
    io::{BufReader, Read},
    path::{Path, PathBuf},
};

use super::format::{Lost, MAGIC, RECORD, Record, TraceError, VERSION, u32_at};

/// The most names a process may bring: a damaged number must not make us allocate for it.
const MOST_NAMES: u32 = 1 << 20;

/// What the device did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ActivityKind {
    /// A kernel, by its name in [`Names`].
    Kernel {
        /// The name's number.
        name: u32,
    },
    /// A copy between memories.
    Copy {
        /// CUPTI's copy kind: 1 host to device, 2 device to host, 8 device to device, 10 between devices.
        direction: u16,
        /// Bytes.
        bytes: u64,
    },
    /// A memset.
    Set {
        /// Bytes.
        bytes: u64,
    },
}

/// One thing that a device did, on CLOCK_MONOTONIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Activity {
    /// When it began.
    pub start_ns: u64,
    /// When it ended.
    pub end_ns: u64,
    /// The process that launched it.
    pub process: u32,
    /// The device, by its number in that process.
    pub device: u32,
    /// The stream, by CUPTI's number.
    pub stream: u32,
    /// The launch that caused it: all of a graph's nodes share their graph launch's.
    pub correlation: u32,
    /// The graph's number; 0 outside graphs.
    pub graph: u32,
    /// What it was.
    pub kind: ActivityKind,
}

/// Kernel names over all processes, by number.
#[derive(Clone, Debug, Default)]
pub struct Names {
    numbers: HashMap<String, u32>,
    texts: Vec<String>,
}

impl Names {
    /// A name's number.
    pub fn number(&mut self, text: &str) -> u32 {
        if let Some(&known) = self.numbers.get(text) {
            return known;
        }
        let number = self.texts.len() as u32;
        self.numbers.insert(text.to_owned(), number);
        self.texts.push(text.to_owned());
        number
    }

    /// A name by its number, as CUPTI gave it.
    pub fn text(&self, number: u32) -> &str {
        self.texts.get(number as usize).map_or("(unknown)", String::as_str)
    }
}

/// How CUPTI's clock is mapped to CLOCK_MONOTONIC: by the latest reading of both.
#[derive(Clone, Copy, Debug, Default)]
struct Mapping {
    /// CUPTI's clock − CLOCK_MONOTONIC.
    offset: Option<i128>,
    /// Bound of the mapping's error so far: half of the widest reading, plus the largest change from one to the next.
    half_width_ns: u64,
    change_ns: u64,
}

impl Mapping {
    fn read(&mut self, before_ns: u64, cupti_ns: u64, after_ns: u64) {
        let width = after_ns - before_ns;
        let offset = i128::from(cupti_ns) - i128::from(before_ns + width / 2);
        self.half_width_ns = self.half_width_ns.max(width.div_ceil(2));
        if let Some(old) = self.offset.replace(offset) {
            self.change_ns = self.change_ns.max(u64::try_from((offset - old).unsigned_abs()).unwrap_or(u64::MAX));
        }
    }

    fn map(&self, cupti_ns: u64) -> Option<u64> {
        u64::try_from(i128::from(cupti_ns) - self.offset?).ok()
    }
}

/// One process's trace file, read from front to back.
#[derive(Debug)]
pub struct TraceFile {
    path: PathBuf,
    file: BufReader<File>,
    /// Bytes of whole records read.
    at: u64,
    /// The beginning of a record whose rest was not there yet.
    torn: Vec<u8>,
    pid: u32,
    cupti: u32,
    /// The process's numbers of names → ours.
    names: Vec<Option<u32>>,
    name: Vec<u8>,
    mapping: Mapping,
    lost: Lost,
    unmapped: u64,
    ended: bool,
}

impl TraceFile {
    /// Opens a trace and reads its header.
    ///
    /// # Errors
    /// [`TraceError::Io`]; [`TraceError::Damaged`] when it is no trace or one of another version.
    pub fn open(path: &Path) -> Result<Self, TraceError> {
        let file = File::open(path).map_err(TraceError::io(path))?;
        let mut trace = Self {
            path: path.to_owned(),
            file: BufReader::with_capacity(1 << 18, file),
            at: 0,
            torn: Vec::new(),
            pid: 0,
            cupti: 0,
            names: Vec::new(),
            name: Vec::new(),
            mapping: Mapping::default(),
            lost: Lost::default(),
            unmapped: 0,
            ended: false,
        };
        let Some(header) = trace.bytes()? else {
            return Err(trace.damaged("a header of 48 bytes", format!("{} bytes", trace.torn.len())));
        };
        if header[..8] != MAGIC {
            return Err(trace.damaged("TACHOTKT", format!("{:?}", String::from_utf8_lossy(&header[..8]))));
        }
        if u32_at(&header, 8) != VERSION || u32_at(&header, 12) as usize != RECORD {
            let found = format!("version {}, records of {} bytes", u32_at(&header, 8), u32_at(&header, 12));
            return Err(trace.damaged("version 1, records of 48 bytes", found));
        }
        (trace.pid, trace.cupti) = (u32_at(&header, 16), u32_at(&header, 20));
        Ok(trace)
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// `cuptiGetVersion`'s answer in it.
    pub fn cupti_version(&self) -> u32 {
        self.cupti
    }

    /// What was lost up to what has been read.
    pub fn lost(&self) -> Lost {
        self.lost
    }

    /// Activities left out because no clock reading came before them.
    pub fn unmapped(&self) -> u64 {
        self.unmapped
    }

    /// Whether its process ended by itself, as far as has been read.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// Bound of the error of the times that were read since [`TraceFile::begin`], in nanoseconds: half of the widest clock
    /// reading, plus the largest change of the offset from one reading to the next. CUPTI's own mapping of device to
    /// host time is not in it. None before any reading.
    pub fn clock_error_ns(&self) -> Option<u64> {
        self.mapping.offset?;
        Some(self.mapping.half_width_ns.saturating_add(self.mapping.change_ns))
    }

    /// Forgets earlier clock readings: the clocks may have drifted while nothing was recorded.
    pub fn begin(&mut self) {
        self.mapping = Mapping::default();
    }

    /// The next activity, its name added to `names`; None at the end of what the file holds so far.
    ///
    /// # Errors
    /// [`TraceError::Io`]; [`TraceError::Damaged`] for a record that the collector cannot have written.
    pub fn next(&mut self, names: &mut Names) -> Result<Option<Activity>, TraceError> {
        while let Some(bytes) = self.bytes()? {
            let record = Record::decode(&bytes).map_err(|(expected, found)| self.damaged_before(expected, found))?;
            match record {
                Record::Activity { kind, detail, device, start, end, stream, correlation, graph, value } => {
                    let (Some(start_ns), Some(end_ns)) = (self.mapping.map(start), self.mapping.map(end)) else {
                        self.unmapped += 1;
                        continue;
                    };
                    let kind = match kind {
                        1 => ActivityKind::Kernel { name: self.known_name(value)? },
                        2 => ActivityKind::Copy { direction: detail, bytes: value },
                        _ => ActivityKind::Set { bytes: value },
                    };
                    let process = self.pid;
                    return Ok(Some(Activity { start_ns, end_ns, process, device, stream, correlation, graph, kind }));
                }
                Record::Name { number, piece, more } => self.add_name(number, &piece, more, names)?,
                Record::Clock { before_ns, cupti_ns, after_ns } => self.mapping.read(before_ns, cupti_ns, after_ns),
                Record::Lost(lost) => self.lost = lost,
                Record::End => self.ended = true,
            }
        }
        Ok(None)
    }

    fn known_name(&self, number: u64) -> Result<u32, TraceError> {
        let known = usize::try_from(number).ok().and_then(|number| self.names.get(number).copied().flatten());
        known.ok_or_else(|| self.damaged_before("a kernel whose name came before it", format!("name {number}")))
    }

    fn add_name(&mut self, number: u32, piece: &[u8], more: bool, names: &mut Names) -> Result<(), TraceError> {
        if number >= MOST_NAMES {
            return Err(self.damaged_before("fewer than 1048576 names", format!("name {number}")));
        }
        self.name.extend_from_slice(piece);
        if self.name.len() > 1 << 16 {
            return Err(self.damaged_before("a name of at most 64 KiB", "a longer one".to_owned()));
        }
        if !more {
            let text = String::from_utf8_lossy(&std::mem::take(&mut self.name)).into_owned();
            if self.names.len() <= number as usize {
                self.names.resize(number as usize + 1, None);
            }
            self.names[number as usize] = Some(names.number(&text));
        }
        Ok(())
    }

    /// The next whole record; a part of one waits for its rest.
    fn bytes(&mut self) -> Result<Option<[u8; RECORD]>, TraceError> {
        let missing = RECORD - self.torn.len();
        (&mut self.file).take(missing as u64).read_to_end(&mut self.torn).map_err(TraceError::io(&self.path))?;
        let Ok(record) = <[u8; RECORD]>::try_from(self.torn.as_slice()) else { return Ok(None) };
        self.torn.clear();
        self.at += RECORD as u64;
        Ok(Some(record))
    }

    fn damaged(&self, expected: &'static str, found: String) -> TraceError {
        TraceError::Damaged { path: self.path.clone(), at: 0, expected, found }
    }

    /// Of the record that was read last.
    fn damaged_before(&self, expected: &'static str, found: String) -> TraceError {
        TraceError::Damaged { path: self.path.clone(), at: self.at - RECORD as u64, expected, found }
    }
}
