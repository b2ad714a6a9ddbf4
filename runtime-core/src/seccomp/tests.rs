use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::arch::{self, Abi, Numbers};
use super::bpf::Condition;
use super::*;
use crate::spec::{SeccompArg, Spec};
use crate::sys::{self, seccomp_set_mode_filter, unshare};

const X86_64: u32 = 0xc000_003e;
const X86: u32 = 0x4000_0003;

/// What a program is asked about: `struct seccomp_data`.
#[derive(Debug, Clone, Copy)]
struct Query {
    number: u32,
    arch: u32,
    args: [u64; 6],
}

/// Runs a program as the kernel does.
fn run(filter: &[SockFilter], query: Query) -> u32 {
    let mut data = [0; 64];
    data[0..4].copy_from_slice(&query.number.to_ne_bytes());
    data[4..8].copy_from_slice(&query.arch.to_ne_bytes());
    for (at, arg) in query.args.iter().enumerate() {
        data[16 + 8 * at..24 + 8 * at].copy_from_slice(&arg.to_ne_bytes());
    }
    let (mut at, mut accumulator) = (0, 0_u32);
    loop {
        let SockFilter { code, jt, jf, k } = filter[at];
        at += 1;
        let branch = |holds| usize::from(if holds { jt } else { jf });
        match code {
            0x20 => {
                let bytes = &data[k as usize..k as usize + 4];
                accumulator = u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
            }
            0x54 => accumulator &= k,
            0x05 => at += k as usize,
            0x15 => at += branch(accumulator == k),
            0x25 => at += branch(accumulator > k),
            0x35 => at += branch(accumulator >= k),
            0x45 => at += branch(accumulator & k != 0),
            0x06 => return k,
            other => panic!("instruction {other:#x} at {}", at - 1),
        }
    }
}

fn ask(program: &Program, arch: u32, number: u32, args: &[u64]) -> u32 {
    let mut query = Query { number, arch, args: [0; 6] };
    query.args[..args.len()].copy_from_slice(args);
    run(&program.filter, query)
}

fn profile(default_action: SeccompAction, architectures: &[SeccompArch], syscalls: &[SeccompRule]) -> Seccomp {
    Seccomp {
        default_action,
        architectures: architectures.to_vec(),
        flags: None,
        listener_path: None,
        listener_metadata: String::new(),
        syscalls: syscalls.to_vec(),
    }
}

fn rule(names: &[&str], action: SeccompAction, args: &[SeccompArg]) -> SeccompRule {
    SeccompRule { names: names.iter().map(ToString::to_string).collect(), action, args: args.to_vec() }
}

fn arg(index: u8, op: SeccompOp, value: u64) -> SeccompArg {
    SeccompArg { index, value, value_two: 0, op }
}

use SeccompAction::{Allow, Errno, KillProcess, KillThread, Log, Notify, Trace, Trap};
use SeccompOp::{Equal, GreaterOrEqual, GreaterThan, LessOrEqual, LessThan, MaskedEqual, NotEqual};

const EPERM: SeccompAction = Errno(1);

fn native(default: SeccompAction, rules: &[SeccompRule]) -> Program {
    compile(&profile(default, &[], rules), SeccompArch::X86_64).expect("compile")
}

fn value(action: SeccompAction) -> u32 {
    bpf::verdict(action).k
}

#[test]
fn the_smallest_program() {
    let expect = |code, jt, jf, k| SockFilter { code, jt, jf, k };
    assert_eq!(
        native(Allow, &[]),
        Program {
            flags: 4,
            filter: vec![
                expect(0x20, 0, 0, 4),           // the architecture
                expect(0x15, 0, 6, 0xc000_003e), // x86_64?
                expect(0x20, 0, 0, 0),           // the number
                expect(0x35, 1, 0, 0x4000_0000), // x32?
                expect(0x06, 0, 0, 0x7fff_0000), // allow
                expect(0x35, 1, 0, 0xffff_ffff), // -1?
                expect(0x06, 0, 0, 0),           // kill
                expect(0x06, 0, 0, 0x7fff_0000), // allow
                expect(0x06, 0, 0, 0),           // kill
            ],
        }
    );
}

#[test]
fn actions_have_the_kernels_values() {
    for (action, expect) in [
        (KillThread, 0),
        (KillProcess, 0x8000_0000),
        (Trap, 0x0003_0000),
        (Errno(38), 0x0005_0026),
        (Trace(7), 0x7ff0_0007),
        (Log, 0x7ffc_0000),
        (Allow, 0x7fff_0000),
        (Notify, 0x7fc0_0000),
    ] {
        assert_eq!(value(action), expect, "{action:?}");
    }
}

#[test]
fn conditions_compare_64_bits() {
    const BIG: u64 = 0x1_0000_0005;
    let check = |condition: SeccompArg, holds: &[u64], fails: &[u64]| {
        let program = native(EPERM, &[rule(&["close"], Allow, &[condition])]);
        for (args, expect) in [(holds, Allow), (fails, EPERM)] {
            for arg in args {
                assert_eq!(ask(&program, X86_64, 3, &[*arg]), value(expect), "{condition:?} on {arg:#x}");
            }
        }
    };
    check(arg(0, Equal, BIG), &[BIG], &[5, BIG + 1, 0x2_0000_0005, 0x1_0000_0004]);
    check(arg(0, NotEqual, BIG), &[5, BIG + 1, 0x2_0000_0005, 0], &[BIG]);
    check(arg(0, GreaterThan, BIG), &[BIG + 1, 0x2_0000_0000, u64::MAX], &[BIG, 0, 0xffff_ffff, 0x1_0000_0000]);
    check(arg(0, GreaterOrEqual, BIG), &[BIG, BIG + 1, 0x2_0000_0000], &[BIG - 1, 0, 0xffff_ffff]);
    check(arg(0, LessThan, BIG), &[BIG - 1, 0, 0xffff_ffff], &[BIG, BIG + 1, 0x2_0000_0000]);
    check(arg(0, LessOrEqual, BIG), &[BIG, 0, 0xffff_ffff], &[BIG + 1, 0x2_0000_0000, u64::MAX]);
    // `value` is the mask.
    let masked = |mask, datum| SeccompArg { index: 0, value: mask, value_two: datum, op: MaskedEqual };
    check(masked(0x7e02_0000, 0), &[0, 0x8000_0011, u64::MAX << 32], &[0x2_0000, 0x1000_0000, 0x7e02_0000]);
    check(masked(0xf_0000_000f, BIG), &[BIG, BIG | 0xf0, 0xf1_0000_0005], &[5, 0x1_0000_0004, 0x2_0000_0005]);
    // What the mask takes away of the datum does not count (libseccomp).
    check(masked(0xf, 0xf5), &[5, 0x105], &[0xf6]);
    check(masked(0, 1), &[0, 1, u64::MAX], &[]);
}

