//! Locally typical sampling: of all that may be drawn, what is about as surprising as was to be expected.
//!
//! The surprise of a token is `-ln p`, the expected one the entropy `H` of all. Tokens are kept in the order of
//! `|-ln p - H|`, nearest first, until their probability reaches a share. The likeliest token may so be left out.
//! Source: Meister et al., Locally Typical Sampling, arXiv 2202.00666.

use metier_core::data::TokenId;

/// Keeps the most typical of `candidates`, weights above 0 in any scale, until they have `share` of the whole; their
/// order stays. 1 keeps all.
pub(super) fn keep(candidates: &mut Vec<(TokenId, f64)>, share: f64) {
    if share >= 1.0 {
        return;
    }
    let total: f64 = candidates.iter().map(|(_, weight)| weight).sum();
    let surprise = |weight: f64| -(weight / total).ln();
    let expected: f64 = candidates.iter().map(|(_, weight)| weight / total * surprise(*weight)).sum();
    let mut order: Vec<usize> = (0..candidates.len()).collect();
    let distance = |at: &usize| (surprise(candidates[*at].1) - expected).abs();
    order.sort_by(|a, b| distance(a).total_cmp(&distance(b)).then(a.cmp(b)));
    let mut sum = 0.0;
    let enough = order.iter().take_while(|at| {
        let short = sum < share * total;
        sum += candidates[**at].1;
        short
    });
    let mut kept: Vec<usize> = enough.copied().collect();
    kept.sort_unstable();
    *candidates = kept.into_iter().map(|at| candidates[at]).collect();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_as_surprising_as_expected_is_kept() {
        // H = 1.208 nats; surprises 0.69, 1.39, 1.90, 2.30: distances 0.51, 0.18, 0.69, 1.09.
        let all = [(7, 50.0), (3, 25.0), (9, 15.0), (1, 10.0)];
        for (share, wanted) in
            [(1e-9, &[3][..]), (0.25, &[3]), (0.26, &[7, 3]), (0.8, &[7, 3, 9]), (1.0, &[7, 3, 9, 1])]
        {
            let mut kept = all.to_vec();
            keep(&mut kept, share);
            assert_eq!(kept.iter().map(|(id, _)| *id).collect::<Vec<_>>(), wanted, "{share}");
        }
        let mut none = Vec::new();
        keep(&mut none, 0.5);
        assert!(none.is_empty());
    }
}
