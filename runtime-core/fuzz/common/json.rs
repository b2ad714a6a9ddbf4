//! Changes to JSON documents, so that what is tried is a document and not a syntax error.

use serde_json::{Map, Value, json};

/// Knuth's MMIX generator: the same sequence for the same seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// A number below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % bound
    }

    /// One of them.
    pub(crate) fn of<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }
}

/// The values at which types end and parsers err.
pub(crate) fn odd(random: &mut Random) -> Value {
    const NUMBERS: [i64; 14] =
        [0, 1, -1, 2, 5, 255, 1000, 4096, 65_536, i32::MAX as i64, 1 << 31, u32::MAX as i64, 1 << 32, i64::MIN];
    const TEXTS: [&str; 24] = [
        "",
        "/",
        ".",
        "..",
        "/..",
        "//",
        "a",
        "/a/b",
        "a\0b",
        "a\nb",
        "\u{7f}\u{80}",
        "ä𝄞",
        "-1",
        "0",
        "0-",
        "0-3,7",
        "max",
        "rwm",
        "=",
        "a=",
        "1.0.0",
        "c",
        "b",
        "%s",
    ];
    match random.below(12) {
        0 => Value::Null,
        1 => json!(random.below(2) == 0),
        2..=4 => json!(*random.of(&NUMBERS)),
        5 => json!([u64::MAX, i64::MAX as u64, 1 << 63, 1 << 53][random.below(4)]),
        6 => json!([0.5, 1e300, -0.0, 1e19][random.below(4)]),
        7 => json!(random.of(&TEXTS).repeat([1, 300, 5000][random.below(3)])),
        8 => [json!([]), json!({}), json!([null]), json!([""])][random.below(4)].clone(),
        _ => json!(random.of(&TEXTS)),
    }
}

/// One change somewhere in a document. `words` are keys and values that the reader knows.
pub(crate) fn change(document: &mut Value, words: &[&str], random: &mut Random) {
    let donor = pick(document, random).clone();
    let at = pick(document, random);
    match (random.below(12), at) {
        (0 | 1, at) => *at = odd(random),
        (2, at) if !words.is_empty() => *at = json!(*random.of(words)),
        (3, at) => *at = donor,
        (4, at) => *at = json!([at.take()]),
        (5, at) => *at = json!({ "x": at.take() }),
        (6, at) => {
            // Deeper than anything that is read.
            for _ in 0..random.below(120) {
                *at = json!([at.take()]);
            }
        }
        (_, Value::Object(fields)) => change_object(fields, donor, words, random),
        (_, Value::Array(items)) => match random.below(4) {
            0 if !items.is_empty() => drop(items.swap_remove(random.below(items.len()))),
            1 => items.push(donor),
            2 if !items.is_empty() => {
                let again = random.of(items).clone();
                items.push(again);
            }
            _ => items.push(odd(random)),
        },
        (_, Value::String(text)) => change_text(text, words, random),
        (_, at) => {
            *at = match at.as_i64() {
                Some(number) => json!(match random.below(4) {
                    0 => number.wrapping_add(1),
                    1 => number.wrapping_sub(1),
                    2 => number.wrapping_mul(2),
                    _ => number.wrapping_neg(),
                }),
                None => odd(random),
            };
        }
    }
}

/// A value of the document, the deep ones as likely as the others.
fn pick<'a>(document: &'a mut Value, random: &mut Random) -> &'a mut Value {
    let mut at = document;
    for _ in 0..1 + random.below(9) {
        let children = match &*at {
            Value::Object(fields) => fields.len(),
            Value::Array(items) => items.len(),
            _ => 0,
        };
        if children == 0 {
            break;
        }
        let child = random.below(children);
        at = match at {
            Value::Object(fields) => fields.values_mut().nth(child).expect("a field"),
            Value::Array(items) => &mut items[child],
            _ => unreachable!("it has children"),
        };
    }
    at
}

fn change_object(fields: &mut Map<String, Value>, donor: Value, words: &[&str], random: &mut Random) {
    let keys: Vec<String> = fields.keys().cloned().collect();
    let word = |random: &mut Random| if words.is_empty() { "x".to_owned() } else { (*random.of(words)).to_owned() };
    match random.below(6) {
        0 if !keys.is_empty() => drop(fields.remove(random.of(&keys))),
        1 if !keys.is_empty() => drop(fields.insert(random.of(&keys).clone(), donor)),
        2 if !keys.is_empty() => {
            let value = fields.remove(random.of(&keys)).unwrap_or_default();
            fields.insert(word(random), value);
        }
        3 => drop(fields.insert(word(random), donor)),
        4 => drop(fields.insert(word(random), json!({ word(random): odd(random) }))),
        _ => drop(fields.insert(word(random), odd(random))),
    }
}

fn change_text(text: &mut String, words: &[&str], random: &mut Random) {
    let cut = |text: &str, random: &mut Random| {
        let ends: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
        *random.of(&ends)
    };
    let at = cut(text, random);
    match random.below(5) {
        0 => text.truncate(at),
        1 => drop(text.drain(..at)),
        2 => text.insert(at, *random.of(&['\0', '/', '.', ':', ',', '=', '-', ' ', '\n', '0', '9', 'ä'])),
        3 if !words.is_empty() => {
            let word = *random.of(words);
            text.insert_str(at, word);
        }
        _ => text.push_str(&text.clone()),
    }
}
