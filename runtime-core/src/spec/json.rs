//! A JSON document whose every value knows its pointer.
//!
//! [`Json`] is the document as it is written: strings are borrowed from the text, objects keep their order. [`Node`] is
//! a value together with the way to it, so that a refusal can name the value (RFC 6901) although nothing is allocated
//! for it before something is wrong. `null` is the same as absent everywhere.

use std::borrow::Cow;
use std::ffi::CString;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::{Error, Result};

/// A value, borrowing from the document's text.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Json<'a> {
    Null,
    Bool(bool),
    /// 0 and above.
    Unsigned(u64),
    /// Below 0.
    Negative(i64),
    /// A number with a fraction or an exponent, or one beyond 64 bits: no field takes one.
    Float(f64),
    String(Cow<'a, str>),
    Array(Vec<Json<'a>>),
    Object(Vec<(Cow<'a, str>, Json<'a>)>),
}

impl<'a> Json<'a> {
    /// Parses a document; `what` names it in the error, which tells line and column.
    pub(super) fn parse(text: &'a [u8], what: impl fmt::Display) -> Result<Self> {
        serde_json::from_slice(text).map_err(|e| broken(what, &e))
    }

    /// What the value is, for a message.
    fn kind(&self) -> &'static str {
        match self {
            Json::Null => "null",
            Json::Bool(_) => "a boolean",
            Json::Unsigned(_) | Json::Negative(_) => "an integer",
            Json::Float(_) => "a number with a fraction, an exponent or more than 64 bits",
            Json::String(_) => "a string",
            Json::Array(_) => "an array",
            Json::Object(_) => "an object",
        }
    }

    /// `null`, `""`, `[]`, `{}`: what a generator writes for a field that nobody set.
    fn is_empty(&self) -> bool {
        match self {
            Json::Null => true,
            Json::String(s) => s.is_empty(),
            Json::Array(a) => a.is_empty(),
            Json::Object(o) => o.is_empty(),
            _ => false,
        }
    }
}

/// The error for a text that is not JSON.
pub(super) fn broken(what: impl fmt::Display, e: &serde_json::Error) -> Error {
    Error::new(crate::ErrorKind::InvalidSpec, format!("parse {what}: {e}"))
}

impl<'de: 'a, 'a> Deserialize<'de> for Json<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Json<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON value")
            }
            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Json::Null)
            }
            fn visit_bool<E>(self, v: bool) -> Result<Self::Value, E> {
                Ok(Json::Bool(v))
            }
            fn visit_i64<E>(self, v: i64) -> Result<Self::Value, E> {
                Ok(u64::try_from(v).map_or(Json::Negative(v), Json::Unsigned))
            }
            fn visit_u64<E>(self, v: u64) -> Result<Self::Value, E> {
                Ok(Json::Unsigned(v))
            }
            fn visit_f64<E>(self, v: f64) -> Result<Self::Value, E> {
                Ok(Json::Float(v))
            }
            fn visit_borrowed_str<E>(self, v: &'de str) -> Result<Self::Value, E> {
                Ok(Json::String(Cow::Borrowed(v)))
            }
            fn visit_str<E>(self, v: &str) -> Result<Self::Value, E> {
                Ok(Json::String(Cow::Owned(v.to_owned())))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Json::Array(items))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some((Key(key), value)) = map.next_entry()? {
                    fields.push((key, value));
                }
                Ok(Json::Object(fields))
            }
        }

        deserializer.deserialize_any(Any)
    }
}

/// An object's key: serde's own `Cow` never borrows.
struct Key<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyStr;

        impl<'de> Visitor<'de> for AnyStr {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }
            fn visit_borrowed_str<E>(self, v: &'de str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Borrowed(v)))
            }
            fn visit_str<E>(self, v: &str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Owned(v.to_owned())))
            }
        }

        deserializer.deserialize_str(AnyStr)
    }
}

/// A value and the way to it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Node<'a> {
    json: &'a Json<'a>,
    up: Option<&'a Node<'a>>,
    step: Step<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Step<'a> {
    Root,
    Key(&'a str),
    Index(usize),
}

/// The JSON pointer of a [`Node`] (RFC 6901). The document itself is `/`, because an empty string in front of a reason
/// would not be understood.
impl fmt::Display for Node<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.up, self.step) {
            (Some(up), step) => {
                if up.up.is_some() {
                    up.fmt(f)?;
                }
                match step {
                    // One line, whatever a key holds.
                    Step::Key(key) => write!(f, "/{}", key.replace('~', "~0").replace('/', "~1").escape_debug()),
                    Step::Index(index) => write!(f, "/{index}"),
                    Step::Root => Ok(()),
                }
            }
            (None, _) => f.write_str("/"),
        }
    }
}

