//! Chunks on the wire: tokens are signed directly into the message that is sent, without another
//! copy.

use prost::{
    Message,
    encoding::{WireType, encode_key, encode_varint},
};
use tonic::{
    Status,
    codec::{BufferSettings, Codec, EncodeBuf, Encoder},
};
use tonic_prost::ProstDecoder;

use crate::{
    mint::bulk::Chunk,
    rpc::{
        proto::{MintTokensRequest, MintTokensResponse, Validity},
        status,
    },
};

/// The field number of [`MintTokensResponse`]'s `tokens`.
const TOKENS: u32 = 1;

/// Bytes before a token: its field number, and its length in up to three bytes.
const FRAMING: usize = 1 + 3;

/// A [`MintTokensResponse`] whose tokens are not signed yet.
pub(super) struct UnsignedChunk {
    pub(super) chunk: Chunk,
    pub(super) validity: Validity,
}

/// The codec of `MintTokens`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Chunks;

impl Codec for Chunks {
    type Encode = UnsignedChunk;
    type Decode = MintTokensRequest;
    type Encoder = Self;
    type Decoder = ProstDecoder<MintTokensRequest>;

    fn encoder(&mut self) -> Self::Encoder {
        *self
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstDecoder::new(BufferSettings::default())
    }
}

impl Encoder for Chunks {
    type Item = UnsignedChunk;
    type Error = Status;

    fn encode(&mut self, message: UnsignedChunk, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        let UnsignedChunk { chunk, validity } = message;
        // The fields of a message may be encoded in several parts.
        let (first_index, validity) = (chunk.first_index(), Some(validity));
        let rest = MintTokensResponse { tokens: Vec::new(), first_index, validity };
        buffer.reserve(chunk.bytes() + chunk.count() * FRAMING + rest.encoded_len());
        let mut ids = chunk.ids();
        for token in chunk.tokens() {
            let token = token.map_err(|_| status::signing_failed(chunk.first_index()))?;
            ids.add(&token);
            encode_key(TOKENS, WireType::LengthDelimited, buffer);
            encode_varint(token.bytes() as u64, buffer);
            token.put_into(buffer);
        }
        chunk.spend(&ids);
        // The buffer grows as needed.
        rest.encode(buffer).map_err(|_| status::unexpected())
    }
}
