//! How messages and tables travel between a cell and its parent.
//!
//! A frame is a length (`u32`, little endian, of what follows), one byte that tells its kind, and a payload. Messages
//! are JSON; tables are rows of fixed layout, little endian, as they lie in memory. Commands go to the cell's standard
//! input, replies come from what was its standard output: a cell moves both aside before it loads anything, so that an
//! engine's own prints go to the log.
use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::protocol::{Command, Reply, RequestRow, StepRow, TokenRow};

#[cfg(target_endian = "big")]
compile_error!("table frames are written as they lie in memory, which the protocol defines as little endian");

/// The longest payload accepted, in bytes.
pub const MAX_FRAME: usize = 64 << 20;

/// A frame from a cell.
#[derive(Clone, Debug, PartialEq)]
pub enum Frame {
    /// A message.
    Reply(Reply),
    /// Part of the tokens table.
    Tokens(Vec<TokenRow>),
    /// Part of the requests table.
    Requests(Vec<RequestRow>),
    /// Part of the steps table.
    Steps(Vec<StepRow>),
}

/// Why a stream of frames ended.
#[derive(Debug, thiserror::Error)]
pub enum ProtocolError {
    /// The other side closed the pipe between two frames.
    #[error("the other side closed the pipe")]
    Closed,
    /// The pipe broke, or ended inside a frame.
    #[error("the pipe broke: {0}")]
    Io(#[from] io::Error),
    /// Not a frame.
    #[error("not a frame of this protocol: {0}")]
    Malformed(String),
}

const KIND_MESSAGE: u8 = 0;
const KIND_TOKENS: u8 = 1;
const KIND_REQUESTS: u8 = 2;
const KIND_STEPS: u8 = 3;

fn write_frame(out: &mut impl Write, kind: u8, payload: &[u8]) -> io::Result<()> {
    if payload.len() > MAX_FRAME {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("frame of {} bytes", payload.len())));
    }
    out.write_all(&(payload.len() as u32 + 1).to_le_bytes())?;
    out.write_all(&[kind])?;
    out.write_all(payload)?;
    out.flush()
}

/// Writes a message.
///
/// # Errors
/// When the pipe is closed.
pub fn write_message(out: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    write_frame(out, KIND_MESSAGE, &serde_json::to_vec(message)?)
}

/// A table's row type, with its frame kind.
pub trait Row: IntoBytes + FromBytes + Immutable + Copy {
    /// The byte that tells the frame's kind.
    const KIND: u8;
}

impl Row for TokenRow {
    const KIND: u8 = KIND_TOKENS;
}

impl Row for RequestRow {
    const KIND: u8 = KIND_REQUESTS;
}

impl Row for StepRow {
    const KIND: u8 = KIND_STEPS;
}

/// Writes part of a table, in as many frames as it needs.
///
/// # Errors
/// When the pipe is closed.
pub fn write_rows<R: Row>(out: &mut impl Write, rows: &[R]) -> io::Result<()> {
    // A frame of at most 1 MiB: what both sides hold at a time.
    for chunk in rows.chunks((1 << 20) / size_of::<R>()) {
        write_frame(out, R::KIND, chunk.as_bytes())?;
    }
    Ok(())
}

