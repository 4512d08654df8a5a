//! A running hash over a simulation, to tell whether two of them were the same.

use std::hash::Hasher;

/// Multiplying folds two words into one (the step of wyhash): fast, the same everywhere, and no
/// protection against somebody who looks for two simulations with one digest.
#[derive(Debug, Clone, Copy)]
pub(super) struct Digest(u64);

impl Default for Digest {
    fn default() -> Self {
        Self(0xa076_1d64_78bd_642f)
    }
}

impl Hasher for Digest {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.write_u64(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        // What is left is less than a word, so its length has room in the same word.
        last[7] = bytes.len() as u8;
        self.write_u64(u64::from_le_bytes(last));
    }

    fn write_u64(&mut self, word: u64) {
        let product =
            u128::from(self.0 ^ word) * u128::from(word.rotate_left(32) ^ 0xe703_7ed1_a0b4_28db);
        self.0 = (product >> 64) as u64 ^ product as u64 ^ self.0.rotate_left(23);
    }

    fn write_u8(&mut self, word: u8) {
        self.write_u64(word.into());
    }

    fn write_u16(&mut self, word: u16) {
        self.write_u64(word.into());
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(word.into());
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(parts: &[&[u8]]) -> u64 {
        let mut digest = Digest::default();
        parts.iter().for_each(|part| digest.write(part));
        digest.finish()
    }

    #[test]
    fn length_order_and_every_bit_count() {
        let zeroes = [0; 64];
        let mut seen = std::collections::BTreeSet::new();
        for length in 0..=zeroes.len() {
            assert!(seen.insert(of(&[&zeroes[..length]])), "{length}");
        }
        for bit in 0..512 {
            let mut bytes = zeroes;
            bytes[bit / 8] = 1 << (bit % 8);
            assert!(seen.insert(of(&[&bytes])), "{bit}");
        }
        assert_ne!(of(&[b"ab", b"c"]), of(&[b"a", b"bc"]));
        assert_ne!(of(&[b"a", b"b"]), of(&[b"b", b"a"]));
        assert_eq!(of(&[b"a", b"b"]), of(&[b"a", b"b"]));
    }
}
