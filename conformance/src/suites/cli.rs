//! runc's command line, as engines use it: each line of the engine contract.

mod lines;
mod notify;
mod spellings;
mod texts;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use serde_json::{Value, json};

use crate::ctx::{Bundle, Ctx, Outcome, Patch, Stop, args, contains, ensure, eq, facts_of, fail, push, skip};
use crate::frame::Case;

/// The command that writes a configuration for who executes the runtime.
fn spec(x: &Ctx) -> Vec<&'static str> {
    if x.job.user.is_some() { vec!["spec", "--rootless"] } else { vec!["spec"] }
}

fn case(name: &str, checks: &'static str, run: impl Fn(&Ctx) -> Outcome + Send + Sync + 'static) -> Case {
    Case::new("cli", name, checks, run)
}

pub(crate) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    all.extend(information());
    all.extend(global_flags());
    all.extend(failures());
    all.extend(ids_and_configs());
    all.extend(programs());
    all.extend(create_start_state());
    all.extend(kill_and_delete());
    all.extend(run());
    all.extend(exec());
    all.extend(terminals());
    all.extend(the_rest());
    all.extend(notify::cases());
    all.extend(spellings::cases());
    all.extend(lines::cases());
    all.extend(texts::cases());
    all
}

/// Whether `s` is RFC 3339 in the profile of Go's time.Time, which engines decode it into.
fn is_rfc3339(s: &str) -> bool {
    let shape = |s: &str| s.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect::<String>();
    let Some((day, time)) = s.split_once('T') else { return false };
    let at = time.find(['Z', '+', '-']).unwrap_or(time.len());
    let (clock, zone) = time.split_at(at);
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    shape(day) == "0000-00-00"
        && shape(clock) == "00:00:00"
        && !fraction.is_empty()
        && fraction.chars().all(|c| c.is_ascii_digit())
        && (zone == "Z" || matches!(shape(zone).as_str(), "+00:00" | "-00:00"))
}

/// A JSON log as its records; every line must be one.
fn records(log: &str) -> Result<Vec<Value>, Stop> {
    log.lines()
        .map(|l| serde_json::from_str(l).or_else(|e| fail(format!("log line is not JSON ({e}): {l:?}"))))
        .collect()
}

fn information() -> Vec<Case> {
    let mut all = vec![
        case("version/shape", "contract 5.7: three fields on line 1, commit, spec", |x| {
            let out = x.bare(["--version"]).go()?.ok()?;
            let lines: Vec<_> = out.stdout.lines().collect();
            let first: Vec<_> = lines.first().map(|l| l.split(' ').collect()).unwrap_or_default();
            eq("fields of line 1", first.len(), 3)?;
            eq("line 1", first[1], "version")?;
            ensure(lines.iter().any(|l| l.starts_with("commit: ")), "no line `commit: `")?;
            ensure(lines.iter().any(|l| l.starts_with("spec: ")), "no line `spec: `")?;
            ensure(!lines[1..].iter().any(|l| l.contains("version")), "a later line contains `version`")?;
            eq("stderr", out.stderr, "")
        }),
        case("version/unusable-root", "contract 5.7: works with an unusable rundir", |x| {
            let out = x.bare(["--root", "/proc/nowhere", "--version"]).go()?.ok()?;
            contains("stdout", &out.stdout, &["version "])
        }),
        case("features/json", "contract 5.6: pure JSON, versions, nothing on stderr", |x| {
            let out = x.bare(["features"]).go()?.ok()?;
            let f = out.json()?;
            for key in ["ociVersionMin", "ociVersionMax"] {
                ensure(f[key].as_str().is_some_and(|v| !v.is_empty()), format_args!("{key} is missing: {f}"))?;
            }
            eq("stderr", out.stderr, "")
        }),
        case("features/linux", "contract 5.6: namespaces, capabilities, cgroup, seccomp", |x| {
            let f = x.bare(["features"]).go()?.ok()?.json()?;
            let has = |pointer: &str, word: &str| {
                let list = f.pointer(pointer).and_then(Value::as_array);
                ensure(
                    list.is_some_and(|l| l.iter().any(|v| v == word)),
                    format_args!("{pointer} does not contain {word}: {:?}", f.pointer(pointer)),
                )
            };
            for n in ["cgroup", "ipc", "mount", "network", "pid", "user", "uts"] {
                has("/linux/namespaces", n)?;
            }
            has("/linux/capabilities", "CAP_SYS_ADMIN")?;
            has("/linux/seccomp/actions", "SCMP_ACT_ERRNO")?;
            has("/linux/seccomp/operators", "SCMP_CMP_MASKED_EQ")?;
            has("/linux/seccomp/archs", "SCMP_ARCH_X86_64")?;
            for h in ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"] {
                has("/hooks", h)?;
            }
            for o in ["ro", "rbind", "rprivate", "nosuid"] {
                has("/mountOptions", o)?;
            }
            eq("cgroup v1", f.pointer("/linux/cgroup/v1"), Some(&json!(true)))?;
            eq("cgroup v2", f.pointer("/linux/cgroup/v2"), Some(&json!(true)))
        }),
        case("features/rro", "contract 5.6: mountOptions contains rro", |x| {
            let f = x.bare(["features"]).go()?.ok()?.json()?;
            let options = f["mountOptions"].as_array().cloned().unwrap_or_default();
            ensure(options.iter().any(|o| o == "rro"), format_args!("no rro in {options:?}"))
        }),
        case("features/idmap", "contract 5.6: linux.mountExtensions.idmap.enabled", |x| {
            let f = x.bare(["features"]).go()?.ok()?.json()?;
            eq("idmap", f.pointer("/linux/mountExtensions/idmap/enabled"), Some(&json!(true)))
        }),
        case("features/mount-options-are-accepted", "features.md mountOptions: recognized by the runtime", |x| {
            let f = x.bare(["features"]).go()?.ok()?.json()?;
            let options = f["mountOptions"].as_array().cloned().unwrap_or_default();
            ensure(options.len() > 30, format_args!("few options: {options:?}"))?;
            // A file system refuses an option that it gets to see: so the runtime has taken it. All in one container.
            let b = x.bundle(|c| {
                for (at, option) in options.iter().filter_map(Value::as_str).enumerate() {
                    let map = json!([{"containerID": 0, "hostID": 1000, "size": 100}]);
                    let mut mount = json!({"destination": format!("/dir/{at}"), "type": "tmpfs", "source": "tmpfs", "options": [option]});
                    match option {
                        "bind" | "rbind" => mount["source"] = json!(x.job.dir),
                        "copy-symlink" | "src-nofollow" | "dest-nofollow" => {
                            mount["source"] = json!(x.job.dir);
                            mount["options"] = json!(["bind", option]);
                        }
                        "idmap" | "ridmap" => {
                            mount["source"] = json!(x.job.dir);
                            mount["options"] = json!(["bind", option]);
                            mount["uidMappings"] = map.clone();
                            mount["gidMappings"] = map;
                        }
                        "remount" => {
                            mount["destination"] = json!("/dir/0");
                            mount["options"] = json!(["remount", "nosuid"]);
                        }
                        _ => {}
                    }
                    push(&mut c["mounts"], mount);
                }
            })?;
            x.run(&b)?.ok().map(drop)
        }),
        case("features/capabilities-are-granted", "features-linux.md capabilities: recognized by the runtime", |x| {
            let f = x.bare(["features"]).go()?.ok()?.json()?;
            let claimed = f.pointer("/linux/capabilities").and_then(Value::as_array).cloned().unwrap_or_default();
            // What can be granted here is what the caller has.
            let own = facts_of(&x.program(&x.job.probe, ["probe", "report"]).go()?.ok()?)?;
            let held = own.pointer("/caps/effective").and_then(Value::as_array).cloned().unwrap_or_default();
            let unclaimed: Vec<_> = held.iter().filter(|name| !claimed.contains(name)).collect();
            ensure(
                unclaimed.is_empty(),
                format_args!("capabilities of this kernel that are not listed: {unclaimed:?}"),
            )?;
            let facts = x.facts(|c| {
                c["process"]["capabilities"] = json!({"bounding": held, "permitted": held, "effective": held});
            })?;
            eq("capabilities", facts.pointer("/caps/effective"), Some(&json!(held)))
        }),
        case("features/namespaces-are-made", "features-linux.md namespaces: recognized by the runtime", |x| {
            let f = x.bare(["features"]).go()?.ok()?.json()?;
            let all: Vec<Value> = f.pointer("/linux/namespaces").and_then(Value::as_array).cloned().unwrap_or_default();
            let map = json!([{"containerID": 0, "hostID": 0, "size": 1000}]);
            let facts = x.facts(|c| {
                c["linux"]["namespaces"] = all.iter().map(|kind| json!({"type": kind})).collect();
                c["linux"]["uidMappings"] = map.clone();
                c["linux"]["gidMappings"] = map;
            })?;
            for kind in all.iter().filter_map(Value::as_str) {
                let file = match kind {
                    "mount" => "mnt",
                    "network" => "net",
                    kind => kind,
                };
                let own = fs::read_link(format!("/proc/self/ns/{file}"))?;
                ensure(
                    facts["ns"][file].as_str().is_some_and(|ns| own.to_str() != Some(ns)),
                    format_args!("{kind}: not a new one: {}", facts["ns"][file]),
                )?;
            }
            Ok(())
        }),
        case("features/seccomp-is-compiled", "features-linux.md seccomp: actions, operators, archs, flags", |x| {
            let f = x.bare(["features"]).go()?.ok()?.json()?;
            let list = |name: &str| f["linux"]["seccomp"][name].as_array().cloned().unwrap_or_default();
            // acct(2) is what nobody calls here; notifications are tried with an agent, in spec/seccomp.
            let actions = list("actions").into_iter().filter(|action| action != "SCMP_ACT_NOTIFY");
            let mut rules: Vec<Value> = list("operators")
                .iter()
                .map(|op| json!({"names": ["acct"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 0, "value": 7, "op": op}]}))
                .collect();
            let calls = [
                "swapon",
                "swapoff",
                "reboot",
                "init_module",
                "delete_module",
                "kexec_load",
                "quotactl",
                "vhangup",
                "iopl",
                "ioperm",
            ];
            rules.extend(actions.zip(calls).map(|(action, call)| json!({"names": [call], "action": action})));
            ensure(rules.len() > 12, format_args!("few actions and operators: {rules:?}"))?;
            x.facts(|c| {
                c["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules,
                    "architectures": list("archs"), "flags": list("supportedFlags")});
            })
            .map(drop)
        }),
        case("features/unsafe-annotations", "security 1.3: potentially unsafe annotations are listed", |x| {
            let f = x.bare(["features"]).go()?.ok()?.json()?;
            ensure(f["potentiallyUnsafeConfigAnnotations"].is_array(), "no list of them")
        }),
        case("spec/writes-config", "contract 5.2: `spec` writes a runnable config.json", |x| {
            let b = x.bare_bundle()?;
            x.cmd(spec(x)).cwd(&b.dir).go()?.ok()?;
            let text = fs::read_to_string(b.dir.join("config.json"))?;
            let mut c: Value = serde_json::from_str(&text)?;
            for key in ["ociVersion", "process", "root", "linux", "mounts", "hostname"] {
                ensure(c.get(key).is_some(), format_args!("no {key}"))?;
            }
            ensure(c.pointer("/process/capabilities/inheritable").is_none_or(|i| i == &json!([])), "inheritable caps")?;
            c["process"]["terminal"] = json!(false);
            args(&mut c, "exit 7");
            // The default asks for a limit that only CAP_SYS_RESOURCE may raise, where the harness has less.
            c["process"]["rlimits"] = json!([]);
            fs::write(b.dir.join("config.json"), c.to_string())?;
            x.run(&b)?.exits(7).map(drop)
        }),
        case("spec/keeps-existing", "runc spec: an existing config.json is not overwritten", |x| {
            let b = x.bare_bundle()?;
            fs::write(b.dir.join("config.json"), "mine")?;
            let out = x.rt(["spec", "--bundle", b.dir()])?;
            ensure(out.status != 0, "it succeeded")?;
            contains("stderr", &out.stderr, &["exist"])?;
            eq("config.json", fs::read_to_string(b.dir.join("config.json"))?, "mine")
        }),
        case("spec/default-is-quiet", "contract 5.4: no warning for the default configuration", |x| {
            let b = x.bare_bundle()?;
            x.cmd(spec(x)).cwd(&b.dir).go()?.ok()?;
            let mut c: Value = serde_json::from_str(&fs::read_to_string(b.dir.join("config.json"))?)?;
            c["process"]["terminal"] = json!(false);
            c["process"]["rlimits"] = json!([]);
            args(&mut c, "exit 0");
            fs::write(b.dir.join("config.json"), c.to_string())?;
            eq("stderr", x.run(&b)?.ok()?.stderr, "")?;
            // What runc 1.1 wrote: ambient without inheritable, which no kernel grants.
            let caps = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
            c["process"]["capabilities"] =
                json!({"bounding": caps, "effective": caps, "permitted": caps, "ambient": caps});
            fs::write(b.dir.join("config.json"), c.to_string())?;
            eq("stderr, with ambient capabilities that cannot be", x.run(&b)?.ok()?.stderr, "")?;
            let created = x.create(&b)?;
            eq("stderr of create", created.stderr(), "")
        }),
        case("spec/rootless", "runc spec --rootless: user namespace and mappings", |x| {
            let b = x.bare_bundle()?;
            x.rt(["spec", "--rootless", "--bundle", b.dir()])?.ok()?;
            let c: Value = serde_json::from_str(&fs::read_to_string(b.dir.join("config.json"))?)?;
            ensure(c.pointer("/linux/uidMappings/0/containerID") == Some(&json!(0)), "no uidMappings")?;
            ensure(
                c.pointer("/linux/namespaces")
                    .and_then(Value::as_array)
                    .is_some_and(|l| l.iter().any(|n| n["type"] == "user")),
                "no user namespace",
            )
        }),
    ];
    for flag in ["-v", "-version"] {
        all.push(case(
            &format!("version/{flag}"),
            "contract 5.7, 5.1.2: also -v; single-dash long options",
            move |x| {
                let long = x.bare(["--version"]).go()?.ok()?.stdout;
                eq(flag, x.bare([flag]).go()?.ok()?.stdout, long)
            },
        ));
    }
    let commands = [
        "checkpoint",
        "create",
        "delete",
        "events",
        "exec",
        "features",
        "kill",
        "list",
        "pause",
        "ps",
        "restore",
        "resume",
        "run",
        "spec",
        "start",
        "state",
        "update",
    ];
    for command in commands {
        all.push(case(&format!("help/{command}"), "contract 5.2: `COMMAND --help` exits 0", move |x| {
            let out = x.bare([command, "--help"]).go()?.ok()?;
            ensure(out.stdout.contains(command), "the help does not name the command")
        }));
    }
    all
}

