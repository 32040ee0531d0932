//! The thread that empties buffers into the file.
use std::{
    fs::File,
    io::{self, BufWriter, Write},
    sync::mpsc::{Receiver, SyncSender},
};

use crate::{
    api::Cupti,
    format::{self, Lost},
    layout::{self, Parsed},
    names::Names,
    pool::{Buffer, Pool},
};

/// What the writer is asked to do, in order.
pub enum Task {
    /// Write the records of a completed buffer, `valid` bytes of it; give it back.
    Buffer { buffer: Buffer, valid: usize, keep: bool, dropped: u64 },
    /// Count these records as dropped.
    Dropped(u64),
    /// Write these bytes, which are whole records.
    Bytes([u8; format::RECORD]),
    /// Note how often CUPTI found no free buffer, put everything on the file, and answer.
    Sync { refused: u64, answer: SyncSender<Written> },
}

/// How far the file is.
#[derive(Clone, Debug, Default)]
pub struct Written {
    pub records: u64,
    pub lost: Lost,
    pub problem: Option<String>,
}

pub struct Writer {
    file: BufWriter<File>,
    names: Names,
    told: Written,
}

impl Writer {
    pub fn new(file: File) -> Self {
        Self { file: BufWriter::with_capacity(1 << 18, file), names: Names::default(), told: Written::default() }
    }

    /// Runs until the other side is gone, which is never while the process lives.
    pub fn run(mut self, tasks: &Receiver<Task>, cupti: &Cupti, pool: &Pool) {
        while let Ok(task) = tasks.recv() {
            let done = match task {
                Task::Buffer { buffer, valid, keep, dropped } => {
                    // What was lost outside the recorded windows is missed by nobody.
                    let done = if keep {
                        self.told.lost.dropped += dropped;
                        self.records(cupti, &buffer, valid)
                    } else {
                        Ok(())
                    };
                    pool.give(buffer);
                    done
                }
                Task::Dropped(dropped) => {
                    self.told.lost.dropped += dropped;
                    Ok(())
                }
                Task::Bytes(bytes) => self.file.write_all(&bytes),
                Task::Sync { refused, answer } => {
                    self.told.lost.refused = refused;
                    let lost = format::lost(self.told.lost, crate::session::monotonic_ns());
                    let done = self.file.write_all(&lost).and_then(|()| self.file.flush());
                    if let Err(error) = &done {
                        self.fail(error);
                    }
                    let _ = answer.send(self.told.clone());
                    Ok(())
                }
            };
            if let Err(error) = done {
                self.fail(&error);
            }
        }
    }

    fn fail(&mut self, error: &io::Error) {
        self.told.problem.get_or_insert_with(|| format!("the trace file cannot be written: {error}"));
    }

    fn records(&mut self, cupti: &Cupti, buffer: &Buffer, valid: usize) -> io::Result<()> {
        let valid = valid.min(crate::pool::BUFFER);
        // SAFETY: the buffer is ours alone since its completion, and CUPTI says that so many bytes are written.
        let bytes = unsafe { std::slice::from_raw_parts(buffer.0.cast_const(), valid) };
        let mut record = std::ptr::null_mut();
        // SAFETY: the buffer holds `valid` bytes of CUPTI's, and `record` is only ever set by CUPTI.
        while let Some(at) = unsafe { cupti.next(buffer.0, valid, &mut record) } {
            let Some(rest) = bytes.get(at..) else {
                self.told.lost.unreadable += 1;
                break;
            };
            match layout::parse(rest) {
                Parsed::Kernel(mut activity) => {
                    // SAFETY: the name that CUPTI put there; it keeps it for the process's life.
                    let (number, new) = unsafe { self.names.number(activity.value) };
                    if new {
                        self.file.write_all(&format::name(number, self.names.text(number)))?;
                    }
                    activity.value = u64::from(number);
                    self.file.write_all(&activity.encode())?;
                    self.told.records += 1;
                }
                Parsed::Transfer(activity) => {
                    self.file.write_all(&activity.encode())?;
                    self.told.records += 1;
                }
                Parsed::Incomplete => self.told.lost.incomplete += 1,
                Parsed::Unreadable => self.told.lost.unreadable += 1,
            }
        }
        // To the kernel at once: a killed process then leaves all whole buffers.
        self.file.flush()
    }
}
