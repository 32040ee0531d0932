//! The buffers that CUPTI fills: a fixed number, so that a fast engine costs records and not memory.
use std::{
    alloc::{Layout, alloc, handle_alloc_error},
    sync::Mutex,
};

/// Bytes of a buffer: about 10,000 kernels.
pub const BUFFER: usize = 2 << 20;
/// The most buffers there are: 64 MiB.
const BUFFERS: usize = 32;
/// What CUPTI asks for.
const ALIGNMENT: usize = 8;

/// A buffer's address. Whoever holds it alone owns the buffer.
pub struct Buffer(pub *mut u8);

// SAFETY: an address of memory that belongs to whoever holds the value; no thread keeps a copy.
unsafe impl Send for Buffer {}

/// The buffers that nobody fills or reads.
pub struct Pool(Mutex<Free>);

struct Free {
    free: Vec<Buffer>,
    made: usize,
}

impl Pool {
    pub const fn new() -> Self {
        Self(Mutex::new(Free { free: Vec::new(), made: 0 }))
    }

    /// A free buffer of [`BUFFER`] bytes; None while all are in use.
    pub fn take(&self) -> Option<Buffer> {
        let mut pool = self.0.lock().ok()?;
        if let Some(buffer) = pool.free.pop() {
            return Some(buffer);
        }
        if pool.made == BUFFERS {
            return None;
        }
        pool.made += 1;
        let layout = Layout::from_size_align(BUFFER, ALIGNMENT).ok()?;
        // SAFETY: the layout's size is not zero.
        let address = unsafe { alloc(layout) };
        if address.is_null() {
            handle_alloc_error(layout);
        }
        Some(Buffer(address))
    }

    /// Gives a buffer back.
    pub fn give(&self, buffer: Buffer) {
        if let Ok(mut pool) = self.0.lock() {
            pool.free.push(buffer);
        }
    }
}
