//! Any document that the JSON schema allows, and many that it does not, loads or is refused by name: no input makes the
//! reader or the plan panic, and none is refused without a place.
//!
//! The properties are those of the fuzz targets (`fuzz/`), here with documents from a seed: the same at every run.

#[path = "../fuzz/common/json.rs"]
mod json;
mod machine;
#[path = "../fuzz/common/properties.rs"]
mod properties;

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use json::{Random, change, odd};
use serde_json::{Map, Value, json};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn read_all(folder: &Path, extension: &str) -> Vec<(String, Vec<u8>)> {
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == extension));
    paths.sort();
    paths.iter().map(|path| (path.display().to_string(), fs::read(path).unwrap())).collect()
}

/// Runs a property on a document, and shows the document where it does not hold.
fn hold(text: &str, property: fn(&[u8]) -> bool) -> bool {
    catch_unwind(AssertUnwindSafe(|| property(text.as_bytes()))).unwrap_or_else(|_| panic!("the document: {text}"))
}

/// Makes documents that the schemas allow.
struct Generator {
    files: BTreeMap<String, Value>,
    random: Random,
    /// How many of 10 optional fields are there.
    dense: usize,
}

impl Generator {
    fn new(seed: u64) -> Self {
        let files = read_all(&folder("tests/schema"), "json").into_iter().map(|(path, text)| {
            let name = Path::new(&path).file_name().unwrap().to_str().unwrap().to_owned();
            (name, serde_json::from_slice(&text).unwrap())
        });
        Generator { files: files.collect(), random: Random(seed), dense: 3 }
    }

    /// A value for `schema`, which stands in `file`; `key` is the field's name.
    fn value(&mut self, schema: &Value, file: &str, key: &str) -> Value {
        if let Some(reference) = schema["$ref"].as_str() {
            let (other, pointer) = reference.split_once('#').unwrap();
            let other = if other.is_empty() { file } else { other };
            // Schemas of platforms that Orlop ignores are not here: anything goes.
            let Some(schema) = self.files.get(other).map(|document| document.pointer(pointer).unwrap().clone()) else {
                return odd(&mut self.random);
            };
            return self.value(&schema, other, key);
        }
        if let Some(choices) = schema["enum"].as_array() {
            return self.random.of(choices).clone();
        }
        if let Some(choices) = schema["anyOf"].as_array() {
            let choice = self.random.of(choices).clone();
            return self.value(&choice, file, key);
        }
        if let Some(parts) = schema["allOf"].as_array() {
            let mut all = Map::new();
            for part in parts.iter().chain([&json!({"type": "object", "properties": schema["properties"]})]) {
                if let Value::Object(fields) = self.value(part, file, key) {
                    all.extend(fields);
                }
            }
            return Value::Object(all);
        }
        match schema["type"].as_str() {
            Some("object") | None if !schema["properties"].is_null() || !schema["patternProperties"].is_null() => {
                self.object(schema, file)
            }
            Some("array") => {
                let least = schema["minItems"].as_u64().unwrap_or(0) as usize;
                let length = least + [0, 1, 1, 2, 5][self.random.below(5)];
                (0..length).map(|_| self.value(&schema["items"], file, key)).collect()
            }
            Some("string") => json!(self.text(schema["pattern"].as_str(), key)),
            Some("boolean") => json!(self.random.below(2) == 0),
            Some("integer") => self.integer(schema),
            Some("null") => Value::Null,
            Some("object") => json!({ "x": odd(&mut self.random) }),
            None => odd(&mut self.random),
            Some(other) => panic!("{file}: type {other}"),
        }
    }

