//! Text to standard error from inside a signal handler.

/// Writes the parts and a line's end.
pub fn line(parts: &[&[u8]]) {
    for part in parts {
        write(part);
    }
    write(b"\n");
}

fn write(mut bytes: &[u8]) {
    while !bytes.is_empty() {
        // SAFETY: the pointer and the length are those of a slice; `write` may be called in a handler.
        let written = unsafe { libc::write(libc::STDERR_FILENO, bytes.as_ptr().cast(), bytes.len()) };
        match usize::try_from(written) {
            Ok(written) if written > 0 => bytes = &bytes[written..],
            // Nobody can be told.
            _ => return,
        }
    }
}

/// A number as decimal digits, on the stack.
pub struct Number {
    digits: [u8; 12],
    start: usize,
}

impl Number {
    /// The digits of `value`.
    pub fn new(value: i32) -> Self {
        let mut number = Self { digits: [0; 12], start: 12 };
        let mut rest = value.unsigned_abs();
        loop {
            number.put(b'0' + (rest % 10) as u8);
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        if value < 0 {
            number.put(b'-');
        }
        number
    }

    fn put(&mut self, digit: u8) {
        self.start -= 1;
        self.digits[self.start] = digit;
    }

    /// Them.
    pub fn bytes(&self) -> &[u8] {
        &self.digits[self.start..]
    }
}

/// The number that a text of digits means; None when it is none.
pub fn number(text: &[u8]) -> Option<i32> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_i32, |value, digit| {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < 10)?;
        value.checked_mul(10)?.checked_add(i32::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_both_ways() {
        for value in [0, 7, 42, -1, i32::MAX, i32::MIN] {
            assert_eq!(Number::new(value).bytes(), value.to_string().as_bytes());
        }
        assert_eq!(number(b"2147483647"), Some(i32::MAX));
        assert_eq!((number(b""), number(b".."), number(b"2147483648")), (None, None, None));
    }
}
