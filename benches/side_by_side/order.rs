//! Who goes when.

use hamp::proto::random::Random;

/// Draws the order of the sides for each round.
///
/// Of two rounds, the second goes through the first one's order backwards: over both, each side
/// has gone before each other one exactly once, whatever was drawn.
pub(crate) struct Order {
    random: Random,
    last: Option<Vec<usize>>,
}

impl Order {
    /// The same orders for the same seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            last: None,
        }
    }

    /// The order of the next round: each of the numbers below `sides` once.
    pub(crate) fn next(&mut self, sides: usize) -> Vec<usize> {
        let drawn = self.last.take().filter(|last| last.len() == sides);
        if let Some(mut order) = drawn {
            order.reverse();
            return order;
        }
        let mut order: Vec<usize> = (0..sides).collect();
        for last in (1..sides).rev() {
            let other = self.random.next_u64() % (last as u64 + 1);
            order.swap(last, other as usize);
        }
        self.last = Some(order.clone());
        order
    }
}
