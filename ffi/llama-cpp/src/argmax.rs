//! The likeliest token: greedy decoding over a whole vocabulary, a step and sequence at a time.

/// Logits whose maximum is taken together before looking where it stands; 16 KiB, so the second look finds them cached.
const BLOCK: usize = 4096;
/// Independent running maxima: enough to fill the widest registers and hide the compare's latency.
const LANES: usize = 64;

/// The index of the largest logit, the lowest one among equals (as llama.cpp's greedy sampler). NaN is never largest.
/// None when no logit is larger than negative infinity: the model's output is broken.
pub fn argmax(logits: &[f32]) -> Option<usize> {
    let mut best = f32::NEG_INFINITY;
    let mut best_block = None;
    for (index, block) in logits.chunks(BLOCK).enumerate() {
        let max = max(block);
        if max > best {
            (best, best_block) = (max, Some(index));
        }
    }
    let start = best_block? * BLOCK;
    let block = logits.get(start..logits.len().min(start + BLOCK))?;
    Some(start + block.iter().position(|logit| *logit == best)?)
}

/// The largest value, NaN passed over. Written lane by lane so that it compiles to vector maxima.
fn max(values: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (whole, rest) = values.as_chunks::<LANES>();
    for chunk in whole {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane = if *value > *lane { *value } else { *lane };
        }
    }
    lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |max, value| if *value > max { *value } else { max })
}

#[cfg(test)]
mod tests {
    use super::argmax;

    fn plain(logits: &[f32]) -> Option<usize> {
        let mut best: Option<usize> = None;
        for (index, logit) in logits.iter().enumerate() {
            if *logit > best.map_or(f32::NEG_INFINITY, |best| logits[best]) {
                best = Some(index);
            }
        }
        best
    }

    #[test]
    fn agrees_with_the_plain_loop_at_every_length_and_place() {
        let mut state = 1_u64;
        for length in [1, 2, 15, 63, 64, 65, 127, 4095, 4096, 4097, 8192, 9999, 49_152] {
            for _ in 0..8 {
                let logits: Vec<f32> = (0..length)
                    .map(|_| {
                        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                        // Few distinct values: equals are common.
                        ((state >> 58) as f32) - 32.0
                    })
                    .collect();
                assert_eq!(argmax(&logits), plain(&logits), "length {length}");
            }
        }
    }

    #[test]
    fn nan_and_infinity() {
        assert_eq!(argmax(&[]), None);
        assert_eq!(argmax(&[f32::NAN; 200]), None);
        assert_eq!(argmax(&[f32::NEG_INFINITY; 200]), None);
        let mut logits = vec![f32::NAN; 5000];
        logits[4500] = -3.0;
        assert_eq!(argmax(&logits), Some(4500));
        logits[10] = f32::INFINITY;
        assert_eq!(argmax(&logits), Some(10));
    }
}
