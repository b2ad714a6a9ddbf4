//! Resources made up at random, given to the runtime and to another one: the same documents are refused, and what is
//! taken stands in the same control files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::{Random, case, long, rounds, with};
use crate::ctx::{Bundle, Ctx, Driver, Out, Outcome, Stop, args, ensure, fail, skip};
use crate::frame::Case;

pub(super) fn cases() -> Vec<Case> {
    vec![
        long(600, case("compared/resources", "the conversions of the reference runtime", resources)),
        long(600, case("compared/update", "update --resources, as the reference runtime", updates)),
        long(60, case("compared/events", "every figure of the reference runtime's events", events)),
        long(60, case("compared/unit", "every property of the reference runtime's unit, systemctl show", unit)),
    ]
}

/// What can be limited here.
struct Here {
    controllers: Vec<String>,
    /// `major:minor` of a block device.
    disk: Option<(u64, u64)>,
}

impl Here {
    fn of(x: &Ctx) -> Here {
        let controllers = if x.job.v2 {
            let text = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
            text.split_whitespace().map(|c| if c == "io" { "blkio" } else { c }.to_owned()).collect()
        } else {
            let entries = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
            let names = entries.filter_map(|e| e.file_name().into_string().ok());
            names.flat_map(|n| n.split(',').map(str::to_owned).collect::<Vec<_>>()).collect()
        };
        let disk = [(254, 0), (253, 0), (8, 0)];
        let disk = disk.into_iter().find(|(a, b)| Path::new(&format!("/sys/dev/block/{a}:{b}")).exists());
        Here { controllers, disk }
    }

    fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|c| c == controller)
    }
}

