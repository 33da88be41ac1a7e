//! Fields that a type reads from a JSON form, including those that the form lacks.
//!
//! `Deserialize` passes the names of the fields of a struct to the deserializer. This deserializer records them.

use std::cell::RefCell;

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, VariantAccess, Visitor,
};
use serde_json::{Error as JsonError, Map, Value};

/// Returns the fields that `T` reads from `form`, nested ones by their path, and whether the form has them.
pub(crate) fn of<T: DeserializeOwned>(form: &Value) -> Vec<(String, bool)> {
    let seen = RefCell::default();
    let _: T =
        T::deserialize(Form { value: form, path: String::new(), seen: &seen }).expect("a form of the type");
    seen.into_inner()
}

struct Form<'a> {
    value: &'a Value,
    path: String,
    seen: &'a RefCell<Vec<(String, bool)>>,
}

impl<'a> Form<'a> {
    fn within(&self, name: &str, value: &'a Value) -> Self {
        Self { value, path: format!("{}.{name}", self.path), seen: self.seen }
    }

    fn object(&self) -> Result<&'a Map<String, Value>, JsonError> {
        self.value.as_object().ok_or_else(|| JsonError::custom("no object"))
    }

    fn note(&self, fields: &[&str]) -> Result<(), JsonError> {
        let object = self.object()?;
        for field in fields {
            self.seen.borrow_mut().push((format!("{}.{field}", self.path), object.contains_key(*field)));
        }
        Ok(())
    }
}

/// Types without fields of their own.
macro_rules! plainly {
    ($($method:ident)+) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
            self.value.$method(visitor)
        })+
    };
}

impl<'de> Deserializer<'de> for Form<'de> {
    type Error = JsonError;

    plainly! {
        deserialize_any deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_f32 deserialize_f64
        deserialize_char deserialize_str deserialize_string deserialize_bytes deserialize_byte_buf
        deserialize_unit deserialize_seq deserialize_map deserialize_identifier deserialize_ignored_any
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, JsonError> {
        if self.value.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, JsonError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, JsonError> {
        self.value.deserialize_unit_struct(name, visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, JsonError> {
        self.value.deserialize_tuple(length, visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, JsonError> {
        self.value.deserialize_tuple_struct(name, length, visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, JsonError> {
        self.note(fields)?;
        let entries = self.object()?.iter();
        visitor.visit_map(Entries { form: self, entries, value: None })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, JsonError> {
        match self.value.as_object().and_then(|object| object.iter().next()) {
            Some((variant, value)) => {
                visitor.visit_enum(Variant { name: variant, form: self.within(variant, value) })
            }
            None => self.value.deserialize_enum(name, variants, visitor),
        }
    }
}

struct Entries<'a> {
    form: Form<'a>,
    entries: serde_json::map::Iter<'a>,
    value: Option<(&'a str, &'a Value)>,
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = JsonError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, JsonError> {
        let Some((key, value)) = self.entries.next() else { return Ok(None) };
        self.value = Some((key, value));
        seed.deserialize(StrDeserializer::new(key)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, JsonError> {
        let (key, value) = self.value.take().ok_or_else(|| JsonError::custom("a value without a key"))?;
        seed.deserialize(self.form.within(key, value))
    }
}

struct Variant<'a> {
    name: &'a str,
    form: Form<'a>,
}

impl<'de> EnumAccess<'de> for Variant<'de> {
    type Error = JsonError;
    type Variant = Form<'de>;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Form<'de>), JsonError> {
        Ok((seed.deserialize(StrDeserializer::<JsonError>::new(self.name))?, self.form))
    }
}

impl<'de> VariantAccess<'de> for Form<'de> {
    type Error = JsonError;

    fn unit_variant(self) -> Result<(), JsonError> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, JsonError> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, JsonError> {
        self.value.deserialize_tuple(length, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, JsonError> {
        self.deserialize_struct("", fields, visitor)
    }
}
