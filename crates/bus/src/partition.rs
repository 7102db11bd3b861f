//! Which partition a key belongs to: the function of Kafka's Java client, so that a log that moves to Kafka, or is fed by
//! both, keeps a key's records together.

/// The 32-bit murmur2 hash that Kafka's Java client uses (`Utils.murmur2`).
pub fn murmur2(data: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;
    // Java's length is a 32-bit int; only the low bits of a longer one enter the hash.
    let length = u32::try_from(data.len() & 0xffff_ffff).unwrap_or(u32::MAX);
    let mut hash = SEED ^ length;
    let mut words = data.chunks_exact(4);
    for word in &mut words {
        let mut k = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
        k = k.wrapping_mul(M);
        k ^= k >> R;
        k = k.wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ k;
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        for (place, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * place);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

/// The partition of a key among `partitions`, as Kafka's Java client computes it; 0 where there are none.
pub fn partition_of(key: &str, partitions: u32) -> u32 {
    (murmur2(key.as_bytes()) & 0x7fff_ffff).checked_rem(partitions).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The cases of Kafka's own test (`UtilsTest.testMurmur2`).
    #[test]
    fn agrees_with_the_java_client() {
        for (text, expected) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(text.as_bytes()).cast_signed(), expected, "{text}");
        }
    }

    #[test]
    fn a_partition_is_in_range_and_stable() {
        for key in ["", "o-1", "foobar", "21"] {
            assert!(partition_of(key, 8) < 8);
            assert_eq!(partition_of(key, 1), 0);
        }
        // toPositive(-790332482) % 8 and toPositive(-973932308) % 8.
        assert_eq!(partition_of("foobar", 8), 6);
        assert_eq!(partition_of("21", 8), 4);
        assert_eq!(partition_of("x", 0), 0);
    }
}
