//! Reading the JSON bodies of commands: where an object is meant only an object will do, and null stands for absent.
//!
//! Derived structs also take a JSON array, their fields in order. Nobody promises that form, and whoever looks at a body for a
//! part of it (limits by customer, for instance) would read another body than the one that is carried out. [`from_slice`] refuses
//! it at every depth while it reads: it asks serde_json for a map where a struct is wanted.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, VariantAccess,
    Visitor,
};

/// Parses JSON; structs at every depth are JSON objects.
///
/// A type that looks at the form of its own value (an internally tagged enum) still takes an array: its field says
/// `deserialize_with = "object_or_default"`.
pub fn from_slice<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, serde_json::Error> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = T::deserialize(Strict(&mut json))?;
    json.end()?;
    Ok(value)
}

/// The body to parse: an empty one stands for `{}`.
#[must_use]
pub const fn or_empty(body: &[u8]) -> &[u8] {
    if body.trim_ascii().is_empty() { b"{}" } else { body }
}

/// For `deserialize_with`: null is the default, as if the field were absent.
pub fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// For `default`: what is true unless it is said otherwise.
#[must_use]
pub const fn yes() -> bool {
    true
}

/// For `deserialize_with`: null is [`yes`], as if the field were absent.
pub fn or_yes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_else(yes))
}

/// For `deserialize_with`: like [`or_default`], of a type that would take an array too.
pub fn object_or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::<Object<T>>::deserialize(deserializer)?.map(|object| object.0).unwrap_or_default())
}

/// Refuses all but a JSON object.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfMap<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for OfMap<T> {
            type Value = T;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(OBJECT)
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }
        deserializer.deserialize_map(OfMap(PhantomData)).map(Self)
    }
}

const OBJECT: &str = "a JSON object";

/// Around a deserializer, a visitor, an access or a seed: goes on with what lies inside, and asks for a map where a struct is wanted.
struct Strict<T>(T);

/// Around the visitor of a struct.
struct Fields<V>(V);

