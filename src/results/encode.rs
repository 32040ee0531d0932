//! Writes rows into a Parquet file, a row group at a time, its columns encoded side by side.
use std::{fs::File, path::Path, sync::Arc};

use arrow_array::{ArrayRef, UInt32Array};
use arrow_schema::SchemaRef;
use parquet::{
    arrow::{
        ArrowWriter,
        arrow_writer::{ArrowColumnChunk, ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves},
    },
    basic::Encoding,
    errors::ParquetError,
    file::{
        properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder},
        writer::SerializedFileWriter,
    },
    schema::types::ColumnPath,
};
use rayon::prelude::*;

use super::{
    ResultsError,
    columns::{PLACE, Table},
    schema::{Column, Kind, arrow, streamed},
};

/// Rows of a row group: what is held in memory before it is encoded. Fewer make a file slow to read, more gain nothing.
pub(super) const ROW_GROUP: usize = 1 << 17;
/// Values handed to an encoder at a time.
const WRITE_BATCH: usize = 1 << 13;

/// How our tables are encoded: whole numbers as bit-packed differences (times and numbers rise, places repeat), texts by
/// dictionary. No compression: differences leave little for it, and it would cost more time than all the rest.
pub(super) fn properties(columns: &[Column]) -> WriterPropertiesBuilder {
    let mut builder = WriterProperties::builder()
        .set_created_by(concat!("tacho ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_dictionary_enabled(false)
        .set_write_batch_size(WRITE_BATCH)
        .set_data_page_row_count_limit(ROW_GROUP / 2)
        .set_statistics_enabled(EnabledStatistics::None);
    // Enough to skip the row groups of other points and trials.
    for column in &PLACE {
        let path = ColumnPath::from(column.name.as_ref());
        builder = builder.set_column_statistics_enabled(path, EnabledStatistics::Chunk);
    }
    for column in columns {
        let path = ColumnPath::from(column.name.as_ref());
        builder = match column.kind {
            Kind::Text => builder.set_column_dictionary_enabled(path, true),
            Kind::U32 | Kind::U64 => builder.set_column_encoding(path, Encoding::DELTA_BINARY_PACKED),
            Kind::F64 | Kind::Bool => builder,
        };
    }
    builder
}

/// A table's file being written.
pub(super) struct TableFile {
    schema: SchemaRef,
    writer: SerializedFileWriter<File>,
    factory: ArrowRowGroupWriterFactory,
    groups: usize,
}

impl TableFile {
    pub(super) fn create<R: Table>(path: &Path) -> Result<Self, ResultsError> {
        let file = File::create(path).map_err(ResultsError::io(path, "create"))?;
        let columns = streamed::<R>();
        let schema = arrow(&columns);
        let open = || ArrowWriter::try_new(file, Arc::clone(&schema), Some(properties(&columns).build()));
        let (writer, factory) =
            open().and_then(ArrowWriter::into_serialized_writer).map_err(ResultsError::table(path, "create"))?;
        Ok(Self { schema, writer, factory, groups: 0 })
    }

    /// Writes one row group: `trials` says how many of the rows, in order, belong to which trial.
    pub(super) fn write<R: Table>(
        &mut self,
        point: u32,
        trials: &[(u32, usize)],
        rows: &[R],
    ) -> Result<(), ParquetError> {
        let writers = self.factory.create_column_writers(self.groups)?;
        let fields = self.schema.fields();
        let chunks: Vec<ArrowColumnChunk> = writers
            .into_par_iter()
            .zip(fields.par_iter())
            .enumerate()
            .map(|(index, (writer, field))| {
                let array = match index {
                    0 => repeat(&[(point, rows.len())]),
                    1 => repeat(trials),
                    own => (R::COLUMNS[own - 2].build)(rows),
                };
                encode(writer, field, &array)
            })
            .collect::<Result<_, _>>()?;
        let mut group = self.writer.next_row_group()?;
        for chunk in chunks {
            chunk.append_to_row_group(&mut group)?;
        }
        group.close()?;
        self.groups += 1;
        Ok(())
    }

    pub(super) fn close(self, path: &Path) -> Result<(), ResultsError> {
        close(self.writer, path)
    }
}

/// Writes the footer and waits until the file is on the disk.
pub(super) fn close(mut writer: SerializedFileWriter<File>, path: &Path) -> Result<(), ResultsError> {
    // `into_inner` alone would hide the cause of a failed write.
    writer.finish().map_err(ResultsError::table(path, "write"))?;
    writer.inner().sync_all().map_err(ResultsError::io(path, "write"))
}

fn encode(
    mut writer: ArrowColumnWriter,
    field: &arrow_schema::Field,
    array: &ArrayRef,
) -> Result<ArrowColumnChunk, ParquetError> {
    for leaf in compute_leaves(field, array)? {
        writer.write(&leaf)?;
    }
    writer.close()
}

fn repeat(runs: &[(u32, usize)]) -> ArrayRef {
    Arc::new(UInt32Array::from_iter_values(runs.iter().flat_map(|(value, n)| std::iter::repeat_n(*value, *n))))
}
