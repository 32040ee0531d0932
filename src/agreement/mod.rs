//! Whether engines are the same model: the same ids in, greedily, and what each says and thinks of what the others say.
//!
//! Every engine generates from the same prompts, at once, again, and one prompt at a time: where its own outputs part, and by
//! how much its own log-probabilities move, is its noise floor. Then each scores one common continuation, the first engine's
//! output, so that their predictions can be compared position by position after outputs have parted too. [`verdict`]
//! decides what it comes to; `docs/agreement.md` says why.

mod observe;
mod prompts;
mod record;
mod run;
mod section;
pub mod verdict;

pub use prompts::Prompts;
pub use record::{Agreement, Divergence, Floor, ForcedComparison, PairAgreement, Taker, Verdict};
pub use run::{Agree, Agreed, agree, comparable};