    fn object(&mut self, schema: &Value, file: &str) -> Value {
        let required: Vec<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let mut fields = Map::new();
        for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
            // Always: what a configuration can't do without.
            let wanted = ["ociVersion", "root", "path", "args", "cwd"].contains(&name.as_str());
            if required.contains(&name.as_str()) || wanted || self.random.below(10) < self.dense {
                fields.insert(name.clone(), self.value(schema, file, name));
            }
        }
        for schema in schema["patternProperties"].as_object().into_iter().flat_map(Map::values) {
            for _ in 0..self.random.below(3) {
                let key = self.text(None, "key");
                fields.insert(key, self.value(schema, file, "value"));
            }
        }
        Value::Object(fields)
    }

    fn integer(&mut self, schema: &Value) -> Value {
        let least = schema["minimum"].as_i64().unwrap_or(i64::MIN);
        let most = schema["maximum"].as_u64().unwrap_or(u64::MAX);
        let small = i64::try_from(self.random.below(70)).unwrap();
        match self.random.below(8) {
            0 => json!(least),
            1 => json!(most),
            2 => json!(most / 2 + 1),
            3 if least < 0 => json!(-1),
            _ => json!(small.clamp(least, i64::try_from(most).unwrap_or(i64::MAX))),
        }
    }

    fn text(&mut self, pattern: Option<&str>, key: &str) -> String {
        let choices: &[&str] = match (pattern, key) {
            (Some("^RLIMIT_[A-Z]+$"), _) => &["RLIMIT_NOFILE", "RLIMIT_CORE", "RLIMIT_MOON"],
            (Some("^CAP_[A-Z_]+$"), _) => &["CAP_CHOWN", "CAP_SYS_ADMIN", "CAP_MOON"],
            (Some("^[0-9, -]*$"), _) => &["", "0", "0-3", "0, 1", "-", "99999999999999999999"],
            (Some("^[1-9][0-9]*[KMG]B$"), _) => &["2MB", "1GB", "64KB", "99999999999999999999GB"],
            (Some("^MB:[^\\n]*$"), _) => &["MB:0=10", "MB:"],
            (Some("^[rwm]{0,3}$"), _) => &["rwm", "r", "", "mm"],
            (Some("^[cbup]$"), _) => &["c", "b", "u", "p"],
            (Some(other), _) => panic!("pattern {other}: what does it match?"),
            (None, "ociVersion") => &["1.3.0", "1.0.0", "1.2.1-dev+x"],
            (None, "cwd") => &["/", "/a", "/a/../b"],
            (None, "destination") => &["/a", "/proc", "/sys/fs/cgroup", "/dev/mqueue", "b", "/"],
            (None, "source") => &["/s", "proc", "tmpfs", "none", "s"],
            (None, "options") => {
                &["ro", "rbind", "nosuid", "rro", "private", "size=1m", "idmap", "mode=755", "remount"]
            }
            (None, "type") => &["bind", "tmpfs", "proc", "cgroup", "sysfs", "ext4", "overlay"],
            (None, "path") => &["/dev/x", "/bin/sh", "rootfs", "/proc/1/ns/net"],
            (None, "names") => &["read", "clone", "socket", "no_such_call", "openat2"],
            (None, "env") => &["PATH=/bin", "A=", "B", "=C"],
            (None, "cpus" | "mems" | "initial" | "final" | "nodes") => &["0", "0-3", "1,3", "0-"],
            (None, "cgroupsPath") => &["/a/b", "a", "../x", "/"],
            _ => &["a", "/a", "0", "key", "a.b/c", "x=y", "", "ä\u{1f600}", "a\nb", "a\u{0}b"],
        };
        let text = *self.random.of(choices);
        // Seldom what no list has, where the schema does not say how it must look.
        if pattern.is_none() && self.random.below(40) == 0 {
            return text.repeat(2 + self.random.below(200));
        }
        text.to_owned()
    }
}

