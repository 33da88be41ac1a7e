//! Unsigned numbers in columns of type `bigint`.

use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo, PgValueRef};
use sqlx::{Decode, Encode, Postgres, Type};

/// An unsigned number stored as `bigint`, such as the version of a stream. A number that the other side does
/// not have (negative, or above `i64::MAX`) is an error of the query and never another number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BigInt(pub u64);

impl Type<Postgres> for BigInt {
    fn type_info() -> PgTypeInfo {
        <i64 as Type<Postgres>>::type_info()
    }
}

impl PgHasArrayType for BigInt {
    fn array_type_info() -> PgTypeInfo {
        <i64 as PgHasArrayType>::array_type_info()
    }
}

impl Encode<'_, Postgres> for BigInt {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        Encode::<Postgres>::encode_by_ref(&i64::try_from(self.0)?, buffer)
    }
}

impl Decode<'_, Postgres> for BigInt {
    fn decode(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
        Ok(Self(u64::try_from(<i64 as Decode<Postgres>>::decode(value)?)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_above_the_range_of_bigint_is_not_sent() {
        let mut buffer = PgArgumentBuffer::default();
        assert!(BigInt(u64::MAX).encode_by_ref(&mut buffer).is_err());
        assert!(buffer.is_empty());
        assert!(BigInt(i64::MAX.unsigned_abs()).encode_by_ref(&mut buffer).is_ok());
        assert_eq!(**buffer, i64::MAX.to_be_bytes());
    }
}