#[test]
fn all_conditions_of_a_rule_must_hold_but_those_on_one_argument_are_alternatives() {
    let both = native(EPERM, &[rule(&["dup2"], Allow, &[arg(1, Equal, 7), arg(0, Equal, 3)])]);
    let either = native(EPERM, &[rule(&["dup2"], Allow, &[arg(1, Equal, 7), arg(0, Equal, 3), arg(0, Equal, 4)])]);
    for (args, in_both, in_either) in [
        ([3, 7], Allow, Allow),
        ([3, 0], EPERM, Allow),
        ([0, 7], EPERM, Allow),
        ([4, 0], EPERM, Allow),
        ([0, 0], EPERM, EPERM),
    ] {
        assert_eq!(ask(&both, X86_64, 33, &args), value(in_both), "{args:?}");
        assert_eq!(ask(&either, X86_64, 33, &args), value(in_either), "{args:?}");
    }
}

#[test]
fn the_first_rule_without_conditions_decides() {
    let conditional = rule(&["close"], Errno(2), &[arg(0, Equal, 1)]);
    let (first, second) = (rule(&["close"], Allow, &[]), rule(&["close"], Errno(3), &[]));
    let like_default = rule(&["close"], EPERM, &[]);
    for (rules, on_1, on_0) in [
        (vec![conditional.clone()], Errno(2), EPERM),
        (vec![conditional.clone(), first.clone(), second.clone()], Allow, Allow),
        (vec![second, first, conditional.clone()], Errno(3), Errno(3)),
        (vec![like_default, conditional], Errno(2), EPERM),
    ] {
        let program = native(EPERM, &rules);
        assert_eq!(ask(&program, X86_64, 3, &[1]), value(on_1), "{rules:?}");
        assert_eq!(ask(&program, X86_64, 3, &[0]), value(on_0), "{rules:?}");
    }
}

#[test]
fn calls_behind_a_multiplexer_are_covered_both_ways() {
    let rules = [
        rule(&["socket"], Errno(13), &[arg(0, Equal, 40)]),
        rule(&["bind"], Errno(14), &[arg(1, Equal, 5)]),
        rule(&["accept"], Errno(15), &[]),
        rule(&["semop"], Errno(16), &[]),
    ];
    let program = compile(&profile(Allow, &[SeccompArch::X86], &rules), SeccompArch::X86_64).expect("compile");
    for (arch, number, args, expect) in [
        (X86_64, 41, [40, 0], Errno(13)),
        (X86, 359, [40, 0], Errno(13)),
        (X86, 359, [1, 0], Allow),
        (X86, 102, [1, 0], Errno(13)),
        (X86, 102, [2, 5], Errno(14)),
        (X86, 102, [2, 6], Allow),
        (X86, 102, [5, 0], Errno(15)),
        (X86, 102, [6, 0], Allow),
        (X86, 117, [1, 0], Errno(16)),
        (X86, 117, [2, 0], Allow),
    ] {
        assert_eq!(ask(&program, arch, number, &args), value(expect), "{arch:#x} {number} {args:?}");
    }
}

#[test]
fn newer_calls_get_enosys() {
    let rules = [rule(&["read", "close"], Allow, &[]), rule(&["openat2"], EPERM, &[])];
    let all = [SeccompArch::X86_64, SeccompArch::X86, SeccompArch::X32];
    let check = |default, rules: &[SeccompRule], archs: &[SeccompArch], expect: &[(u32, u32, SeccompAction)]| {
        let program = compile(&profile(default, archs, rules), SeccompArch::X86_64).expect("compile");
        for &(arch, number, action) in expect {
            assert_eq!(ask(&program, arch, number, &[]), value(action), "{default:?} {archs:?} {arch:#x} {number:#x}");
        }
    };
    check(
        EPERM,
        &rules,
        &all,
        &[
            (X86_64, 0, Allow),
            (X86_64, 1, EPERM),
            (X86_64, 437, EPERM),
            (X86_64, 438, ENOSYS),
            (X86_64, 0x3fff_ffff, ENOSYS),
            (X86_64, 0x4000_0003, Allow),
            (X86_64, 0x4000_01b5, EPERM),
            (X86_64, 0x4000_0001 + 547, ENOSYS),
            (X86_64, 0x8000_0000, ENOSYS),
            (X86_64, 0xffff_ffff, ENOSYS),
            (X86, 6, Allow),
            (X86, 438, ENOSYS),
            (0x4000_0028, 3, KillThread),
        ],
    );
    check(
        EPERM,
        &rules,
        &[],
        &[
            (X86_64, 438, ENOSYS),
            (X86_64, 0x4000_0003, KillThread),
            (X86_64, 0x8000_0000, ENOSYS),
            (X86_64, 0xc000_0000, KillThread),
            (X86_64, 0xffff_ffff, EPERM),
            (X86, 6, KillThread),
        ],
    );
    for default in [Allow, Log, Trace(1)] {
        check(default, &rules, &all, &[(X86_64, 999, default), (X86, 999, default), (X86_64, 0xffff_ffff, default)]);
    }
    // The highest number is 0: runc takes that for no number at all.
    check(KillProcess, &[rule(&["read"], Allow, &[])], &[], &[(X86_64, 999, KillProcess)]);
}

/// The multiplexer lies behind the only number that the profile names: runc's answer to new calls comes first.
#[test]
fn a_multiplexer_may_be_newer_than_the_profile() {
    let rules = [rule(&["read", "semop"], Trap, &[])];
    let program = compile(&profile(EPERM, &[SeccompArch::X86], &rules), SeccompArch::X86_64).expect("compile");
    for (number, expect) in [(2, EPERM), (3, Trap), (4, ENOSYS), (117, ENOSYS), (118, ENOSYS), (u32::MAX, ENOSYS)] {
        assert_eq!(ask(&program, X86, number, &[1]), value(expect), "{number}");
    }
}