/// A document, of which some values are wrong.
fn document(random: &mut Random, here: &Here, v2: bool) -> Value {
    let mut all = Map::new();
    let mut object = |name: &str, fields: Vec<(&str, Value)>| {
        if !fields.is_empty() {
            all.insert(name.into(), fields.into_iter().map(|(k, v)| (k.to_owned(), v)).collect());
        }
    };
    // Each field is there in one document of three.
    let maybe = |random: &mut Random, fields: &mut Vec<(&'static str, Value)>, name: &'static str, values: &[Value]| {
        if random.below(3) == 0 {
            fields.push((name, random.one(values).clone()));
        }
    };
    let numbers = |list: &[i64]| list.iter().map(|n| json!(n)).collect::<Vec<_>>();
    let mib = |list: &[i64]| list.iter().map(|n| json!(if *n > 0 { n << 20 } else { *n })).collect::<Vec<_>>();
    if here.has("memory") {
        let mut fields = Vec::new();
        maybe(random, &mut fields, "limit", &mib(&[0, -1, 64, 100, 256]));
        // Seldom too little, or without a limit.
        if !fields.is_empty() && random.below(2) == 0 || random.below(20) == 0 {
            fields.push(("swap", random.one(&mib(&[0, -1, 100, 256, 300, 512])).clone()));
        }
        maybe(random, &mut fields, "reservation", &mib(&[0, -1, 32, 50]));
        maybe(random, &mut fields, "swappiness", &numbers(&[0, 10, 60, 100]));
        maybe(random, &mut fields, "disableOOMKiller", &[json!(false), json!(true)]);
        maybe(random, &mut fields, "checkBeforeUpdate", &[json!(false), json!(true)]);
        maybe(random, &mut fields, "kernel", &mib(&[-1, 64]));
        maybe(random, &mut fields, "kernelTCP", &mib(&[-1, 64]));
        object("memory", fields);
    }
    let mut fields = Vec::new();
    if here.has("cpu") {
        maybe(
            random,
            &mut fields,
            "shares",
            &numbers(&[0, 2, 3, 10, 100, 512, 1000, 1024, 1025, 4096, 100_000, 262_144]),
        );
        maybe(random, &mut fields, "quota", &numbers(&[0, -1, -1, 5000, 20_000, 20_000, 50_000, 50_000, 1]));
        maybe(random, &mut fields, "period", &numbers(&[0, 10_000, 50_000, 100_000, 1_000_000]));
        maybe(random, &mut fields, "burst", &numbers(&[0, 1000, 5000]));
        maybe(random, &mut fields, "idle", &numbers(&[0]));
    }
    if here.has("cpuset") {
        maybe(random, &mut fields, "cpus", &[json!(""), json!("0"), json!("0-1"), json!("1"), json!("0,1")]);
        maybe(random, &mut fields, "mems", &[json!(""), json!("0")]);
    }
    object("cpu", fields);
    if here.has("pids") {
        let mut fields = Vec::new();
        maybe(random, &mut fields, "limit", &numbers(&[-1, 0, 20, 1000]));
        object("pids", fields);
    }
    if here.has("blkio") {
        let mut fields = Vec::new();
        maybe(random, &mut fields, "weight", &numbers(&[0, 10, 100, 500, 1000]));
        if let Some((major, minor)) = here.disk {
            for name in
                ["throttleReadBpsDevice", "throttleWriteBpsDevice", "throttleReadIOPSDevice", "throttleWriteIOPSDevice"]
            {
                let device = |rate: u64| json!([{"major": major, "minor": minor, "rate": rate}]);
                maybe(random, &mut fields, name, &[device(1), device(1000), device(1 << 20)]);
            }
            // Refused where BFQ does not schedule the device.
            if random.below(20) == 0 {
                fields.push(("weightDevice", json!([{"major": major, "minor": minor, "weight": 777}])));
            }
        }
        object("blockIO", fields);
    }
    if here.has("hugetlb") && random.below(2) == 0 {
        let limit = |bytes: u64| json!({"pageSize": "2MB", "limit": bytes});
        all.insert("hugepageLimits".into(), json!([limit(random.one(&[0, 2 << 20, 8 << 20]).to_owned())]));
    }
    if here.has("net_cls") || here.has("net_prio") {
        let mut network = Map::new();
        if here.has("net_cls") && random.below(2) == 0 {
            network.insert("classID".into(), json!(random.one(&[0_u64, 0x10_0001])));
        }
        if here.has("net_prio") && random.below(2) == 0 {
            network.insert("priorities".into(), json!([{"name": "lo", "priority": random.below(10)}]));
        }
        all.insert("network".into(), network.into());
    }
    if v2 && random.below(3) == 0 {
        let mut unified = Map::new();
        for (controller, file, value) in [
            ("memory", "memory.high", "67108864"),
            ("memory", "memory.min", "1048576"),
            ("pids", "pids.max", "77"),
            ("cpu", "cpu.weight", "321"),
            ("hugetlb", "hugetlb.2MB.max", "4194304"),
        ] {
            if here.has(controller) && random.below(2) == 0 {
                unified.insert(file.into(), json!(value));
            }
        }
        for (file, value) in [("cgroup.max.depth", "7"), ("no.such", "1"), ("a/b", "1"), ("pids.nothing", "1")] {
            if random.below(8) == 0 {
                unified.insert(file.into(), json!(value));
            }
        }
        all.insert("unified".into(), unified.into());
    }
    Value::Object(all)
}

/// The control files that can be written, by hierarchy and name. Not those that count.
fn settings(x: &Ctx, id: &str) -> BTreeMap<String, String> {
    const STATE: [&str; 9] = [
        "cgroup.procs",
        "cgroup.threads",
        "tasks",
        "memory.max_usage_in_bytes",
        "memory.memsw.max_usage_in_bytes",
        "memory.peak",
        "memory.swap.peak",
        "cpuacct.usage",
        "cgroup.subtree_control",
    ];
    let mut hierarchies: Vec<String> = vec![String::new()];
    if !x.job.v2 {
        let entries = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
        hierarchies = entries
            .filter(|e| e.file_type().is_ok_and(|t| t.is_dir()))
            .filter_map(|e| e.file_name().into_string().ok())
            .collect();
    }
    let mut settings = BTreeMap::new();
    for hierarchy in hierarchies {
        let dir = x.cgroup(id, &hierarchy);
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let Ok(name) = entry.file_name().into_string() else { continue };
            let Ok(metadata) = entry.metadata() else { continue };
            let writable = metadata.is_file() && metadata.permissions().mode() & 0o600 == 0o600;
            let counts = STATE.contains(&name.as_str()) || name.contains("kmem") || name.ends_with(".pressure");
            if (writable || name == "devices.list") && !counts {
                let text = fs::read_to_string(entry.path()).unwrap_or_else(|e| e.to_string());
                let mut lines: Vec<_> = text.trim_end().lines().collect();
                if name == "devices.list" {
                    lines.sort_unstable();
                }
                settings.insert(format!("{hierarchy}/{name}"), lines.join("\n"));
            }
        }
    }
    settings
}

