//! Numbers for kernel names.
use std::{
    collections::HashMap,
    ffi::{CStr, c_char},
};

/// Names by their address and by their text.
#[derive(Default)]
pub struct Names {
    by_address: HashMap<u64, u32>,
    by_text: HashMap<Vec<u8>, u32>,
    texts: Vec<Vec<u8>>,
}

impl Names {
    /// The number of the name at `address`, and whether it is new.
    ///
    /// # Safety
    /// `address` must be null or that of a C string that stays as it is during the call.
    pub unsafe fn number(&mut self, address: u64) -> (u32, bool) {
        let text: &[u8] = if address == 0 {
            b"(unnamed)"
        } else {
            // SAFETY: as the caller promises.
            unsafe { CStr::from_ptr(address as *const c_char) }.to_bytes()
        };
        // Compared each time: an unloaded module's address can come to hold another name.
        if let Some(&number) = self.by_address.get(&address)
            && self.texts[number as usize] == text
        {
            return (number, false);
        }
        let next = self.texts.len() as u32;
        let number = *self.by_text.entry(text.to_vec()).or_insert(next);
        if number == next {
            self.texts.push(text.to_vec());
        }
        self.by_address.insert(address, number);
        (number, number == next)
    }

    /// A name by its number.
    pub fn text(&self, number: u32) -> &[u8] {
        &self.texts[number as usize]
    }
}
