//! Values as text, as the annotations `org.systemd.property.NAME` hold them: the format of GLib's GVariant.
//!
//! Source: "GVariant Text Format" of GLib's manual. What D-Bus has no type for (maybe types) is refused.

use std::str::FromStr;

use zbus::wire::{Array, Dict, StructureBuilder};
use zbus::{ObjectPath, Signature, Variant};

/// The value of a text, whole. The error is for a person.
pub(super) fn parse(text: &str) -> Result<Variant<'static>, String> {
    let mut parser = Parser { text, at: 0, depth: 0 };
    let tree = parser.value()?;
    parser.blanks();
    if parser.at < text.len() {
        return Err(format!("{text:?} has something behind its value, at byte {}", parser.at));
    }
    let wanted = tree.signature();
    tree.build(&wanted).map_err(|reason| format!("{text:?} is not a value: {reason}"))
}

/// What a text says, before its types are known.
enum Tree {
    Bool(bool),
    Number(String),
    Text(String),
    Bytes(Vec<u8>),
    Array(Vec<Tree>),
    Tuple(Vec<Tree>),
    Dict(Vec<(Tree, Tree)>),
    Variant(Box<Tree>),
    /// With its type before it: `uint64 5`, `@as []`.
    Typed(Signature, Box<Tree>),
}

impl Tree {
    /// The type that a value has by itself: a number is an int32, or a double where it has a fraction.
    fn signature(&self) -> Signature {
        match self {
            Tree::Bool(_) => Signature::Bool,
            Tree::Number(text) if is_fraction(text) => Signature::F64,
            Tree::Number(_) => Signature::I32,
            Tree::Text(_) => Signature::Str,
            Tree::Bytes(_) => Signature::array(Signature::U8),
            Tree::Array(items) => Signature::array(common(items.iter())),
            Tree::Tuple(items) => Signature::structure(items.iter().map(Tree::signature).collect::<Vec<_>>()),
            Tree::Dict(entries) => {
                Signature::dict(common(entries.iter().map(|(k, _)| k)), common(entries.iter().map(|(_, v)| v)))
            }
            Tree::Variant(_) => Signature::Variant,
            Tree::Typed(signature, _) => signature.clone(),
        }
    }

    /// Whether a type stands in the text, here or inside.
    fn is_typed(&self) -> bool {
        match self {
            Tree::Typed(..) => true,
            Tree::Array(items) | Tree::Tuple(items) => items.iter().any(Tree::is_typed),
            Tree::Dict(entries) => entries.iter().any(|(k, v)| k.is_typed() || v.is_typed()),
            _ => false,
        }
    }

    fn build(&self, wanted: &Signature) -> Result<Variant<'static>, String> {
        let wrong = || format!("its type is {wanted}, not {}", self.signature());
        let failed = |e: zbus::Error| e.to_string();
        match (self, wanted) {
            (Tree::Typed(signature, tree), _) if signature == wanted => tree.build(wanted),
            (Tree::Bool(value), Signature::Bool) => Ok(Variant::from(*value)),
            (Tree::Number(text), _) => number(text, wanted).unwrap_or_else(|| Err(wrong())),
            (Tree::Text(text), Signature::Str) => Ok(Variant::from(text.clone())),
            (Tree::Text(text), Signature::ObjectPath) => {
                ObjectPath::try_from(text.clone()).map(Variant::from).map_err(|_| format!("{text:?} is no object path"))
            }
            (Tree::Text(text), Signature::Signature) => {
                Signature::from_str(text).map(Variant::from).map_err(|_| format!("{text:?} is no signature"))
            }
            (Tree::Bytes(bytes), Signature::Array(child)) if *child.signature() == Signature::U8 => {
                Ok(Variant::from(bytes.clone()))
            }
            (Tree::Array(items), Signature::Array(child)) => {
                let mut array = Array::new(child.signature());
                items.iter().try_for_each(|item| array.append(item.build(child.signature())?).map_err(failed))?;
                Ok(Variant::from(array))
            }
            (Tree::Tuple(items), Signature::Structure(fields)) if items.len() == fields.len() && !items.is_empty() => {
                let mut built = StructureBuilder::new();
                for (item, field) in items.iter().zip(fields.iter()) {
                    built.push_value(item.build(field)?);
                }
                built.build().map(Variant::from).map_err(failed)
            }
            (Tree::Dict(entries), Signature::Dict { key, value }) => {
                let mut dict = Dict::new(key.signature(), value.signature());
                for (k, v) in entries {
                    dict.append(k.build(key.signature())?, v.build(value.signature())?).map_err(failed)?;
                }
                Ok(Variant::from(dict))
            }
            (Tree::Variant(tree), Signature::Variant) => Ok(Variant::Variant(Box::new(tree.build(&tree.signature())?))),
            _ => Err(wrong()),
        }
    }
}

