//! What several test files share. Each file uses a part of it.
#![allow(dead_code, unreachable_pub)]

pub mod golden;

/// The protocol's generator, so that a failure can be run again from its seed, and what tests draw
/// from it.
pub struct Random(hamp::proto::random::Random);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(hamp::proto::random::Random::new(seed))
    }

    pub fn next(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `bound`, which is not zero.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    /// `bytes` with one to four bytes changed, or a stretch cut out, doubled or zeroed.
    pub fn damage(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = bytes.to_vec();
        let from = self.below(out.len());
        let to = from + self.below((out.len() - from).min(16)) + 1;
        let to = to.min(out.len());
        match self.below(6) {
            0 => drop(out.drain(from..to)),
            1 => out.extend_from_within(from..to),
            2 => out[from..to].fill(0),
            3 => out[from..to].fill(0xff),
            _ => {
                for _ in 0..=self.below(4) {
                    let at = self.below(out.len());
                    out[at] = self.next() as u8;
                }
            }
        }
        // Where the length field is right, the decoder looks further.
        if self.below(4) != 0
            && let Ok(length) = u16::try_from(out.len())
            && out.len() >= 4
        {
            out[2..4].copy_from_slice(&length.to_be_bytes());
        }
        out
    }
}