/// Why the two may differ in this file.
fn explained(reference: &str, file: &str, ours: &str, theirs: &str, documents: &[&Value]) -> Option<&'static str> {
    let limit_is_0 = documents.iter().any(|resources| resources["pids"]["limit"] == 0);
    let old = reference.starts_with("runc version 1.1.");
    let name = file.rsplit('/').next().unwrap_or(file);
    match name {
        "pids.max" if limit_is_0 && ours == "1" => Some("0 is a limit since runc 1.4"),
        "cpu.weight" if old => Some("a straight line before runc 1.3.1"),
        "cpu.max.burst" | "cpu.cfs_burst_us" | "cpu.idle" if old => Some("came with runc 1.2"),
        "io.weight" if theirs.lines().all(|line| line.starts_with("default")) => {
            Some("runc drops weights of devices where there is no BFQ")
        }
        _ if name.contains(".rsvd.") && old => Some("rsvd came with runc 1.2"),
        _ => None,
    }
}

/// Why only one of the two takes the document.
fn explained_refusal(v2: bool, ours: &Out, theirs: &Out, reference: &str, resources: &Value) -> Option<&'static str> {
    let old = reference.starts_with("runc version 1.1.");
    if old && (resources["cpu"]["burst"].is_u64() || resources["cpu"]["idle"].is_u64()) {
        return Some("came with runc 1.2");
    }
    // On v1 it refuses them, too.
    let weight = v2 && !resources["blockIO"]["weightDevice"].is_null();
    if weight && ours.stderr.contains("io.weight: operation not supported") && theirs.status == 0 {
        return Some("runc drops weights of devices where there is no BFQ");
    }
    None
}

/// The other runtime.
struct Reference<'a> {
    x: &'a Ctx,
    path: PathBuf,
    version: String,
}

impl<'a> Reference<'a> {
    fn of(x: &'a Ctx) -> Result<Self, Stop> {
        let Some(path) = x.job.reference.clone() else { return skip("no runtime to compare with") };
        let version = crate::frame::version(&path)?;
        Ok(Reference { x, path, version })
    }

    fn rt(&self, args: &[&str]) -> Result<Out, Stop> {
        let root = self.x.job.dir.join("reference").display().to_string();
        let mut all = vec!["--root", root.as_str()];
        if self.x.job.driver == Driver::Systemd && args.first() == Some(&"create") {
            all.push("--systemd-cgroup");
        }
        all.extend(args);
        self.x.program(&self.path, all).go()
    }
}

/// Runs one of the two runtimes.
type Runs<'a> = &'a dyn Fn(&[&str]) -> Result<Out, Stop>;

/// Creates the bundle's container with both, one after the other; what `act` makes of each.
fn with_both<T>(
    x: &Ctx,
    reference: &Reference<'_>,
    b: &Bundle,
    act: &mut dyn FnMut(Runs<'_>, Out) -> Result<T, Stop>,
) -> Result<(T, T), Stop> {
    let own = |args: &[&str]| x.rt(args);
    let other = |args: &[&str]| reference.rt(args);
    let mut one = |rt: Runs<'_>| {
        let result = rt(&["create", "--bundle", b.dir(), &b.id]).and_then(|out| act(rt, out));
        rt(&["delete", "--force", &b.id])?.ok()?;
        result
    };
    let ours = one(&own)?;
    let theirs = one(&other)?;
    // What the other one leaves of a container that it refused is not to be ours.
    let _ = fs::remove_dir(x.cgroup(&b.id, ""));
    Ok((ours, theirs))
}

/// What is different and has no explanation.
fn differences(
    reference: &str,
    ours: &BTreeMap<String, String>,
    theirs: &BTreeMap<String, String>,
    documents: &[&Value],
) -> Vec<String> {
    let names: BTreeSet<_> = ours.keys().chain(theirs.keys()).collect();
    let mut all = Vec::new();
    for name in names {
        let none = String::new();
        let (a, b) = (ours.get(name).unwrap_or(&none), theirs.get(name).unwrap_or(&none));
        if a != b && explained(reference, name, a, b, documents).is_none() {
            all.push(format!("{name}: {a:?}, there {b:?}"));
        }
    }
    all
}

fn resources(x: &Ctx) -> Outcome {
    x.needs_cgroupfs()?;
    let reference = Reference::of(x)?;
    let (here, mut random) = (Here::of(x), Random(0x0c0f_fee0));
    let (mut taken, mut refused, mut files) = (0, 0, 0);
    for _ in 0..rounds(x) / 2 {
        let document = document(&mut random, &here, x.job.v2);
        let b = x.bundle(|c| {
            with(c, &document);
            args(c, "wait");
        })?;
        let (ours, theirs) = with_both(x, &reference, &b, &mut |_, out| Ok((settings(x, &b.id), out)))?;
        if (ours.1.status == 0) != (theirs.1.status == 0) {
            if explained_refusal(x.job.v2, &ours.1, &theirs.1, &reference.version, &document).is_some() {
                continue;
            }
            return fail(format!("{document}: {:?}, there {:?}", ours.1.stderr, theirs.1.stderr));
        }
        if ours.1.status != 0 {
            refused += 1;
            continue;
        }
        taken += 1;
        files += ours.0.len();
        let differences = differences(&reference.version, &ours.0, &theirs.0, &[&document]);
        ensure(differences.is_empty(), format_args!("{document}: {differences:?}"))?;
    }
    x.measure(format!("{}: {taken} documents taken, {refused} refused, {files} files compared", reference.version));
    Ok(())
}

