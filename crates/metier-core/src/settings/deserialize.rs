//! From the tree of a settings file to a Rust value; an error keeps the place it was found at.

use super::tree::{Node, Spot, Value, join, join_item};
use crate::{Fault, Result};
use serde::de::value::{MapAccessDeserializer, MapDeserializer, SeqDeserializer};
use serde::de::{DeserializeOwned, Deserializer, IntoDeserializer, Visitor};
use std::fmt;

/// The value a node stands for.
pub(super) fn deserialize<T: DeserializeOwned>(node: &Node, path: &str) -> Result<T> {
    T::deserialize(At { node, path: path.to_owned() }).map_err(|trouble| {
        let (spot, path) = trouble.at.unwrap_or_else(|| (node.spot.clone(), path.to_owned()));
        Fault::new(spot.place(&path), trouble.message).into()
    })
}

/// A node and its path.
struct At<'tree> {
    node: &'tree Node,
    path: String,
}

#[derive(Debug)]
struct Trouble {
    message: String,
    at: Option<(Spot, String)>,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Trouble {}

impl serde::de::Error for Trouble {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self { message: message.to_string(), at: None }
    }
}

impl<'de> IntoDeserializer<'de, Trouble> for At<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> At<'de> {
    fn visit<V: Visitor<'de>>(&self, visitor: V) -> Result<V::Value, Trouble> {
        match &self.node.value {
            Value::Text(text) | Value::Moment(text) => visitor.visit_borrowed_str(text),
            Value::Integer(value) => visitor.visit_i64(*value),
            Value::Float(value) => visitor.visit_f64(*value),
            Value::Boolean(value) => visitor.visit_bool(*value),
            Value::List(items) => visitor.visit_seq(SeqDeserializer::new(
                items.iter().enumerate().map(|(index, node)| At { node, path: join_item(&self.path, index, node) }),
            )),
            Value::Table(_) => visitor.visit_map(self.map()),
        }
    }

    fn map(&self) -> MapDeserializer<'de, impl Iterator<Item = (&'de str, At<'de>)>, Trouble> {
        let entries: &[super::tree::Entry] = match &self.node.value {
            Value::Table(entries) => entries,
            _ => &[],
        };
        let path = self.path.clone();
        MapDeserializer::new(
            entries
                .iter()
                .map(move |entry| (entry.key.as_str(), At { node: &entry.node, path: join(&path, &entry.key) })),
        )
    }

    fn mark(self, trouble: Trouble) -> Trouble {
        Trouble { at: trouble.at.or_else(|| Some((self.node.spot.clone(), self.path))), ..trouble }
    }
}

impl<'de> Deserializer<'de> for At<'de> {
    type Error = Trouble;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Trouble> {
        self.visit(visitor).map_err(|trouble| self.mark(trouble))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Trouble> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Trouble> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Trouble> {
        let read = match &self.node.value {
            Value::Text(text) => {
                let variant: serde::de::value::BorrowedStrDeserializer<'_, Trouble> =
                    serde::de::value::BorrowedStrDeserializer::new(text);
                visitor.visit_enum(variant)
            }
            Value::Table(_) => visitor.visit_enum(MapAccessDeserializer::new(self.map())),
            _ => Err(serde::de::Error::custom(format!("{} names no choice", self.node.describe()))),
        };
        read.map_err(|trouble| self.mark(trouble))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}
