//! A decoder's shape and what follows from it: parameters, FLOPs of a token, bytes of its KV cache.
//!
//! Sources: Kaplan et al. 2020, "Scaling Laws for Neural Language Models", section 2.1 (2 FLOPs a weight and token);
//! Chowdhery et al. 2022, "PaLM", appendix B (model FLOPs utilisation, and attention's part); Pope et al. 2022,
//! "Efficiently Scaling Transformer Inference", section 2 (weights read once a step, KV cache read each step).

/// The feed-forward part of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mlp {
    /// One for all tokens.
    Dense {
        /// Its inner width.
        intermediate: u64,
        /// Matrices: 3 with a gate, else 2.
        matrices: u64,
    },
    /// A router chooses some of many for each token.
    Experts {
        /// How many there are.
        experts: u64,
        /// How many a token goes through.
        active: u64,
        /// An expert's inner width.
        intermediate: u64,
        /// Matrices of each: 3 with a gate, else 2.
        matrices: u64,
    },
}

/// What parameters there are beside the matrices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Small {
    /// Query, key and value have a bias.
    pub qkv_bias: bool,
    /// The output projection has one.
    pub out_bias: bool,
    /// The feed-forward matrices, a router included, have one.
    pub mlp_bias: bool,
    /// Norms have a bias beside their scale.
    pub norm_bias: bool,
    /// Each head has a norm of query and of key.
    pub head_norms: bool,
    /// Each head has an attention sink.
    pub sinks: bool,
    /// Learned positions.
    pub positions: u64,
}

/// A decoder-only transformer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelShape {
    /// Layers.
    pub layers: u64,
    /// Width of the residual stream.
    pub hidden: u64,
    /// Query heads.
    pub heads: u64,
    /// Key and value heads: fewer than query heads in grouped-query attention.
    pub kv_heads: u64,
    /// Width of a head.
    pub head_dim: u64,
    /// Rows of the vocabulary.
    pub vocab: u64,
    /// Whether the output projection is the embedding again.
    pub tied: bool,
    /// The feed-forward part.
    pub mlp: Mlp,
    /// The rest.
    pub small: Small,
    /// Over how many positions each layer attends at most; None is all.
    pub windows: Vec<Option<u64>>,
}

/// Parameters by what they cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Looked up, a row a token: embeddings and positions.
    pub looked_up: u64,
    /// Of the layers, without experts: read and multiplied for every token.
    pub dense: u64,
    /// All experts of all layers.
    pub experts: u64,
    /// The output projection, also when it is the embedding again.
    pub head: u64,
    /// All parameters, tied ones once.
    pub total: u64,
    /// Those that a token is multiplied with: dense, its experts, the output projection.
    pub active: u64,
}

impl ModelShape {
    /// Its parameters.
    pub fn counts(&self) -> Counts {
        let small = self.small;
        let one_if = |yes: bool| u64::from(yes);
        let (q, kv) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let attention = self.hidden * (q + 2 * kv)
            + q * self.hidden
            + one_if(small.qkv_bias) * (q + 2 * kv)
            + one_if(small.out_bias) * self.hidden
            + one_if(small.head_norms) * 2 * self.head_dim
            + one_if(small.sinks) * self.heads;
        let norm = self.hidden * (1 + one_if(small.norm_bias));
        let block = |intermediate: u64, matrices: u64| {
            let bias = (matrices - 1) * intermediate + self.hidden;
            matrices * self.hidden * intermediate + one_if(small.mlp_bias) * bias
        };
        let (feed_forward, experts, active) = match self.mlp {
            Mlp::Dense { intermediate, matrices } => (block(intermediate, matrices), 0, 0),
            Mlp::Experts { experts, active, intermediate, matrices } => {
                let router = self.hidden * experts + one_if(small.mlp_bias) * experts;
                let one = block(intermediate, matrices);
                (router, experts * one * self.layers, active * one * self.layers)
            }
        };
        let dense = self.layers * (attention + feed_forward + 2 * norm) + norm;
        let head = self.vocab * self.hidden;
        let looked_up = head + small.positions * self.hidden;
        let total = looked_up + dense + experts + if self.tied { 0 } else { head };
        Counts { looked_up, dense, experts, head, total, active: dense + active + head }
    }

