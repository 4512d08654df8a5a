//! The kernel's hash (Jenkins' lookup3, `include/linux/jhash.h`), as nft puts it into a key.

use std::net::Ipv6Addr;

use super::keys::{MODULUS, Seeds};

/// What stands for an address of this host in the keys of IPv6, as nft lists it.
pub(super) fn stands_for(address: Ipv6Addr, seeds: Seeds) -> [u64; 2] {
    [seeds.0, seeds.1].map(|seed| {
        let hash = u64::from(jhash(&address.octets(), seed));
        // The cut is exact: it is less than the modulus.
        let scaled = ((hash * u64::from(MODULUS)) >> 32) as u32;
        // The kernel's number is listed as one in network order.
        u64::from(scaled.to_be())
    })
}

fn jhash(bytes: &[u8], seed: u32) -> u32 {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let start = 0xdead_beef_u32.wrapping_add(length).wrapping_add(seed);
    let [mut a, mut b, mut c] = [start; 3];
    let mut blocks = bytes.chunks(12).peekable();
    while let Some(block) = blocks.next() {
        let word = |at: usize| {
            let mut word = [0; 4];
            let some = block.get(at * 4..).unwrap_or_default();
            let count = some.len().min(4);
            word[..count].copy_from_slice(&some[..count]);
            u32::from_le_bytes(word)
        };
        a = a.wrapping_add(word(0));
        b = b.wrapping_add(word(1));
        c = c.wrapping_add(word(2));
        if blocks.peek().is_none() {
            return last(a, b, c);
        }
        [a, b, c] = mix(a, b, c);
    }
    c
}

fn mix(mut a: u32, mut b: u32, mut c: u32) -> [u32; 3] {
    for turns in [[4, 6, 8], [16, 19, 4]] {
        a = a.wrapping_sub(c) ^ c.rotate_left(turns[0]);
        c = c.wrapping_add(b);
        b = b.wrapping_sub(a) ^ a.rotate_left(turns[1]);
        a = a.wrapping_add(c);
        c = c.wrapping_sub(b) ^ b.rotate_left(turns[2]);
        b = b.wrapping_add(a);
    }
    [a, b, c]
}

fn last(mut a: u32, mut b: u32, mut c: u32) -> u32 {
    c = (c ^ b).wrapping_sub(b.rotate_left(14));
    a = (a ^ c).wrapping_sub(c.rotate_left(11));
    b = (b ^ a).wrapping_sub(a.rotate_left(25));
    c = (c ^ b).wrapping_sub(b.rotate_left(16));
    a = (a ^ c).wrapping_sub(c.rotate_left(4));
    b = (b ^ a).wrapping_sub(a.rotate_left(14));
    (c ^ b).wrapping_sub(b.rotate_left(24))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_the_published_hash() {
        // lookup3.c's driver5: hashlittle("Four score and seven years ago", 30, seed).
        let text = b"Four score and seven years ago";
        assert_eq!(jhash(text, 0), 0x1777_0551);
        assert_eq!(jhash(text, 1), 0xcd62_8161);
        assert_eq!(jhash(b"", 0), 0xdead_beef);
    }
}