#[test]
fn setup_on_s390x_is_an_unknown_call() {
    let program = compile(&profile(EPERM, &[], &[rule(&["exit"], Allow, &[])]), SeccompArch::S390x).expect("compile");
    for (number, expect) in [(0, ENOSYS), (1, Allow), (2, ENOSYS)] {
        assert_eq!(ask(&program, 0x8000_0016, number, &[]), value(expect), "{number}");
    }
}

#[test]
fn big_endian_arguments() {
    let conditions = [arg(0, GreaterThan, 0x1_0000_0002)];
    let program = compile(&profile(EPERM, &[], &[rule(&["close"], Allow, &conditions)]), SeccompArch::S390x);
    let program = program.expect("compile");
    for (value_, expect) in [(0x1_0000_0003_u64, Allow), (0x1_0000_0002, EPERM), (3, EPERM)] {
        // The interpreter is little-endian: the halves of an argument change places.
        assert_eq!(ask(&program, 0x8000_0016, 6, &[value_.rotate_left(32)]), value(expect), "{value_:#x}");
    }
}

#[test]
fn flags_as_runc_sets_them() {
    let notify = [rule(&["mkdir"], Notify, &[])];
    for (flags, rules, expect) in [
        (None, &[][..], 4),
        (Some(0), &[], 0),
        (Some(2), &[], 2),
        (Some(1), &[], 0),
        (Some(0x20), &[], 0),
        (None, &notify, 4 | 8),
        (Some(0x20 | 1), &notify, 0x20 | 8),
    ] {
        let mut profile = profile(Allow, &[], rules);
        (profile.flags, profile.listener_path) = (flags, Some("/agent".into()));
        let program = compile(&profile, SeccompArch::X86_64).expect("compile");
        assert_eq!(program.flags, expect, "{flags:?}");
        assert_eq!(program.notifies(), !rules.is_empty());
    }
}

#[test]
fn refusals() {
    let check = |profile: &Seccomp, expect: &str| {
        let error = compile(profile, SeccompArch::X86_64).expect_err(expect);
        assert_eq!(error.to_string(), expect);
    };
    check(
        &profile(Allow, &[SeccompArch::X86, SeccompArch::Parisc], &[]),
        "/linux/seccomp/architectures/1: there is no table of system calls for Parisc",
    );
    check(
        &profile(Allow, &[SeccompArch::S390x], &[]),
        "/linux/seccomp/architectures/0: S390x has the other byte order than X86_64",
    );
    let narrow = arg(1, Equal, 2);
    for earlier in [vec![arg(1, Equal, 2)], vec![arg(1, Equal, 2), arg(2, Equal, 3)]] {
        check(
            &profile(Allow, &[], &[rule(&["dup"], Log, &earlier), rule(&["dup"], Trap, &[narrow])]),
            "/linux/seccomp/syscalls/1: contradicts an earlier rule for dup: equal conditions, another action",
        );
    }
    let many: Vec<SeccompRule> = (0..2000).map(|n| rule(&["dup"], Log, &[arg(0, Equal, n)])).collect();
    check(&profile(Allow, &[], &many), "/linux/seccomp: needs 10015 instructions, the kernel takes 4096");
}

#[test]
fn bytes_and_back() {
    let program = native(EPERM, &[rule(&["read", "write"], Allow, &[arg(0, LessThan, 3)])]);
    let bytes = program.to_bytes();
    assert_eq!(bytes.len(), 8 + 8 * program.filter.len());
    assert_eq!(Program::from_bytes(&bytes).expect("whole"), program);
    for (bytes, expect) in [
        (&bytes[..0], "it is empty"),
        (&bytes[..8], "it has no or too many instructions"),
        (&bytes[..bytes.len() - 1], "it ends within an instruction"),
        (&bytes[8..], "it is of another format"),
        (&[&bytes[..8], &vec![0; 8 * 4097]].concat(), "it has no or too many instructions"),
    ] {
        let error = Program::from_bytes(bytes).expect_err(expect);
        assert_eq!(error.to_string(), format!("read a seccomp program: {expect}"));
    }
}

/// The profiles that engines wrote, each once, with the names of the files.
fn engines_profiles() -> Vec<(String, Seccomp)> {
    let mut profiles: Vec<(String, Seccomp)> = Vec::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    for entry in folder.read_dir().expect("fixtures") {
        let path = entry.expect("entry").path();
        let name = path.file_name().expect("name").to_string_lossy().into_owned();
        if !name.ends_with(".json") || name.ends_with(".process.json") {
            continue;
        }
        // The capturing machine's working directory is a word in the fixtures; a path must be absolute.
        let json = std::fs::read_to_string(&path).expect("read").replace("\"WORK/", "\"/WORK/");
        let (spec, _) = Spec::from_slice(json.as_bytes(), Path::new("/bundle")).expect(&name);
        let Some(seccomp) = spec.linux.seccomp else { continue };
        match profiles.iter_mut().find(|other| other.1 == seccomp) {
            Some(other) => other.0 = format!("{} {name}", other.0),
            None => profiles.push((name, seccomp)),
        }
    }
    assert!(profiles.len() >= 3, "docker's, podman's and containerd's");
    profiles
}

#[test]
fn engines_profiles_become_small_programs() {
    for (name, profile) in engines_profiles() {
        let program = compile(&profile, SeccompArch::X86_64).expect(&name);
        assert!(program.filter.len() < 1000, "{name}: {}", program.filter.len());
    }
}

/// Knuth's MMIX generator: the same profiles at every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % bound
    }

    fn of<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())].clone()
    }
}

/// libseccomp's name of an architecture.
const ARCHITECTURES: [(SeccompArch, &str); 9] = [
    (SeccompArch::X86_64, "x86_64"),
    (SeccompArch::X86, "x86"),
    (SeccompArch::X32, "x32"),
    (SeccompArch::Arm, "arm"),
    (SeccompArch::Aarch64, "aarch64"),
    (SeccompArch::Riscv64, "riscv64"),
    (SeccompArch::Mipsel, "mipsel"),
    (SeccompArch::Mipsel64, "mipsel64"),
    (SeccompArch::Ppc64le, "ppc64le"),
];

