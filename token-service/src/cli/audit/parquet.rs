//! Records as Apache Parquet: a column each, `time` as a moment in microseconds, the rest as text.

use std::io::{self, Write};

use jiff::Timestamp;
use parquet::{
    basic::Compression,
    data_type::{ByteArray, ByteArrayType, Int64Type},
    errors::ParquetError,
    file::{properties::WriterProperties, writer::SerializedFileWriter},
    schema::parser::parse_message_type,
};

use super::{
    CliError,
    columns::{NAMES, WIDTH, values},
};
use crate::audit::Record;

/// So many records are a row group: as many as readers like, and as few as fit in memory.
const GROUP: usize = 50_000;

/// A file that records are added to.
pub(super) struct Table<W: Write + Send> {
    file: SerializedFileWriter<W>,
    rows: Vec<[Option<String>; WIDTH]>,
}

impl<W: Write + Send> Table<W> {
    pub(super) fn begin(to: W) -> Result<Self, CliError> {
        let column = |name: &&str| match *name {
            "time" => "required int64 time (TIMESTAMP(MICROS,true));".to_owned(),
            "detail" => "optional binary detail (JSON);".to_owned(),
            name => format!("optional binary {name} (STRING);"),
        };
        let columns: String = NAMES.iter().map(column).collect();
        let schema =
            parse_message_type(&format!("message record {{ {columns} }}")).map_err(failed)?;
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY);
        let file = SerializedFileWriter::new(to, schema.into(), properties.build().into());
        Ok(Self {
            file: file.map_err(failed)?,
            rows: Vec::new(),
        })
    }

    pub(super) fn add(&mut self, record: &Record) -> Result<(), CliError> {
        self.rows.push(values(record));
        match self.rows.len() < GROUP {
            true => Ok(()),
            false => self.flush().map_err(failed),
        }
    }

    pub(super) fn end(mut self) -> Result<(), CliError> {
        self.flush().map_err(failed)?;
        self.file.close().map(drop).map_err(failed)
    }

    fn flush(&mut self) -> Result<(), ParquetError> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let mut group = self.file.next_row_group()?;
        for (at, name) in NAMES.iter().enumerate() {
            let Some(mut column) = group.next_column()? else {
                break;
            };
            let cells = self
                .rows
                .iter_mut()
                .map(|row| row.get_mut(at).and_then(Option::take));
            if *name == "time" {
                let times: Vec<i64> = cells.map(|time| moment(time.as_deref())).collect();
                column
                    .typed::<Int64Type>()
                    .write_batch(&times, None, None)?;
            } else {
                let cells: Vec<Option<String>> = cells.collect();
                let there: Vec<i16> = cells.iter().map(|cell| cell.is_some().into()).collect();
                let texts: Vec<ByteArray> = cells
                    .into_iter()
                    .flatten()
                    .map(|text| ByteArray::from(text.into_bytes()))
                    .collect();
                column
                    .typed::<ByteArrayType>()
                    .write_batch(&texts, Some(&there), None)?;
            }
            column.close()?;
        }
        group.close()?;
        self.rows.clear();
        Ok(())
    }
}

/// Microseconds since 1970.
fn moment(time: Option<&str>) -> i64 {
    let time = time.and_then(|time| time.parse::<Timestamp>().ok());
    time.map_or(0, Timestamp::as_microsecond)
}

fn failed(error: ParquetError) -> CliError {
    CliError::output(io::Error::other(error))
}