/// A way to write `--root DIR`.
type Spelling = fn(&str) -> Vec<String>;

fn global_flags() -> Vec<Case> {
    let mut all = Vec::new();
    let spellings: [(&str, Spelling); 5] = [
        ("space", |r| vec!["--root".into(), r.into()]),
        ("equals", |r| vec![format!("--root={r}")]),
        ("single-dash", |r| vec!["-root".into(), r.into()]),
        ("single-dash-equals", |r| vec![format!("-root={r}")]),
        ("many", |r| {
            let flags = format!("--debug=false --log /dev/null --log-format json --rootless=false --root {r}");
            flags.split(' ').map(str::to_owned).collect()
        }),
    ];
    for (name, flags) in spellings {
        all.push(case(&format!("global/root-{name}"), "contract 5.1.1, 5.1.2: spellings of global flags", move |x| {
            let b = x.bundle(|c| args(c, "exit 0"))?;
            let root = x.state_root().to_string_lossy().into_owned();
            let mut words = flags(&root);
            words.extend(["create", "--bundle", b.dir(), &b.id].map(str::to_owned));
            x.bare(words).go()?.ok()?;
            ensure(x.state_root().join(&b.id).is_dir(), "no directory of the container below --root")
        }));
    }
    for value in ["true", "false", "auto"] {
        all.push(case(&format!("global/rootless-{value}"), "contract 5.1.1: --rootless[=true|false|auto]", move |x| {
            let out = x.cmd([format!("--rootless={value}").as_str(), "list"]).go()?.ok()?;
            contains("stdout", &out.stdout, &["STATUS"])
        }));
    }
    all.extend([
        case("global/log-format-unknown", "runc: an unknown log format is an error", |x| {
            x.cmd(["--log-format", "xml", "list"]).go()?.fails(1, &["log-format"]).map(drop)
        }),
        case("global/unknown-command", "contract 5.1.6: a failure is not 0", |x| {
            let out = x.cmd(["no-such-command"]).go()?;
            ensure(out.status != 0, "it succeeded")?;
            contains("output", &format!("{}{}", out.stdout, out.stderr), &["no-such-command"])
        }),
        case("global/unknown-flag", "contract 5.1.6: a failure is not 0", |x| {
            for words in [["list", "--no-such-flag"], ["--no-such-flag", "list"]] {
                let out = x.bare(words).go()?;
                ensure(out.status != 0, format_args!("{words:?} succeeded"))?;
                contains("output", &format!("{}{}", out.stdout, out.stderr), &["no-such-flag"])?;
            }
            Ok(())
        }),
        case("global/root-slash", "security 1.3: --root / is refused", |x| {
            x.bare(["--root", "/", "list"]).go()?.fails(1, &["root"]).map(drop)
        }),
        case("global/root-mode", "contract 5.1.10: the state directory is private", |x| {
            let b = x.bundle(|c| args(c, "exit 0"))?;
            x.create(&b)?;
            let mode = fs::metadata(x.state_root())?.mode() & 0o777;
            eq("mode of --root", format!("{mode:o}"), "700")?;
            let mode = fs::metadata(x.state_root().join(&b.id))?.mode() & 0o006;
            eq("others' reading and writing of the container's directory", mode, 0)
        }),
        case("global/root-default", "contract 5.1.10: without --root, /run/runc (of another name, /run/NAME)", |x| {
            let name = x.job.version.split(' ').next().unwrap_or_default();
            if name != "runc" && name != "orlop" {
                return skip("not runc: its own default");
            }
            // By what is in /run systemd is found.
            x.needs_cgroupfs()?;
            let none: Option<&str> = None;
            nix::mount::mount(Some("tmpfs"), "/run", Some("tmpfs"), nix::mount::MsFlags::empty(), none)?;
            let b = x.bundle(|c| args(c, "exit 0"))?;
            // podman gives no more environment than this to kill and delete.
            let env = [("XDG_RUNTIME_DIR", "/run/user/0")];
            let created = x.bare(["create", "--bundle", b.dir(), &b.id]).env(&env).go();
            let there = std::path::Path::new("/run").join(name).join(&b.id).is_dir();
            let deleted = x.bare(["delete", "--force", &b.id]).env(&env).go();
            nix::mount::umount2("/run", nix::mount::MntFlags::MNT_DETACH)?;
            created?.ok()?;
            deleted?.ok()?;
            ensure(there, format_args!("no /run/{name}/ID"))
        }),
        case("global/options-before-id", "contract 5.1.1, 5.1.3: -b DIR, options before the id", |x| {
            let b = x.bundle(|c| args(c, "exit 0"))?;
            x.rt(["create", "-b", b.dir(), &b.id])?.ok()?;
            x.status(&b.id, "created")
        }),
        case("global/bundle-equals", "contract 5.1.1: --bundle=DIR", |x| {
            let b = x.bundle(|c| args(c, "exit 3"))?;
            x.rt(["run", &format!("--bundle={}", b.dir()), &b.id])?.exits(3).map(drop)
        }),
        case("global/bundle-single-dash", "contract 5.1.2: -bundle DIR", |x| {
            let b = x.bundle(|c| args(c, "exit 3"))?;
            x.rt(["run", "-bundle", b.dir(), &b.id])?.exits(3).map(drop)
        }),
        case("global/bundle-is-cwd", "contract 5.2: without --bundle, the current directory", |x| {
            let b = x.bundle(|c| args(c, "exit 3"))?;
            x.cmd(["run", &b.id]).cwd(&b.dir).go()?.exits(3).map(drop)
        }),
        case("global/relative-bundle", "runtime.md State: bundle is the absolute path", |x| {
            let b = x.bundle(|_| ())?;
            x.cmd(["create", "--bundle", &b.id, &b.id]).cwd(&x.job.dir).go()?.ok()?;
            eq("bundle", x.state(&b.id)?["bundle"].as_str(), Some(b.dir()))
        }),
        case("global/systemd-cgroup-without-systemd", "contract 5.1.9: refused where systemd is not running", |x| {
            if std::path::Path::new("/run/systemd/system").exists() {
                return skip("systemd is running");
            }
            let b = x.bundle(|c| c["linux"]["cgroupsPath"] = json!("system.slice:x:y"))?;
            let out = x.cmd(["--systemd-cgroup", "create", "--bundle", b.dir(), &b.id]).go()?.exits(1)?;
            ensure(out.stderr.contains("systemd") || out.stderr.contains("bus"), "the error does not name systemd")
        }),
    ]);
    all
}