/// What libseccomp makes of a profile.
struct Theirs {
    /// One program, or one for each architecture of the profile. `None`: it refuses.
    programs: Option<Vec<Vec<SockFilter>>>,
    /// The names that it does not know.
    unknown: Vec<String>,
}

/// Asks libseccomp, as if on a machine of the `native` architecture; with `split` for each architecture of a profile.
/// `None`: it is not installed.
fn libseccomp(profiles: &[Seccomp], native: SeccompArch, split: bool) -> Option<Vec<Theirs>> {
    let operator = |op| match op {
        NotEqual => "NE",
        LessThan => "LT",
        LessOrEqual => "LE",
        Equal => "EQ",
        GreaterOrEqual => "GE",
        GreaterThan => "GT",
        MaskedEqual => "MASKED_EQ",
    };
    let arg = |arg: &SeccompArg| json!([arg.index, operator(arg.op), arg.value, arg.value_two]);
    let rule =
        |rule: &SeccompRule| json!([rule.names, value(rule.action), rule.args.iter().map(arg).collect::<Vec<_>>()]);
    let name = |arch: &SeccompArch| ARCHITECTURES.iter().find(|known| known.0 == *arch).expect("name").1;
    let question: Vec<Value> = profiles
        .iter()
        .map(|profile| {
            json!({
                "split": split,
                "native": name(&native),
                "default": value(profile.default_action),
                "architectures": profile.architectures.iter().map(name).collect::<Vec<_>>(),
                "rules": profile.syscalls.iter().map(rule).collect::<Vec<_>>(),
            })
        })
        .collect();
    // The interpreter that Debian's python3-seccomp belongs to, not whichever comes first in PATH.
    let python = || Command::new("/usr/bin/python3");
    let found = python().args(["-c", "import seccomp"]).stderr(Stdio::null()).status().is_ok_and(|s| s.success());
    if !found {
        assert!(std::env::var("CI").is_err(), "CI needs python3-seccomp");
        eprintln!("SKIP: python3-seccomp is not installed: nothing to compare with");
        return None;
    }
    let mut child = python()
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/src/seccomp/libseccomp.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3");
    let mut input = child.stdin.take().expect("stdin");
    input.write_all(&serde_json::to_vec(&question).expect("json")).expect("write");
    drop(input);
    let output = child.wait_with_output().expect("wait");
    assert!(output.status.success());
    let answers: Vec<Value> = serde_json::from_slice(&output.stdout).expect("json");
    let program = |hex: &Value| {
        let hex = hex.as_str().expect("program");
        let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex");
        let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
        Program::from_bytes(&[&[MAGIC.to_ne_bytes(), [0; 4]].concat(), &bytes[..]].concat()).expect("program").filter
    };
    let theirs = |answer: &Value| Theirs {
        programs: answer["programs"].as_array().map(|list| list.iter().map(program).collect()),
        unknown: answer["unknown"]
            .as_array()
            .expect("list")
            .iter()
            .map(|name| name.as_str().expect("name").into())
            .collect(),
    };
    Some(answers.iter().map(theirs).collect())
}

/// The numbers to ask about on an architecture: its table and what lies around.
fn numbers(arch: SeccompArch) -> Vec<u32> {
    match arch {
        SeccompArch::X32 => (X32_BIT..X32_BIT + 700).collect(),
        SeccompArch::Mipsel => (3990..4700).collect(),
        SeccompArch::Mipsel64 => (4990..5700).collect(),
        SeccompArch::Arm => (0..500).chain(0xf_0000..0xf_0008).collect(),
        _ => (0..500).collect(),
    }
}

/// Asks both programs about numbers of an audit value, with arguments around the profile's data. `newest` is the
/// highest number below the zone where ours answers ENOSYS as runc does, which libseccomp knows nothing of.
fn compare(
    profile: &Seccomp,
    (arch, numbers): (SeccompArch, &[u32]),
    ours: &Program,
    theirs: &[SockFilter],
    random: &mut Random,
) -> Vec<String> {
    let abi = Abi::new(arch).expect("abi");
    let listed = arch == SeccompArch::X86_64 || profile.architectures.contains(&arch);
    let names = profile.syscalls.iter().flat_map(|rule| &rule.names);
    let newest = names.filter_map(|name| Numbers::of(name)?.on(abi)).max().unwrap_or(0);
    let stub = listed && newest != 0 && !matches!(profile.default_action, Allow | Log | Trace(_));
    let data: Vec<u64> = profile
        .syscalls
        .iter()
        .flat_map(|rule| rule.args.iter().flat_map(|arg| [arg.value, arg.value_two]))
        .flat_map(|datum| [datum, datum, datum.wrapping_add(1), datum.wrapping_sub(1), datum ^ (1 << 32)])
        .chain(BOUNDARIES)
        .chain([3, 21, 40])
        .collect();
    let mut differences = Vec::new();
    for &number in numbers {
        for _ in 0..8 {
            let query = Query { number, arch: abi.audit, args: std::array::from_fn(|_| random.of(&data)) };
            let expect = if stub && number > newest { value(ENOSYS) } else { run(theirs, query) };
            let answer = run(&ours.filter, query);
            if answer != expect {
                differences.push(format!("{query:x?}: {answer:#x}, libseccomp {expect:#x}"));
            }
        }
    }
    differences
}

/// Takes out the names that are newer than libseccomp: to it they do not exist.
fn without(profile: &Seccomp, unknown: &[String]) -> Seccomp {
    let mut profile = profile.clone();
    for rule in &mut profile.syscalls {
        rule.names.retain(|name| !unknown.contains(name));
    }
    profile
}

