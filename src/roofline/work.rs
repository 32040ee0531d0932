//! What a trial's requests cost at least, step by step, for an engine that wastes nothing.
//!
//! The requests are scheduled as the load mode hands them over: each step computes the prompts that join and one token of
//! every sequence that runs. A step costs 2 FLOPs for each weight a token is multiplied with and attention's own (PaLM,
//! appendix B); it reads each weight once, whatever the batch, the KV cache of every running sequence, and writes that of
//! its new tokens (Pope et al. 2022, section 2). A prompt's own keys and values are read once. A step takes at least the
//! longer of its FLOPs at the matrix ceiling and its bytes at the read ceiling; activations are left out.
//!
//! An engine that takes more steps, as with prompts in chunks, does more than this. One that makes several tokens a step
//! (speculation) or answers prompts from a cache does less: neither is judged.
use super::Model;
use crate::cell::protocol::Load;

/// Ceilings, of all devices together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    /// FLOPs a second in the model's type.
    pub flops_per_s: Option<f64>,
    /// Bytes a second.
    pub bytes_per_s: Option<f64>,
}

/// The work of a trial.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Work {
    /// Floating-point operations.
    pub flops: f64,
    /// Bytes of weights read.
    pub weight_bytes: f64,
    /// Bytes of keys and values read and written.
    pub kv_bytes: f64,
    /// Steps.
    pub steps: u64,
    /// The least time of all steps; None without both ceilings.
    pub seconds: Option<f64>,
    /// Of that, the time of steps that FLOPs bind; the rest is bound by bytes.
    pub compute_bound_seconds: f64,
}

struct Sequence {
    context: u64,
    left: u64,
}

/// Counts the work of requests with these (input, output) lengths, in order.
pub fn work(model: &Model, load: Load, lengths: impl IntoIterator<Item = (u32, u32)>, rates: Rates) -> Work {
    let (room, refill) = match load {
        Load::Offline { batch } => (batch.max(1) as usize, false),
        Load::Closed { concurrency } => (concurrency.max(1) as usize, true),
        // As if all had come at once: the fewest steps, and so the fewest reads of the weights.
        Load::Open { max_in_flight, .. } => (max_in_flight.unwrap_or(u32::MAX).max(1) as usize, true),
    };
    let mut waiting = lengths.into_iter().peekable();
    let mut running: Vec<Sequence> = Vec::new();
    let mut total = Work { seconds: rates.flops_per_s.and(rates.bytes_per_s).map(|_| 0.0), ..Work::default() };
    loop {
        let mut step = Step::default();
        for sequence in &mut running {
            sequence.context += 1;
            sequence.left -= 1;
            step.decode(model, sequence.context);
        }
        // A sequence that ends makes room for the next step's, not for this one's.
        let free = if refill || running.is_empty() { room - running.len() } else { 0 };
        running.retain(|sequence| sequence.left > 0);
        for _ in 0..free {
            let Some((input, output)) = waiting.next() else { break };
            step.prefill(model, u64::from(input));
            // The prompt's step gives the first token.
            if output > 1 {
                running.push(Sequence { context: u64::from(input), left: u64::from(output) - 1 });
            }
        }
        if step.tokens > 0 {
            total.add(&step, model.step_bytes(step.tokens), rates);
        }
        if running.is_empty() && waiting.peek().is_none() {
            return total;
        }
    }
}

#[derive(Default)]
struct Step {
    tokens: u64,
    flops: f64,
    kv_bytes: f64,
}

impl Step {
    fn prefill(&mut self, model: &Model, tokens: u64) {
        let counts = &model.counts;
        // Only the last token of a prompt goes through the output projection.
        self.flops += 2.0 * ((counts.active - counts.head) as f64 * tokens as f64 + counts.head as f64);
        self.flops += model.shape.prefill_attention_flops(tokens);
        self.kv_bytes += 2.0 * (tokens * model.shape.layers) as f64 * model.kv_bytes;
        self.tokens += tokens;
    }

    /// A token that attends to `positions`, its own among them.
    fn decode(&mut self, model: &Model, positions: u64) {
        self.flops += 2.0 * model.counts.active as f64 + model.shape.attention_flops(positions);
        self.kv_bytes += (model.shape.kv_positions_read(positions) + model.shape.layers) as f64 * model.kv_bytes;
        self.tokens += 1;
    }
}