#[test]
fn what_the_schema_allows_loads_or_is_refused_by_name() {
    let mut generator = Generator::new(1);
    let schema = json!({"$ref": "config-schema.json#"});
    let (mut loaded, mut planned) = (0, 0);
    const DOCUMENTS: usize = 3000;
    for at in 0..DOCUMENTS {
        // From nearly bare configurations, of which many are planned, to such as have all fields.
        generator.dense = [0, 1, 1, 2, 3, 9][at % 6];
        let text = generator.value(&schema, "config-schema.json", "").to_string();
        loaded += usize::from(hold(&text, |text| properties::spec(text).is_some()));
        planned += usize::from(hold(&text, properties::plan));
    }
    println!("{DOCUMENTS} documents: {loaded} load, {planned} are planned");
    assert!(loaded > DOCUMENTS / 20 && planned > DOCUMENTS / 20, "{loaded} loaded, {planned} planned: too few");
    assert!(loaded < DOCUMENTS * 9 / 10, "{loaded} loaded: nothing is refused");
}

#[test]
fn what_the_schema_allows_as_resources_is_refused_by_name() {
    let mut generator = Generator::new(2);
    let schema = generator.files["config-linux.json"].pointer("/linux/properties/resources").unwrap().clone();
    let mut loaded = 0;
    for at in 0..2000 {
        generator.dense = [1, 2, 9][at % 3];
        let text = generator.value(&schema, "config-linux.json", "").to_string();
        loaded += usize::from(hold(&text, properties::resources));
    }
    println!("{loaded} of 2000 load");
    assert!(loaded > 100, "{loaded}");
}

#[test]
fn changed_configurations_load_or_are_refused_by_name() {
    let fixtures: Vec<Value> = read_all(&folder("tests/fixtures"), "json")
        .into_iter()
        .chain(read_all(&folder("tests/golden"), "json"))
        .map(|(_, text)| serde_json::from_slice(&text).unwrap())
        .collect();
    let words = include_str!("../fuzz/config.dict").lines();
    let words: Vec<&str> = words.filter_map(|line| line.strip_prefix('"')?.strip_suffix('"')).collect();
    let mut random = Random(3);
    let mut planned = 0;
    for _ in 0..1200 {
        let mut document = random.of(&fixtures).clone();
        for _ in 0..1 + random.below(3) {
            change(&mut document, &words, &mut random);
        }
        let text = document.to_string();
        planned += usize::from(hold(&text, properties::plan));
    }
    println!("{planned} of 1200 are planned");
    assert!(planned > 120, "{planned}");
}

/// What is beyond a document of values: cut short, nested without an end, with numbers of any length and keys twice.
#[test]
fn texts_that_are_hardly_json() {
    let whole = fs::read_to_string(folder("tests/golden/everything.json")).unwrap();
    for end in (0..whole.len()).step_by(17).filter(|&end| whole.is_char_boundary(end)) {
        assert!(!hold(&whole[..end], properties::plan));
    }
    let deep = |open: &str, close: &str, times| format!("{}{}", open.repeat(times), close.repeat(times));
    for text in [
        deep("[", "]", 100_000),
        deep("{\"a\":", "}", 100_000),
        format!("{{\"ociVersion\":{}}}", deep("[", "]", 120)),
        format!(
            "{{\"ociVersion\":\"1.0.0\",\"linux\":{{\"resources\":{{\"pids\":{{\"limit\":{}}}}}}}}}",
            "9".repeat(10_000)
        ),
        "{\"ociVersion\":1e999999}".to_owned(),
        "{\"ociVersion\":\"1.0.0\",\"ociVersion\":null,\"root\":{\"path\":\"a\"}}".to_owned(),
        "\u{feff}{}".to_owned(),
        "{\"\\ud800\":1}".to_owned(),
    ] {
        assert!(!hold(&text, properties::plan), "{}", &text[..text.len().min(80)]);
    }
    for bytes in [&b"\xff\xfe"[..], b"{\"ociVersion\":\"\xff\"}", b"\0", b""] {
        assert!(!properties::plan(bytes));
    }
}

/// What the fuzz targets found once.
#[test]
fn findings_stay_found() {
    for (name, text) in read_all(&folder("fuzz/findings"), "json") {
        println!("{name}");
        properties::plan(&text);
        properties::resources(&text);
    }
}
