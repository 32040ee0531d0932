//! One hash for token ids, so that what was given and what was consumed can be compared.
use super::{RequestId, TokenId};
use crate::workload::mix;

/// Hash of a request's number and its ids, in order. Sums of it over requests do not depend on the requests' order.
pub fn ids_digest(request: RequestId, ids: impl IntoIterator<Item = TokenId>) -> u64 {
    ids.into_iter().fold(ids_digest_start(request), ids_digest_next)
}

/// The hash of a request before its first id.
pub fn ids_digest_start(request: RequestId) -> u64 {
    mix(0, u64::from(request.0))
}

/// The hash with one more id.
pub fn ids_digest_next(hash: u64, id: TokenId) -> u64 {
    mix(hash, u64::from(id.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_the_ids_and_their_order_matter() {
        let of = |request, ids: &[u32]| ids_digest(RequestId(request), ids.iter().copied().map(TokenId));
        assert_eq!(of(1, &[5, 6]), of(1, &[5, 6]));
        for other in [of(2, &[5, 6]), of(1, &[6, 5]), of(1, &[5]), of(1, &[])] {
            assert_ne!(of(1, &[5, 6]), other);
        }
    }
}