#[test]
fn engines_profiles_answer_as_with_libseccomp() {
    let profiles: Vec<Seccomp> = engines_profiles()
        .into_iter()
        .flat_map(|(_, profile)| {
            [
                Seccomp { architectures: ARCHITECTURES.map(|arch| arch.0).to_vec(), ..profile.clone() },
                Seccomp { architectures: vec![], default_action: Log, ..profile.clone() },
                profile,
            ]
        })
        .collect();
    let Some(answers) = libseccomp(&profiles, SeccompArch::X86_64, false) else { return };
    let mut random = Random(1);
    for (profile, theirs) in profiles.iter().zip(answers) {
        println!("names that libseccomp does not know: {:?}", theirs.unknown);
        let profile = without(profile, &theirs.unknown);
        let ours = compile(&profile, SeccompArch::X86_64).expect("compile");
        let theirs = &theirs.programs.expect("libseccomp")[0];
        println!("{} instructions, libseccomp {}", ours.filter.len(), theirs.len());
        for (arch, _) in ARCHITECTURES {
            assert_eq!(compare(&profile, (arch, &numbers(arch)), &ours, theirs, &mut random), [""; 0]);
        }
        let odd = [0x3fff_ffff, 0x4000_03e8, 0x8000_0000, 0xbfff_ffff, 0xc000_0000, 0xffff_fffe, u32::MAX];
        if profile.default_action == Log {
            assert_eq!(compare(&profile, (SeccompArch::X86_64, &odd), &ours, theirs, &mut random), [""; 0]);
        }
        for arch in [0, 0x8000_0016] {
            assert_eq!(ask(&ours, arch, 3, &[]), value(KillThread));
            assert_eq!(ask(&Program { flags: 0, filter: theirs.clone() }, arch, 3, &[]), value(KillThread));
        }
    }
}

/// A profile with few names, so that rules meet.
///
/// It leaves out what libseccomp 2.5.4 gets wrong, found with this test and by reading its programs. Ours does there
/// what the profile says:
/// - Of two rules for one call, whose first conditions both hold, the second is not tried when the rest of the first
///   fails. So a rule with several conditions gets calls of its own here.
/// - Two bounds on one argument in different rules share instructions: `>= 7 << 32` and `<= 21` together let 0xffff_ffff
///   through. So do bounds.
/// - On a 32-bit architecture `<=` turns into `>` behind another condition.
/// - A call that an architecture lacks can take the load of the number away from that architecture's part of the
///   program. So libseccomp gets one architecture at a time, with the names that it has; and semop and semtimedop, which
///   have no number of their own on some, are left out.
fn random_profile(random: &mut Random) -> Seccomp {
    let actions = [Allow, Allow, EPERM, Errno(38), Errno(0), Log, Trap, Trace(1), KillThread, KillProcess];
    // Behind a multiplexer, two actions for one call soon are a contradiction: these get one action.
    let multiplexed = ["socket", "bind", "accept", "accept4", "send", "recvmmsg", "shmat", "msgget"];
    let shared = [
        "read",
        "ioctl",
        "clone",
        "clone3",
        "openat2",
        "waitpid",
        "break",
        "readv",
        "execve",
        "uselib",
        "time",
        "cacheflush",
        "no_such_call",
        "newfstatat",
    ];
    let mut own = vec![
        "close",
        "dup",
        "pipe",
        "futex_waitv",
        "execveat",
        "getuid32",
        "clock_gettime64",
        "set_tls",
        "fadvise64_64",
        "fstatat64",
        "umount",
        "cachectl",
        "spu_run",
        "riscv_flush_icache",
        "sync_file_range2",
        "semget",
        "sendmsg",
        "kill",
    ];
    let simple = [NotEqual, Equal, Equal, MaskedEqual];
    let all = [NotEqual, Equal, MaskedEqual, LessThan, GreaterOrEqual, GreaterThan];
    let data = [0, 1, 2, 3, 21, 0xff, 0x7e02_0000, 0xffff_ffff, 1 << 32, 0x1_0000_0002, 0x7_0000_00ff, u64::MAX];
    let (default, conditional) = (random.of(&actions), random.of(&actions));
    let mut rules = Vec::new();
    for _ in 0..1 + random.below(25) {
        let mut condition = |index, operators: &[SeccompOp]| SeccompArg {
            index,
            value: random.of(&data),
            value_two: random.of(&data),
            op: random.of(operators),
        };
        let args = match rules.len() % 4 {
            0 => vec![],
            1 => vec![condition(rules.len() as u8 % 3, &simple)],
            2 => vec![condition(2, &simple), condition(1, &simple), condition(2, &simple)],
            _ => vec![condition(0, &all), condition(1, &all), condition(3, &all)],
        };
        let (names, action): (Vec<&str>, _) = match rules.len() % 4 {
            3 => ((0..2).map(|_| own.swap_remove(random.below(own.len()))).collect(), conditional),
            _ if random.below(3) == 0 => (vec![random.of(&multiplexed), random.of(&multiplexed)], conditional),
            0 => (vec![random.of(&shared), random.of(&shared)], random.of(&actions)),
            _ => (vec![random.of(&shared), random.of(&shared)], conditional),
        };
        rules.push(rule(&names, action, &args));
    }
    let architectures: Vec<SeccompArch> = ARCHITECTURES.iter().filter(|_| random.below(2) == 0).map(|a| a.0).collect();
    profile(default, &architectures, &rules)
}

#[test]
fn random_profiles_answer_as_with_libseccomp() {
    let mut random = Random(1);
    let profiles: Vec<Seccomp> = (0..100).map(|_| random_profile(&mut random)).collect();
    let Some(answers) = libseccomp(&profiles, SeccompArch::X86_64, true) else { return };
    for (profile, theirs) in profiles.iter().zip(answers) {
        let profile = without(profile, &theirs.unknown);
        let ours = compile(&profile, SeccompArch::X86_64).expect("compile");
        for (&arch, theirs) in profile.architectures.iter().zip(&theirs.programs.expect("libseccomp")) {
            let differences = compare(&profile, (arch, &numbers(arch)), &ours, theirs, &mut random);
            assert_eq!(differences, [""; 0], "{arch:?} {profile:#?}");
        }
    }
}

