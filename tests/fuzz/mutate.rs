//! Inputs near to known ones.
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// Bytes that readers stumble over: signs, limits, and what ends something in a text.
const ODD: [&[u8]; 12] = [
    b"\0",
    b"\xff",
    b"\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\x00\x00\x00\x80",
    b"\xff\xff\xff\x7f",
    b"\n",
    b"\"",
    b"{",
    b"]",
    b"..",
    b"-1",
    b"1e999",
];
const LONGEST: usize = 1 << 16;

/// Makes them, the same ones from the same seed.
pub struct Mutator {
    seeds: Vec<Vec<u8>>,
    random: Xoshiro256PlusPlus,
}

impl Mutator {
    pub fn new(seeds: Vec<Vec<u8>>, seed: u64) -> Self {
        Self { seeds, random: Xoshiro256PlusPlus::seed_from_u64(seed) }
    }

    fn below(&mut self, end: usize) -> usize {
        self.random.random_range(0..end.max(1))
    }

    pub fn next(&mut self) -> Vec<u8> {
        let pick = self.below(self.seeds.len());
        let mut input = self.seeds[pick].clone();
        for _ in 0..=self.below(6) {
            let at = self.below(input.len() + 1);
            match self.below(6) {
                0 if at < input.len() => input[at] ^= 1 << self.below(8),
                1 if at < input.len() => input[at] = self.random.random_range(0..=255),
                2 => input.truncate(at),
                3 => {
                    let end = (at + self.below(64)).min(input.len());
                    input.drain(at..end);
                }
                4 => {
                    let odd = ODD[self.below(ODD.len())];
                    let end = (at + odd.len() * self.below(2)).min(input.len());
                    input.splice(at..end, odd.iter().copied());
                }
                _ => {
                    let other = self.below(self.seeds.len());
                    let from = self.below(self.seeds[other].len() + 1);
                    let end = (from + self.below(256)).min(self.seeds[other].len());
                    let part = self.seeds[other][from..end].to_vec();
                    input.splice(at..at, part);
                }
            }
        }
        input.truncate(LONGEST);
        input
    }
}