static NULL: Json<'static> = Json::Null;

impl<'a> Node<'a> {
    /// The document itself.
    pub(super) fn root(json: &'a Json<'a>) -> Self {
        Node { json, up: None, step: Step::Root }
    }

    /// The refusal of this value.
    pub(super) fn refuse(self, reason: impl fmt::Display) -> Error {
        Error::refused(self, reason)
    }

    /// The refusal of this value because it can't be honoured (yet).
    pub(super) fn unsupported(self, reason: impl fmt::Display) -> Error {
        Error::unsupported(self, reason)
    }

    fn wrong_type(self, wanted: &str) -> Error {
        self.refuse(format_args!("must be {wanted}, not {}", self.json.kind()))
    }

    /// Absent or `null`.
    pub(super) fn is_null(self) -> bool {
        matches!(self.json, Json::Null)
    }

    /// Absent, `null`, `""`, `[]` or `{}`.
    pub(super) fn is_empty(self) -> bool {
        self.json.is_empty()
    }

    /// Refuses a field that Orlop does not act on, unless nobody set it.
    pub(super) fn must_be_unset(self) -> Result<()> {
        if self.is_empty() { Ok(()) } else { Err(self.unsupported("is not supported")) }
    }

    /// An object; absent is the same as empty.
    pub(super) fn object(&'a self) -> Result<Object<'a>> {
        match self.json {
            Json::Null => Ok(Object { node: self, fields: &[] }),
            Json::Object(fields) => Ok(Object { node: self, fields }),
            _ => Err(self.wrong_type("an object")),
        }
    }

    /// Each item of an array, read by `read`; absent is the same as empty.
    pub(super) fn list<T>(&self, mut read: impl FnMut(Node<'_>) -> Result<T>) -> Result<Vec<T>> {
        match self.json {
            Json::Null => Ok(Vec::new()),
            Json::Array(items) => {
                let mut all = Vec::with_capacity(items.len());
                for (index, json) in items.iter().enumerate() {
                    all.push(read(Node { json, up: Some(self), step: Step::Index(index) })?);
                }
                Ok(all)
            }
            _ => Err(self.wrong_type("an array")),
        }
    }

    /// Each field of an object that serves as a map, read by `read` in the order of the keys; of a key that occurs
    /// twice only the last is read. Absent is the same as empty.
    pub(super) fn map<T>(&self, mut read: impl FnMut(&str, Node<'_>) -> Result<T>) -> Result<Vec<T>> {
        let object = self.object()?;
        let fields: std::collections::BTreeMap<&str, &Json<'_>> =
            object.fields.iter().map(|(key, json)| (&**key, json)).collect();
        fields.into_iter().map(|(key, json)| read(key, Node { json, up: Some(self), step: Step::Key(key) })).collect()
    }

    /// A boolean; absent is `None`.
    pub(super) fn bool(self) -> Result<Option<bool>> {
        match self.json {
            Json::Null => Ok(None),
            Json::Bool(v) => Ok(Some(*v)),
            _ => Err(self.wrong_type("a boolean")),
        }
    }

    /// A boolean; absent is `false`.
    pub(super) fn flag(self) -> Result<bool> {
        Ok(self.bool()?.unwrap_or_default())
    }

    /// An integer that fits `T`; absent is `None`.
    pub(super) fn int<T: Int>(self) -> Result<Option<T>> {
        self.int_in(T::MIN, T::MAX)
    }

    /// An integer from `min` to `max`; absent is `None`.
    pub(super) fn int_in<T: Int>(self, min: T, max: T) -> Result<Option<T>> {
        let value: i128 = match self.json {
            Json::Null => return Ok(None),
            Json::Unsigned(v) => (*v).into(),
            Json::Negative(v) => (*v).into(),
            _ => return Err(self.wrong_type("an integer")),
        };
        match T::try_from(value) {
            Ok(v) if (min.into()..=max.into()).contains(&value) => Ok(Some(v)),
            _ => Err(self.refuse(format_args!("{value} is not between {min} and {max}"))),
        }
    }

    /// A uid or gid; 2^32-1 is refused, because setresuid(2) and chown(2) take it for "unchanged".
    pub(super) fn id(self) -> Result<Option<u32>> {
        self.int_in(0, u32::MAX - 1)
    }

    /// A string; absent is `None`.
    pub(super) fn str(self) -> Result<Option<&'a str>> {
        match self.json {
            Json::Null => Ok(None),
            Json::String(v) => Ok(Some(v)),
            _ => Err(self.wrong_type("a string")),
        }
    }

    /// A string without NUL bytes that is not empty; absent and empty are `None`.
    pub(super) fn text(self) -> Result<Option<&'a str>> {
        match self.str()? {
            Some(v) if v.contains('\0') => Err(self.refuse("must not hold a NUL byte")),
            v => Ok(v.filter(|v| !v.is_empty())),
        }
    }

    /// As [`Node::text`], in the kernel's form.
    pub(super) fn cstring(self) -> Result<Option<CString>> {
        self.text()?.map(|v| self.to_cstring(v)).transpose()
    }

    /// An array of strings that may be empty, in the kernel's form; absent is the same as empty.
    pub(super) fn strings(&self) -> Result<Vec<CString>> {
        self.list(|at| at.to_cstring(at.required(at.str())?))
    }

    /// `value`, which comes from this node, in the kernel's form.
    pub(super) fn to_cstring(self, value: impl Into<Vec<u8>>) -> Result<CString> {
        CString::new(value).map_err(|_| self.refuse("must not hold a NUL byte"))
    }

    /// An absolute path; absent and empty are `None`.
    pub(super) fn absolute(self) -> Result<Option<&'a str>> {
        match self.text()? {
            Some(path) if !path.starts_with('/') => Err(self.refuse(format_args!("{path:?} must be an absolute path"))),
            path => Ok(path),
        }
    }