/// A profile's rules for one number of an architecture, each as the conditions that must all hold, in the profile's order.
/// What libseccomp is told when runc drives it.
fn chains(profile: &Seccomp, abi: Abi, number: u32) -> Vec<(Vec<Condition>, SeccompAction)> {
    let mut chains = Vec::new();
    for rule in profile.syscalls.iter().filter(|rule| rule.action != profile.default_action) {
        let alternatives =
            (1..rule.args.len()).any(|at| rule.args[..at].iter().any(|a| a.index == rule.args[at].index));
        let groups: Vec<&[SeccompArg]> =
            if alternatives { rule.args.chunks(1).collect() } else { vec![rule.args.as_slice()] };
        for name in &rule.names {
            let direct = Numbers::of(name).and_then(|numbers| numbers.on(abi)) == Some(number);
            let behind = arch::multiplexed(name)
                .filter(|(by, _)| Numbers::of(by).and_then(|numbers| numbers.on(abi)) == Some(number))
                // Only a name that is known at all is looked up further.
                .filter(|_| Numbers::of(name).is_some());
            for group in &groups {
                let conditions = |selector: Option<u64>| {
                    let selector = selector.map(|call| arg(0, Equal, call));
                    let args = group.iter().filter(|arg| selector.is_none() || arg.index != 0).chain(&selector);
                    let mut all: Vec<_> = args.filter_map(|arg| Condition::new(arg, abi.wide)).collect();
                    all.sort_by_key(|condition| condition.index);
                    all
                };
                if direct {
                    chains.push((conditions(None), rule.action));
                }
                if let Some((_, call)) = behind {
                    chains.push((conditions(Some(call)), rule.action));
                }
            }
        }
    }
    chains
}

/// Whether a condition holds, in 64-bit arithmetic.
fn holds(condition: &Condition, abi: Abi, args: [u64; 6]) -> bool {
    let arg = args[usize::from(condition.index)] & if abi.wide { u64::MAX } else { 0xffff_ffff };
    match condition.op {
        NotEqual => arg != condition.datum,
        LessThan => arg < condition.datum,
        LessOrEqual => arg <= condition.datum,
        Equal => arg == condition.datum,
        GreaterOrEqual => arg >= condition.datum,
        GreaterThan => arg > condition.datum,
        MaskedEqual => arg & condition.mask == condition.datum,
    }
}

/// The architecture that a query belongs to, as libseccomp tells x32 from x86_64. `None`: one that is not listed.
fn abi_of(profile: &Seccomp, native: SeccompArch, query: Query) -> Option<Abi> {
    let listed: Vec<Abi> =
        profile.architectures.iter().chain([&native]).map(|&arch| Abi::new(arch).expect("abi")).collect();
    let x32 = query.arch == X86_64 && query.number >= X32_BIT;
    listed.into_iter().find(|abi| abi.audit == query.arch && (abi.arch == SeccompArch::X32) == x32)
}

/// What is to be answered, read off the profile without a program: the second oracle, which has no bugs of libseccomp's
/// to step around.
fn by_the_profile(profile: &Seccomp, native: SeccompArch, query: Query) -> u32 {
    let newest = |arch: SeccompArch| {
        let names = profile.syscalls.iter().flat_map(|rule| &rule.names);
        names.filter_map(|name| Numbers::of(name)?.on(Abi::new(arch)?)).max().unwrap_or(0)
    };
    let listed = |arch| arch == native || profile.architectures.contains(&arch);
    // runc's program before libseccomp's. Of a number of x86_64 it looks at one bit only.
    let stub = if query.arch == X86_64 {
        let arch = if query.number & X32_BIT == 0 { SeccompArch::X86_64 } else { SeccompArch::X32 };
        listed(arch).then_some(arch)
    } else {
        abi_of(profile, native, query).map(|abi| abi.arch)
    };
    let permissive = matches!(profile.default_action, Allow | Log | Trace(_));
    if let Some(newest) = stub.map(newest)
        && newest != 0
        && !permissive
        && query.number > newest
    {
        return value(ENOSYS);
    }
    if query.arch == X86_64 && query.number == u32::MAX && !listed(SeccompArch::X32) {
        return value(profile.default_action);
    }
    let Some(abi) = abi_of(profile, native, query) else { return value(KillThread) };
    let mut chains = chains(profile, abi, query.number);
    if let Some((_, action)) = chains.iter().find(|(conditions, _)| conditions.is_empty()) {
        return value(*action);
    }
    chains.sort_by(|a, b| precedence(&a.0, &b.0));
    let first = chains.iter().find(|(conditions, _)| conditions.iter().all(|c| holds(c, abi, query.args)));
    value(first.map_or(profile.default_action, |(_, action)| *action))
}

/// What libseccomp 2.5.4 does wrong, found by this test and by reading its programs: each is a difference that is
/// allowed, where the profile has what triggers it. Ours does there what the profile says.
const FLAWS: [&str; 4] = [
    // Of two rules for one call whose first conditions both hold, the second is not tried when the rest of the first
    // fails.
    "a rule with several conditions beside another rule",
    // They share instructions: `>= 7 << 32` and `<= 21` together let 0xffff_ffff through.
    "a bound and another comparison on one argument",
    // There `<=` turns into `>` behind another condition.
    "an upper bound behind another condition on a 32-bit architecture",
    // It can take the load of the number away from an architecture's part of the program.
    "a call that one of the architectures lacks",
];

/// Which of them may show, by its index.
fn flaw(profile: &Seccomp, native: SeccompArch, abi: Abi, number: u32) -> Option<usize> {
    let chains = chains(profile, abi, number);
    let bound = |op| matches!(op, LessThan | LessOrEqual | GreaterOrEqual | GreaterThan);
    let all = || chains.iter().enumerate().flat_map(|(at, chain)| chain.0.iter().map(move |c| (at, c)));
    if chains.len() > 1 && chains.iter().any(|chain| chain.0.len() > 1) {
        return Some(0);
    }
    if all().any(|(at, c)| bound(c.op) && all().any(|(other, d)| other != at && d.index == c.index)) {
        return Some(1);
    }
    let upper = |c: &Condition| matches!(c.op, LessThan | LessOrEqual);
    if !abi.wide && chains.iter().any(|chain| chain.0.iter().skip(1).any(upper)) {
        return Some(2);
    }
    let names = || profile.syscalls.iter().flat_map(|rule| &rule.names).filter_map(|name| Numbers::of(name));
    let mut listed = profile.architectures.iter().chain([&native]).filter_map(|&arch| Abi::new(arch));
    if listed.any(|abi| names().any(|numbers| numbers.on(abi).is_none())) {
        return Some(3);
    }
    None
}

/// Where types end, and the halves of an argument meet.
const BOUNDARIES: [u64; 16] = [
    0,
    1,
    2,
    (1 << 31) - 1,
    1 << 31,
    (1 << 31) + 1,
    0xffff_fffe,
    0xffff_ffff,
    1 << 32,
    (1 << 32) + 1,
    0x7_0000_0000,
    (1 << 63) - 1,
    1 << 63,
    (1 << 63) + 1,
    u64::MAX - 1,
    u64::MAX,
];