/// Methods that pass everything on, the visitor wrapped.
macro_rules! pass_on {
    ($($method:ident($($name:ident: $type:ty),*);)*) => {
        $(fn $method<V: Visitor<'de>>(self, $($name: $type,)* visitor: V) -> Result<V::Value, D::Error> {
            self.0.$method($($name,)* Strict(visitor))
        })*
    };
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Strict<D> {
    type Error = D::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_map(Fields(visitor))
    }

    pass_on! {
        deserialize_any();
        deserialize_bool();
        deserialize_i8();
        deserialize_i16();
        deserialize_i32();
        deserialize_i64();
        deserialize_i128();
        deserialize_u8();
        deserialize_u16();
        deserialize_u32();
        deserialize_u64();
        deserialize_u128();
        deserialize_f32();
        deserialize_f64();
        deserialize_char();
        deserialize_str();
        deserialize_string();
        deserialize_bytes();
        deserialize_byte_buf();
        deserialize_option();
        deserialize_unit();
        deserialize_unit_struct(name: &'static str);
        deserialize_newtype_struct(name: &'static str);
        deserialize_seq();
        deserialize_tuple(len: usize);
        deserialize_tuple_struct(name: &'static str, len: usize);
        deserialize_map();
        deserialize_enum(name: &'static str, variants: &'static [&'static str]);
        deserialize_identifier();
        deserialize_ignored_any();
    }

    fn is_human_readable(&self) -> bool {
        self.0.is_human_readable()
    }
}

/// Visits of plain values.
macro_rules! visit {
    ($($method:ident($type:ty);)*) => {
        $(fn $method<E: Error>(self, value: $type) -> Result<V::Value, E> {
            self.0.$method(value)
        })*
    };
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Strict<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }

    visit! {
        visit_bool(bool);
        visit_i64(i64);
        visit_i128(i128);
        visit_u64(u64);
        visit_u128(u128);
        visit_f64(f64);
        visit_char(char);
        visit_str(&str);
        visit_borrowed_str(&'de str);
        visit_string(String);
        visit_bytes(&[u8]);
        visit_borrowed_bytes(&'de [u8]);
        visit_byte_buf(Vec<u8>);
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.0.visit_none()
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.0.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, value: D) -> Result<V::Value, D::Error> {
        self.0.visit_some(Strict(value))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, value: D) -> Result<V::Value, D::Error> {
        self.0.visit_newtype_struct(Strict(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<V::Value, A::Error> {
        self.0.visit_seq(Strict(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<V::Value, A::Error> {
        self.0.visit_map(Strict(fields))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, variant: A) -> Result<V::Value, A::Error> {
        self.0.visit_enum(Strict(variant))
    }
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Fields<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(OBJECT)
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<V::Value, A::Error> {
        self.0.visit_map(Strict(fields))
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Strict<S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        self.0.deserialize(Strict(deserializer))
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Strict<A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        self.0.next_element_seed(Strict(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Strict<A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        // Keys are strings.
        self.0.next_key_seed(seed)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.0.next_value_seed(Strict(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

impl<'de, A: EnumAccess<'de>> EnumAccess<'de> for Strict<A> {
    type Error = A::Error;
    type Variant = Strict<A::Variant>;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Strict<A::Variant>), A::Error> {
        let (name, variant) = self.0.variant_seed(seed)?;
        Ok((name, Strict(variant)))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Strict<A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        self.0.unit_variant()
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        self.0.newtype_variant_seed(Strict(seed))
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, A::Error> {
        self.0.tuple_variant(len, Strict(visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        self.0.newtype_variant_seed(FieldsSeed(visitor))
    }
}

/// The fields of an enum's variant.
struct FieldsSeed<V>(V);

impl<'de, V: Visitor<'de>> DeserializeSeed<'de> for FieldsSeed<V> {
    type Value = V::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        deserializer.deserialize_map(Fields(self.0))
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};
    use serde_json::value::RawValue;
    use std::borrow::Cow;
    use std::collections::BTreeMap;

    use super::*;
    use crate::{Money, Text};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body<'a> {
        #[serde(borrow)]
        name: Cow<'a, str>,
        #[serde(default)]
        lines: Vec<Line>,
        #[serde(default)]
        one: Option<Line>,
        #[serde(default)]
        by_name: BTreeMap<String, Line>,
        #[serde(default)]
        choice: Option<Choice>,
        #[serde(default)]
        price: Option<Money>,
        #[serde(default, deserialize_with = "object_or_default")]
        tagged: Tagged,
        #[serde(default, deserialize_with = "or_default")]
        count: u32,
        #[serde(default)]
        pair: Option<(i64, f64)>,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Line {
        text: Text,
        quantity: u32,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Choice {
        None,
        One(Line),
        Of { least: u8, most: u8 },
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(tag = "strategy", rename_all = "snake_case")]
    enum Tagged {
        Auto {},
        Manual { value: String },
    }

    impl Default for Tagged {
        fn default() -> Self {
            Self::Auto {}
        }
    }

    const WHOLE: &str = r#"{"name":"a","lines":[{"text":"x","quantity":1}],"one":{"text":"y\u0041","quantity":2},
        "by_name":{"k":{"text":"z","quantity":3}},"choice":{"Of":{"least":1,"most":2}},
        "price":{"amount":"1.50","currency":"GBP"},"tagged":{"strategy":"manual","value":"S"},"count":7,"pair":[-1,0.5]}"#;

    #[test]
    fn objects_are_read_as_serde_json_reads_them() {
        let other = r#"{"name":"a\n","choice":{"One":{"text":"z","quantity":3}}}"#;
        let bodies = [WHOLE, other, r#"{"name":"a","choice":"None"}"#, r#" {"name":"a","one":null} "#];
        for text in bodies {
            let read: Body<'_> = from_slice(text.as_bytes()).unwrap();
            assert_eq!(read, serde_json::from_str(text).unwrap());
        }
        let same = ["{}", r#"{"name":"a","more":1}"#, r#"{"name":"a"} x"#, r#"{"name":"a""#, r#"{"name":1}"#];
        for text in same {
            let ours = from_slice::<Body<'_>>(text.as_bytes()).unwrap_err().to_string();
            assert_eq!(ours, serde_json::from_str::<Body<'_>>(text).unwrap_err().to_string());
        }
        let raw: Option<&RawValue> = from_slice(b"[1, 2]").unwrap();
        assert_eq!(raw.unwrap().get(), "[1, 2]");
    }

    #[test]
    fn an_array_is_no_object_at_any_depth() {
        let bodies = [
            r#"["a"]"#,
            r#"{"name":"a","lines":[["x",1]]}"#,
            r#"{"name":"a","one":["x",1]}"#,
            r#"{"name":"a","by_name":{"k":["x",1]}}"#,
            r#"{"name":"a","choice":{"One":["x",1]}}"#,
            r#"{"name":"a","choice":{"Of":[1,2]}}"#,
            r#"{"name":"a","price":["1.50","GBP"]}"#,
            r#"{"name":"a","tagged":["manual","S"]}"#,
            r#"{"name":"a","tagged":["auto"]}"#,
        ];
        for text in bodies {
            let error = from_slice::<Body<'_>>(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains("invalid type: sequence, expected a JSON object"), "{text}: {error}");
        }
    }

    #[test]
    fn null_stands_for_absent() {
        let nulls = r#"{"name":"a","tagged":null,"count":null}"#;
        let absent: Body<'_> = from_slice(br#"{"name":"a"}"#).unwrap();
        assert_eq!(from_slice::<Body<'_>>(nulls.as_bytes()).unwrap(), absent);
    }
}