fn failures() -> Vec<Case> {
    let mut all = Vec::new();
    let unknown: [(&str, &[&str], i32); 11] = [
        ("state", &["state", "ID"], 1),
        ("start", &["start", "ID"], 1),
        ("kill", &["kill", "ID", "KILL"], 1),
        ("kill-all", &["kill", "--all", "ID", "9"], 1),
        ("delete", &["delete", "ID"], 1),
        ("pause", &["pause", "ID"], 1),
        ("resume", &["resume", "ID"], 1),
        ("exec", &["exec", "ID", "true"], 255),
        ("ps", &["ps", "ID"], 1),
        ("update", &["update", "--pids-limit", "5", "ID"], 1),
        ("events", &["events", "--stats", "ID"], 1),
    ];
    for (name, words, status) in unknown {
        all.push(case(&format!("unknown-id/{name}"), "contract 5.1.6, 5.3: status, `does not exist`", move |x| {
            let id = x.id();
            let words: Vec<_> = words.iter().map(|w| if *w == "ID" { id.as_str() } else { w }).collect();
            x.rt(words)?.fails(status, &["container does not exist"]).map(drop)
        }));
    }
    for command in ["state", "start", "kill", "delete", "create", "run", "exec", "pause", "resume", "ps"] {
        all.push(case(&format!("no-id/{command}"), "runtime.md Operations: an error without the ID", move |x| {
            let out = x.rt([command])?;
            ensure(out.status != 0, "it succeeded")?;
            ensure(!out.stderr.trim().is_empty() || !out.stdout.trim().is_empty(), "no message")
        }));
    }
    all.extend([
        case("unknown-id/delete-force", "contract 5.1.6: delete --force of an unknown id is 0", |x| {
            let id = x.id();
            x.rt(["delete", "--force", &id])?.ok()?;
            x.rt(["delete", "-f", &id])?.ok().map(drop)
        }),
        case("log/text-on-stderr", "contract 5.1.5: without --log, logrus text on stderr", |x| {
            let out = x.rt(["state", &x.id()])?.exits(1)?;
            let line = out.stderr.lines().last().unwrap_or_default();
            ensure(line.starts_with("time=\""), format_args!("no time: {line}"))?;
            contains("stderr", line, &["level=error", "msg=\"container does not exist\""])?;
            let time = line.split('"').nth(1).unwrap_or_default();
            ensure(is_rfc3339(time), format_args!("not RFC 3339: {time}"))
        }),
        case("log/json-record", "contract 5.4: exactly one record: level, msg, time", |x| {
            let b = x.bundle(|c| c["process"]["args"] = json!(["no-such-program"]))?;
            let log = b.path("log");
            let out =
                x.cmd(["--log", &log, "--log-format", "json", "run", "--bundle", b.dir(), &b.id]).go()?.exits(1)?;
            let records = records(&fs::read_to_string(&log)?)?;
            eq("records", records.len(), 1)?;
            let r = &records[0];
            eq("level", r["level"].as_str(), Some("error"))?;
            ensure(r["time"].as_str().is_some_and(is_rfc3339), format_args!("time: {}", r["time"]))?;
            let msg = r["msg"].as_str().unwrap_or_default();
            contains("msg", msg, &["exec: \"no-such-program\": executable file not found in $PATH"])?;
            eq("stderr is the message", out.stderr.trim_end(), msg)
        }),
        case("log/json-order", "contract 5.4: keys in logrus' order", |x| {
            let log = x.fresh("log");
            let path = log.to_string_lossy().into_owned();
            x.cmd(["--log", &path, "--log-format=json", "state", &x.id()]).go()?.exits(1)?;
            let text = fs::read_to_string(&log)?;
            let at = |key: &str| text.find(&format!("\"{key}\":")).unwrap_or(usize::MAX);
            ensure(at("level") < at("msg") && at("msg") < at("time") && at("time") < usize::MAX, text.clone())
        }),
        case("log/text-file", "contract 5.1.5: the log file and stderr", |x| {
            let log = x.fresh("log");
            let path = log.to_string_lossy().into_owned();
            let out = x.cmd(["--log", &path, "state", &x.id()]).go()?.exits(1)?;
            contains("log", &fs::read_to_string(&log)?, &["level=error", "container does not exist"])?;
            eq("stderr", out.stderr.trim_end(), "container does not exist")
        }),
        case("log/append", "contract 5.1.4: the log is appended to, 0644", |x| {
            let log = x.fresh("log");
            let path = log.to_string_lossy().into_owned();
            for _ in 0..3 {
                x.cmd(["--log", &path, "--log-format", "json", "state", &x.id()]).go()?.exits(1)?;
            }
            eq("records", records(&fs::read_to_string(&log)?)?.len(), 3)?;
            eq("mode", fs::metadata(&log)?.permissions().mode() & 0o777, 0o644)
        }),
        case("log/shared", "contract 5.1.4: several at once write whole lines", |x| {
            let log = x.fresh("log");
            let path = log.to_string_lossy().into_owned();
            let state = |_| x.cmd(["--log", &path, "--log-format", "json", "state", &x.id()]).spawn();
            let mut all = (0..12).map(state).collect::<Result<Vec<_>, Stop>>()?;
            for running in &mut all {
                eq("exit status", running.wait()?, 1)?;
            }
            eq("records", records(&fs::read_to_string(&log)?)?.len(), all.len())
        }),
        case("log/exec-record", "contract 5.4: one record of an exec that failed, in a log that others used", |x| {
            let live = x.live(|_| ())?;
            let log = live.bundle.path("log");
            for count in 1..3 {
                let words = ["--log", &log, "--log-format", "json", "exec", &live.id, "no-such-program"];
                let out = x.cmd(words).go()?.exits(255)?;
                let records = records(&fs::read_to_string(&log)?)?;
                eq("records", records.len(), count)?;
                eq("lines of standard error", out.stderr.lines().count(), 1)?;
                eq("standard error", records[count - 1]["msg"].as_str(), Some(out.stderr.trim_end()))?;
            }
            Ok(())
        }),
        case("log/quiet", "contract 5.4: no record without --debug when all is well", |x| {
            let log = x.fresh("log");
            let path = log.to_string_lossy().into_owned();
            let b = x.bundle(|c| args(c, "exit 0"))?;
            let out = x.cmd(["--log", &path, "--log-format", "json", "run", "--bundle", b.dir(), &b.id]).go()?.ok()?;
            eq("stderr", out.stderr, "")?;
            eq("log", fs::read_to_string(&log)?, "")
        }),
        case("log/debug", "contract 5.1.1, 5.4: --debug, JSON records all along, with `func` and `file`", |x| {
            let log = x.fresh("log");
            let path = log.to_string_lossy().into_owned();
            let b = x.bundle(|c| args(c, "exit 0"))?;
            x.cmd(["--debug", "--log", &path, "--log-format", "json", "run", "--bundle", b.dir(), &b.id]).go()?.ok()?;
            let records = records(&fs::read_to_string(&log)?)?;
            ensure(records.iter().any(|r| r["level"] == "debug"), "no record of level debug")?;
            let placed =
                |r: &Value| ["func", "file"].iter().all(|key| r[key].as_str().is_some_and(|at| !at.is_empty()));
            let bare = records.iter().find(|r| !placed(r));
            ensure(bare.is_none(), format_args!("without `func` and `file`: {bare:?}"))
        }),
    ]);
    all
}

fn ids_and_configs() -> Vec<Case> {
    let mut all = Vec::new();
    let ids = [
        ("slash", "a/b"),
        ("dot", "."),
        ("dots", ".."),
        ("up", "../x"),
        ("space", "a b"),
        ("utf8", "ä"),
        ("empty", ""),
    ];
    for (name, id) in ids {
        all.push(case(&format!("id/{name}"), "security 1.3: [A-Za-z0-9_+.-]+, not . or ..", move |x| {
            let b = x.bundle(|_| ())?;
            let out = x.rt(["create", "--bundle", b.dir(), id])?;
            ensure(out.status != 0, "it succeeded")?;
            if !id.is_empty() {
                contains("stderr", &out.stderr, &["invalid container ID format"])?;
            }
            let left: Vec<_> = fs::read_dir(x.state_root()).map(|d| d.flatten().collect()).unwrap_or_default();
            ensure(left.is_empty(), format_args!("something was made below --root: {left:?}"))
        }));
    }
    all.extend([
        case("id/all-characters", "security 1.3: [A-Za-z0-9_+.-]+", |x| {
            let b = x.bundle(|c| args(c, "exit 3"))?;
            x.rt(["run", "--bundle", b.dir(), &format!("{}A_b+c.d-1", b.id)])?.exits(3).map(drop)
        }),
        case("id/existing", "runtime.md Create: an ID that is not unique is an error", |x| {
            let b = x.bundle(|c| args(c, "wait"))?;
            let mut first = x.create(&b)?;
            let out = x.rt(["create", "--bundle", b.dir(), &b.id])?.exits(1)?;
            contains("stderr", &out.stderr, &["container with given ID already exists"])?;
            x.status(&b.id, "created")?;
            x.rt(["start", &b.id])?.ok()?;
            first.expect("ready")
        }),
        case("id/reuse-after-delete", "runtime.md Delete: the ID may be used again", |x| {
            let b = x.bundle(|c| args(c, "exit 3"))?;
            for _ in 0..2 {
                x.create(&b)?;
                x.rt(["delete", "--force", &b.id])?.ok()?;
            }
            x.run(&b)?.exits(3).map(drop)
        }),
    ]);
    let configs: [(&str, Option<&str>); 8] = [
        ("missing", None),
        ("empty", Some("")),
        ("truncated", Some("{\"ociVersion\": \"1.0.2\", \"process\": {")),
        ("not-an-object", Some("[]")),
        ("wrong-type", Some("{\"ociVersion\": \"1.0.2\", \"root\": {\"path\": 7}}")),
        (
            "no-process-args",
            Some("{\"ociVersion\": \"1.0.2\", \"root\": {\"path\": \"rootfs\"}, \"process\": {\"cwd\": \"/\"}}"),
        ),
        ("no-root", Some("{\"ociVersion\": \"1.0.2\", \"process\": {\"cwd\": \"/\", \"args\": [\"/probe\"]}}")),
        ("null", Some("null")),
    ];
    for (name, text) in configs {
        all.push(case(&format!("config/{name}"), "runtime.md Create: an error, and no container", move |x| {
            let b = x.bare_bundle()?;
            if let Some(text) = text {
                fs::write(b.dir.join("config.json"), text)?;
            }
            for command in ["create", "run"] {
                let out = x.rt([command, "--bundle", b.dir(), &b.id])?.exits(1)?;
                ensure(!out.stderr.trim().is_empty(), "no message")?;
                ensure(!out.stderr.contains("panic"), "it panicked")?;
                x.rt(["state", &b.id])?.exits(1)?;
            }
            Ok(())
        }));
    }
    let refused: [(&str, Patch); 10] = [
        ("rootfs-missing", |c| c["root"]["path"] = json!("nowhere")),
        ("rootfs-is-file", |c| c["root"]["path"] = json!("config.json")),
        ("args-empty", |c| c["process"]["args"] = json!([])),
        ("cwd-relative", |c| c["process"]["cwd"] = json!("tmp")),
        ("cwd-is-file", |c| c["process"]["cwd"] = json!("/probe")),
        ("namespace-twice", |c| push(&mut c["linux"]["namespaces"], json!({"type": "pid"}))),
        ("namespace-unknown", |c| push(&mut c["linux"]["namespaces"], json!({"type": "moon"}))),
        ("namespace-path-missing", |c| {
            crate::ctx::namespace(c, "network", Some(json!({"type": "network", "path": "/no/such"})));
        }),
        ("mount-source-missing", |c| {
            let mount = json!({"destination": "/m", "type": "bind", "source": "/no/such", "options": ["bind"]});
            push(&mut c["mounts"], mount);
        }),
        ("mount-type-unknown", |c| {
            push(&mut c["mounts"], json!({"destination": "/m", "type": "nosuchfs", "source": "x"}));
        }),
    ];
    for (name, patch) in refused {
        all.push(case(&format!("config/{name}"), "runtime.md Create: an error, and no container", move |x| {
            let b = x.bundle(patch)?;
            let out = x.run(&b)?.exits(1)?;
            ensure(!out.stderr.trim().is_empty(), "no message")?;
            x.rt(["state", &b.id])?.exits(1).map(drop)
        }));
    }
    all
}

