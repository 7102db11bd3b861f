//! Chance that a seed decides: the same seed and names draw alike on every machine and in every order.

use fastrand::Rng;

/// A number that `seed` and `names` decide: FNV-1a over them, then the finalizer of splitmix64.
pub(crate) fn draw(seed: u64, names: &[&str]) -> u64 {
    let bytes = names.iter().flat_map(|name| name.bytes().chain([0]));
    let hash = seed
        .to_le_bytes()
        .into_iter()
        .chain(bytes)
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

/// A source of further numbers, itself drawn.
pub(crate) fn source(seed: u64, names: &[&str]) -> Rng {
    Rng::with_seed(draw(seed, names))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_do_not_run_together_and_the_seed_counts() {
        assert_eq!(draw(7, &["a", "b"]), draw(7, &["a", "b"]));
        assert_ne!(draw(7, &["a", "b"]), draw(7, &["ab"]));
        assert_ne!(draw(7, &["a"]), draw(8, &["a"]));
    }
}
