//! Time stamps over checkpoints (RFC 3161): the request, and what is checked of the answer.
//!
//! A time stamping authority signs the SHA-256 of some bytes together with the time. It does not see the bytes. Here is
//! checked that an answer is one to this request; the signature and the certificates are checked by who relies on the time,
//! with `openssl ts -verify` and the certificates that they trust.
//!
//! The crate `x509-tsp` has the types of the RFC, but requires the whole Certificate Management Protocol for one of them.
//! Of a token of some thousand bytes, three fields are read here.

use der::asn1::{AnyRef, ObjectIdentifier, OctetStringRef};
use der::{Decode, Encode, Reader, SliceReader, Tag, TagNumber, Tagged};
use sha2::{Digest, Sha256};
use thiserror::Error;

const SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
/// CMS SignedData (RFC 5652).
const SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");
/// Content of a time stamp.
const TST_INFO: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.1.4");
/// `granted` and `grantedWithMods`.
const GRANTED: [u8; 2] = [0, 1];

/// Media type of a request (RFC 3161, section 3.4).
pub const QUERY_MEDIA_TYPE: &str = "application/timestamp-query";

/// Reason why an answer is not a time stamp for a request.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TimestampError {
    #[error("the answer is not of the form of RFC 3161: {0}")]
    Form(der::Error),
    #[error("the authority refused with status {0}")]
    Refused(u8),
    #[error("the answer has no time stamp")]
    NoToken,
    #[error("the time stamp is of other bytes")]
    OtherImprint,
    #[error("the time stamp is the answer to another request")]
    OtherNonce,
}

impl From<der::Error> for TimestampError {
    fn from(error: der::Error) -> Self {
        Self::Form(error)
    }
}

/// Request for a time stamp over bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimestampRequest {
    imprint: [u8; 32],
    nonce: u64,
}

impl TimestampRequest {
    /// `nonce` is random, so that the answer cannot be one to an earlier request.
    #[must_use]
    pub fn new(bytes: &[u8], nonce: u64) -> Self {
        Self { imprint: Sha256::digest(bytes).into(), nonce }
    }

    /// Returns the request in DER: version 1, imprint, nonce, and that the certificates shall be in the answer.
    ///
    /// # Errors
    ///
    /// None is expected: all parts have a small size.
    pub fn to_der(&self) -> Result<Vec<u8>, TimestampError> {
        let algorithm = sequence(&[SHA256.to_der()?, vec![0x05, 0x00]]);
        let imprint = sequence(&[algorithm, OctetStringRef::new(&self.imprint)?.to_der()?]);
        Ok(sequence(&[1_u8.to_der()?, imprint, self.nonce.to_der()?, true.to_der()?]))
    }

    /// Checks that an answer grants the request. Its signature is not verified.
    ///
    /// # Errors
    ///
    /// See [`TimestampError`].
    pub fn accept(&self, answer: &[u8]) -> Result<(), TimestampError> {
        let info = TokenInfo::of_answer(answer)?;
        if info.imprint != Some(self.imprint) {
            return Err(TimestampError::OtherImprint);
        }
        if info.nonce != Some(self.nonce) {
            return Err(TimestampError::OtherNonce);
        }
        Ok(())
    }
}

/// Checks that an answer is a time stamp over bytes, as the answer to any request. Its signature is not verified.
///
/// # Errors
///
/// See [`TimestampError`].
pub fn check_imprint(answer: &[u8], bytes: &[u8]) -> Result<(), TimestampError> {
    let imprint: [u8; 32] = Sha256::digest(bytes).into();
    match TokenInfo::of_answer(answer)?.imprint {
        Some(found) if found == imprint => Ok(()),
        _ => Err(TimestampError::OtherImprint),
    }
}

/// What is read of a time stamp.
struct TokenInfo {
    /// `None`: of another hash function.
    imprint: Option<[u8; 32]>,
    nonce: Option<u64>,
}

impl TokenInfo {
    /// Reads `TimeStampResp`.
    fn of_answer(answer: &[u8]) -> Result<Self, TimestampError> {
        let mut reader = SliceReader::new(answer)?;
        let (status, token) = reader.sequence(|answer| {
            let status = answer.sequence(|status| {
                let number = u8::decode(status)?;
                skip(status)?;
                Ok(number)
            })?;
            let token = if answer.is_finished() { None } else { Some(AnyRef::decode(answer)?) };
            Ok((status, token))
        })?;
        reader.finish(())?;
        if !GRANTED.contains(&status) {
            return Err(TimestampError::Refused(status));
        }
        let content = Self::signed_content(token.ok_or(TimestampError::NoToken)?)?;
        Self::of_content(content.ok_or(TimestampError::NoToken)?)
    }

    /// Returns what a CMS ContentInfo with SignedData has signed, if that is a time stamp.
    fn signed_content(token: AnyRef<'_>) -> Result<Option<&[u8]>, der::Error> {
        let content = token.sequence(|token| {
            let content_type = ObjectIdentifier::decode(token)?;
            let content = explicit(token)?;
            Ok((content_type == SIGNED_DATA).then_some(content))
        })?;
        let Some(content) = content else { return Ok(None) };
        content.sequence(|signed| {
            let _version = AnyRef::decode(signed)?;
            let _digest_algorithms = AnyRef::decode(signed)?;
            let content = signed.sequence(|encapsulated| {
                let content_type = ObjectIdentifier::decode(encapsulated)?;
                let content = explicit(encapsulated)?.decode_as::<OctetStringRef<'_>>()?;
                Ok((content_type == TST_INFO).then_some(content.as_bytes()))
            })?;
            skip(signed)?;
            Ok(content)
        })
    }

    /// Reads `TSTInfo`.
    fn of_content(content: &[u8]) -> Result<Self, TimestampError> {
        let mut reader = SliceReader::new(content)?;
        let info = reader.sequence(|info| {
            let _version = AnyRef::decode(info)?;
            let _policy = AnyRef::decode(info)?;
            let imprint = info.sequence(|imprint| {
                let algorithm = imprint.sequence(|algorithm| {
                    let id = ObjectIdentifier::decode(algorithm)?;
                    skip(algorithm)?;
                    Ok(id)
                })?;
                let hash = OctetStringRef::decode(imprint)?.as_bytes();
                Ok(hash.try_into().ok().filter(|_| algorithm == SHA256))
            })?;
            let _serial_number = AnyRef::decode(info)?;
            let _time = AnyRef::decode(info)?;
            let mut nonce = None;
            while !info.is_finished() {
                // Of the optional fields, the nonce alone is an integer.
                let field = AnyRef::decode(info)?;
                if field.tag() == Tag::Integer {
                    nonce = field.decode_as().ok();
                }
            }
            Ok(Self { imprint, nonce })
        })?;
        reader.finish(())?;
        Ok(info)
    }
}

/// Reads the value with the explicit tag 0.
fn explicit<'r>(reader: &mut impl Reader<'r>) -> Result<AnyRef<'r>, der::Error> {
    let tagged = AnyRef::decode(reader)?;
    tagged.tag().assert_eq(Tag::ContextSpecific { constructed: true, number: TagNumber::N0 })?;
    AnyRef::from_der(tagged.value())
}

fn skip<'r>(reader: &mut impl Reader<'r>) -> Result<(), der::Error> {
    while !reader.is_finished() {
        AnyRef::decode(reader)?;
    }
    Ok(())
}

/// Returns the DER of a sequence of at most 127 bytes.
fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    let content = parts.concat();
    debug_assert!(content.len() < 128);
    [&[0x30, content.len() as u8], content.as_slice()].concat()
}