fn programs() -> Vec<Case> {
    // What is executed, what the message must hold, what it must not hold (engines look for the one before the other).
    let rows: [(&str, &str, &[&str], &[&str]); 9] = [
        (
            "not-in-path",
            "foo",
            &["exec: \"foo\": executable file not found in $PATH"],
            &["permission denied", "is a directory"],
        ),
        ("absolute-missing", "/no/such", &["/no/such", "no such file or directory"], &["permission denied"]),
        ("relative-missing", "./such", &["such", "no such file or directory"], &["permission denied"]),
        ("directory", "/etc", &["/etc"], &["no such file or directory", "not found"]),
        ("not-executable", "/plain", &["/plain", "permission denied"], &["no such file", "not found"]),
        ("not-a-program", "/text", &["exec format error"], &["permission denied", "no such file"]),
        ("interpreter-missing", "/script", &["no such file or directory"], &["permission denied"]),
        ("below-a-file", "/probe/x", &["not a directory"], &["permission denied"]),
        ("empty", "", &[], &[]),
    ];
    let files = |b: &Bundle| -> Outcome {
        for (name, text, mode) in [("plain", "x", 0o644), ("text", "x", 0o755), ("script", "#!/no/such\n", 0o755)] {
            let path = b.rootfs.join(name);
            fs::write(&path, text)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
        }
        Ok(())
    };
    let judge = |stderr: &str, program: &str, want: &[&str], never: &[&str]| -> Outcome {
        contains("stderr", stderr, want)?;
        if program == "/etc" {
            ensure(
                stderr.contains("permission denied") || stderr.contains("is a directory"),
                "neither `permission denied` nor `is a directory`",
            )?;
        }
        match never.iter().find(|n| stderr.contains(**n)) {
            Some(n) => fail(format!("stderr contains {n:?}, which means something else to engines: {stderr}")),
            None => Ok(()),
        }
    };
    let mut all = Vec::new();
    for (name, program, want, never) in rows {
        all.push(case(
            &format!("program/run-{name}"),
            "contract 5.3: texts of a program that cannot be run",
            move |x| {
                let b = x.bundle(|c| c["process"]["args"] = json!([program]))?;
                files(&b)?;
                let out = x.run(&b)?.exits(1)?;
                judge(&out.stderr, program, want, never)
            },
        ));
        all.push(case(&format!("program/exec-{name}"), "contract 5.3: the same for exec, status 255", move |x| {
            let live = x.live(|_| ())?;
            files(&live.bundle)?;
            let pid_file = live.bundle.path("exec-pid");
            let out = x.rt(["exec", "--pid-file", &pid_file, &live.id, program])?.exits(255)?;
            judge(&out.stderr, program, want, never)?;
            // conmon takes its absence for the failure of the runtime.
            ensure(!std::path::Path::new(&pid_file).exists(), "a pid file was written")?;
            x.status(&live.id, "running")
        }));
    }
    all.push(case("program/message-form", "contract 5.3: canonical form of `run` and `exec`", |x| {
        let b = x.bundle(|c| c["process"]["args"] = json!(["foo"]))?;
        let name = if x.job.version.starts_with("crun") { return skip("crun has forms of its own") } else { ":" };
        let out = x.run(&b)?.exits(1)?;
        contains("stderr", &out.stderr, &["unable to start container process", name])?;
        let live = x.live(|_| ())?;
        let out = x.rt(["exec", &live.id, "foo"])?.exits(255)?;
        contains("stderr", &out.stderr, &["exec failed: unable to start container process"])
    }));
    all.push(case("program/path-of-the-config", "config.md Process args: execvp with process.env PATH", |x| {
        let b = x.bundle(|c| {
            c["process"]["env"] = json!(["PATH=/nowhere:/dir"]);
            c["process"]["args"] = json!(["tool", "probe", "exit", "4"]);
        })?;
        fs::hard_link(&x.job.probe, b.rootfs.join("dir/tool"))?;
        x.run(&b)?.exits(4).map(drop)
    }));
    all
}

fn create_start_state() -> Vec<Case> {
    vec![
        case("state/keys", "contract 5.5: keys of `state`, indented", |x| {
            let b = x.bundle(|c| c["annotations"] = json!({"org.example.key": "value"}))?;
            x.create(&b)?;
            let out = x.rt(["state", &b.id])?.ok()?;
            let s = out.json()?;
            ensure(out.stdout.contains("\n  \"id\""), "not indented by two spaces")?;
            ensure(s["ociVersion"].as_str().is_some_and(|v| v.starts_with("1.")), "ociVersion")?;
            eq("id", s["id"].as_str(), Some(b.id.as_str()))?;
            eq("bundle", s["bundle"].as_str(), Some(b.dir()))?;
            eq("rootfs", s["rootfs"].as_str(), b.rootfs.to_str())?;
            eq("status", s["status"].as_str(), Some("created"))?;
            ensure(s["pid"].as_i64().is_some_and(|p| p > 1), "pid")?;
            ensure(s["created"].as_str().is_some_and(is_rfc3339), format_args!("created: {}", s["created"]))?;
            ensure(s["owner"].is_string(), "owner")?;
            eq("annotation", s.pointer("/annotations/org.example.key"), Some(&json!("value")))
        }),
        case("state/key-order", "contract 5.5: the order of the keys", |x| {
            let b = x.bundle(|c| c["annotations"] = json!({"a": "b"}))?;
            x.create(&b)?;
            let text = x.rt(["state", &b.id])?.ok()?.stdout;
            let keys = ["ociVersion", "id", "pid", "status", "bundle", "rootfs", "created", "annotations", "owner"];
            let at: Vec<_> = keys.iter().map(|k| text.find(&format!("\"{k}\":"))).collect();
            ensure(at.iter().all(Option::is_some) && at.is_sorted(), format_args!("{text}"))
        }),
        case("state/through-life", "runtime.md State: created, running, stopped; pid 0 when stopped", |x| {
            let b = x.bundle(|c| args(c, "wait"))?;
            let mut out = x.create(&b)?;
            x.status(&b.id, "created")?;
            let pid = x.state(&b.id)?["pid"].as_i64().unwrap_or(0);
            eq("pid file", fs::read_to_string(b.path("pid"))?, pid.to_string())?;
            x.rt(["start", &b.id])?.ok()?;
            out.expect("ready")?;
            let s = x.state(&b.id)?;
            eq("status", s["status"].as_str(), Some("running"))?;
            eq("pid", s["pid"].as_i64(), Some(pid))?;
            x.rt(["kill", &b.id, "KILL"])?.ok()?;
            x.gone(pid as i32)?;
            let s = x.state(&b.id)?;
            eq("status", s["status"].as_str(), Some("stopped"))?;
            eq("pid", s["pid"].as_i64(), Some(0))?;
            x.rt(["delete", &b.id])?.ok()?;
            x.rt(["state", &b.id])?.exits(1).map(drop)
        }),
        case("create/does-not-run", "runtime.md Create: args are not applied until start", |x| {
            let b = x.bundle(|c| args(c, "write /mark x"))?;
            let mut out = x.create(&b)?;
            ensure(!b.rootfs.join("mark").exists(), "the program ran before start")?;
            x.rt(["start", &b.id])?.ok()?;
            out.rest()?;
            ensure(b.rootfs.join("mark").exists(), "the program did not run")
        }),
        case("create/in-its-cgroup", "contract 5.8: after create, init is in its final cgroup", |x| {
            let b = x.bundle(|_| ())?;
            x.create(&b)?;
            let pid = fs::read_to_string(b.path("pid"))?;
            let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
            ensure(
                cgroup.lines().any(|l| x.in_group(l, &b.id)),
                format_args!("{} is not in {cgroup:?}", x.group(&b.id)),
            )
        }),
        case("create/reparented", "contract 5.1.8: the process is a child of the nearest subreaper", |x| {
            let b = x.bundle(|_| ())?;
            x.create(&b)?;
            let pid = fs::read_to_string(b.path("pid"))?;
            let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
            contains("status of init", &status, &[&format!("PPid:\t{}", std::process::id())])
        }),
        case("create/descriptors", "security CVE-2024-21626: what init holds in `created`", |x| {
            let b = x.bundle(|_| ())?;
            x.create(&b)?;
            let pid = fs::read_to_string(b.path("pid"))?;
            for e in fs::read_dir(format!("/proc/{pid}/fd"))?.flatten() {
                let target = fs::read_link(e.path())?;
                let t = target.to_string_lossy();
                let host_directory = fs::metadata(e.path()).is_ok_and(|m| m.is_dir());
                ensure(!host_directory, format_args!("descriptor {:?} is the directory {t}", e.file_name()))?;
            }
            Ok(())
        }),
        case("create/config-changes-later", "runtime.md: later changes of config.json have no effect", |x| {
            let b = x.bundle(|c| args(c, "echo first"))?;
            let mut out = x.create(&b)?;
            fs::write(b.dir.join("config.json"), "{}")?;
            x.rt(["start", &b.id])?.ok()?;
            out.expect("first")
        }),
        case("start/running", "runtime.md Start: an error unless created", |x| {
            let live = x.live(|_| ())?;
            x.rt(["start", &live.id])?.fails(1, &["cannot start an already running container"])?;
            x.status(&live.id, "running")
        }),
        case("start/stopped", "runtime.md Start: an error unless created", |x| {
            let live = x.live(|_| ())?;
            x.kill(&live)?;
            x.rt(["start", &live.id])?.fails(1, &["cannot start a container that has stopped"])?;
            x.status(&live.id, "stopped")
        }),
        case("pid-file/no-newline", "contract 5.1.12: decimal, no newline, may pre-exist", |x| {
            let b = x.bundle(|_| ())?;
            fs::write(b.path("pid"), "999999999999 and more")?;
            x.create(&b)?;
            let text = fs::read_to_string(b.path("pid"))?;
            eq("pid file", text, x.state(&b.id)?["pid"].to_string())
        }),
        case("pid-file/relative", "contract 5.1.12: resolved before the change to the bundle", |x| {
            let b = x.bundle(|_| ())?;
            x.cmd(["create", "--pid-file", "here.pid", "--bundle", b.dir(), &b.id]).cwd(&x.job.dir).go()?.ok()?;
            ensure(x.job.dir.join("here.pid").exists(), "no pid file in the directory of the caller")
        }),
        case("pid-file/unwritable", "contract 5.1.12: an error, and no container", |x| {
            let b = x.bundle(|_| ())?;
            x.rt(["create", "--pid-file", "/no/such/dir/pid", "--bundle", b.dir(), &b.id])?.fails(1, &["no such"])?;
            x.rt(["state", &b.id])?.exits(1).map(drop)
        }),
        case("list/json", "contract 5.5: an array with the keys of state", |x| {
            let a = x.bundle(|_| ())?;
            let b = x.bundle(|_| ())?;
            x.create(&a)?;
            x.create(&b)?;
            let list = x.rt(["list", "--format=json"])?.ok()?.json()?;
            let mut ids: Vec<_> = list.as_array().into_iter().flatten().filter_map(|c| c["id"].as_str()).collect();
            ids.sort_unstable();
            eq("ids", ids, vec![a.id.as_str(), b.id.as_str()])?;
            eq("status", list[0]["status"].as_str(), Some("created"))?;
            ensure(list[0]["created"].as_str().is_some_and(is_rfc3339), "created")
        }),
        case("list/table", "contract 5.5: header ID PID STATUS BUNDLE CREATED OWNER", |x| {
            let b = x.bundle(|_| ())?;
            x.create(&b)?;
            let text = x.rt(["list"])?.ok()?.stdout;
            let rows: Vec<Vec<&str>> = text.lines().map(|l| l.split_whitespace().collect()).collect();
            eq("header", rows[0].join(" "), "ID PID STATUS BUNDLE CREATED OWNER")?;
            eq("id", rows[1][0], b.id.as_str())?;
            eq("status", rows[1][2], "created")?;
            eq("owner", rows[1][5], x.job.user.as_ref().map_or("root", |user| user.name()))
        }),
        case("list/quiet", "runc list -q: ids alone", |x| {
            let b = x.bundle(|_| ())?;
            x.create(&b)?;
            eq("stdout", x.rt(["list", "-q"])?.ok()?.stdout.trim_end(), b.id.as_str())?;
            eq("stdout", x.rt(["list", "--quiet"])?.ok()?.stdout.trim_end(), b.id.as_str())
        }),
        case("list/none", "contract 5.5: no containers are no error", |x| {
            let list = x.rt(["list", "--format", "json"])?.ok()?.json()?;
            ensure(list.is_null() || list == json!([]), format_args!("{list}"))
        }),
        case("list/damaged-state", "reliability: tolerates an unreadable state", |x| {
            let b = x.bundle(|_| ())?;
            x.create(&b)?;
            fs::create_dir(x.state_root().join("damaged"))?;
            fs::write(x.state_root().join("damaged/state.json"), "")?;
            let out = x.rt(["list", "-q"])?;
            let others = out.stdout.contains(&b.id);
            fs::remove_dir_all(x.state_root().join("damaged"))?;
            out.ok()?;
            ensure(others, "the sound container is not listed")
        }),
        case("ps/json", "contract 5.5: an array of pids", |x| {
            let live = x.live(|_| ())?;
            eq("pids", x.rt(["ps", "--format", "json", &live.id])?.ok()?.json()?, json!([live.pid]))
        }),
        case("ps/table", "contract 5.5: header with PID, a line a process", |x| {
            let live = x.live(|_| ())?;
            let text = x.rt(["ps", "--format", "table", &live.id])?.ok()?.stdout;
            let rows: Vec<Vec<&str>> = text.lines().map(|l| l.split_whitespace().collect()).collect();
            let Some(column) = rows[0].iter().position(|w| *w == "PID") else { return fail("no column PID") };
            eq("rows", rows.len(), 2)?;
            eq("pid", rows[1][column], live.pid.to_string().as_str())
        }),
        case("ps/arguments", "contract 5.2 go-runc: what follows the id is ps(1)'s", |x| {
            let live = x.live(|_| ())?;
            let text = x.rt(["ps", "--format", "table", &live.id, "-e", "-o", "pid,comm"])?.ok()?.stdout;
            let rows: Vec<Vec<&str>> = text.lines().map(|l| l.split_whitespace().collect()).collect();
            eq("rows", rows, vec![vec!["PID", "COMMAND"], vec![live.pid.to_string().as_str(), "probe"]])
        }),
    ]
}

