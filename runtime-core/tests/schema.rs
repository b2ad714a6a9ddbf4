//! What this runtime prints, against the JSON schemas of the specification (tests/schema).

use std::path::Path;

use runtime_core::features;
use runtime_core::spec::{Ids, example};
use serde_json::Value;

fn schema(file: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/schema").join(file);
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// What a value does against what the specification uses of JSON schema draft 4; a keyword that is not known here fails.
fn faults(value: &Value, schema: &Value, file: &str, at: &str) -> Vec<String> {
    let is = |kind: &str| match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "null" => value.is_null(),
        other => panic!("{file}: type {other}"),
    };
    let mut all = Vec::new();
    for (keyword, rule) in schema.as_object().unwrap() {
        let good = match keyword.as_str() {
            "$schema" | "id" | "description" | "patternProperties" => true,
            "$ref" => {
                let (other, pointer) = rule.as_str().unwrap().split_once('#').unwrap();
                let other = if other.is_empty() { file } else { other };
                let rule = self::schema(other);
                all.extend(faults(value, rule.pointer(pointer).unwrap(), other, at));
                true
            }
            "type" => is(rule.as_str().unwrap()),
            "enum" => rule.as_array().unwrap().contains(value),
            "minimum" => value.as_i64().is_none_or(|v| v >= rule.as_i64().unwrap()),
            "maximum" => value.as_u64().is_none_or(|v| v <= rule.as_u64().unwrap()),
            "minItems" => value.as_array().unwrap().len() as u64 >= rule.as_u64().unwrap(),
            "pattern" => {
                let text = value.as_str().unwrap();
                match rule.as_str().unwrap() {
                    "^CAP_[A-Z_]+$" => text
                        .strip_prefix("CAP_")
                        .is_some_and(|t| t.bytes().all(|b| b == b'_' || b.is_ascii_uppercase())),
                    "^RLIMIT_[A-Z]+$" => {
                        text.strip_prefix("RLIMIT_").is_some_and(|t| t.bytes().all(|b| b.is_ascii_uppercase()))
                    }
                    "^[rwm]{0,3}$" => text.len() <= 3 && text.bytes().all(|b| b"rwm".contains(&b)),
                    other => panic!("{file}: pattern {other}"),
                }
            }
            "items" => {
                for (i, item) in value.as_array().into_iter().flatten().enumerate() {
                    all.extend(faults(item, rule, file, &format!("{at}/{i}")));
                }
                true
            }
            "properties" => {
                for (name, rule) in rule.as_object().unwrap() {
                    if let Some(value) = value.get(name) {
                        all.extend(faults(value, rule, file, &format!("{at}/{name}")));
                    }
                }
                true
            }
            "required" => rule.as_array().unwrap().iter().all(|name| value.get(name.as_str().unwrap()).is_some()),
            "anyOf" => rule.as_array().unwrap().iter().any(|rule| faults(value, rule, file, at).is_empty()),
            other => panic!("{file}: keyword {other} at {at}"),
        };
        if !good {
            all.push(format!("{at}: {value} is against {keyword} {rule} of {file}"));
        }
    }
    all
}

fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.iter().any(has_null),
        Value::Object(fields) => fields.values().any(has_null),
        _ => false,
    }
}

#[test]
fn features_follow_their_schema() {
    let features = serde_json::to_value(features()).unwrap();
    assert_eq!(faults(&features, &schema("features-schema.json"), "features-schema.json", ""), [""; 0]);
    assert!(!has_null(&features), "null does not say whether a feature is supported");

    // Everything that features.md names is there.
    for pointer in [
        "/ociVersionMin",
        "/ociVersionMax",
        "/hooks/5",
        "/mountOptions/50",
        "/annotations/orlop.version",
        "/potentiallyUnsafeConfigAnnotations",
        "/linux/namespaces/7",
        "/linux/capabilities/40",
        "/linux/cgroup/v1",
        "/linux/cgroup/v2",
        "/linux/cgroup/systemd",
        "/linux/cgroup/systemdUser",
        "/linux/cgroup/rdma",
        "/linux/seccomp/enabled",
        "/linux/seccomp/actions/8",
        "/linux/seccomp/operators/6",
        "/linux/seccomp/archs/5",
        "/linux/seccomp/knownFlags/3",
        "/linux/seccomp/supportedFlags/2",
        "/linux/apparmor/enabled",
        "/linux/selinux/enabled",
        "/linux/memoryPolicy/modes",
        "/linux/memoryPolicy/flags",
        "/linux/intelRdt/enabled",
        "/linux/intelRdt/schemata",
        "/linux/intelRdt/monitoring",
        "/linux/mountExtensions/idmap/enabled",
        "/linux/netDevices/enabled",
    ] {
        assert!(features.pointer(pointer).is_some(), "{pointer}");
    }
}

#[test]
fn examples_follow_their_schema() {
    for rootless in [None, Some(Ids { uid: 1000, gid: 1000 })] {
        let config = serde_json::from_str(&example(rootless, true)).unwrap();
        assert_eq!(faults(&config, &schema("config-schema.json"), "config-schema.json", ""), [""; 0]);
    }
}

/// docs/fields.md has a row for each mount option, and only for those.
#[test]
fn every_mount_option_has_a_row() {
    let features = serde_json::to_value(features()).unwrap();
    let promised: Vec<&str> =
        features["mountOptions"].as_array().unwrap().iter().map(|option| option.as_str().unwrap()).collect();
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/fields.md")).unwrap();
    let rows: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("| option `")?.split('`').next()).collect();
    assert_eq!(rows, promised);
}
