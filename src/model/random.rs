//! Weights that nobody trained, from a seed: the same whatever the number of threads.
use half::{bf16, f16};
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use rayon::prelude::*;

use super::Dtype;
use crate::workload::mix;

/// Standard deviation of random weights, as most models are initialised with.
pub const SPREAD: f64 = 0.02;
/// The exponent byte of MXFP4 blocks: 2^(120 - 127) times the format's own values, whose root mean square is 2.9, is
/// about [`SPREAD`].
pub const SCALE: u8 = 120;
/// Elements that one generator makes.
const CHUNK: usize = 1 << 18;

/// What an untrained tensor holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Init {
    /// Uniform around 0 with the standard deviation [`SPREAD`].
    Uniform,
    /// 1, as norms are.
    Ones,
    /// 0, as biases are.
    Zeros,
    /// Random bytes: two elements of MXFP4 each.
    Bytes,
    /// An exponent byte that gives MXFP4 elements about the standard deviation [`SPREAD`].
    Scale,
    /// Whole blocks of MXFP4 as ggml stores them: an exponent byte, then 16 random bytes.
    Blocks,
}

/// Fills tensors of one model.
#[derive(Debug)]
pub struct Filler {
    seed: u64,
    dtype: Dtype,
    /// For the 16-bit types: the bits of the value for each 16 random bits.
    table: Vec<u16>,
}

impl Filler {
    /// For tensors in `dtype`, from `seed`.
    pub fn new(seed: u64, dtype: Dtype) -> Self {
        let bits = |random: u16| match dtype {
            Dtype::F16 => f16::from_f32(uniform(random)).to_bits(),
            _ => bf16::from_f32(uniform(random)).to_bits(),
        };
        let table = if dtype.bytes() == 2 { (0..=u16::MAX).map(bits).collect() } else { Vec::new() };
        Self { seed, dtype, table }
    }

    /// The bytes of a tensor of that many elements (bytes, for the packed kinds). Depends on the seed, the name and the
    /// type alone.
    pub fn fill(&self, name: &str, init: Init, elements: usize) -> Vec<u8> {
        match (init, self.dtype) {
            (Init::Ones, Dtype::F32) => 1_f32.to_le_bytes().repeat(elements),
            (Init::Ones, Dtype::F16) => f16::ONE.to_le_bytes().repeat(elements),
            (Init::Ones, Dtype::Bf16) => bf16::ONE.to_le_bytes().repeat(elements),
            (Init::Ones, Dtype::U8) => vec![1; elements],
            (Init::Scale, _) => vec![SCALE; elements],
            (Init::Zeros, dtype) => vec![0; elements * dtype.bytes()],
            (Init::Uniform, Dtype::F32) => self.chunks(name, 4, elements, floats),
            (Init::Uniform, _) => self.chunks(name, 2, elements, |random, bytes| self.halves(random, bytes)),
            (Init::Bytes, _) => self.chunks(name, 1, elements, |random, bytes| random.fill_bytes(bytes)),
            (Init::Blocks, _) => self.chunks(name, 17, elements / 17, blocks),
        }
    }

    fn chunks(
        &self,
        name: &str,
        size: usize,
        count: usize,
        fill: impl Fn(&mut Xoshiro256PlusPlus, &mut [u8]) + Sync,
    ) -> Vec<u8> {
        let hash = blake3::hash(name.as_bytes());
        let hash = hash.as_bytes().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let seed = mix(self.seed, hash);
        let mut bytes = vec![0; size * count];
        bytes.par_chunks_mut(size * CHUNK).enumerate().for_each(|(index, chunk)| {
            fill(&mut Xoshiro256PlusPlus::seed_from_u64(mix(seed, index as u64)), chunk);
        });
        bytes
    }