fn kill_and_delete() -> Vec<Case> {
    let mut all = Vec::new();
    let spellings =
        [("number", "15"), ("name", "TERM"), ("full-name", "SIGTERM"), ("lower-case", "sigterm"), ("none", "")];
    for (name, signal) in spellings {
        all.push(case(&format!("kill/{name}"), "contract 5.2: names and numbers; TERM by default", move |x| {
            let mut live = x.live(|_| ())?;
            let mut words = vec!["kill", live.id.as_str()];
            words.extend(Some(signal).filter(|s| !s.is_empty()));
            x.rt(words)?.ok()?;
            live.out.expect("signal SIGTERM")?;
            x.gone(live.pid)
        }));
    }
    for (number, signal) in [("1", "SIGHUP"), ("10", "SIGUSR1"), ("12", "SIGUSR2"), ("28", "SIGWINCH")] {
        all.push(case(&format!("kill/deliver-{signal}"), "runtime.md Kill: sends the specified signal", move |x| {
            let mut live = x.live(|_| ())?;
            x.rt(["kill", &live.id, number])?.ok()?;
            live.out.expect(&format!("signal {signal}"))?;
            x.rt(["kill", &live.id, signal])?.ok()?;
            if signal == "SIGWINCH" {
                live.out.line()?;
            }
            live.out.expect(&format!("signal {signal}"))?;
            x.status(&live.id, "running")
        }));
    }
    for signal in ["NOSUCH", "SIGNOSUCH", "-1", "0x9", "9999"] {
        all.push(case(&format!("kill/unknown-{signal}"), "contract 5.3: unknown signal", move |x| {
            let live = x.live(|_| ())?;
            let out = x.rt(["kill", &live.id, signal])?;
            ensure(out.status != 0, "it succeeded")?;
            if signal.contains("NOSUCH") {
                contains("stderr", &out.stderr, &[&format!("unknown signal \"{signal}\"")])?;
            }
            x.status(&live.id, "running")
        }));
    }
    all.extend([
        case("kill/stopped", "contract 5.3: `container not running`", |x| {
            let live = x.live(|_| ())?;
            x.kill(&live)?;
            let out = x.rt(["kill", &live.id, "KILL"])?.exits(1)?;
            contains("stderr", &out.stderr, &["container not running"])
        }),
        case("kill/all-stopped", "contract 5.1.6: kill --all of a stopped container is 0", |x| {
            let live = x.live(|_| ())?;
            x.kill(&live)?;
            x.rt(["kill", "--all", &live.id, "KILL"])?.ok()?;
            x.rt(["kill", "-a", &live.id, "9"])?.ok().map(drop)
        }),
        case("kill/created", "runtime.md Kill: a created container gets the signal", |x| {
            let b = x.bundle(|_| ())?;
            x.create(&b)?;
            let pid = x.state(&b.id)?["pid"].as_i64().unwrap_or(0);
            x.rt(["kill", &b.id, "KILL"])?.ok()?;
            x.gone(pid as i32)?;
            x.status(&b.id, "stopped")
        }),
        case("kill/options-first", "contract 5.1.3: kill parses no options after the id", |x| {
            let live = x.live(|_| ())?;
            let out = x.rt(["kill", &live.id, "KILL", "--all"])?;
            // Whatever it does with the word, it must not take it for the signal.
            ensure(!out.stderr.contains("unknown signal \"--all\""), "--all was taken for the signal")
        }),
        case("kill/all", "contract 5.2: --all reaches every process", |x| {
            let b = x.bundle(|c| {
                args(c, "daemon , daemon , wait");
                crate::ctx::namespace(c, "pid", None);
            })?;
            let mut out = x.cmd(["run", "-d", "--bundle", b.dir(), &b.id]).spawn()?;
            out.started()?;
            for _ in 0..2 {
                out.line()?;
            }
            out.expect("ready")?;
            x.rt(["kill", "--all", &b.id, "KILL"])?.ok()?;
            x.alone()
        }),
        case("kill/shared-pidns", "contract 5.8: without a pid namespace KILL ends every process", |x| {
            let b = x.bundle(|c| {
                args(c, "daemon , wait");
                crate::ctx::namespace(c, "pid", None);
            })?;
            let mut out = x.cmd(["run", "-d", "--bundle", b.dir(), &b.id]).spawn()?;
            out.started()?;
            out.line()?;
            out.expect("ready")?;
            if x.job.version.starts_with("runc version 1.1") {
                // Before runc 1.2 this took --all.
                x.rt(["kill", "--all", &b.id, "KILL"])?.ok()?;
            } else {
                x.rt(["kill", &b.id, "KILL"])?.ok()?;
            }
            x.alone()?;
            x.rt(["delete", &b.id])?.ok().map(drop)
        }),
        case("delete/running", "runtime.md Delete: an error unless stopped", |x| {
            let live = x.live(|_| ())?;
            let text = format!("cannot delete container {} that is not stopped: running", live.id);
            x.rt(["delete", &live.id])?.fails(1, &[&text])?;
            x.status(&live.id, "running")
        }),
        case("delete/stopped", "runtime.md Delete: deletes what create made", |x| {
            let live = x.live(|_| ())?;
            x.kill(&live)?;
            x.rt(["delete", &live.id])?.ok()?;
            x.rt(["delete", &live.id])?.exits(1)?;
            ensure(!x.state_root().join(&live.id).exists(), "the state directory is still there")
        }),
        case("delete/force-running", "contract 5.2: delete --force kills", |x| {
            let live = x.live(|_| ())?;
            x.rt(["delete", "--force", &live.id])?.ok()?;
            x.gone(live.pid)?;
            x.rt(["state", &live.id])?.exits(1).map(drop)
        }),
        case("delete/force-created", "contract 5.1.7: delete --force of what was never started", |x| {
            let b = x.bundle(|_| ())?;
            x.create(&b)?;
            x.rt(["delete", "--force", &b.id])?.ok()?;
            x.rt(["state", &b.id])?.exits(1).map(drop)
        }),
        case("delete/force-paused", "reliability: delete --force of a paused container", |x| {
            let live = x.live(|_| ())?;
            x.rt(["pause", &live.id])?.ok()?;
            x.rt(["delete", "--force", &live.id])?.ok()?;
            x.gone(live.pid)
        }),
        case("delete/several-processes", "runtime.md Delete: with children of init alive", |x| {
            let b = x.bundle(|c| args(c, "daemon , daemon , wait"))?;
            let mut out = x.cmd(["run", "-d", "--bundle", b.dir(), &b.id]).spawn()?;
            out.started()?;
            for _ in 0..2 {
                out.line()?;
            }
            out.expect("ready")?;
            x.rt(["delete", "-f", &b.id])?.ok()?;
            x.alone()
        }),
        case("delete/runtime-killed", "contract 5.1.7: init survives the caller's runtime", |x| {
            let b = x.bundle(|c| args(c, "wait"))?;
            let mut out = x.create(&b)?;
            x.status(&b.id, "created")?;
            x.rt(["start", &b.id])?.ok()?;
            out.expect("ready")?;
            let pid = x.state(&b.id)?["pid"].to_string();
            contains(
                "ppid",
                &fs::read_to_string(format!("/proc/{pid}/status"))?,
                &[&format!("PPid:\t{}\n", std::process::id())],
            )
        }),
    ]);
    all
}

