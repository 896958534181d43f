//! The part of a token that is its own, in hash blocks. Short ones need no allocation.

use crate::hmac::BLOCK;

/// Blocks that hold the tail of an ordinary token.
const USUAL: usize = 4;

/// The end of a token, filled in place.
pub(super) struct Tail {
    blocks: Blocks,
    length: usize,
}

#[expect(clippy::large_enum_variant, reason = "the large one is the usual one")]
enum Blocks {
    Usual([[u8; BLOCK]; USUAL]),
    More(Vec<[u8; BLOCK]>),
}

impl Tail {
    /// Zeros, with this length; the last block is zeroed to its end.
    pub(super) fn zeros(length: usize) -> Self {
        let blocks = match length.div_ceil(BLOCK) {
            ..=USUAL => Blocks::Usual([[0; BLOCK]; USUAL]),
            more => Blocks::More(vec![[0; BLOCK]; more]),
        };
        Self { blocks, length }
    }

    /// A copy of these bytes.
    pub(super) fn of(bytes: &[u8]) -> Self {
        let mut tail = Self::zeros(bytes.len());
        tail.blocks_mut().as_flattened_mut()[..bytes.len()].copy_from_slice(bytes);
        tail
    }

    /// The blocks; the last may be partly used.
    pub(super) fn blocks_mut(&mut self) -> &mut [[u8; BLOCK]] {
        let blocks = match &mut self.blocks {
            Blocks::Usual(blocks) => &mut blocks[..],
            Blocks::More(blocks) => blocks,
        };
        &mut blocks[..self.length.div_ceil(BLOCK)]
    }

    /// The bytes.
    pub(super) fn as_bytes(&self) -> &[u8] {
        let blocks = match &self.blocks {
            Blocks::Usual(blocks) => blocks.as_flattened(),
            Blocks::More(blocks) => blocks.as_flattened(),
        };
        &blocks[..self.length]
    }
}