    fn halves(&self, random: &mut Xoshiro256PlusPlus, bytes: &mut [u8]) {
        for four in bytes.chunks_mut(8) {
            let mut bits = random.next_u64();
            for value in four.chunks_exact_mut(2) {
                value.copy_from_slice(&self.table[usize::from(bits as u16)].to_le_bytes());
                bits >>= 16;
            }
        }
    }
}

fn floats(random: &mut Xoshiro256PlusPlus, bytes: &mut [u8]) {
    for four in bytes.chunks_mut(16) {
        let mut bits = random.next_u64();
        for value in four.chunks_exact_mut(4) {
            value.copy_from_slice(&uniform(bits as u16).to_le_bytes());
            bits >>= 16;
        }
    }
}

fn blocks(random: &mut Xoshiro256PlusPlus, bytes: &mut [u8]) {
    for block in bytes.chunks_exact_mut(17) {
        random.fill_bytes(block);
        block[0] = SCALE;
    }
}

/// One of 65536 values, evenly spaced around 0 with the standard deviation [`SPREAD`]; a uniform distribution of width w
/// has w / √12.
fn uniform(random: u16) -> f32 {
    let half_width = SPREAD * 3_f64.sqrt();
    ((f64::from(random) - 32767.5) / 32768.0 * half_width) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_have_the_spread_and_depend_on_seed_and_name_alone() {
        let filler = Filler::new(7, Dtype::F32);
        let bytes = filler.fill("a", Init::Uniform, 600_001);
        let values: Vec<f64> =
            bytes.chunks_exact(4).map(|four| f64::from(f32::from_le_bytes(four.try_into().unwrap()))).collect();
        assert_eq!(values.len(), 600_001);
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let deviation = (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64).sqrt();
        // Standard errors of 600,001 draws: 2.6e-5 for the mean, 1.2e-5 for the deviation of a uniform.
        assert!(mean.abs() < 1.3e-4 && (deviation - SPREAD).abs() < 6e-5, "{mean} {deviation}");
        assert_eq!(filler.fill("a", Init::Uniform, 600_001), bytes);
        assert_ne!(filler.fill("b", Init::Uniform, 600_001), bytes);
        assert_ne!(Filler::new(8, Dtype::F32).fill("a", Init::Uniform, 600_001), bytes);
        let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        assert_eq!(one.install(|| filler.fill("a", Init::Uniform, 600_001)), bytes, "with one thread");
        assert_ne!(bytes[..4096], bytes[4 * CHUNK..4 * CHUNK + 4096], "chunks differ");
    }

    #[test]
    fn sixteen_bit_weights_are_the_same_values_rounded() {
        let wide = Filler::new(7, Dtype::F32).fill("a", Init::Uniform, 5001);
        for (dtype, tolerance) in [(Dtype::F16, 1e-3), (Dtype::Bf16, 8e-3)] {
            let narrow = Filler::new(7, dtype).fill("a", Init::Uniform, 5001);
            assert_eq!(narrow.len(), 2 * 5001);
            for (four, two) in wide.chunks_exact(4).zip(narrow.chunks_exact(2)) {
                let exact = f32::from_le_bytes(four.try_into().unwrap());
                let bits = u16::from_le_bytes(two.try_into().unwrap());
                let rounded =
                    if dtype == Dtype::F16 { f16::from_bits(bits).to_f32() } else { bf16::from_bits(bits).to_f32() };
                assert!((rounded - exact).abs() <= tolerance * exact.abs() + 1e-7, "{dtype:?}: {exact} {rounded}");
            }
        }
    }

    #[test]
    fn packed_blocks_start_with_their_exponent() {
        let bytes = Filler::new(1, Dtype::Bf16).fill("a", Init::Blocks, 17 * 100);
        assert_eq!(bytes.len(), 1700);
        assert!(bytes.chunks_exact(17).all(|block| block[0] == SCALE));
        assert!(bytes[1..17] != bytes[18..34]);
        assert_eq!(Filler::new(1, Dtype::Bf16).fill("a", Init::Ones, 2), [0x80, 0x3f, 0x80, 0x3f]);
    }
}
