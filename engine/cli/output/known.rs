//! The fields that an object of the API may have. Answers leave out what is unset; a template may name it all the
//! same, while a name that does not exist is an error.

use serde::de::{Deserialize, Deserializer, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::Value;

/// Stops where a struct would be read, with the names of its fields.
struct Names<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Names<'_> {
    type Error = serde::de::value::Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(serde::de::Error::custom("not a struct"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Self::Error> {
        *self.0 = fields;
        Err(serde::de::Error::custom("only the names are wanted"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// Gives `value` each field of `T` that it lacks, as null.
pub(crate) fn fill<T: for<'de> Deserialize<'de>>(value: &mut Value) {
    let mut names: &[&str] = &[];
    let _ = T::deserialize(Names(&mut names));
    if let Value::Object(fields) = value {
        for name in names {
            fields.entry(*name).or_insert(Value::Null);
        }
    }
}

#[cfg(test)]
mod tests {
    use berth_api::models::ContainerState;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_unset_is_null_and_what_does_not_exist_stays_away() {
        let mut state = json!({ "Running": true });
        fill::<ContainerState>(&mut state);
        assert_eq!(state.get("Health"), Some(&Value::Null));
        assert_eq!((&state["Running"], state.get("Nonsense")), (&json!(true), None));
    }
}