fn read_payload(input: &mut impl Read) -> Result<(u8, Vec<u8>), ProtocolError> {
    let mut header = [0; 4];
    let mut have = 0;
    while have < header.len() {
        match input.read(&mut header[have..]) {
            Ok(0) if have == 0 => return Err(ProtocolError::Closed),
            Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            Ok(n) => have += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    let length = u32::from_le_bytes(header) as usize;
    if length == 0 || length > MAX_FRAME + 1 {
        return Err(ProtocolError::Malformed(format!("a frame of {length} bytes")));
    }
    let mut kind = [0];
    input.read_exact(&mut kind)?;
    // Grown as bytes arrive: a lying length cannot make this side allocate it.
    let mut payload = Vec::new();
    let read = input.take(length as u64 - 1).read_to_end(&mut payload)?;
    if read + 1 != length {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    Ok((kind[0], payload))
}

fn rows_of<R: Row>(payload: &[u8]) -> Result<Vec<R>, ProtocolError> {
    if !payload.len().is_multiple_of(size_of::<R>()) {
        return Err(ProtocolError::Malformed(format!(
            "a table of {} bytes with rows of {}",
            payload.len(),
            size_of::<R>()
        )));
    }
    let mut rows = vec![R::new_zeroed(); payload.len() / size_of::<R>()];
    rows.as_mut_slice().as_mut_bytes().copy_from_slice(payload);
    Ok(rows)
}

fn message_of<T: for<'a> Deserialize<'a>>(payload: &[u8]) -> Result<T, ProtocolError> {
    serde_json::from_slice(payload).map_err(|error| ProtocolError::Malformed(error.to_string()))
}

/// Reads one frame from a cell.
///
/// # Errors
/// [`ProtocolError::Closed`] at a clean end, otherwise what is wrong with the bytes.
pub fn read_frame(input: &mut impl Read) -> Result<Frame, ProtocolError> {
    let (kind, payload) = read_payload(input)?;
    Ok(match kind {
        KIND_MESSAGE => Frame::Reply(message_of(&payload)?),
        KIND_TOKENS => Frame::Tokens(rows_of(&payload)?),
        KIND_REQUESTS => Frame::Requests(rows_of(&payload)?),
        KIND_STEPS => Frame::Steps(rows_of(&payload)?),
        other => return Err(ProtocolError::Malformed(format!("a frame of unknown kind {other}"))),
    })
}

/// Reads one command from the parent.
///
/// # Errors
/// As [`read_frame`].
pub fn read_command(input: &mut impl Read) -> Result<Command, ProtocolError> {
    match read_payload(input)? {
        (KIND_MESSAGE, payload) => message_of(&payload),
        (kind, _) => Err(ProtocolError::Malformed(format!("expected a command, found a frame of kind {kind}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::protocol::NONE, *};

    fn token_row(request: u32) -> TokenRow {
        TokenRow { time_ns: 5, gap_ns: NONE, request, index: 0, tokens: 1, padding: 0 }
    }

    #[test]
    fn messages_and_tables_come_back_as_they_went() {
        let mut pipe = Vec::new();
        write_message(&mut pipe, &Reply::Progress { output_tokens: 3 }).unwrap();
        // More than a frame holds; Miri takes minutes for so many.
        let count = if cfg!(miri) { 33_000 } else { 100_000 };
        let rows: Vec<TokenRow> = (0..count).map(token_row).collect();
        write_rows(&mut pipe, &rows).unwrap();
        let mut input = pipe.as_slice();
        assert_eq!(read_frame(&mut input).unwrap(), Frame::Reply(Reply::Progress { output_tokens: 3 }));
        let mut back = Vec::new();
        while back.len() < rows.len() {
            match read_frame(&mut input).unwrap() {
                Frame::Tokens(part) => back.extend(part),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(back, rows);
        assert!(matches!(read_frame(&mut input), Err(ProtocolError::Closed)));
    }

    #[test]
    fn torn_and_false_frames_are_errors_not_panics() {
        let mut pipe = Vec::new();
        write_rows(&mut pipe, &[token_row(1)]).unwrap();
        for cut in 1..pipe.len() {
            assert!(matches!(read_frame(&mut &pipe[..cut]), Err(ProtocolError::Io(_))), "cut at {cut}");
        }
        for bad in [&[0, 0, 0, 0][..], &[0xff; 8], &[1, 0, 0, 0, 9], &[3, 0, 0, 0, 1, 0, 0], &[2, 0, 0, 0, 0, b'{']] {
            assert!(matches!(read_frame(&mut &*bad), Err(ProtocolError::Malformed(_))), "{bad:?}");
        }
    }
}