    /// FLOPs of attention's two products for a token that attends to `positions` (itself included): 2 for each of
    /// query · key and weight · value, a head's width, over query heads and layers.
    pub fn attention_flops(&self, positions: u64) -> f64 {
        let attended: u64 = self.windows.iter().map(|window| positions.min(window.unwrap_or(u64::MAX))).sum();
        4.0 * (self.heads * self.head_dim) as f64 * attended as f64
    }

    /// The same for a prompt of `tokens`, each of which attends to itself and those before it.
    pub fn prefill_attention_flops(&self, tokens: u64) -> f64 {
        let attended: f64 = self
            .windows
            .iter()
            .map(|window| {
                let w = window.unwrap_or(u64::MAX).min(tokens) as f64;
                // 1 + 2 + … + w, then w for each further token.
                w * (w + 1.0) / 2.0 + (tokens as f64 - w) * w
            })
            .sum();
        4.0 * (self.heads * self.head_dim) as f64 * attended
    }

    /// Positions of the KV cache that a token which attends to `positions` reads, over layers.
    pub fn kv_positions_read(&self, positions: u64) -> u64 {
        self.windows.iter().map(|window| positions.min(window.unwrap_or(u64::MAX))).sum()
    }

    /// How many experts of a layer `tokens` of one step go through, if the router chooses evenly: E·(1 − (1 − k/E)^n).
    /// None without experts.
    pub fn experts_touched(&self, tokens: u64) -> Option<f64> {
        match self.mlp {
            Mlp::Dense { .. } => None,
            Mlp::Experts { experts, active, .. } => {
                let (all, some) = (experts as f64, active as f64);
                Some(all * (1.0 - (1.0 - some / all).powf(tokens as f64)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiny() -> ModelShape {
        ModelShape {
            layers: 2,
            hidden: 8,
            heads: 4,
            kv_heads: 2,
            head_dim: 2,
            vocab: 10,
            tied: false,
            mlp: Mlp::Dense { intermediate: 16, matrices: 3 },
            small: Small::default(),
            windows: vec![None, Some(3)],
        }
    }

    #[test]
    fn parameters_are_counted_by_hand() {
        // Attention: q 8·8, k and v 8·4 each, o 8·8 = 192. MLP 3·8·16 = 384. Norms 16. Two layers and a final norm.
        let counts = tiny().counts();
        assert_eq!((counts.dense, counts.head, counts.looked_up), (2 * (192 + 384 + 16) + 8, 80, 80));
        assert_eq!((counts.total, counts.active), (1192 + 160, 1192 + 80));
        assert_eq!(ModelShape { tied: true, ..tiny() }.counts().total, 1192 + 80);
        let experts = Mlp::Experts { experts: 4, active: 2, intermediate: 16, matrices: 3 };
        let counts = ModelShape { mlp: experts, ..tiny() }.counts();
        assert_eq!(counts.experts, 2 * 4 * 384);
        assert_eq!(counts.active, 2 * (192 + 32 + 16) + 8 + 2 * 2 * 384 + 80);
    }

    #[test]
    fn attention_is_counted_by_hand() {
        let shape = tiny();
        // A layer over 5 positions and one over 3: 8 in all, 4 FLOPs each, 4 heads of 2.
        assert_eq!(shape.attention_flops(5), 4.0 * 8.0 * 8.0);
        assert_eq!(shape.kv_positions_read(5), 8);
        // The closed form of a prompt is the sum over its tokens.
        for tokens in 1..20 {
            let one_by_one: f64 = (1..=tokens).map(|positions| shape.attention_flops(positions)).sum();
            assert_eq!(shape.prefill_attention_flops(tokens), one_by_one);
        }
    }

    #[test]
    fn many_tokens_touch_all_experts_and_one_touches_its_own() {
        let shape = ModelShape { mlp: Mlp::Experts { experts: 32, active: 4, intermediate: 1, matrices: 3 }, ..tiny() };
        assert!((shape.experts_touched(1).unwrap() - 4.0).abs() < 1e-12);
        assert!((shape.experts_touched(2).unwrap() - 7.5).abs() < 1e-12);
        assert!(shape.experts_touched(1000).unwrap() > 31.999_999);
        assert_eq!(tiny().experts_touched(1), None);
    }
}
