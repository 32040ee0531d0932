//! Records of a Parquet file, as JSON.
use std::{fs::File, path::Path};

use arrow_array::{
    Array, RecordBatch,
    cast::AsArray,
    types::{
        Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type,
        UInt64Type,
    },
};
use arrow_schema::DataType;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Map, Value};

use super::{DatasetError, records::Record};

/// Calls `each` with every row, in order; places are `file:row N`, from 1.
pub(super) fn read(path: &Path, each: &mut dyn FnMut(Record) -> Result<(), DatasetError>) -> Result<(), DatasetError> {
    let name = path.display();
    let wrong = |error: &dyn std::fmt::Display| {
        DatasetError::input(format!(
            "{name}: no Parquet that can be read: {error}; fetch it again, or convert it to JSON lines"
        ))
    };
    let file = File::open(path).map_err(|error| wrong(&error))?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| wrong(&error))?;
    let reader = builder.build().map_err(|error| wrong(&error))?;
    let mut row = 0_u64;
    for batch in reader {
        let batch: RecordBatch = batch.map_err(|error| wrong(&error))?;
        let schema = batch.schema();
        for index in 0..batch.num_rows() {
            row += 1;
            let columns = schema.fields().iter().zip(batch.columns());
            let fields = columns.map(|(field, column)| (field.name().clone(), value(column, index)));
            each(Record { place: format!("{name}:row {row}"), value: Value::Object(fields.collect::<Map<_, _>>()) })?;
        }
    }
    Ok(())
}

/// One cell. Types that hold no prompt, length or id become null.
fn value(column: &dyn Array, index: usize) -> Value {
    if column.is_null(index) {
        return Value::Null;
    }
    let list = |items: &dyn Array| Value::Array((0..items.len()).map(|item| value(items, item)).collect());
    match column.data_type() {
        DataType::Utf8 => column.as_string::<i32>().value(index).into(),
        DataType::LargeUtf8 => column.as_string::<i64>().value(index).into(),
        DataType::Utf8View => column.as_string_view().value(index).into(),
        DataType::Boolean => column.as_boolean().value(index).into(),
        DataType::Int8 => column.as_primitive::<Int8Type>().value(index).into(),
        DataType::Int16 => column.as_primitive::<Int16Type>().value(index).into(),
        DataType::Int32 => column.as_primitive::<Int32Type>().value(index).into(),
        DataType::Int64 => column.as_primitive::<Int64Type>().value(index).into(),
        DataType::UInt8 => column.as_primitive::<UInt8Type>().value(index).into(),
        DataType::UInt16 => column.as_primitive::<UInt16Type>().value(index).into(),
        DataType::UInt32 => column.as_primitive::<UInt32Type>().value(index).into(),
        DataType::UInt64 => column.as_primitive::<UInt64Type>().value(index).into(),
        DataType::Float32 => column.as_primitive::<Float32Type>().value(index).into(),
        DataType::Float64 => column.as_primitive::<Float64Type>().value(index).into(),
        DataType::List(_) => list(&column.as_list::<i32>().value(index)),
        DataType::LargeList(_) => list(&column.as_list::<i64>().value(index)),
        DataType::Struct(fields) => {
            let columns = fields.iter().zip(column.as_struct().columns());
            Value::Object(columns.map(|(field, column)| (field.name().clone(), value(column, index))).collect())
        }
        _ => Value::Null,
    }
}
