//! Reads CUPTI's records from bytes, without `unsafe` and without trust.
//!
//! Each CUDA version has its own record types, and a newer one appends fields: up to the last field used here,
//! `CUpti_ActivityKernel9` (CUDA 12.0) to `CUpti_ActivityKernel13` (13.4), `CUpti_ActivityMemcpy5` (11.6) to `7` and
//! `CUpti_ActivityMemset4` (11.6) to `5` are the same. Offsets: `cupti_activity.h`, natural alignment, x86-64 and AArch64.
use crate::format::Activity;

/// `CUPTI_ACTIVITY_KIND_MEMCPY`.
pub const MEMCPY: u32 = 1;
/// `CUPTI_ACTIVITY_KIND_MEMSET`.
pub const MEMSET: u32 = 2;
/// `CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL`: kernels that may run side by side, those inside graphs included.
/// `CUPTI_ACTIVITY_KIND_GRAPH_TRACE` stays off: it replaces the kernels of a graph by one record of the whole.
pub const KERNEL: u32 = 10;

mod kernel {
    pub const START: usize = 16;
    pub const END: usize = 24;
    pub const DEVICE: usize = 40;
    pub const CONTEXT: usize = 44;
    pub const STREAM: usize = 48;
    pub const CORRELATION: usize = 92;
    pub const NAME: usize = 104;
    pub const GRAPH: usize = 156;
}

/// Copies and memsets agree in all that is used, but for the copy kind.
mod transfer {
    pub const COPY_KIND: usize = 4;
    pub const BYTES: usize = 8;
    pub const START: usize = 16;
    pub const END: usize = 24;
    pub const DEVICE: usize = 32;
    pub const CONTEXT: usize = 36;
    pub const STREAM: usize = 40;
    pub const CORRELATION: usize = 44;
    pub const GRAPH: usize = 72;
}

/// What a record turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed {
    /// A kernel; `value` is the address of its name, a C string.
    Kernel(Activity),
    /// A copy or a memset.
    Transfer(Activity),
    /// Its times are not known: the device had not finished it when the buffer was flushed.
    Incomplete,
    /// Of a kind that was not asked for, or too short for its kind.
    Unreadable,
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at + 8)?.try_into().ok().map(u64::from_ne_bytes)
}

/// Reads the record that `bytes` begins with; `bytes` may go on after it.
pub fn parse(bytes: &[u8]) -> Parsed {
    let read = || match u32_at(bytes, 0)? {
        KERNEL => Some(Parsed::Kernel(Activity {
            kind: Activity::KERNEL,
            detail: 0,
            start: u64_at(bytes, kernel::START)?,
            end: u64_at(bytes, kernel::END)?,
            device: u32_at(bytes, kernel::DEVICE)?,
            context: u32_at(bytes, kernel::CONTEXT)?,
            stream: u32_at(bytes, kernel::STREAM)?,
            correlation: u32_at(bytes, kernel::CORRELATION)?,
            graph: u32_at(bytes, kernel::GRAPH)?,
            value: u64_at(bytes, kernel::NAME)?,
        })),
        kind @ (MEMCPY | MEMSET) => Some(Parsed::Transfer(Activity {
            kind: if kind == MEMCPY { Activity::MEMCPY } else { Activity::MEMSET },
            // A memset has its value there, which is of no interest.
            detail: if kind == MEMCPY { u16::from(*bytes.get(transfer::COPY_KIND)?) } else { 0 },
            start: u64_at(bytes, transfer::START)?,
            end: u64_at(bytes, transfer::END)?,
            device: u32_at(bytes, transfer::DEVICE)?,
            context: u32_at(bytes, transfer::CONTEXT)?,
            stream: u32_at(bytes, transfer::STREAM)?,
            correlation: u32_at(bytes, transfer::CORRELATION)?,
            graph: u32_at(bytes, transfer::GRAPH)?,
            value: u64_at(bytes, transfer::BYTES)?,
        })),
        _ => None,
    };
    match read() {
        None => Parsed::Unreadable,
        Some(Parsed::Kernel(a) | Parsed::Transfer(a)) if a.start == 0 || a.end < a.start => Parsed::Incomplete,
        Some(parsed) => parsed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record with a number in each field that is read.
    fn record(kind: u32, length: usize, fields: &[(usize, u64, usize)]) -> Vec<u8> {
        let mut bytes = vec![0xee; length];
        bytes[..4].copy_from_slice(&kind.to_ne_bytes());
        for (at, value, width) in fields {
            bytes[*at..at + width].copy_from_slice(&value.to_ne_bytes()[..*width]);
        }
        bytes
    }

    #[test]
    fn a_kernel_is_read_field_by_field() {
        let fields =
            [(16, 5, 8), (24, 9, 8), (40, 1, 4), (44, 2, 4), (48, 3, 4), (92, 4, 4), (104, 77, 8), (156, 6, 4)];
        let expected = Activity {
            kind: Activity::KERNEL,
            detail: 0,
            device: 1,
            start: 5,
            end: 9,
            stream: 3,
            context: 2,
            correlation: 4,
            graph: 6,
            value: 77,
        };
        let bytes = record(KERNEL, 208, &fields);
        assert_eq!(parse(&bytes), Parsed::Kernel(expected));
        assert_eq!(parse(&bytes[..159]), Parsed::Unreadable);
        assert_eq!(parse(&record(KERNEL, 208, &[(16, 0, 8), (24, 0, 8)])), Parsed::Incomplete);
    }

    #[test]
    fn copies_and_memsets_are_read_field_by_field() {
        let fields = [
            (8, 4096, 8),
            (16, 5, 8),
            (24, 9, 8),
            (32, 1, 4),
            (36, 2, 4),
            (40, 3, 4),
            (44, 4, 4),
            (72, 6, 4),
            (4, 2, 1),
        ];
        for (kind, ours, detail) in [(MEMCPY, Activity::MEMCPY, 2), (MEMSET, Activity::MEMSET, 0)] {
            let expected = Activity {
                kind: ours,
                detail,
                device: 1,
                start: 5,
                end: 9,
                stream: 3,
                context: 2,
                correlation: 4,
                graph: 6,
                value: 4096,
            };
            assert_eq!(parse(&record(kind, 96, &fields)), Parsed::Transfer(expected));
        }
    }

    #[test]
    fn any_bytes_are_read_without_panic() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let (mut read, mut refused) = (0, 0);
        // Miri takes a thousand times as long.
        let rounds = if cfg!(miri) { 200 } else { 200_000 };
        for _ in 0..rounds {
            let length = (next() % 256) as usize;
            let mut bytes: Vec<u8> = (0..length).map(|_| next() as u8).collect();
            if length >= 4 {
                bytes[..4].copy_from_slice(&((next() % 12) as u32).to_ne_bytes());
            }
            match parse(&bytes) {
                Parsed::Unreadable => refused += 1,
                _ => read += 1,
            }
        }
        assert!(read > rounds / 20 && refused > rounds / 20, "{read} read, {refused} refused");
    }
}