/// A profile in which everything may meet everything: any name, any number of conditions on any arguments, any action.
fn wild_profile(random: &mut Random, architectures: &[SeccompArch], names: &[&str]) -> Seccomp {
    // libseccomp refuses the greatest number of an error, 4095.
    let actions =
        [Allow, EPERM, Errno(38), Errno(0), Errno(4094), Log, Trap, Trace(1), Trace(0xffff), KillThread, KillProcess];
    let operators = [NotEqual, LessThan, LessOrEqual, Equal, GreaterOrEqual, GreaterThan, MaskedEqual];
    let default = random.of(&actions);
    // Rules of two actions seldom contradict each other.
    let choices = [random.of(&actions), random.of(&actions)];
    // Few names, so that rules meet.
    let pool: Vec<&str> = (0..1 + random.below(12)).map(|_| random.of(names)).collect();
    let mut rules = Vec::new();
    for _ in 0..random.below(12) {
        let count = [0, 0, 1, 1, 1, 2, 3, 6][random.below(8)];
        let args: Vec<_> = (0..count)
            .map(|_| SeccompArg {
                index: random.below(6) as u8,
                value: random.of(&BOUNDARIES),
                value_two: random.of(&BOUNDARIES),
                op: random.of(&operators),
            })
            .collect();
        let names: Vec<&str> = (0..1 + random.below(3)).map(|_| random.of(&pool)).collect();
        // One in ten is any action at all.
        let action = if random.below(10) == 0 { random.of(&actions) } else { random.of(&choices) };
        rules.push(rule(&names, action, &args));
    }
    let architectures: Vec<SeccompArch> = architectures.iter().filter(|_| random.below(2) == 0).copied().collect();
    profile(default, &architectures, &rules)
}

/// Numbers beyond every table, and such as read as negative.
const BEYOND: [u32; 12] = [
    600,
    4095,
    0xffff,
    X32_BIT - 1,
    X32_BIT + 600,
    X32_BIT + 0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xbfff_ffff,
    0xc000_0000,
    0xffff_fffe,
    u32::MAX,
];

/// What is asked of a profile: every number of every architecture once, those that it names (on the others too) with many
/// arguments at and around what it compares with.
fn questions(profile: &Seccomp, architectures: &[SeccompArch], random: &mut Random) -> Vec<Query> {
    let mut data = BOUNDARIES.to_vec();
    for value in profile.syscalls.iter().flat_map(|rule| &rule.args).flat_map(|arg| [arg.value, arg.value_two]) {
        data.extend([value, value.wrapping_add(1), value.wrapping_sub(1), value ^ 1 << 32, value & 0xffff_ffff]);
    }
    let mut queries = Vec::new();
    for &arch in architectures {
        let abi = Abi::new(arch).expect("abi");
        let names = profile.syscalls.iter().flat_map(|rule| &rule.names);
        let names = names.flat_map(|name| [Some(name.as_str()), arch::multiplexed(name).map(|by| by.0)]);
        let mut named: Vec<u32> = names.flatten().filter_map(|name| Numbers::of(name)?.on(abi)).collect();
        named.sort_unstable();
        named.dedup();
        for &number in &named {
            queries.extend((0..40).map(|_| (number, abi.audit)));
        }
        let edges = named.iter().flat_map(|&number| [number.wrapping_sub(1), number + 1]);
        queries.extend(edges.chain(BEYOND).map(|number| (number, abi.audit)));
    }
    queries
        .into_iter()
        .map(|(number, arch)| Query { number, arch, args: std::array::from_fn(|_| random.of(&data)) })
        .collect()
}

/// A profile on one line.
fn short(profile: &Seccomp) -> String {
    let Seccomp { default_action, architectures, syscalls, .. } = profile;
    let arg = |a: &SeccompArg| format!("{}:{:?} {:#x} {:#x}", a.index, a.op, a.value, a.value_two);
    let rule = |r: &SeccompRule| {
        format!("{} {:?} [{}]", r.names.join(","), r.action, r.args.iter().map(arg).collect::<Vec<_>>().join(", "))
    };
    let rules: Vec<_> = syscalls.iter().map(rule).collect();
    format!("{default_action:?} {architectures:?} {}", rules.join("; "))
}

/// Wild profiles on `architectures`, of which the first is the machine's, in three ways: by the program, by libseccomp's
/// program, by the profile. Returns how often each flaw of libseccomp's showed.
fn compare_wild(seed: u64, count: usize, architectures: &[SeccompArch]) -> Option<[usize; FLAWS.len()]> {
    let mut random = Random(seed);
    let native = architectures[0];
    let mut names = arch::names();
    names.extend(["no_such_call", "newer_than_all", ""]);
    // Half of the time the names whose arguments programs look at, and those behind multiplexers.
    let favourites =
        ["clone", "socket", "personality", "ioctl", "semop", "msgget", "accept4", "prctl", "mmap", "openat2"];
    let profiles: Vec<Seccomp> = (0..count)
        .map(|at| wild_profile(&mut random, architectures, if at % 2 == 0 { &names } else { &favourites }))
        .collect();
    let answers = libseccomp(&profiles, native, false)?;
    let (mut shown, mut compared, mut refused, mut refused_by_flaw) = ([0; FLAWS.len()], 0, 0, 0);
    let mut unexplained = Vec::new();
    for (profile, theirs) in profiles.iter().zip(answers) {
        let profile = without(profile, &theirs.unknown);
        let (ours, theirs) = match (compile(&profile, native), theirs.programs) {
            (Ok(ours), Some(theirs)) => (ours, theirs),
            (Err(_), None) => {
                refused += 1;
                continue;
            }
            // The same nodes that give wrong answers can make it take a rule for a contradiction.
            (Ok(_), None)
                if questions(&profile, architectures, &mut random).iter().any(|query| {
                    abi_of(&profile, native, *query)
                        .is_some_and(|abi| flaw(&profile, native, abi, query.number).is_some())
                }) =>
            {
                refused_by_flaw += 1;
                continue;
            }
            (ours, theirs) => {
                let accepts = theirs.is_some();
                unexplained.push(format!("{:?}, libseccomp accepts: {accepts}: {}", ours.map(|_| ()), short(&profile)));
                continue;
            }
        };
        for query in questions(&profile, architectures, &mut random) {
            let answer = run(&ours.filter, query);
            assert_eq!(answer, by_the_profile(&profile, native, query), "{query:x?} {profile:#?}");
            // What runc puts before libseccomp's program was compared already.
            if answer == value(ENOSYS) {
                continue;
            }
            let Some(abi) = abi_of(&profile, native, query) else { continue };
            compared += 1;
            let expect = run(&theirs[0], query);
            if answer != expect {
                match flaw(&profile, native, abi, query.number) {
                    Some(flaw) => shown[flaw] += 1,
                    None => unexplained
                        .push(format!("{query:x?}: {answer:#x}, libseccomp {expect:#x}: {}", short(&profile))),
                }
            }
        }
    }
    println!(
        "{architectures:?}: {count} profiles, {refused} refused by both and {refused_by_flaw} by libseccomp alone, {compared} \
         answers compared"
    );
    for (flaw, times) in FLAWS.iter().zip(shown) {
        println!("  {times} differ: {flaw}");
    }
    assert!(unexplained.is_empty(), "{}:\n{}", unexplained.len(), unexplained[..unexplained.len().min(8)].join("\n"));
    assert!(refused < count / 2 && compared > 20 * count, "{refused} refused, {compared} compared");
    // Differences are few beside what is compared.
    assert!(
        shown.iter().sum::<usize>() < compared / 30 && refused_by_flaw < count / 50,
        "{shown:?}, {refused_by_flaw}"
    );
    Some(shown)
}