/// What has a flag, and so is taken from a document by all: two documents, one after the other.
fn updates(x: &Ctx) -> Outcome {
    x.needs_cgroupfs()?;
    let reference = Reference::of(x)?;
    let (here, mut random) = (Here::of(x), Random(0x0dd_ba11));
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..rounds(x) / 4 {
        let mut next = || {
            let mut document = document(&mut random, &here, x.job.v2);
            if let Some(all) = document.as_object_mut() {
                all.retain(|name, _| ["memory", "cpu", "pids", "blockIO"].contains(&name.as_str()));
                if let Some(block_io) = all.get_mut("blockIO").and_then(Value::as_object_mut) {
                    block_io.retain(|name, _| name == "weight");
                }
                if let Some(memory) = all.get_mut("memory").and_then(Value::as_object_mut) {
                    memory.retain(|name, _| ["limit", "swap", "reservation"].contains(&name.as_str()));
                }
            }
            document
        };
        let (first, second) = (next(), next());
        let file = x.fresh("resources");
        fs::write(&file, second.to_string())?;
        let file = file.display().to_string();
        let b = x.bundle(|c| {
            with(c, &first);
            args(c, "wait");
        })?;
        let (ours, theirs) = with_both(x, &reference, &b, &mut |rt, created| {
            if created.status != 0 {
                return Ok((BTreeMap::new(), created));
            }
            let out = rt(&["update", "--resources", &file, &b.id])?;
            Ok((settings(x, &b.id), out))
        })?;
        if (ours.1.status == 0) != (theirs.1.status == 0) {
            if explained_refusal(x.job.v2, &ours.1, &theirs.1, &reference.version, &second).is_some() {
                continue;
            }
            return fail(format!("{first}, then {second}: {:?}, there {:?}", ours.1.stderr, theirs.1.stderr));
        }
        if ours.1.status != 0 {
            refused += 1;
            continue;
        }
        taken += 1;
        let differences = differences(&reference.version, &ours.0, &theirs.0, &[&first, &second]);
        ensure(differences.is_empty(), format_args!("{first}, then {second}: {differences:?}"))?;
    }
    x.measure(format!("{}: {taken} updates taken, {refused} refused", reference.version));
    Ok(())
}

/// The paths of all members of an object, with the kind of their values.
fn members(value: &Value, path: &str, all: &mut BTreeMap<String, &'static str>) {
    match value {
        Value::Object(object) => {
            all.insert(path.to_owned(), "object");
            object.iter().for_each(|(name, value)| members(value, &format!("{path}/{name}"), all));
        }
        Value::Array(list) => {
            all.insert(path.to_owned(), "list");
            list.iter().take(1).for_each(|value| members(value, &format!("{path}/0"), all));
        }
        Value::Null => drop(all.insert(path.to_owned(), "null")),
        Value::Bool(_) => drop(all.insert(path.to_owned(), "bool")),
        Value::Number(_) => drop(all.insert(path.to_owned(), "number")),
        Value::String(_) => drop(all.insert(path.to_owned(), "string")),
    }
}

fn events(x: &Ctx) -> Outcome {
    x.needs_cgroupfs()?;
    let reference = Reference::of(x)?;
    let b = x.bundle(|c| args(c, "wait"))?;
    let (ours, theirs) = with_both(x, &reference, &b, &mut |rt, created| {
        created.ok()?;
        rt(&["start", &b.id])?.ok()?;
        let event = rt(&["events", "--stats", &b.id])?.ok()?.json()?;
        let mut all = BTreeMap::new();
        members(&event, "", &mut all);
        Ok(all)
    })?;
    // What is 0 is left out by both, and use comes and goes. Statistics of the whole are those that a version knows.
    let comes = |path: &str| {
        ["/max", "/usage/usage", "/swap/usage", "/cache", "/current"].iter().any(|end| path.ends_with(end))
            || [
                "/data/blkio/io",
                "/data/memory/raw",
                "/data/cpu/throttling",
                "/data/memory/usage",
                "/data/memory/swap",
                "/data/hugetlb",
            ]
            .iter()
            .any(|start| path.starts_with(start) && path.len() > start.len())
    };
    let missing: Vec<_> = theirs.iter().filter(|(path, kind)| !comes(path) && ours.get(*path) != Some(kind)).collect();
    ensure(missing.is_empty(), format_args!("not there, or of another kind: {missing:?}"))?;
    let more: Vec<_> = ours.keys().filter(|path| !comes(path) && !theirs.contains_key(*path)).collect();
    x.measure(format!("{}: {} figures; beyond them {more:?}", reference.version, theirs.len()));
    // runc 1.1 knows no pressure, and none tells where a container of v2 may run.
    let told = |path: &&&String| !(path.contains("/psi") || x.job.v2 && path.starts_with("/data/cpuset/"));
    let more: Vec<_> = more.iter().filter(told).collect();
    ensure(more.is_empty(), format_args!("more than there: {more:?}"))
}