fn run() -> Vec<Case> {
    let mut all = Vec::new();
    for status in [0, 1, 3, 127, 255] {
        all.push(case(&format!("run/exit-{status}"), "contract 5.1.6: the status of the process", move |x| {
            let b = x.bundle(|c| args(c, &format!("echo here , exit {status}")))?;
            let out = x.run(&b)?.exits(status)?;
            eq("stdout", out.stdout.trim_end(), "here")?;
            x.rt(["state", &b.id])?.exits(1).map(drop)
        }));
    }
    for (signal, number) in [("SIGKILL", 9), ("SIGTERM", 15), ("SIGINT", 2), ("SIGHUP", 1)] {
        all.push(case(&format!("run/killed-{signal}"), "contract 5.1.6: 128+signal", move |x| {
            let b = x.bundle(|c| args(c, "sleep"))?;
            let mut out = x.cmd(["run", "--bundle", b.dir(), &b.id]).spawn()?;
            out.expect("ready")?;
            let pid = x.state(&b.id)?["pid"].as_i64().unwrap_or(0) as i32;
            // Sent from outside: init of a pid namespace ignores its own; only KILL is sure to end it.
            let signal: nix::sys::signal::Signal = signal.parse()?;
            if number != 9 {
                let live = x.live(|_| ())?;
                x.rt(["exec", &live.id, "/probe", "raise", &format!("SIG{}", &signal.as_str()[3..])])?
                    .exits(128 + number)?;
                nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL)?;
                return eq("status of run", out.wait()?, 137);
            }
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal)?;
            eq("status of run", out.wait()?, 128 + number)
        }));
    }
    for signal in ["SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1"] {
        all.push(case(
            &format!("run/forwards-{signal}"),
            "contract 5.2 BuildKit: signals go to the container",
            move |x| {
                let b = x.bundle(|c| args(c, "wait"))?;
                let mut out = x.cmd(["run", "--bundle", b.dir(), &b.id]).spawn()?;
                out.expect("ready")?;
                let own = nix::unistd::Pid::from_raw(out.child.id() as i32);
                nix::sys::signal::kill(own, signal.parse::<nix::sys::signal::Signal>()?)?;
                out.expect(&format!("signal {signal}"))?;
                if signal != "SIGTERM" {
                    nix::sys::signal::kill(own, nix::sys::signal::Signal::SIGTERM)?;
                    out.expect("signal SIGTERM")?;
                }
                eq("status of run", out.wait()?, 0)
            },
        ));
    }
    all.extend([
        case("run/detach", "contract 5.1.6: 0 and a container", |x| {
            let live = x.live(|_| ())?;
            x.status(&live.id, "running")?;
            let status = fs::read_to_string(format!("/proc/{}/status", live.pid))?;
            contains("status of init", &status, &[&format!("PPid:\t{}\n", std::process::id())])
        }),
        case("run/keep", "contract 5.2 BuildKit: run --keep leaves the stopped container", |x| {
            let b = x.bundle(|c| args(c, "exit 3"))?;
            x.rt(["run", "--keep", "--bundle", b.dir(), &b.id])?.exits(3)?;
            x.status(&b.id, "stopped")?;
            x.rt(["delete", &b.id])?.ok().map(drop)
        }),
        case("run/no-pivot", "contract 5.2: --no-pivot", |x| {
            let b = x.bundle(|_| ())?;
            let out = x.rt(["run", "--no-pivot", "--bundle", b.dir(), &b.id])?.ok()?;
            let f = facts_of(&out)?;
            eq("cwd", f["cwd"].as_str(), Some("/"))?;
            ensure(f["dev"].get("null").is_some(), "no /dev/null")
        }),
        case("run/new-keyring", "contract 5.2: a session keyring named after the container", |x| {
            let b = x.bundle(|c| c["linux"]["maskedPaths"] = json!([]))?;
            let out = x.run(&b)?.ok()?;
            let keys = facts_of(&out)?["keys"].as_str().unwrap_or_default().to_owned();
            contains("/proc/keys", &keys, &[&b.id])
        }),
        case("run/no-new-keyring", "contract 5.2: --no-new-keyring", |x| {
            let b = x.bundle(|c| c["linux"]["maskedPaths"] = json!([]))?;
            let out = x.rt(["run", "--no-new-keyring", "--bundle", b.dir(), &b.id])?.ok()?;
            let keys = facts_of(&out)?["keys"].as_str().unwrap_or_default().to_owned();
            ensure(!keys.contains(&b.id), format_args!("there is one: {keys}"))
        }),
        case("run/preserve-fds", "contract 5.2: --preserve-fds N passes 3..3+N", |x| {
            let b = x.bundle(|_| ())?;
            let file = x.fresh("passed");
            fs::write(&file, "x")?;
            let open = format!("open={}", file.display());
            let cmd = x.cmd(["run", "--preserve-fds", "2", "--bundle", b.dir(), &b.id]);
            let out = cmd.with([open.clone(), open.clone(), open]).go()?.ok()?;
            let f = facts_of(&out)?;
            let fds: Vec<_> = f["fds"].as_object().into_iter().flatten().map(|(k, _)| k.as_str()).collect();
            eq("descriptors", fds, vec!["0", "1", "2", "3", "4"])
        }),
        case("run/listen-fds", "runc: LISTEN_FDS passes descriptors, and the variables", |x| {
            let b = x.bundle(|_| ())?;
            let file = x.fresh("passed");
            fs::write(&file, "x")?;
            let cmd = x
                .cmd(["run", "--bundle", b.dir(), &b.id])
                .with([format!("open={}", file.display()), "pid-in=LISTEN_PID".to_owned()]);
            let out = cmd.env(&[("LISTEN_FDS", "1"), ("PATH", "/usr/bin:/bin:/usr/sbin:/sbin")]).go()?.ok()?;
            let f = facts_of(&out)?;
            eq("LISTEN_FDS", f.pointer("/env/LISTEN_FDS"), Some(&json!("1")))?;
            eq("LISTEN_PID", f.pointer("/env/LISTEN_PID"), Some(&json!("1")))?;
            ensure(f.pointer("/fds/3").is_some(), "descriptor 3 was not passed")
        }),
        case("run/no-extra-fds", "runtime-linux.md File descriptors: only 0, 1, 2", |x| {
            let b = x.bundle(|_| ())?;
            let out = x.cmd(["run", "--bundle", b.dir(), &b.id]).with(["open=/", "open=/etc", "open=/"]).go()?.ok()?;
            let f = facts_of(&out)?;
            let fds: Vec<_> = f["fds"].as_object().into_iter().flatten().map(|(k, _)| k.as_str()).collect();
            eq("descriptors", fds, vec!["0", "1", "2"])
        }),
        case("run/closed-stdin", "runtime-linux.md File descriptors: with closed standard streams", |x| {
            let b = x.bundle(|c| args(c, "exit 5"))?;
            x.cmd(["run", "--bundle", b.dir(), &b.id]).with(["close=0"]).go()?.exits(5)?;
            let b = x.bundle(|c| args(c, "exit 5"))?;
            x.cmd(["run", "--bundle", b.dir(), &b.id]).with(["close=0", "close=1", "close=2"]).go()?.exits(5).map(drop)
        }),
        case("run/stdin", "contract 5.2: standard input is the caller's", |x| {
            let b = x.bundle(|c| args(c, "stdin"))?;
            let out = x.cmd(["run", "--bundle", b.dir(), &b.id]).input("some text")?.go()?.ok()?;
            eq("stdin", out.results(), vec![json!("some text")])
        }),
        case("run/stderr", "contract 5.2: standard error is the caller's", |x| {
            let b = x.bundle(|c| args(c, "err on stderr , echo on stdout"))?;
            let out = x.run(&b)?.ok()?;
            eq("stderr", out.stderr.trim_end(), "on stderr")?;
            eq("stdout", out.stdout.trim_end(), "on stdout")
        }),
        case("run/after-failure", "reliability: the id is free after a failed run", |x| {
            let b = x.bundle(|c| c["process"]["args"] = json!(["/no/such"]))?;
            x.run(&b)?.exits(1)?;
            x.rt(["state", &b.id])?.exits(1)?;
            let mut config: Value = serde_json::from_str(&fs::read_to_string(b.dir.join("config.json"))?)?;
            args(&mut config, "exit 6");
            fs::write(b.dir.join("config.json"), config.to_string())?;
            x.run(&b)?.exits(6).map(drop)
        }),
    ]);
    all
}

/// `exec FLAGS ID /probe report`, then facts that must hold.
struct Exec(&'static str, &'static [&'static str], fn() -> Vec<(&'static str, Value)>);

const EXECS: &[Exec] = &[
    Exec("user", &["--user", "1000"], || {
        vec![("/uid", json!([1000, 1000, 1000, 1000])), ("/gid", json!([0, 0, 0, 0])), ("/caps/effective", json!([]))]
    }),
    Exec("user-group", &["--user", "1000:1001"], || {
        vec![("/uid", json!([1000, 1000, 1000, 1000])), ("/gid", json!([1001, 1001, 1001, 1001]))]
    }),
    Exec("user-short", &["-u", "7:8"], || vec![("/uid", json!([7, 7, 7, 7])), ("/gid", json!([8, 8, 8, 8]))]),
    Exec("additional-gids", &["--additional-gids", "5", "--additional-gids", "6"], || vec![("/groups", json!([5, 6]))]),
    Exec("additional-gids-short", &["-g", "6"], || vec![("/groups", json!([6]))]),
    Exec("cwd", &["--cwd", "/dir"], || vec![("/cwd", json!("/dir")), ("/env/PWD", Value::Null)]),
    Exec("env-short", &["-e", "A=b"], || vec![("/env/A", json!("b"))]),
    Exec("env", &["--env", "A=b", "--env", "C=d=e"], || vec![("/env/A", json!("b")), ("/env/C", json!("d=e"))]),
    Exec("cap", &["--cap", "CAP_NET_RAW"], || {
        vec![
            ("/caps/effective", json!(["CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_AUDIT_WRITE"])),
            ("/caps/inheritable", json!([])),
            ("/caps/ambient", json!([])),
        ]
    }),
    Exec("defaults", &[], || {
        vec![
            ("/uid", json!([0, 0, 0, 0])),
            ("/cwd", json!("/")),
            ("/env/PATH", json!("/usr/bin:/bin:/")),
            ("/caps/effective", json!(["CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_AUDIT_WRITE"])),
            ("/caps/permitted", json!(["CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_AUDIT_WRITE"])),
            ("/caps/bounding", json!(["CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_AUDIT_WRITE"])),
            ("/caps/inheritable", json!([])),
            ("/caps/ambient", json!([])),
            ("/hostname", json!("conformance")),
        ]
    }),
];

