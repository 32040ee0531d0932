//! Random numbers, as the bits of small floating-point formats.

/// A format of floating-point numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// IEEE 754 binary16.
    F16,
    /// bfloat16.
    BF16,
    /// IEEE 754 binary32.
    F32,
    /// OCP FP8 E4M3.
    E4M3,
}

impl Format {
    /// Size of a number.
    pub(super) const fn bytes(self) -> usize {
        match self {
            Self::F16 | Self::BF16 => 2,
            Self::F32 => 4,
            Self::E4M3 => 1,
        }
    }

    /// Bits of the mantissa, and the biased exponent of 1.
    const fn layout(self) -> (u32, u32) {
        match self {
            Self::F16 => (10, 15),
            Self::BF16 => (7, 127),
            Self::F32 => (23, 127),
            Self::E4M3 => (3, 7),
        }
    }

    /// Numbers of either sign with magnitudes in [2⁻⁵, 1): every bit of sign and mantissa is random, none is special.
    /// `bytes` is a multiple of the number's size; little endian.
    pub(super) fn random(self, bytes: usize, seed: u64) -> Vec<u8> {
        let (mantissa, one) = self.layout();
        let width = 8 * self.bytes() as u32;
        let mut state = seed;
        let mut out = Vec::with_capacity(bytes);
        while out.len() < bytes {
            let drawn = split_mix(&mut state);
            let sign = (drawn >> 63) as u32;
            let exponent = one - 1 - ((drawn >> 32) as u32 % 5);
            let fraction = drawn as u32 & ((1 << mantissa) - 1);
            let number = sign << (width - 1) | exponent << mantissa | fraction;
            out.extend_from_slice(&number.to_le_bytes()[..self.bytes()]);
        }
        out
    }
}

/// SplitMix64 (Steele, Lea and Flood 2014).
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(format: Format, bits: &[u8]) -> f64 {
        let (mantissa, one) = format.layout();
        let mut word = [0; 4];
        word[..bits.len()].copy_from_slice(bits);
        let word = u32::from_le_bytes(word);
        let negative = word >> (8 * bits.len() - 1) & 1 == 1;
        let exponent = word >> mantissa & ((1 << (8 * bits.len() as u32 - 1 - mantissa)) - 1);
        let fraction = f64::from(word & ((1 << mantissa) - 1)) / f64::from(1 << mantissa);
        let magnitude = (1.0 + fraction) * 2_f64.powi(exponent as i32 - one as i32);
        if negative { -magnitude } else { magnitude }
    }

    #[test]
    fn numbers_are_ordinary_of_both_signs_and_below_one() {
        for format in [Format::F16, Format::BF16, Format::F32, Format::E4M3] {
            let bytes = format.random(1 << 14, 7);
            let values: Vec<f64> = bytes.chunks_exact(format.bytes()).map(|bits| value(format, bits)).collect();
            assert_eq!(values.len() * format.bytes(), 1 << 14);
            assert!(values.iter().all(|v| (1.0 / 32.0..1.0).contains(&v.abs())), "{format:?}");
            let negative = values.iter().filter(|v| **v < 0.0).count() as f64 / values.len() as f64;
            assert!((0.45..0.55).contains(&negative), "{format:?}: {negative}");
        }
        let f32s = Format::F32.random(8, 7);
        let own = f32::from_le_bytes([f32s[0], f32s[1], f32s[2], f32s[3]]);
        assert_eq!(f64::from(own), value(Format::F32, &f32s[..4]));
    }

    #[test]
    fn seeds_differ() {
        assert_ne!(Format::F16.random(64, 1), Format::F16.random(64, 2));
        assert_eq!(Format::F16.random(64, 1), Format::F16.random(64, 1));
    }
}