/// All that a unit can limit here.
fn everything(here: &Here, v2: bool) -> Value {
    let mut all = json!({"devices": [
        {"allow": false, "access": "rwm"},
        {"allow": true, "type": "c", "major": 10, "minor": 200, "access": "rw"},
        {"allow": true, "type": "c", "major": 10, "access": "r"},
        {"allow": true, "type": "b", "major": 7, "minor": 3, "access": "r"},
    ]});
    let parts = [
        ("memory", "memory", json!({"limit": 67_108_864, "reservation": 33_554_432, "swap": 134_217_728})),
        ("cpu", "cpu", json!({"shares": 512, "quota": 12_345, "period": 50_000})),
        ("pids", "pids", json!({"limit": 77})),
        ("blkio", "blockIO", json!({"weight": 300})),
    ];
    for (controller, name, value) in parts {
        if here.has(controller) {
            all[name] = value;
        }
    }
    if here.has("cpuset") {
        for name in ["cpus", "mems"] {
            all["cpu"][name] = json!("0");
        }
    }
    if v2 && here.has("memory") {
        all["unified"] = json!({"memory.high": "50331648", "memory.min": "1048576"});
    }
    all
}

/// What a unit has been doing, and when.
fn is_of_the_moment(name: &str) -> bool {
    let ends =
        ["Timestamp", "TimestampMonotonic", "Current", "Peak", "Available", "NSec", "Bytes", "Packets", "Operations"];
    let names = ["InvocationID", "ControlGroupId"];
    ends.iter().any(|end| name.ends_with(end)) || names.contains(&name)
}

/// Why the two may differ in this property.
fn explained_property(reference: &str, name: &str) -> Option<&'static str> {
    let old = reference.starts_with("runc version 1.1.");
    match name {
        "Description" => Some("it names the runtime"),
        "DropInPaths" | "NeedDaemonReload" => {
            Some("runc starts the unit, and changes it then; Orlop starts it with all")
        }
        "IOWeight" => Some("runc sets none: a daemon-reload takes the weight away"),
        "CPUWeight" if old => Some("a straight line before runc 1.3.1"),
        _ => None,
    }
}

fn unit(x: &Ctx) -> Outcome {
    if x.job.driver != Driver::Systemd {
        return skip("takes --driver systemd");
    }
    let reference = Reference::of(x)?;
    let resources = everything(&Here::of(x), x.job.v2);
    let b = x.bundle(|c| {
        with(c, &resources);
        args(c, "wait");
    })?;
    let (ours, theirs) = with_both(x, &reference, &b, &mut |_, created| {
        created.ok()?;
        let shown = x.manager().systemctl(&["show", &format!("conformance-{}.scope", b.id)])?;
        let mut all = BTreeMap::<String, Vec<String>>::new();
        for (name, value) in shown.lines().filter_map(|line| line.split_once('=')) {
            if !is_of_the_moment(name) {
                // A major may be named as in /proc/devices.
                all.entry(name.to_owned())
                    .or_default()
                    .push(value.replace("char-pts", "char-136").replace("char-misc", "char-10"));
            }
        }
        all.values_mut().for_each(|values| values.sort());
        Ok(all)
    })?;
    let names: BTreeSet<_> = ours.keys().chain(theirs.keys()).collect();
    let (mut explained, mut differ) = (Vec::new(), Vec::new());
    for name in &names {
        let (a, b) = (ours.get(*name), theirs.get(*name));
        match explained_property(&reference.version, name) {
            _ if a == b => {}
            Some(why) => explained.push(format!("{name}: {why}")),
            None => differ.push(format!("{name}: {a:?}, there {b:?}")),
        }
    }
    x.measure(format!("{}: {} properties; {}", reference.version, names.len(), explained.join("; ")));
    ensure(differ.is_empty(), differ.join("; "))
}
