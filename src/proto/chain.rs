//! One-way hash chains: hellos that only their sender can have made.
//!
//! A sender draws a secret value, hashes it `length` times and publishes the last result, the
//! chain's *end*. Its hellos then reveal the chain backwards, one value per index. Whoever knows
//! an earlier value checks a later one by hashing it, and cannot compute the next.

use crate::wire::{ChainParameters, ChainValue, MemberId};

/// How many hellos one chain lasts: 17 minutes at 1 s, 10 seconds at 10 ms. A chain takes 16 KiB
/// and 1,024 hashes (about 0.2 ms) to make.
pub const CHAIN_LENGTH: u32 = 1024;

/// The value before `value`, which stands at `index` in `member`'s chain.
///
/// Member and index are hashed in, so that a table computed for one place serves no other.
pub fn previous(member: MemberId, index: u32, value: &ChainValue) -> ChainValue {
    let mut text = [0; 52];
    text[..16].copy_from_slice(b"hamp chain step1");
    text[16..32].copy_from_slice(&member.0);
    text[32..36].copy_from_slice(&index.to_be_bytes());
    text[36..].copy_from_slice(value);
    crate::wire::hash(&text)
}

/// The sender's side: all values of one chain.
#[derive(Clone)]
pub struct Chain {
    base: u32,
    /// `values[i]` stands at index `base + i`; the first is the public end.
    values: Vec<ChainValue>,
}

impl Chain {
    /// A chain whose end stands at `base`; `seed` must be secret and used once.
    pub fn new(member: MemberId, seed: ChainValue, base: u32) -> Self {
        let mut values = vec![seed];
        for index in (base + 1..=base + CHAIN_LENGTH).rev() {
            let last = values[values.len() - 1];
            values.push(previous(member, index, &last));
        }
        values.reverse();
        Self { base, values }
    }

    /// What a statement publishes of the chain.
    pub fn parameters(&self) -> ChainParameters {
        ChainParameters {
            end: self.values[0],
            base: self.base,
            length: self.length(),
        }
    }

    /// The value at `index`; `None` at the public end, before it, and after the chain's last.
    pub fn value(&self, index: u32) -> Option<ChainValue> {
        let offset = index.checked_sub(self.base).filter(|offset| *offset > 0)?;
        self.values.get(offset as usize).copied()
    }

    /// The last index that has a value.
    pub fn last(&self) -> u32 {
        self.base + self.length()
    }

    /// Whether, at `index`, it is time to publish the next chain: an eighth is left.
    pub fn ends_soon(&self, index: u32) -> bool {
        index >= self.base + self.length() / 8 * 7
    }

    fn length(&self) -> u32 {
        CHAIN_LENGTH
    }
}

impl core::fmt::Debug for Chain {
    /// Without the values that are secret until a hello reveals them.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("Chain").field(&self.parameters()).finish()
    }
}

/// The receiver's side: the last value known to be the sender's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tail {
    value: ChainValue,
    index: u32,
    last: u32,
}

/// Why a value does not continue a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Its index was revealed before.
    Old,
    /// The chain ends before its index.
    Beyond,
    /// It does not hash down to the last known value.
    Wrong,
}

impl Tail {
    /// Nothing but the public end is known yet.
    pub fn new(parameters: ChainParameters) -> Self {
        let ChainParameters { end, base, length } = parameters;
        Self {
            value: end,
            index: base,
            last: base.saturating_add(length),
        }
    }

    /// The index of the last value known.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Moves on to `value` at `index`, if it is the sender's.
    ///
    /// Hashes once for each index since the last value: the caller bounds how far ahead that may
    /// be, by the time that has passed.
    ///
    /// # Errors
    /// Why the value was refused; the tail is then as before.
    pub fn advance(
        &mut self,
        member: MemberId,
        index: u32,
        value: ChainValue,
    ) -> Result<(), Refused> {
        //= docs/spec/membership.md#hello
        //# A receiver MUST refuse a hello whose index is not larger than the last one accepted.
        if index <= self.index {
            return Err(Refused::Old);
        }
        if index > self.last {
            return Err(Refused::Beyond);
        }
        let steps = (self.index + 1..=index).rev();
        let reached = steps.fold(value, |value, index| previous(member, index, &value));
        //= docs/spec/membership.md#hello
        //# A receiver MUST refuse a hello whose value does not hash down to the last value known.
        if reached != self.value {
            return Err(Refused::Wrong);
        }
        self.value = value;
        self.index = index;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMBER: MemberId = MemberId([7; 16]);

    #[test]
    fn each_value_is_accepted_once_and_gaps_are_bridged() {
        let chain = Chain::new(MEMBER, [1; 16], 40);
        let mut tail = Tail::new(chain.parameters());
        for index in [41, 42, 50, chain.last()] {
            let value = chain.value(index).unwrap();
            assert_eq!(tail.advance(MEMBER, index, value), Ok(()));
            assert_eq!(tail.advance(MEMBER, index, value), Err(Refused::Old));
        }
        assert_eq!(
            tail.advance(MEMBER, chain.last() + 1, [0; 16]),
            Err(Refused::Beyond)
        );
    }

    #[test]
    fn a_value_of_another_index_member_or_chain_is_wrong() {
        let chain = Chain::new(MEMBER, [1; 16], 0);
        let mut tail = Tail::new(chain.parameters());
        let value = chain.value(3).unwrap();
        assert_eq!(tail.advance(MEMBER, 2, value), Err(Refused::Wrong));
        assert_eq!(
            tail.advance(MemberId([8; 16]), 3, value),
            Err(Refused::Wrong)
        );
        let other = Chain::new(MEMBER, [2; 16], 0);
        assert_eq!(
            tail.advance(MEMBER, 3, other.value(3).unwrap()),
            Err(Refused::Wrong)
        );
        assert_eq!(tail.advance(MEMBER, 3, value), Ok(()));
    }

    #[test]
    fn the_public_end_is_not_a_value() {
        let chain = Chain::new(MEMBER, [1; 16], 5);
        assert_eq!(chain.value(5), None);
        assert_eq!(chain.value(4), None);
        assert!(chain.value(6).is_some());
        assert_eq!(chain.value(chain.last() + 1), None);
    }
}