fn exec() -> Vec<Case> {
    let mut all = Vec::new();
    for Exec(name, flags, expect) in EXECS {
        all.push(case(&format!("exec/{name}"), "contract 5.2, runc exec flags", move |x| {
            let live = x.live(|_| ())?;
            let mut words = vec!["exec"];
            words.extend_from_slice(flags);
            words.extend([live.id.as_str(), "/probe", "report"]);
            super::spec::compare(&facts_of(&x.rt(words)?.ok()?)?, &expect())
        }));
    }
    for status in [0, 1, 3, 255] {
        all.push(case(&format!("exec/exit-{status}"), "contract 5.1.6: the status of the process", move |x| {
            let live = x.live(|_| ())?;
            x.rt(["exec", &live.id, "/probe", "exit", &status.to_string()])?.exits(status).map(drop)
        }));
    }
    for user in ["abc", "1:", ":1", "-1", "4294967296", "1:abc"] {
        all.push(case(&format!("exec/bad-user-{user}"), "security CVE-2026-30892: refused, nothing run", move |x| {
            let live = x.live(|_| ())?;
            let out = x.rt(["exec", &format!("--user={user}"), &live.id, "/probe", "write", "/mark", "x"])?;
            ensure(out.status != 0, "it succeeded")?;
            ensure(!live.bundle.rootfs.join("mark").exists(), "the program ran")
        }));
    }
    all.extend([
        case("exec/process", "contract 5.1.15: --process FILE, deleted right after return", |x| {
            let live = x.live(|_| ())?;
            let file = live.bundle.path("process.json");
            let process = json!({
                "user": {"uid": 1000, "gid": 1000, "additionalGids": [10]},
                "args": ["/probe", "report"], "env": ["X=y"], "cwd": "/tmp",
                "capabilities": {"bounding": ["CAP_KILL"]}, "noNewPrivileges": true
            });
            fs::write(&file, process.to_string())?;
            let f = facts_of(&x.rt(["exec", "--process", &file, &live.id])?.ok()?)?;
            eq("uid", &f["uid"][0], &json!(1000))?;
            eq("groups", &f["groups"], &json!([10]))?;
            eq("env", &f["env"], &json!({"X": "y", "HOME": f["env"]["HOME"]}))?;
            eq("cwd", &f["cwd"], &json!("/tmp"))?;
            eq("bounding", &f["caps"]["bounding"], &json!(["CAP_KILL"]))?;
            eq("no_new_privs", &f["no_new_privs"], &json!(1))
        }),
        case("exec/process-detach", "contract 5.2 containerd: exec --process F --detach --pid-file P ID", |x| {
            let live = x.live(|_| ())?;
            let (file, pid) = (live.bundle.path("process.json"), live.bundle.path("exec.pid"));
            let process = json!({"user": {"uid": 0, "gid": 0}, "args": ["/probe", "wait"], "cwd": "/"});
            fs::write(&file, process.to_string())?;
            let mut out = x.cmd(["exec", "--process", &file, "--detach", "--pid-file", &pid, &live.id]).spawn()?;
            out.started()?;
            fs::remove_file(&file)?;
            out.expect("ready")?;
            let pid: i32 = fs::read_to_string(&pid)?.parse()?;
            let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
            contains("status of the process", &status, &[&format!("PPid:\t{}\n", std::process::id())])?;
            eq("pids", x.rt(["ps", "--format", "json", &live.id])?.ok()?.json()?.as_array().map(Vec::len), Some(2))?;
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGTERM)?;
            out.expect("signal SIGTERM")?;
            x.gone(pid)
        }),
        case("exec/namespaces", "contract 5.2: in the namespaces, root and cgroup of init", |x| {
            let live = x.live(|_| ())?;
            let f = facts_of(&x.rt(["exec", &live.id, "/probe", "report"])?.ok()?)?;
            for n in ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"] {
                let init = fs::read_link(format!("/proc/{}/ns/{n}", live.pid))?;
                eq(n, f["ns"][n].as_str(), init.to_str())?;
            }
            let init = fs::read_to_string(format!("/proc/{}/cgroup", live.pid))?;
            if !x.job.v2 {
                eq("cgroup", f["cgroup"].as_str(), Some(init.trim_end()))?;
            }
            ensure(f["pid"].as_i64() != Some(1), "it is pid 1")
        }),
        case("exec/killed", "contract 5.1.6: 128+signal", |x| {
            let live = x.live(|_| ())?;
            x.rt(["exec", &live.id, "/probe", "raise", "SIGKILL"])?.exits(137)?;
            x.rt(["exec", &live.id, "/probe", "raise", "SIGTERM"])?.exits(143).map(drop)
        }),
        case("exec/stdin", "contract 5.2 CRI-O: stdio attached", |x| {
            let live = x.live(|_| ())?;
            let out = x.cmd(["exec", &live.id, "/probe", "stdin"]).input("to exec")?.go()?.ok()?;
            eq("stdin", out.results(), vec![json!("to exec")])
        }),
        case("exec/options-stop-at-id", "contract 5.1.3: what follows the id is the program's", |x| {
            let live = x.live(|_| ())?;
            let out = x.rt(["exec", &live.id, "/probe", "echo", "--tty", "-d", "--help"])?.ok()?;
            eq("stdout", out.stdout.trim_end(), "--tty -d --help")
        }),
        case("exec/no-new-privs", "runc exec --no-new-privs", |x| {
            let live = x.live(|c| c["process"]["noNewPrivileges"] = json!(false))?;
            let get = |words: &[&str]| facts_of(&x.rt(words)?.ok()?).map(|f| f["no_new_privs"].clone());
            eq("without", get(&["exec", &live.id, "/probe", "report"])?, json!(0))?;
            eq("with", get(&["exec", "--no-new-privs", &live.id, "/probe", "report"])?, json!(1))
        }),
        case("exec/preserve-fds", "contract 5.2 conmon: exec --preserve-fds N", |x| {
            let live = x.live(|_| ())?;
            let open = format!("open={}", x.job.probe.display());
            let cmd = x.cmd(["exec", "--preserve-fds", "1", &live.id, "/probe", "report"]);
            let f = facts_of(&cmd.with([open.clone(), open]).go()?.ok()?)?;
            let fds: Vec<_> = f["fds"].as_object().into_iter().flatten().map(|(k, _)| k.as_str()).collect();
            eq("descriptors", fds, vec!["0", "1", "2", "3"])
        }),
        case("exec/no-extra-fds", "security CVE-2024-21626: exec leaks no descriptor", |x| {
            let live = x.live(|_| ())?;
            let cmd = x.cmd(["exec", &live.id, "/probe", "report"]).with(["open=/", "open=/etc"]);
            let f = facts_of(&cmd.go()?.ok()?)?;
            let fds: Vec<_> = f["fds"].as_object().into_iter().flatten().map(|(k, _)| k.as_str()).collect();
            eq("descriptors", fds, vec!["0", "1", "2"])
        }),
        case("exec/created", "runc exec: allowed in a created container", |x| {
            let b = x.bundle(|_| ())?;
            x.create(&b)?;
            x.rt(["exec", &b.id, "/probe", "exit", "4"])?.exits(4).map(drop)
        }),
        case("exec/stopped", "contract 5.3: `cannot exec in a stopped container`", |x| {
            let live = x.live(|_| ())?;
            x.kill(&live)?;
            let out = x.rt(["exec", &live.id, "/probe", "exit", "0"])?.exits(255)?;
            contains("stderr", &out.stderr, &["cannot exec in a stopped container"])
        }),
        case("exec/paused", "contract 5.3: refused, naming --ignore-paused", |x| {
            let live = x.live(|_| ())?;
            x.rt(["pause", &live.id])?.ok()?;
            let out = x.rt(["exec", &live.id, "/probe", "exit", "0"])?.exits(255)?;
            contains("stderr", &out.stderr, &["cannot exec in a paused container (use --ignore-paused to override)"])?;
            x.rt(["resume", &live.id])?.ok()?;
            x.rt(["exec", &live.id, "/probe", "exit", "2"])?.exits(2).map(drop)
        }),
        case("exec/no-program", "runc exec: without args and --process it is an error", |x| {
            let live = x.live(|_| ())?;
            ensure(x.rt(["exec", &live.id])?.status != 0, "it succeeded")
        }),
        case("exec/bad-cwd", "security CVE-2024-21626: cwd below /proc/self/fd", |x| {
            let live = x.live(|_| ())?;
            for n in 3..12 {
                let cwd = format!("/proc/self/fd/{n}");
                let out =
                    x.cmd(["exec", "--cwd", &cwd, &live.id, "/probe", "getcwd"]).with(["open=/", "open=/"]).go()?;
                ensure(out.status != 0, format_args!("--cwd {cwd} succeeded: {}", out.stdout))?;
            }
            Ok(())
        }),
        case("exec/bad-process", "contract 5.1.15: broken process files", |x| {
            let live = x.live(|_| ())?;
            let file = live.bundle.path("process.json");
            for text in ["", "{", "[]", "{\"cwd\": \"/\"}", "{\"args\": [\"/probe\"]}", "{\"args\": 3}"] {
                fs::write(&file, text)?;
                let out = x.rt(["exec", "--process", &file, &live.id])?;
                ensure(out.status != 0, format_args!("{text:?} was accepted"))?;
                ensure(!out.stderr.contains("panic"), "it panicked")?;
            }
            x.status(&live.id, "running")
        }),
    ]);
    all
}