fn is_fraction(text: &str) -> bool {
    let hexadecimal = text.trim_start_matches(['-', '+']).starts_with("0x");
    !hexadecimal && text.contains(['.', 'e', 'E']) || text.ends_with("inf") || text.ends_with("nan")
}

/// The type of the items of an array: that of the one which says it, else that of the first.
fn common<'a>(items: impl Iterator<Item = &'a Tree> + Clone) -> Signature {
    let said = items.clone().find(|item| item.is_typed());
    let fraction = items.clone().find(|item| matches!(item, Tree::Number(text) if is_fraction(text)));
    let mut items = items;
    // An array without items says nothing; nobody can ask for it, so strings are as good as anything.
    said.or(fraction).or_else(|| items.next()).map_or(Signature::Str, Tree::signature)
}

/// A number of the wanted type. `None`: no type of a number.
fn number(text: &str, wanted: &Signature) -> Option<Result<Variant<'static>, String>> {
    fn whole<T: TryFrom<i128> + Into<Variant<'static>>>(text: &str) -> Result<Variant<'static>, String> {
        let (sign, digits) = match text.strip_prefix('-') {
            Some(rest) => (-1, rest),
            None => (1, text.strip_prefix('+').unwrap_or(text)),
        };
        let (digits, radix) = match digits.strip_prefix("0x") {
            Some(rest) => (rest, 16),
            None if digits.len() > 1 && digits.starts_with('0') => (digits, 8),
            None => (digits, 10),
        };
        let value = u64::from_str_radix(digits, radix).ok().and_then(|n| T::try_from(sign * i128::from(n)).ok());
        value.map(Into::into).ok_or_else(|| format!("{text} is out of range"))
    }
    Some(match wanted {
        Signature::U8 => whole::<u8>(text),
        Signature::I16 => whole::<i16>(text),
        Signature::U16 => whole::<u16>(text),
        Signature::I32 => whole::<i32>(text),
        Signature::U32 => whole::<u32>(text),
        Signature::I64 => whole::<i64>(text),
        Signature::U64 => whole::<u64>(text),
        Signature::F64 => {
            let value = text.parse::<f64>().ok().filter(|value| !value.is_nan());
            value.map(Variant::from).ok_or_else(|| format!("{text} is no number"))
        }
        _ => return None,
    })
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: u32,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn blanks(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    fn fail<T>(&self, expected: &str) -> Result<T, String> {
        Err(format!("{:?} has no {expected} at byte {}", self.text, self.at))
    }

    /// Takes this, with the blanks before it.
    fn take(&mut self, token: &str) -> bool {
        self.blanks();
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    /// A word: letters, digits, and what numbers are made of.
    fn word(&mut self) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || "+-._".contains(c))).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    fn value(&mut self) -> Result<Tree, String> {
        // D-Bus allows 64 levels of containers altogether.
        if self.depth > 32 {
            return Err("it is nested too deeply".to_owned());
        }
        self.depth += 1;
        let value = self.value_inside();
        self.depth -= 1;
        value
    }

    fn value_inside(&mut self) -> Result<Tree, String> {
        self.blanks();
        match self.rest().bytes().next() {
            Some(b'[') => Ok(Tree::Array(self.list("[", "]", Parser::value)?)),
            Some(b'(') => Ok(Tree::Tuple(self.list("(", ")", Parser::value)?)),
            Some(b'{') => Ok(Tree::Dict(self.list("{", "}", |parser| {
                let key = parser.value()?;
                if !parser.take(":") {
                    return parser.fail("':'");
                }
                Ok((key, parser.value()?))
            })?)),
            Some(b'<') => {
                self.at += 1;
                let value = self.value()?;
                if self.take(">") { Ok(Tree::Variant(Box::new(value))) } else { self.fail("'>'") }
            }
            Some(b'\'' | b'"') => self.quoted().map(Tree::Text),
            Some(b'@') => {
                self.at += 1;
                let rest = self.rest();
                let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
                let signature =
                    Signature::from_str(&rest[..end]).map_err(|_| format!("{:?} is no type", &rest[..end]))?;
                // A row of types is read as a structure, which has parentheses. Maybe types are GVariant's alone.
                if signature.to_string() != rest[..end] || signature.contains_maybe() {
                    return Err(format!("{:?} is no type", &rest[..end]));
                }
                self.at += end;
                Ok(Tree::Typed(signature, Box::new(self.value()?)))
            }
            _ => self.bare(),
        }
    }

    /// What begins with a letter, a digit or a sign.
    fn bare(&mut self) -> Result<Tree, String> {
        let start = self.at;
        if self.rest().starts_with("b'") || self.rest().starts_with("b\"") {
            self.at += 1;
            let mut bytes = self.quoted()?.into_bytes();
            // A string of bytes ends in one that is zero.
            bytes.push(0);
            return Ok(Tree::Bytes(bytes));
        }
        let signature = match self.word() {
            "true" => return Ok(Tree::Bool(true)),
            "false" => return Ok(Tree::Bool(false)),
            "boolean" => Signature::Bool,
            "byte" => Signature::U8,
            "int16" => Signature::I16,
            "uint16" => Signature::U16,
            "int32" => Signature::I32,
            "uint32" => Signature::U32,
            "int64" => Signature::I64,
            "uint64" => Signature::U64,
            "double" => Signature::F64,
            "string" => Signature::Str,
            "objectpath" => Signature::ObjectPath,
            "signature" => Signature::Signature,
            word if word.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)) => {
                return Ok(Tree::Number(word.to_owned()));
            }
            _ => {
                self.at = start;
                return self.fail("value");
            }
        };
        Ok(Tree::Typed(signature, Box::new(self.value()?)))
    }

    fn list<T>(
        &mut self,
        open: &str,
        close: &str,
        item: impl Fn(&mut Self) -> Result<T, String>,
    ) -> Result<Vec<T>, String> {
        self.at += open.len();
        let mut items = Vec::new();
        while !self.take(close) {
            if !items.is_empty() && !self.take(",") {
                return self.fail(&format!("',' or '{close}'"));
            }
            // Of a tuple with one item the comma stays: (1,).
            if !(open == "(" && items.len() == 1 && self.take(close)) {
                items.push(item(self)?);
            } else {
                break;
            }
        }
        Ok(items)
    }

    fn quoted(&mut self) -> Result<String, String> {
        let mut chars = self.rest().char_indices();
        let quote = chars.next().map(|(_, c)| c);
        let mut text = String::new();
        while let Some((at, c)) = chars.next() {
            match c {
                c if Some(c) == quote => {
                    self.at += at + 1;
                    return Ok(text);
                }
                '\\' => {
                    let code = |chars: &mut std::str::CharIndices<'_>, digits: usize| {
                        let hex: String = chars.take(digits).map(|(_, c)| c).collect();
                        u32::from_str_radix(&hex, 16).ok().filter(|_| hex.len() == digits).and_then(char::from_u32)
                    };
                    let escaped = match chars.next().map(|(_, c)| c) {
                        Some('n') => Some('\n'),
                        Some('t') => Some('\t'),
                        Some('r') => Some('\r'),
                        Some('a') => Some('\x07'),
                        Some('b') => Some('\x08'),
                        Some('f') => Some('\x0c'),
                        Some('v') => Some('\x0b'),
                        Some('u') => code(&mut chars, 4),
                        Some('U') => code(&mut chars, 8),
                        other => other,
                    };
                    text.extend(escaped);
                    if escaped.is_none() {
                        return self.fail("whole escape");
                    }
                }
                c => text.push(c),
            }
        }
        self.fail("end of its string")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The type and, as text again, the value; or `!` and the error.
    #[test]
    fn texts_are_values() {
        let check = |text: &str, expect: &str| {
            let value = parse(text).map(|v| format!("{} {v}", v.value_signature()));
            assert_eq!(value.unwrap_or_else(|e| format!("!{e}")), expect, "{text}");
        };
        check("true", "b true");
        check("'a'", "s \"a\"");
        check("\"a'\\\"\\n\\u00e4\\x\"", "s \"a'\\\"\\näx\"");
        check("5", "i 5");
        check(" -5 ", "i -5");
        check("0x10", "i 16");
        check("010", "i 8");
        check("5.5", "d 5.5");
        check("1e3", "d 1000.");
        check("uint64 18446744073709551615", "t uint64 18446744073709551615");
        check("@t 7", "t uint64 7");
        check("byte 0xff", "y byte 0xff");
        check("int16 -3", "n int16 -3");
        check("objectpath '/a'", "o objectpath \"/a\"");
        check("signature 'as'", "g signature \"as\"");
        check("['a', 'b']", "as [\"a\", \"b\"]");
        check("[]", "as @as []");
        check("@as []", "as @as []");
        check("@at [1, 2]", "at [uint64 1, 2]");
        check("[uint64 1, 2]", "at [uint64 1, 2]");
        check("[1, 2.5]", "ad [1., 2.5]");
        check("b'ab'", "ay b\"ab\"");
        check("('a', uint32 5)", "(su) (\"a\", uint32 5)");
        check("(1,)", "(i) (1,)");
        check("@a(ss) [('/dev/char/1:3', 'rwm')]", "a(ss) [(\"/dev/char/1:3\", \"rwm\")]");
        check("{'k': <uint64 1>}", "a{sv} {\"k\": <uint64 1>}");
        check("@a{sv} {}", "a{sv} @a{sv} {}");
        check("<'a'>", "v <\"a\">");
        check("", "!\"\" has no value at byte 0");
        check("abc", "!\"abc\" has no value at byte 0");
        check("'a", "!\"'a\" has no end of its string at byte 0");
        check("5 6", "!\"5 6\" has something behind its value, at byte 2");
        check(
            "[1, 'a']",
            "![1, 'a'] is not a value: its type is i, not s".replace("[1", "\"[1").replace("'] is", "']\" is").as_str(),
        );
        check("[1 2]", "!\"[1 2]\" has no ',' or ']' at byte 3");
        check("{'a' 1}", "!\"{'a' 1}\" has no ':' at byte 5");
        check("3000000000", "!\"3000000000\" is not a value: 3000000000 is out of range");
        check("byte 256", "!\"byte 256\" is not a value: 256 is out of range");
        check("uint64 -1", "!\"uint64 -1\" is not a value: -1 is out of range");
        check("uint64 'a'", "!\"uint64 'a'\" is not a value: its type is t, not s");
        check("@mi 5", "!\"mi\" is no type");
        check("@ii 5", "!\"ii\" is no type");
        check("()", "!\"()\" is not a value: its type is (), not ()");
        check(&"[".repeat(100), "!it is nested too deeply");
    }
}
