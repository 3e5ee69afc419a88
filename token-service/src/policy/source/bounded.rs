//! Data as it is parsed, with a limit: YAML's aliases make much of little.

use std::{cell::Cell, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// What is left of the limit, for all files of a policy together.
#[derive(Debug)]
pub(super) struct Budget {
    /// Of the bytes that the data would take as JSON.
    left: Cell<usize>,
}

impl Budget {
    pub(super) fn new(bytes: usize) -> Self {
        Self {
            left: Cell::new(bytes),
        }
    }

    fn spend<E: Error>(&self, bytes: usize) -> Result<(), E> {
        let left = self.left.get().checked_sub(bytes).ok_or_else(|| {
            E::custom("the data is too large once its aliases are followed; keep large data out of a policy")
        })?;
        self.left.set(left);
        Ok(())
    }
}

/// Reads one value that may have so many levels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounded<'a> {
    pub(super) budget: &'a Budget,
    pub(super) levels: usize,
}

impl Bounded<'_> {
    fn below<E: Error>(self) -> Result<Self, E> {
        let levels = self.levels.checked_sub(1);
        Ok(Self {
            levels: levels.ok_or_else(|| E::custom("the data is nested too deeply"))?,
            ..self
        })
    }

    fn number<E: Error>(self, number: Option<Number>) -> Result<Value, E> {
        let value = number.map_or(Value::Null, Value::Number);
        self.budget.spend(value.to_string().len() + 1)?;
        Ok(value)
    }
}

impl<'de> DeserializeSeed<'de> for Bounded<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Bounded<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("data as JSON has it")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        self.budget.spend(5)?;
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        self.number(Some(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        self.number(Some(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        self.number(Number::from_f64(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        self.budget.spend(value.len() + 3)?;
        Ok(Value::String(value.to_owned()))
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        self.number(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        self.budget.spend(3)?;
        let below = self.below()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(below)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        self.budget.spend(3)?;
        let below = self.below()?;
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            self.budget.spend(key.len() + 3)?;
            map.insert(key, entries.next_value_seed(below)?);
        }
        Ok(Value::Object(map))
    }
}
