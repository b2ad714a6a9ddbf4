//! Lists of device rules made up at random, with every question that a container can ask of the kernel, against a model of
//! the v1 device controller: both hierarchies must answer as that one.

use serde_json::{Value, json};

use super::{Random, case, long, rounds};
use crate::ctx::{Ctx, Outcome, args, ensure, push};
use crate::frame::Case;

pub(super) fn cases() -> Vec<Case> {
    vec![long(300, case("devices/random", "config-linux.md Allowed Device list, in runc's reading", random))]
}

/// `config.json`'s rule. `None` is every type, or every number.
#[derive(Debug, Clone, Copy)]
struct Rule {
    allow: bool,
    kind: Option<char>,
    major: Option<u64>,
    minor: Option<u64>,
    access: u8,
}

const READ: u8 = 1;
const WRITE: u8 = 2;
const MKNOD: u8 = 4;

/// Numbers that are in rules. Of the devices, opening is harmless.
const MAJORS: [Option<u64>; 5] = [None, Some(1), Some(7), Some(10), Some(444)];
const MINORS: [Option<u64>; 4] = [None, Some(0), Some(3), Some(5)];

impl Rule {
    fn random(random: &mut Random) -> Rule {
        Rule {
            allow: random.below(2) == 0,
            kind: *random.one(&[None, Some('b'), Some('b'), Some('b'), Some('c'), Some('c'), Some('c'), Some('c')]),
            major: *random.one(&MAJORS),
            minor: *random.one(&MINORS),
            access: 1 + random.below(7) as u8,
        }
    }

    fn json(&self) -> Value {
        let access: String = [('r', READ), ('w', WRITE), ('m', MKNOD)]
            .iter()
            .filter(|(_, bit)| self.access & bit != 0)
            .map(|(c, _)| c)
            .collect();
        let mut rule = json!({"allow": self.allow, "access": access});
        if let Some(kind) = self.kind {
            rule["type"] = json!(kind.to_string());
            for (name, number) in [("major", self.major), ("minor", self.minor)] {
                if let Some(number) = number {
                    rule[name] = json!(number);
                }
            }
        }
        rule
    }
}

/// What comes behind every list: runc's default devices.
fn defaults() -> impl Iterator<Item = Rule> {
    let rule = |kind, major, minor, access| Rule { allow: true, kind: Some(kind), major, minor, access };
    let all = READ | WRITE | MKNOD;
    let any = ['c', 'b'].map(|kind| rule(kind, None, None, MKNOD));
    let nodes = [(1, 3), (1, 8), (1, 7), (5, 0), (1, 5), (1, 9)].map(|(major, minor)| (Some(major), Some(minor)));
    let others = [(Some(136), None), (Some(5), Some(2)), (Some(10), Some(200))];
    any.into_iter().chain(nodes.into_iter().chain(others).map(move |(major, minor)| rule('c', major, minor, all)))
}

/// The device controller of v1: a behaviour and exceptions from it.
#[derive(Default)]
struct Controller {
    allow: bool,
    exceptions: Vec<Rule>,
}

impl Controller {
    /// Applies a rule. False: it would take something out of a wider exception, which can't be expressed.
    fn write(&mut self, rule: &Rule) -> bool {
        let same = |e: &Rule| (e.kind, e.major, e.minor) == (rule.kind, rule.major, rule.minor);
        let wider = |e: &Rule| {
            e.kind == rule.kind
                && !same(e)
                && (e.major.is_none() || e.major == rule.major)
                && (e.minor.is_none() || e.minor == rule.minor)
        };
        if rule.kind.is_none() {
            *self = Controller { allow: rule.allow, exceptions: Vec::new() };
        } else if rule.allow == self.allow {
            if self.exceptions.iter().any(|e| wider(e) && e.access & rule.access != 0) {
                return false;
            }
            self.exceptions.iter_mut().filter(|e| same(e)).for_each(|e| e.access &= !rule.access);
            self.exceptions.retain(|e| e.access != 0);
        } else if let Some(e) = self.exceptions.iter_mut().find(|e| same(e)) {
            e.access |= rule.access;
        } else {
            self.exceptions.push(*rule);
        }
        true
    }