impl Work {
    fn add(&mut self, step: &Step, weight_bytes: f64, rates: Rates) {
        self.flops += step.flops;
        self.weight_bytes += weight_bytes;
        self.kv_bytes += step.kv_bytes;
        self.steps += 1;
        if let (Some(seconds), Some(flops), Some(bytes)) = (&mut self.seconds, rates.flops_per_s, rates.bytes_per_s) {
            let (compute, memory) = (step.flops / flops, (weight_bytes + step.kv_bytes) / bytes);
            *seconds += compute.max(memory);
            if compute > memory {
                self.compute_bound_seconds += compute;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;

    use super::{
        super::{Mlp, ModelShape, shape::Small},
        *,
    };

    fn tiny() -> Model {
        let shape = ModelShape {
            layers: 2,
            hidden: 8,
            heads: 4,
            kv_heads: 2,
            head_dim: 2,
            vocab: 10,
            tied: false,
            mlp: Mlp::Dense { intermediate: 16, matrices: 3 },
            small: Small::default(),
            windows: vec![None, None],
        };
        let counts = shape.counts();
        Model { counts, shape, dense_bytes: 1000.0, expert_bytes: 0.0, kv_bytes: 16.0, compute: Ok("f32".to_owned()) }
    }

    const OFFLINE_2: Load = Load::Offline { batch: 2 };

    #[test]
    fn a_request_is_counted_by_hand() {
        let model = tiny();
        // 1192 weights in the layers, 80 in the output projection; 4 · 4 heads · 2 = 32 FLOPs a position and layer.
        let found = work(&model, OFFLINE_2, [(3, 3)], Rates::default());
        let prefill = 2.0 * (1192.0 * 3.0 + 80.0) + 32.0 * 2.0 * (1.0 + 2.0 + 3.0);
        let decode = |positions: f64| 2.0 * 1272.0 + 32.0 * 2.0 * positions;
        assert_eq!(found.flops, prefill + decode(4.0) + decode(5.0));
        assert_eq!((found.steps, found.weight_bytes), (3, 3000.0));
        // 16 bytes a position and layer: 3 written and read by the prompt; then 4 and 5 read and one written.
        assert_eq!(found.kv_bytes, 16.0 * 2.0 * (6.0 + 5.0 + 6.0));
        assert_eq!(found.seconds, None);
    }

    #[test]
    fn steps_follow_the_load_mode() {
        let steps = |load, lengths: &[(u32, u32)]| work(&tiny(), load, lengths.iter().copied(), Rates::default()).steps;
        // Two at once; the second call begins when both of the first are done.
        assert_eq!(steps(OFFLINE_2, &[(1, 4), (1, 2), (1, 3)]), 4 + 3);
        // In a closed loop the third joins in the step after the second's last.
        assert_eq!(steps(Load::Closed { concurrency: 2 }, &[(1, 4), (1, 2), (1, 3)]), 5);
        assert_eq!(steps(OFFLINE_2, &[(5, 1), (5, 1)]), 1);
        assert_eq!(steps(OFFLINE_2, &[]), 0);
    }

    #[test]
    fn a_step_takes_the_longer_of_its_two_times() {
        let fast = |flops: f64, bytes: f64| {
            let rates = Rates { flops_per_s: Some(flops), bytes_per_s: Some(bytes) };
            work(&tiny(), OFFLINE_2, [(3, 3)], rates)
        };
        let memory = fast(1e30, 10.0);
        assert!((memory.seconds.unwrap() - (memory.weight_bytes + memory.kv_bytes) / 10.0).abs() < 1e-9);
        assert_eq!(memory.compute_bound_seconds, 0.0);
        let compute = fast(10.0, 1e30);
        assert!((compute.seconds.unwrap() - compute.flops / 10.0).abs() < 1e-9);
        assert!((compute.compute_bound_seconds - compute.flops / 10.0).abs() < 1e-9);
    }

    /// FLOPs do not depend on how requests meet; a larger batch never reads more weights.
    #[test]
    fn random_loads_do_the_same_work() {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(11);
        let model = tiny();
        for _ in 0..300 {
            let count = random.random_range(1..20);
            let lengths: Vec<(u32, u32)> =
                (0..count).map(|_| (random.random_range(1..30), random.random_range(1..30))).collect();
            let of = |load| {
                work(&model, load, lengths.iter().copied(), Rates { flops_per_s: Some(1e6), bytes_per_s: Some(1e6) })
            };
            let (one, many) = (of(Load::Offline { batch: 1 }), of(Load::Offline { batch: random.random_range(2..9) }));
            let closed = of(Load::Closed { concurrency: random.random_range(1..9) });
            for other in [many, closed] {
                assert!((other.flops - one.flops).abs() < 1e-6 * one.flops);
                assert!((other.kv_bytes - one.kv_bytes).abs() < 1e-6 * one.kv_bytes);
                assert!(other.weight_bytes <= one.weight_bytes && other.steps <= one.steps);
                assert!(
                    other.seconds.unwrap()
                        >= (other.flops / 1e6).max((other.weight_bytes + other.kv_bytes) / 1e6) - 1e-9
                );
            }
            let tokens: u64 = lengths.iter().map(|(_, output)| u64::from(*output)).sum();
            assert_eq!(one.steps, tokens);
        }
    }
}
