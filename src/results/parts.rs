//! A point's part of the streamed tables.
use std::{
    fs, mem,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{
    ResultsError,
    columns::Table,
    encode::{ROW_GROUP, TableFile},
    files::sync_dir,
};
use crate::{
    cell::protocol::{RequestRow, StepRow, TokenRow},
    measure::telemetry::{GpuSample, HostSample},
};

/// How many rows a point's part of each table has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartRows {
    /// Of the tokens table.
    pub tokens: u64,
    /// Of the requests table.
    pub requests: u64,
    /// Of the steps table.
    pub steps: u64,
    /// Of the GPU samples.
    #[serde(default)]
    pub gpu: u64,
    /// Of the processor's samples.
    #[serde(default)]
    pub host: u64,
    /// The first eight bytes of a BLAKE3 over the parts' bytes, in the tables' order, by which a damaged part is known; 0 in journals from before
    /// there was one.
    #[serde(default)]
    pub digest: u64,
}

impl PartRows {
    /// The tables with how many rows each has here.
    pub(super) fn tables(&self) -> [(&'static str, u64); 5] {
        [
            (TokenRow::NAME, self.tokens),
            (RequestRow::NAME, self.requests),
            (StepRow::NAME, self.steps),
            (GpuSample::NAME, self.gpu),
            (HostSample::NAME, self.host),
        ]
    }

    /// What [`PartRows::digest`] is of the files as they are.
    pub(super) fn digest_of(&self, parts: &Path, point: u32) -> Result<u64, ResultsError> {
        let mut hasher = blake3::Hasher::new();
        for (table, _) in self.tables().into_iter().filter(|(_, rows)| *rows > 0) {
            let path = part_path(parts, point, table);
            let file = fs::File::open(&path).map_err(ResultsError::io(&path, "read"))?;
            hasher.update_reader(file).map_err(ResultsError::io(&path, "read"))?;
        }
        let mut first = [0; 8];
        first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        Ok(u64::from_le_bytes(first).max(1))
    }
}

/// Where a point's part of a table lies.
pub(super) fn part_path(parts: &Path, point: u32, table: &str) -> PathBuf {
    parts.join(format!("point-{point:05}.{table}.parquet"))
}

/// One table of one point: rows wait until they fill a row group.
pub(super) struct Part<R> {
    path: PathBuf,
    /// Written under this name until the point is done: a part by its own name is whole.
    aside: PathBuf,
    point: u32,
    file: Option<TableFile>,
    pending: Vec<R>,
    /// Which trial the pending rows belong to, in order.
    trials: Vec<(u32, usize)>,
    written: u64,
    /// A write has failed: what the file holds is unknown from then on.
    broken: bool,
}

impl<R: Table> Part<R> {
    fn new(parts: &Path, point: u32) -> Self {
        let path = part_path(parts, point, R::NAME);
        let aside = path.with_extension("parquet.new");
        Self { path, aside, point, file: None, pending: Vec::new(), trials: Vec::new(), written: 0, broken: false }
    }

    /// Adds rows of a trial.
    pub(super) fn push(&mut self, trial: u32, mut rows: &[R]) -> Result<(), ResultsError> {
        while !rows.is_empty() {
            let (now, later) = rows.split_at(rows.len().min(ROW_GROUP - self.pending.len()));
            self.pending.extend_from_slice(now);
            match self.trials.last_mut() {
                Some((last, n)) if *last == trial => *n += now.len(),
                _ => self.trials.push((trial, now.len())),
            }
            if self.pending.len() == ROW_GROUP {
                self.flush()?;
            }
            rows = later;
        }
        Ok(())
    }

    /// Forgets the rows of the newest trial that have not been written yet.
    fn forget(&mut self, trial: u32) {
        if let Some((last, n)) = self.trials.last().copied()
            && last == trial
        {
            self.pending.truncate(self.pending.len() - n);
            self.trials.pop();
        }
    }

    fn flush(&mut self) -> Result<(), ResultsError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        if self.broken {
            let earlier = std::io::Error::other("an earlier write to it failed");
            return Err(ResultsError::io(&self.aside, "write")(earlier));
        }
        // Until this write is known to be good.
        self.broken = true;
        let file = match &mut self.file {
            Some(file) => file,
            empty => empty.insert(TableFile::create::<R>(&self.aside)?),
        };
        file.write(self.point, &self.trials, &self.pending).map_err(ResultsError::table(&self.aside, "write"))?;
        self.broken = false;
        self.written += self.pending.len() as u64;
        self.pending.clear();
        self.trials.clear();
        Ok(())
    }

    /// Writes what waits, waits for the disk, and gives the part its name. Returns its rows.
    fn close(&mut self) -> Result<u64, ResultsError> {
        self.flush()?;
        match self.file.take() {
            Some(file) => {
                file.close(&self.aside)?;
                fs::rename(&self.aside, &self.path).map_err(ResultsError::io(&self.path, "name"))?;
            }
            // A part that an earlier attempt at the point has left is not this one's.
            None => remove(&self.path)?,
        }
        Ok(mem::take(&mut self.written))
    }

    fn abandon(&mut self) {
        self.file = None;
        let _ = remove(&self.aside);
    }
}

pub(super) fn remove(path: &Path) -> Result<(), ResultsError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(ResultsError::io(path, "remove")(error)),
        _ => Ok(()),
    }
}

/// The parts of the point at work.
pub(super) struct PointParts {
    pub(super) point: u32,
    pub(super) tokens: Part<TokenRow>,
    pub(super) requests: Part<RequestRow>,
    pub(super) steps: Part<StepRow>,
    pub(super) gpu: Part<GpuSample>,
    pub(super) host: Part<HostSample>,
}

impl PointParts {
    pub(super) fn new(parts: &Path, point: u32) -> Self {
        Self {
            point,
            tokens: Part::new(parts, point),
            requests: Part::new(parts, point),
            steps: Part::new(parts, point),
            gpu: Part::new(parts, point),
            host: Part::new(parts, point),
        }
    }

    /// Closes them all; they are on the disk when this returns.
    pub(super) fn close(mut self, parts: &Path) -> Result<PartRows, ResultsError> {
        let point = self.point;
        let mut rows = PartRows {
            tokens: self.tokens.close()?,
            requests: self.requests.close()?,
            steps: self.steps.close()?,
            gpu: self.gpu.close()?,
            host: self.host.close()?,
            digest: 0,
        };
        rows.digest = rows.digest_of(parts, point)?;
        sync_dir(parts)?;
        Ok(rows)
    }

    /// Forgets what a failed trial has left.
    pub(super) fn forget(&mut self, trial: u32) {
        self.tokens.forget(trial);
        self.requests.forget(trial);
        self.steps.forget(trial);
        self.gpu.forget(trial);
        self.host.forget(trial);
    }

    /// Removes the unfinished files.
    pub(super) fn abandon(mut self) {
        self.tokens.abandon();
        self.requests.abandon();
        self.steps.abandon();
        self.gpu.abandon();
        self.host.abandon();
    }
}