    /// The value that `names` has for this string; absent and empty are `None`.
    pub(super) fn one_of<T: Copy>(self, what: &str, names: &[(&str, T)]) -> Result<Option<T>> {
        let Some(name) = self.text()? else { return Ok(None) };
        match names.iter().find(|(n, _)| *n == name) {
            Some((_, value)) => Ok(Some(*value)),
            None => Err(self.refuse(format_args!("unknown {what} {name:?}"))),
        }
    }

    /// The bits that `names` has for these strings, together.
    pub(super) fn bits<T: Copy + Default + std::ops::BitOr<Output = T>>(
        self,
        what: &str,
        names: &[(&str, T)],
    ) -> Result<T> {
        let flags = self.list(|at| at.one_of(what, names)?.ok_or_else(|| at.missing()))?;
        Ok(flags.into_iter().fold(T::default(), |all, one| all | one))
    }

    /// The refusal of this place because the value that belongs there is not there.
    pub(super) fn missing(self) -> Error {
        self.refuse("must be set")
    }

    /// `value`, which was read from this node and must be there.
    pub(super) fn required<T>(self, value: Result<Option<T>>) -> Result<T> {
        value?.ok_or_else(|| self.missing())
    }
}

/// An object of the document.
#[derive(Debug, Clone, Copy)]
pub(super) struct Object<'a> {
    node: &'a Node<'a>,
    fields: &'a [(Cow<'a, str>, Json<'a>)],
}

impl<'a> Object<'a> {
    /// One field; of a key that occurs twice the last, as Go's encoding/json (and so runc) does. Absent: a node that is
    /// null.
    pub(super) fn field(&self, key: &'a str) -> Node<'a> {
        let json = self.fields.iter().rev().find(|(k, _)| k == key).map_or(&NULL, |(_, json)| json);
        Node { json, up: Some(self.node), step: Step::Key(key) }
    }
}

/// The integer types of the configuration's fields.
pub(super) trait Int: Copy + fmt::Display + Into<i128> + TryFrom<i128> {
    const MIN: Self;
    const MAX: Self;
}

impl Int for u8 {
    const MIN: Self = u8::MIN;
    const MAX: Self = u8::MAX;
}
impl Int for u16 {
    const MIN: Self = u16::MIN;
    const MAX: Self = u16::MAX;
}
impl Int for u32 {
    const MIN: Self = u32::MIN;
    const MAX: Self = u32::MAX;
}
impl Int for u64 {
    const MIN: Self = u64::MIN;
    const MAX: Self = u64::MAX;
}
impl Int for i32 {
    const MIN: Self = i32::MIN;
    const MAX: Self = i32::MAX;
}
impl Int for i64 {
    const MIN: Self = i64::MIN;
    const MAX: Self = i64::MAX;
}