fn terminals() -> Vec<Case> {
    let tty = |c: &mut Value| {
        c["process"]["terminal"] = json!(true);
        c["process"]["consoleSize"] = json!({"height": 33, "width": 111});
    };
    vec![
        case("tty/create", "contract 5.1.13: one message, a name, one descriptor; nothing accepted before", move |x| {
            let b = x.bundle(tty)?;
            let socket = x.console()?;
            x.rt(["create", "--bundle", b.dir(), "--console-socket", &socket.path, &b.id])?.ok()?;
            let pty = socket.accept()?;
            ensure((1..4096).contains(&pty.name.len()), format_args!("payload of {} bytes", pty.name.len()))?;
            eq("descriptors", pty.fds, 1)?;
            ensure(rustix::termios::isatty(&pty.master), "not a terminal")?;
            x.rt(["start", &b.id])?.ok()?;
            let text = pty.read_all();
            let f: Value = serde_json::from_str(text.trim())?;
            eq("size", f.pointer("/tty/0/size"), Some(&json!([33, 111])))?;
            eq("controlling terminal", f["ctty"].as_str(), Some("ok"))?;
            ensure(f["fds"]["0"].as_str().is_some_and(|t| t.starts_with("/dev/pts/")), format_args!("{}", f["fds"]))?;
            eq("1", &f["fds"]["1"], &f["fds"]["0"])?;
            eq("2", &f["fds"]["2"], &f["fds"]["0"])?;
            eq("session leader", &f["sid"], &f["pid"])?;
            eq("console", f.pointer("/dev/console/type"), Some(&json!("char")))
        }),
        case("tty/connection-closed", "contract 5.1.13: nobody holds the connection after create", move |x| {
            let b = x.bundle(tty)?;
            let socket = x.console()?;
            x.rt(["create", "--bundle", b.dir(), "--console-socket", &socket.path, &b.id])?.ok()?;
            eq("bytes after the message", socket.accept()?.rest()?, 0)
        }),
        case("tty/run", "contract 5.2: run with a terminal copies what is shown", |x| {
            let b = x.bundle(|c| {
                c["process"]["terminal"] = json!(true);
                args(c, "report , exit 9");
            })?;
            let (status, text) = x.cmd(["run", "--bundle", b.dir(), &b.id]).on_terminal(21, 84)?.end()?;
            eq(format_args!("status ({text})"), status, 9)?;
            let f: Value = serde_json::from_str(text.trim())?;
            eq("controlling terminal", f["ctty"].as_str(), Some("ok"))?;
            ensure(f.pointer("/tty/0").is_some_and(Value::is_object), "standard input is not a terminal")
        }),
        case("tty/exec", "contract 5.2: exec --tty copies what is shown", |x| {
            let live = x.live(|_| ())?;
            let words = ["exec", "--tty", &live.id, "/probe", "report", ",", "exit", "9"];
            let (status, text) = x.cmd(words).on_terminal(22, 85)?.end()?;
            eq(format_args!("status ({text})"), status, 9)?;
            let f: Value = serde_json::from_str(text.trim())?;
            eq("controlling terminal", f["ctty"].as_str(), Some("ok"))?;
            ensure(f.pointer("/tty/0").is_some_and(Value::is_object), "standard input is not a terminal")
        }),
        case("tty/resize", "contract 5.2 BuildKit: SIGWINCH to run resizes the container's terminal", |x| {
            let b = x.bundle(|c| {
                c["process"]["terminal"] = json!(true);
                args(c, "wait");
            })?;
            let mut t = x.cmd(["run", "--bundle", b.dir(), &b.id]).on_terminal(21, 84)?;
            while t.line()? != "ready" {}
            let size = rustix::termios::Winsize { ws_row: 44, ws_col: 99, ws_xpixel: 0, ws_ypixel: 0 };
            rustix::termios::tcsetwinsize(&t.master, size)?;
            let runtime = nix::unistd::Pid::from_raw(t.child.id() as i32);
            nix::sys::signal::kill(runtime, nix::sys::signal::Signal::SIGWINCH)?;
            // The size at the start may have been set late, and be heard of first.
            while t.line()? != "{\"size\":[44,99]}" {}
            nix::sys::signal::kill(runtime, nix::sys::signal::Signal::SIGTERM)?;
            let (status, text) = t.end()?;
            eq(format_args!("status ({text})"), status, 0)
        }),
        case("tty/input", "contract 5.2: run with a terminal passes on what is typed", |x| {
            let b = x.bundle(|c| {
                c["process"]["terminal"] = json!(true);
                args(c, "echo ready , stdin");
            })?;
            let mut t = x.cmd(["run", "--bundle", b.dir(), &b.id]).on_terminal(21, 84)?;
            while t.line()? != "ready" {}
            // A line, then the end of the input (Ctrl-D).
            std::io::Write::write_all(&mut t.master, b"typed\n\x04")?;
            let (status, text) = t.end()?;
            eq(format_args!("status ({text})"), status, 0)?;
            contains("terminal", &text, &["{\"result\":\"typed\\n\",\"verb\":\"stdin\"}"])
        }),
        case("tty/exec-without-terminal", "runc exec --tty where the caller has none", |x| {
            let live = x.live(|_| ())?;
            let out = x.rt(["exec", "--tty", &live.id, "/probe", "echo", "x"])?;
            ensure(!out.stderr.contains("panic"), "it panicked")?;
            ensure(out.status == 0 || !out.stderr.trim().is_empty(), "no message")
        }),
        case("tty/long-socket-path", "contract 5.1.13: paths longer than 107 bytes", move |x| {
            let b = x.bundle(tty)?;
            let dir = x.job.dir.join("d".repeat(120));
            fs::create_dir(&dir)?;
            let fd = fs::File::open(&dir)?;
            let bound = format!("/proc/self/fd/{}/s", std::os::fd::AsRawFd::as_raw_fd(&fd));
            let listener = std::os::unix::net::UnixListener::bind(bound)?;
            let path = dir.join("s").to_string_lossy().into_owned();
            x.rt(["create", "--bundle", b.dir(), "--console-socket", &path, &b.id])?.ok()?;
            listener.accept()?;
            Ok(())
        }),
        case("tty/exec-detach", "contract 5.2: exec --tty --detach --console-socket", |x| {
            let live = x.live(|_| ())?;
            let socket = x.console()?;
            let words = ["exec", "--tty", "--detach", "--console-socket", &socket.path, &live.id, "/probe", "report"];
            x.rt(words)?.ok()?;
            let pty = socket.accept()?;
            eq("descriptors", pty.fds, 1)?;
            let text = pty.read_all();
            let f: Value = serde_json::from_str(text.trim())?;
            ensure(!f.pointer("/tty/0").is_none_or(Value::is_null), "standard input is not a terminal")?;
            eq("controlling terminal", f["ctty"].as_str(), Some("ok"))
        }),
        case("tty/detach-without-socket", "contract 5.3: cannot allocate tty ...", move |x| {
            let b = x.bundle(tty)?;
            let text = "cannot allocate tty if runc will detach without setting console socket";
            x.rt(["create", "--bundle", b.dir(), &b.id])?.fails(1, &[text])?;
            x.rt(["state", &b.id])?.exits(1).map(drop)
        }),
        case("tty/socket-without-detach", "contract 5.3: cannot use console socket ...", move |x| {
            let b = x.bundle(tty)?;
            let socket = x.console()?;
            let text = "cannot use console socket if runc will not detach or allocate tty";
            x.rt(["run", "--bundle", b.dir(), "--console-socket", &socket.path, &b.id])?.fails(1, &[text])?;
            let b = x.bundle(|_| ())?;
            let words = ["create", "--bundle", b.dir(), "--console-socket", &socket.path, &b.id];
            x.rt(words)?.fails(1, &[text]).map(drop)
        }),
        case("tty/bad-socket", "contract 5.1.13: a socket that is not there is an error", move |x| {
            let b = x.bundle(tty)?;
            x.rt(["create", "--bundle", b.dir(), "--console-socket", "/no/such", &b.id])?.fails(1, &["no such"])?;
            x.rt(["state", &b.id])?.exits(1).map(drop)
        }),
        case("tty/size-ignored", "config.md consoleSize: ignored without terminal", |x| {
            let f = x.facts(|c| c["process"]["consoleSize"] = json!({"height": 33, "width": 111}))?;
            eq("tty", f.pointer("/tty/0"), Some(&Value::Null))
        }),
    ]
}

fn the_rest() -> Vec<Case> {
    let mut all = vec![
        case("pause/resume", "contract 5.2: statuses paused and running", |x| {
            let mut live = x.live(|_| ())?;
            x.rt(["pause", &live.id])?.ok()?;
            x.status(&live.id, "paused")?;
            x.rt(["kill", &live.id, "USR1"])?.ok()?;
            x.status(&live.id, "paused")?;
            x.rt(["resume", &live.id])?.ok()?;
            x.status(&live.id, "running")?;
            live.out.expect("signal SIGUSR1")
        }),
        case("pause/stopped", "runc pause, resume: refused for what is not running or paused", |x| {
            let live = x.live(|_| ())?;
            ensure(x.rt(["resume", &live.id])?.status != 0, "resume of a running container succeeded")?;
            x.kill(&live)?;
            ensure(x.rt(["pause", &live.id])?.status != 0, "pause of a stopped container succeeded")?;
            x.status(&live.id, "stopped")
        }),
        case("pause/kill", "reliability: KILL of a paused container, then delete --force", |x| {
            let live = x.live(|_| ())?;
            x.rt(["pause", &live.id])?.ok()?;
            x.rt(["kill", &live.id, "KILL"])?.ok()?;
            x.rt(["delete", "--force", &live.id])?.ok()?;
            x.gone(live.pid)
        }),
        case("pause/ignore-paused", "contract 5.3: exec --ignore-paused waits for the thaw", |x| {
            let live = x.live(|_| ())?;
            x.rt(["pause", &live.id])?.ok()?;
            let mut out = x.cmd(["exec", "--ignore-paused", &live.id, "/probe", "exit", "9"]).spawn()?;
            x.rt(["resume", &live.id])?.ok()?;
            eq("status of exec", out.wait()?, 9)
        }),
        case("events/stats", "contract 5.5: {type, id, data{cpu, memory, pids, ...}}", |x| {
            for controller in ["cpu", "memory", "pids"] {
                x.needs(controller)?;
            }
            let live = x.live(|_| ())?;
            let out = x.rt(["events", "--stats", &live.id])?.ok()?;
            let e = out.json()?;
            eq("type", e["type"].as_str(), Some("stats"))?;
            eq("id", e["id"].as_str(), Some(live.id.as_str()))?;
            for pointer in ["/data/memory/usage/usage", "/data/pids/current"] {
                ensure(e.pointer(pointer).is_some_and(Value::is_u64), format_args!("no {pointer}: {e}"))?;
            }
            // runc leaves a total of 0 out, and a kernel that counts by ticks may not have seen the container at work yet.
            let usage = &e["data"]["cpu"]["usage"];
            let total = usage["total"].as_u64().or_else(|| (usage["user"] == 0 && usage["kernel"] == 0).then_some(0));
            ensure(total.is_some(), format_args!("no total of the use of processors: {e}"))?;
            eq("processes", e.pointer("/data/pids/current"), Some(&json!(1)))
        }),
        case("update/resources-stdin", "contract 5.2: update --resources=- with JSON on stdin", |x| {
            x.needs("pids")?;
            let live = x.live(|_| ())?;
            let text = json!({"pids": {"limit": 77}}).to_string();
            x.cmd(["update", "--resources=-", &live.id]).input(&text)?.go()?.ok()?;
            let knob = x.cgroup(&live.id, "pids").join("pids.max");
            eq("pids.max", fs::read_to_string(&knob)?.trim_end(), "77")?;
            let text = json!({"pids": {"limit": 78}}).to_string();
            x.cmd(["update", "--resources", "-", &live.id]).input(&text)?.go()?.ok()?;
            eq("pids.max", fs::read_to_string(&knob)?.trim_end(), "78")
        }),
        case("update/resources-file", "contract 5.2 podman: update --resources=FILE", |x| {
            x.needs("memory")?;
            x.needs("cpu")?;
            let live = x.live(|_| ())?;
            let file = live.bundle.path("resources.json");
            fs::write(&file, json!({"memory": {"limit": 67108864}, "cpu": {"shares": 512}}).to_string())?;
            x.rt(["update", &format!("--resources={file}"), &live.id])?.ok()?;
            let read = |controller: &str, v1: &str, v2: &str| {
                fs::read_to_string(x.cgroup(&live.id, controller).join(if x.job.v2 { v2 } else { v1 }))
            };
            eq("memory limit", read("memory", "memory.limit_in_bytes", "memory.max")?.trim_end(), "67108864")?;
            eq("cpu", read("cpu", "cpu.shares", "cpu.weight")?.trim_end(), if x.job.v2 { "59" } else { "512" })
        }),
        case("update/bad-resources", "contract 5.2: broken JSON changes nothing", |x| {
            let live = x.live(|_| ())?;
            let out = x.cmd(["update", "--resources", "-", &live.id]).input("{")?.go()?;
            ensure(out.status != 0, "it succeeded")?;
            x.status(&live.id, "running")
        }),
    ];
    // flag, value, controller, v1 file and content, v2 file and content
    type Flag = (&'static str, &'static str, &'static str, [&'static str; 2], [&'static str; 2]);
    let flags: [Flag; 9] = [
        ("memory", "64M", "memory", ["memory.limit_in_bytes", "67108864"], ["memory.max", "67108864"]),
        ("memory", "33554432", "memory", ["memory.limit_in_bytes", "33554432"], ["memory.max", "33554432"]),
        (
            "memory-reservation",
            "33554432",
            "memory",
            ["memory.soft_limit_in_bytes", "33554432"],
            ["memory.low", "33554432"],
        ),
        ("pids-limit", "20", "pids", ["pids.max", "20"], ["pids.max", "20"]),
        ("pids-limit", "-1", "pids", ["pids.max", "max"], ["pids.max", "max"]),
        ("cpu-share", "1024", "cpu", ["cpu.shares", "1024"], ["cpu.weight", "100"]),
        ("cpu-quota", "50000", "cpu", ["cpu.cfs_quota_us", "50000"], ["cpu.max", "50000 100000"]),
        ("cpuset-cpus", "0", "cpuset", ["cpuset.cpus", "0"], ["cpuset.cpus", "0"]),
        ("cpuset-mems", "0", "cpuset", ["cpuset.mems", "0"], ["cpuset.mems", "0"]),
    ];
    for (flag, value, controller, v1, v2) in flags {
        all.push(case(&format!("update/{flag}={value}"), "runc update flags", move |x| {
            x.needs(controller)?;
            // Another value first, so that what is there is what was asked for.
            let live = x.live(|c| {
                c["linux"]["resources"]["cpu"] = json!({"shares": 300});
                c["linux"]["resources"]["pids"] = json!({"limit": 99});
            })?;
            x.rt(["update", &format!("--{flag}"), value, &live.id])?.ok()?;
            let [knob, want] = if x.job.v2 { v2 } else { v1 };
            eq(knob, fs::read_to_string(x.cgroup(&live.id, controller).join(knob))?.trim_end(), want)
        }));
    }
    all
}
