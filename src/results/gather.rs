//! A whole table made of parts: the rows of small neighbours come to stand in one row group, the row groups of large parts are
//! copied as they are. A row group for each of ten thousand small parts would be more description than data.
use std::{fs::File, path::Path, sync::Arc};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use parquet::{
    arrow::{
        ArrowWriter,
        arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder},
        arrow_writer::{ArrowColumnChunk, ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves},
    },
    column::writer::ColumnCloseResult,
    errors::ParquetError,
    file::{metadata::ParquetMetaData, writer::SerializedFileWriter},
};
use rayon::prelude::*;

use super::{
    ResultsError,
    columns::Table,
    encode::{ROW_GROUP, close, properties},
    schema::{arrow, streamed},
};

/// Rows from which on a part's row groups are worth their description.
pub(super) const LARGE: u64 = 1 << 14;
/// Small parts that are decoded before they are encoded again: bounds memory where parts have a row or two.
const AT_ONCE: usize = 256;

/// A part of the table, opened: its rows are as many as the journal says.
pub(super) struct Opened {
    pub(super) file: File,
    pub(super) metadata: ParquetMetaData,
}

/// A table being put together, in the order of its parts.
pub(super) struct Gather<O> {
    /// Opens a part by its point and rows.
    open: O,
    schema: SchemaRef,
    writer: SerializedFileWriter<File>,
    factory: ArrowRowGroupWriterFactory,
    /// Small parts that wait: points with their rows.
    waiting: Vec<(u32, u64)>,
    /// The row group of small parts' rows that is being filled, a writer a column.
    filling: Vec<ArrowColumnWriter>,
    filled: u64,
}

impl<O> Gather<O>
where
    O: Fn(u32, u64) -> Result<Opened, ResultsError> + Sync,
{
    pub(super) fn create<R: Table>(file: File, open: O) -> Result<Self, ParquetError> {
        let columns = streamed::<R>();
        let schema = arrow(&columns);
        let (writer, factory) = ArrowWriter::try_new(file, Arc::clone(&schema), Some(properties(&columns).build()))
            .and_then(ArrowWriter::into_serialized_writer)?;
        Ok(Self { open, schema, writer, factory, waiting: Vec::new(), filling: Vec::new(), filled: 0 })
    }

    /// Adds a point's part; `path` is the table's, for errors.
    pub(super) fn part(&mut self, point: u32, rows: u64, path: &Path) -> Result<(), ResultsError> {
        if rows < LARGE {
            self.waiting.push((point, rows));
            if self.waiting.len() == AT_ONCE || self.waiting.iter().map(|(_, rows)| rows).sum::<u64>() >= LARGE {
                self.fill(path)?;
            }
            return Ok(());
        }
        self.fill(path)?;
        self.end_group().map_err(ResultsError::table(path, "write"))?;
        let part = (self.open)(point, rows)?;
        self.copy(&part).map_err(ResultsError::table(path, "write"))
    }

    /// Writes what waits and the footer, and waits until the file is on the disk.
    pub(super) fn close(mut self, path: &Path) -> Result<(), ResultsError> {
        self.fill(path)?;
        self.end_group().map_err(ResultsError::table(path, "write"))?;
        close(self.writer, path)
    }

    /// Adds the waiting parts' rows to the row group, which ends with a part: rows of a point that belong together stay
    /// together.
    fn fill(&mut self, path: &Path) -> Result<(), ResultsError> {
        let failed = ResultsError::table(path, "write");
        let decoded: Vec<Vec<RecordBatch>> = (self.waiting.par_iter())
            .map(|(point, rows)| decode((self.open)(*point, *rows)?).map_err(ResultsError::table(path, "write")))
            .collect::<Result<_, _>>()?;
        self.filled += self.waiting.drain(..).map(|(_, rows)| rows).sum::<u64>();
        let batches: Vec<&RecordBatch> = decoded.iter().flatten().collect();
        self.encode(&batches).map_err(failed)?;
        if self.filled >= ROW_GROUP as u64 {
            self.end_group().map_err(ResultsError::table(path, "write"))?;
        }
        Ok(())
    }

    fn encode(&mut self, batches: &[&RecordBatch]) -> Result<(), ParquetError> {
        if self.filling.is_empty() {
            self.filling = self.factory.create_column_writers(self.writer.flushed_row_groups().len())?;
        }
        let fields = self.schema.fields();
        self.filling.par_iter_mut().zip(fields.par_iter()).enumerate().try_for_each(|(index, (writer, field))| {
            for batch in batches {
                for leaf in compute_leaves(field, batch.column(index))? {
                    writer.write(&leaf)?;
                }
            }
            Ok(())
        })
    }

    /// Ends the row group of small parts' rows, if one was begun.
    fn end_group(&mut self) -> Result<(), ParquetError> {
        let writers = std::mem::take(&mut self.filling);
        if std::mem::take(&mut self.filled) == 0 {
            return Ok(());
        }
        let chunks: Vec<ArrowColumnChunk> =
            writers.into_par_iter().map(ArrowColumnWriter::close).collect::<Result<_, _>>()?;
        let mut group = self.writer.next_row_group()?;
        for chunk in chunks {
            chunk.append_to_row_group(&mut group)?;
        }
        group.close().map(drop)
    }

    fn copy(&mut self, part: &Opened) -> Result<(), ParquetError> {
        for group in part.metadata.row_groups() {
            let mut out = self.writer.next_row_group()?;
            for column in group.columns() {
                let close = ColumnCloseResult {
                    bytes_written: u64::try_from(column.compressed_size())?,
                    rows_written: u64::try_from(group.num_rows())?,
                    metadata: column.clone(),
                    bloom_filter: None,
                    column_index: None,
                    offset_index: None,
                };
                out.append_column(&part.file, close)?;
            }
            out.close()?;
        }
        Ok(())
    }
}

/// All rows of a small part.
fn decode(part: Opened) -> Result<Vec<RecordBatch>, ParquetError> {
    // The types follow from Parquet's own schema: the Arrow schema beside it holds nothing but the columns' descriptions.
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let metadata = ArrowReaderMetadata::try_new(Arc::new(part.metadata), options)?;
    let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(part.file, metadata);
    let batches = reader.with_batch_size(LARGE as usize).build()?;
    batches.map(|batch| batch.map_err(ParquetError::from)).collect()
}