    fn matching(&self, kind: char, major: u64, minor: u64) -> impl Iterator<Item = &Rule> {
        self.exceptions.iter().filter(move |e| {
            e.kind == Some(kind) && e.major.is_none_or(|m| m == major) && e.minor.is_none_or(|m| m == minor)
        })
    }

    fn permits(&self, kind: char, major: u64, minor: u64, access: u8) -> bool {
        // Where exceptions deny, a part of what is asked for suffices; where they allow, it must be all.
        let hits = |e: &Rule| if self.allow { e.access & access != 0 } else { access & !e.access == 0 };
        self.matching(kind, major, minor).any(hits) != self.allow
    }
}

fn random(x: &Ctx) -> Outcome {
    let mut random = Random(0xdec1_5eed);
    let (mut refused, mut asked, mut denied) = (0, 0, 0);
    for _ in 0..rounds(x) * 2 / 3 {
        let rules: Vec<_> = (0..random.below(8)).map(|_| Rule::random(&mut random)).collect();
        let mut model = Controller::default();
        let expressible = rules.iter().copied().chain(defaults()).all(|rule| model.write(&rule));
        let nodes: Vec<_> = ['c', 'b']
            .into_iter()
            .flat_map(|kind| MAJORS.iter().flatten().map(move |major| (kind, *major)))
            .flat_map(|(kind, major)| MINORS.iter().flatten().map(move |minor| (kind, major, *minor)))
            .filter(|(kind, major, _)| *major == 444 || (*kind == 'b') == (*major == 7))
            .collect();
        let verbs: Vec<_> = nodes
            .iter()
            .enumerate()
            .map(|(i, (kind, major, minor))| {
                let open = ["r", "w", "rw"].map(|mode| format!("open /dev/q{i} {mode}")).join(" , ");
                format!("mknod /dev/q{i} {kind} {major} {minor} , {open}")
            })
            .collect();
        let text = json!(rules.iter().map(Rule::json).collect::<Vec<_>>());
        let b = x.bundle(|c| {
            c["linux"]["resources"]["devices"] = text.clone();
            for set in ["bounding", "effective", "permitted"] {
                push(&mut c["process"]["capabilities"][set], json!("CAP_MKNOD"));
            }
            args(c, &verbs.join(" , "));
        })?;
        let out = x.run(&b)?;
        if !expressible {
            refused += 1;
            ensure(out.status != 0, format_args!("{text} was accepted, though it has a rule that can't be expressed"))?;
            continue;
        }
        let results = out.ok()?.results();
        for ((kind, major, minor), answers) in nodes.iter().zip(results.chunks(4)) {
            for (answer, access) in answers.iter().zip([MKNOD, READ, WRITE, READ | WRITE]) {
                // Of a node that it could not make nothing else can be asked.
                if answer == "ENOENT" {
                    continue;
                }
                let expect = model.permits(*kind, *major, *minor, access);
                // runc's and crun's programs let who is denied writing open for reading and writing.
                let partly = model.allow
                    && access == READ | WRITE
                    && model.matching(*kind, *major, *minor).all(|e| e.access & access != access);
                if x.job.v2 && partly && !x.job.version.starts_with("orlop") {
                    continue;
                }
                let what = format_args!("{text}: {kind} {major}:{minor} for {access}: {answer}, expected {expect}");
                ensure((answer != "EPERM") == expect, what)?;
                asked += 1;
                denied += u32::from(!expect);
            }
        }
        x.rt(["delete", "--force", &b.id])?;
    }
    x.measure(format!("{asked} questions, {denied} denied; {refused} lists refused"));
    Ok(())
}