#[test]
fn engines_profiles_answer_on_every_machine_as_with_libseccomp() {
    use SeccompArch::{Aarch64, Arm, Riscv64, X32, X86, X86_64};
    let mut random = Random(2);
    let architectures: [&[SeccompArch]; 3] = [&[X86_64, X86, X32], &[Aarch64, Arm], &[Riscv64]];
    for architectures in architectures {
        let native = architectures[0];
        let profiles: Vec<Seccomp> = engines_profiles()
            .into_iter()
            .map(|(_, profile)| Seccomp { architectures: architectures.to_vec(), ..profile })
            .collect();
        let Some(answers) = libseccomp(&profiles, native, false) else { return };
        for (profile, theirs) in profiles.iter().zip(answers) {
            let profile = without(profile, &theirs.unknown);
            let ours = compile(&profile, native).expect("compile");
            let theirs = &theirs.programs.expect("libseccomp")[0];
            let all = architectures.iter().flat_map(|&arch| {
                let audit = Abi::new(arch).expect("abi").audit;
                numbers(arch).into_iter().chain(BEYOND).map(move |number| (number, audit))
            });
            for (number, arch) in all {
                for _ in 0..2 {
                    let query = Query { number, arch, args: std::array::from_fn(|_| random.of(&BOUNDARIES)) };
                    let answer = run(&ours.filter, query);
                    assert_eq!(answer, by_the_profile(&profile, native, query), "{native:?} {query:x?}");
                    if answer != value(ENOSYS) {
                        assert_eq!(answer, run(theirs, query), "{native:?} {query:x?}");
                    }
                }
            }
        }
    }
}

#[test]
fn wild_profiles_answer_as_with_libseccomp() {
    use SeccompArch::{Aarch64, Arm, Riscv64, X32, X86, X86_64};
    let shown = [
        compare_wild(11, 1500, &[X86_64, X86, X32]),
        compare_wild(12, 400, &[Aarch64, Arm]),
        compare_wild(13, 400, &[Riscv64]),
    ];
    for (flaw, name) in FLAWS.iter().enumerate() {
        let times: usize = shown.iter().flatten().map(|of| of[flaw]).sum();
        assert!(shown.contains(&None) || times > 0, "no longer a difference: {name}");
    }
}

#[test]
fn contradictions_are_those_of_libseccomp() {
    let one = |index, value| arg(index, Equal, value);
    let cases: [(&[SeccompArg], &[SeccompArg], &str, bool); 8] = [
        (&[one(0, 1), one(1, 1)], &[one(0, 1), one(1, 2)], "close", true),
        (&[one(0, 1)], &[one(0, 1)], "close", false),
        (&[one(0, 1)], &[one(0, 2)], "close", true),
        (&[one(0, 1), one(1, 1)], &[one(0, 1)], "close", false),
        (&[one(0, 1)], &[one(0, 1), one(1, 1)], "close", true),
        (&[], &[], "close", true),
        (&[], &[], "socket", false),
        (&[one(0, 1)], &[], "close", true),
    ];
    let profiles = cases.map(|(first, second, name, _)| {
        profile(Allow, &[SeccompArch::X86], &[rule(&[name], Log, first), rule(&[name], EPERM, second)])
    });
    for (case, profile) in cases.iter().zip(&profiles) {
        assert_eq!(compile(profile, SeccompArch::X86_64).is_ok(), case.3, "{case:?}");
    }
    let Some(answers) = libseccomp(&profiles, SeccompArch::X86_64, false) else { return };
    for (case, theirs) in cases.iter().zip(answers) {
        assert_eq!(theirs.programs.is_some(), case.3, "{case:?}");
    }
}

#[test]
fn the_kernel_does_what_the_profile_says() {
    let profiles = engines_profiles();
    let docker = profiles.into_iter().find(|(name, _)| name.contains("docker-default.json")).expect("docker").1;
    // A filter binds its thread alone: the other tests go on without it.
    let thread = std::thread::spawn(move || {
        let pid = std::process::id();
        let program = compile(&docker, NATIVE).expect("compile");
        match seccomp_set_mode_filter(program.flags, &program.filter) {
            Ok(listener) => assert!(listener.is_none()),
            Err(sys::Errno(libc::EACCES)) => {
                eprintln!("SKIP: no CAP_SYS_ADMIN: can't install a filter");
                return;
            }
            Err(error) => panic!("seccomp: {error}"),
        }
        assert_eq!(unshare(libc::CLONE_NEWUTS as u64), Err(sys::Errno(libc::EPERM)));
        assert_eq!(std::process::id(), pid);
        // clone3(2) gets ENOSYS, clone(2) is allowed without namespace flags: the masked condition.
        assert_eq!(std::thread::spawn(|| 7).join().expect("clone"), 7);
        std::fs::read("/proc/thread-self/status").expect("read");
    });
    thread.join().expect("filtered thread");
}
