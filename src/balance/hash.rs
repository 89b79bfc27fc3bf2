//! Hashes that are the same for ever, unlike the standard library's: every shard, process and machine agrees.

/// FNV-1a, then mixed.
pub(crate) fn stable_hash(bytes: &[u8]) -> u64 {
    let fnv = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3);
    mix(bytes.iter().fold(0xCBF2_9CE4_8422_2325, fnv))
}

/// The `n`th hash of what has this hash.
pub(super) fn nth_hash(hash: u64, n: u64) -> u64 {
    mix(hash.wrapping_add(n.wrapping_mul(0x9E37_79B9_7F4A_7C15)))
}

/// Spreads every bit over all others: the finalizer of `SplitMix64` (Steele, Lea and Flood, 2014).
pub(crate) fn mix(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    hash ^ (hash >> 31)
}
