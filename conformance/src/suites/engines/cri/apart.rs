//! What separates a container from the host and from others of its pod, and what it shares with them.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use k8s_cri::v1::security_profile::ProfileType;
use k8s_cri::v1::{
    Capability, ContainerConfig, Device, DnsConfig, IdMapping, Int64Value, Mount, MountPropagation, NamespaceMode,
    NamespaceOption, SecurityProfile, UserNamespace,
};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::json;

use super::super::containerd::IDLE;
use super::super::until;
use super::client::{Cri, Pod, namespaces, pod_linux, pod_security, security};
use super::{Row, case, features, plain, row, same, words};
use crate::ctx::{Outcome, Stop, contains, ensure, eq, skip};
use crate::frame::Case;
use crate::suites::spec::has_apparmor;

fn number(value: i64) -> Option<Int64Value> {
    Some(Int64Value { value })
}

fn profile(kind: ProfileType) -> Option<SecurityProfile> {
    Some(SecurityProfile { profile_type: kind.into(), localhost_ref: String::new() })
}

const ROWS: &[Row] = &[
    (
        "security/user",
        plain,
        |c| {
            let s = security(c);
            (s.run_as_user, s.run_as_group, s.supplemental_groups) = (number(1000), number(2000), vec![3000, 4000]);
        },
        "id -u; id -g; id -G; grep CapEff /proc/self/status | cut -f 2",
        "1000\n2000\n2000 3000 4000\n0000000000000000",
    ),
    ("security/user/name", plain, |c| security(c).run_as_username = "someone".into(), "id -u; id -g", "1000\n1000"),
    (
        "security/capabilities",
        plain,
        |c| {
            security(c).capabilities = Some(Capability {
                add_capabilities: words(&["SYS_TIME"]),
                drop_capabilities: words(&["CHOWN"]),
                ..Capability::default()
            });
        },
        "chown 1:1 /tmp 2>/dev/null || echo refused; grep -E 'Cap(Eff|Bnd)' /proc/self/status | cut -f 2",
        "refused\n00000000aa0425fa\n00000000aa0425fa",
    ),
    (
        "security/capabilities/none",
        plain,
        |c| {
            security(c).capabilities = Some(Capability { drop_capabilities: words(&["ALL"]), ..Capability::default() });
        },
        "grep -E 'Cap(Prm|Eff|Bnd)' /proc/self/status | cut -f 2 | sort -u",
        "0000000000000000",
    ),
    ("security/new-privileges", plain, |_| {}, "grep NoNewPrivs /proc/self/status | cut -f 2", "0"),
    (
        "security/no-new-privileges",
        plain,
        |c| security(c).no_new_privs = true,
        "grep NoNewPrivs /proc/self/status | cut -f 2",
        "1",
    ),
    (
        "security/read-only",
        plain,
        |c| security(c).readonly_rootfs = true,
        "touch /x 2>/dev/null || echo refused; touch /dev/shm/x && echo written",
        "refused\nwritten",
    ),
    (
        "security/seccomp/default",
        plain,
        |c| security(c).seccomp = profile(ProfileType::RuntimeDefault),
        "grep Seccomp: /proc/self/status | cut -f 2; unshare -U true 2>/dev/null || echo refused",
        "2\nrefused",
    ),
    (
        "security/seccomp/unconfined",
        plain,
        |c| security(c).seccomp = profile(ProfileType::Unconfined),
        "grep Seccomp: /proc/self/status | cut -f 2",
        "0",
    ),
    (
        "security/paths",
        plain,
        |c| {
            security(c).masked_paths = words(&["/proc/meminfo", "/data", "/not/there"]);
            security(c).readonly_paths = words(&["/etc", "/not/there"]);
        },
        "wc -c </proc/meminfo; ls /data | wc -l; touch /etc/x 2>/dev/null || echo refused; touch /root/x && echo written",
        "0\n0\nrefused\nwritten",
    ),
    (
        "security/privileged",
        |p| pod_security(p).privileged = true,
        |c| security(c).privileged = true,
        "grep Seccomp: /proc/self/status | cut -f 2; mount -t tmpfs none /tmp && echo mounted; test -w /sys/kernel && echo rw; test -e /dev/kmsg && echo devices",
        "0\nmounted\nrw\ndevices",
    ),
    (
        "pod/sysctls",
        |p| {
            let all = [("net.ipv4.ip_local_port_range", "1024 65000"), ("kernel.shm_rmid_forced", "1")];
            pod_linux(p).sysctls = all.map(|(k, v)| (k.into(), v.into())).into();
        },
        |_| {},
        "cat /proc/sys/net/ipv4/ip_local_port_range /proc/sys/kernel/shm_rmid_forced | tr -s '\\t' ' '",
        "1024 65000\n1",
    ),
    (
        "pod/names",
        |p| {
            p.dns_config = Some(DnsConfig {
                servers: words(&["10.1.2.3"]),
                searches: words(&["a.test", "b.test"]),
                options: words(&["ndots:5"]),
            });
        },
        |_| {},
        "hostname; cat /etc/hostname /etc/resolv.conf; grep -c localhost /etc/hosts",
        "of-the-pod\nof-the-pod\nsearch a.test b.test\nnameserver 10.1.2.3\noptions ndots:5\n1",
    ),
    (
        "device/read-write",
        plain,
        |c| c.devices.push(device("/dev/zero", "rwm")),
        "head -c 2 /dev/of/its-own | wc -c; echo x >/dev/of/its-own && echo written",
        "2\nwritten",
    ),
    (
        "device/read",
        plain,
        |c| c.devices.push(device("/dev/fuse", "r")),
        ": </dev/of/its-own && echo opened; (: >/dev/of/its-own) 2>/dev/null || echo refused",
        "opened\nrefused",
    ),
];

fn device(host: &str, permissions: &str) -> Device {
    Device { container_path: "/dev/of/its-own".into(), host_path: host.into(), permissions: permissions.into() }
}

/// A mount on a directory that is shared with others, for as long as this lives.
struct Shared(PathBuf);

impl Shared {
    fn at(dir: PathBuf) -> Result<Shared, Stop> {
        fs::create_dir(&dir)?;
        let none: Option<&str> = None;
        mount(none, &dir, Some("tmpfs"), MsFlags::empty(), none)?;
        let shared = Shared(dir);
        mount(none, &shared.0, none, MsFlags::MS_SHARED, none)?;
        fs::create_dir(shared.0.join("below"))?;
        Ok(shared)
    }

    /// Mounts another one below, which has a file.
    fn fill(&self) -> Outcome {
        let (below, none) = (self.0.join("below"), None::<&str>);
        mount(none, &below, Some("tmpfs"), MsFlags::empty(), none)?;
        Ok(fs::write(below.join("file"), "of the host")?)
    }

    fn mount(&self, propagation: MountPropagation) -> Mount {
        Mount { propagation: propagation.into(), ..bind(&self.0, "/shared") }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

fn bind(host: &Path, container: &str) -> Mount {
    Mount { host_path: host.to_string_lossy().into_owned(), container_path: container.into(), ..Mount::default() }
}

/// A pod and the first of its containers, which both have these namespaces; and the container's pid.
fn sharing(c: &Cri<'_>, options: &NamespaceOption) -> Result<(Pod, String, String), Stop> {
    let pod = c.pod_with(|p| pod_security(p).namespace_options = Some(options.clone()))?;
    let id = joined(c, &pod, options)?;
    let pid = c.pid(&id)?;
    Ok((pod, id, pid))
}

/// A container with these namespaces.
fn joined(c: &Cri<'_>, pod: &Pod, options: &NamespaceOption) -> Result<String, Stop> {
    c.up(pod, IDLE, |c| security(c).namespace_options = Some(options.clone()))
}

pub(super) fn cases() -> Vec<Case> {
    let mut all: Vec<Case> = ROWS.iter().map(row).collect();
    all.extend([
        case("security/seccomp/localhost", "a profile of the host's", |c| {
            let file = c.x.fresh("profile.json");
            let rule = json!({"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95});
            let profile = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]});
            fs::write(&file, serde_json::to_vec(&profile)?)?;
            let profile = SecurityProfile {
                profile_type: ProfileType::Localhost.into(),
                localhost_ref: file.to_string_lossy().into_owned(),
            };
            let out = c.sh(&c.pod()?, "mkdir /x; grep Seccomp: /proc/self/status | cut -f 2", |c| {
                security(c).seccomp = Some(profile);
            })?;
            contains("stderr", &out.stderr, &["Operation not supported"])?;
            eq("mode", out.stdout.trim(), "2")
        }),
        case("security/apparmor", "the profile that containerd loads", |c| {
            if !has_apparmor() {
                return skip("no AppArmor");
            }
            let label = "cat /proc/self/attr/apparmor/current 2>/dev/null || cat /proc/self/attr/current";
            let out = c.sh(&c.pod()?, label, |c| security(c).apparmor = profile(ProfileType::RuntimeDefault))?.exits(0)?;
            eq("label", out.stdout.trim(), "cri-containerd.apparmor.d (enforce)")?;
            let out = c.sh(&c.pod()?, label, |c| security(c).apparmor = profile(ProfileType::Unconfined))?.exits(0)?;
            eq("label", out.stdout.trim(), "unconfined")
        }),
        case("namespace/network", "two containers of a pod have one network, which the host reaches", |c| {
            let (pod, first, pid) = sharing(c, &namespaces())?;
            let second = joined(c, &pod, &namespaces())?;
            same("net", &pid, &c.pid(&second)?)?;
            c.get(&first, "mkdir /www; echo hello >/www/x; httpd -p 8080 -h /www")?;
            eq("of a neighbour", c.get(&second, "wget -q -O - http://127.0.0.1:8080/x")?.as_str(), "hello")?;
            let address = c.pod_status(&pod.id)?.0.network.unwrap_or_default().ip;
            let mut stream = TcpStream::connect((address.as_str(), 8080))?;
            stream.write_all(b"GET /x HTTP/1.0\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            contains("answer", &answer, &["200 OK", "hello"])?;
            // Another pod has an address of its own.
            let (other, id, _) = sharing(c, &namespaces())?;
            let another = c.pod_status(&other.id)?.0.network.unwrap_or_default().ip;
            ensure(another != address, format_args!("both have {address}"))?;
            let page = c.get(&id, &format!("ip -4 address show eth0 | grep -o 'inet [0-9.]*'; wget -q -O - http://{address}:8080/x"))?;
            eq("from another pod", page, format!("inet {another}\nhello"))
        }),
        case("namespace/network/node", "the host's network and names", |c| {
            let host = NamespaceOption { network: NamespaceMode::Node.into(), ..namespaces() };
            let pod = c.pod_with(|p| {
                pod_security(p).namespace_options = Some(host.clone());
                p.hostname.clear();
            })?;
            let id = joined(c, &pod, &host)?;
            let pid = c.pid(&id)?;
            same("net", &pid, "self")?;
            same("uts", &pid, "self")?;
            eq("address", c.pod_status(&pod.id)?.0.network.unwrap_or_default().ip.as_str(), "")?;
            eq("hostname", c.get(&id, "hostname")?, fs::read_to_string("/proc/sys/kernel/hostname")?.trim().to_owned())
        }),
        case("namespace/pid/pod", "one pid namespace for a pod, as shareProcessNamespace asks for", |c| {
            let pod_wide = NamespaceOption::default();
            let (pod, first, pid) = sharing(c, &pod_wide)?;
            let second = c.up(&pod, "echo up; sleep 1001 & sleep 1002 & wait", |c| {
                security(c).namespace_options = Some(pod_wide.clone());
            })?;
            c.says(&second, "up")?;
            let other = c.pid(&second)?;
            same("pid", &pid, &other)?;
            same("pid", &pid, &c.pod_pid(&pod.id)?)?;
            let sleeping = "ps -o args | grep -c '^sleep 100[12]'; true";
            until("both seen by the neighbour", || Ok(c.get(&first, sleeping)? == "2"))?;
            // The end of the container is that of all its processes, though the namespace stays.
            c.stop(&second, 0)?;
            until("the end of both", || Ok(c.get(&first, sleeping)? == "0"))
        }),
        case("namespace/pid/node", "the host's processes", |c| {
            let host = NamespaceOption { pid: NamespaceMode::Node.into(), ..NamespaceOption::default() };
            let (_, id, pid) = sharing(c, &host)?;
            same("pid", &pid, "self")?;
            let own = std::process::id();
            eq("this process, there", c.get(&id, &format!("cat /proc/{own}/comm"))?, fs::read_to_string("/proc/self/comm")?.trim().to_owned())
        }),
        case("namespace/pid/target", "the pid namespace of another container, as ephemeral ones have it", |c| {
            let (pod, first, pid) = sharing(c, &namespaces())?;
            let target = NamespaceOption { pid: NamespaceMode::Target.into(), target_id: first, ..NamespaceOption::default() };
            let second = joined(c, &pod, &target)?;
            same("pid", &pid, &c.pid(&second)?)?;
            eq("first process", c.get(&second, "tr '\\0' ' ' </proc/1/cmdline")?, format!("sh -c {IDLE}"))?;
            c.stop(&second, 0)?;
            ensure(Path::new("/proc").join(pid).exists(), "the target ended with who looked at it")
        }),
        case("namespace/ipc", "shared memory is the pod's, or the host's", |c| {
            let (pod, first, pid) = sharing(c, &namespaces())?;
            let second = joined(c, &pod, &namespaces())?;
            same("ipc", &pid, &c.pid(&second)?)?;
            c.get(&first, "echo shared >/dev/shm/file")?;
            eq("file", c.get(&second, "cat /dev/shm/file")?.as_str(), "shared")?;
            let host = NamespaceOption { ipc: NamespaceMode::Node.into(), ..namespaces() };
            same("ipc", &sharing(c, &host)?.2, "self")
        }),
        case("namespace/user", "a user namespace for a pod", |c| {
            if !features(c)?.user_namespaces {
                return skip("this containerd makes none with this runtime");
            }
            let ids = vec![IdMapping { host_id: 400_000, container_id: 0, length: 65536 }];
            let users = UserNamespace { mode: NamespaceMode::Pod.into(), uids: ids.clone(), gids: ids.clone() };
            let options = NamespaceOption { userns_options: Some(users), ..namespaces() };
            let (pod, id, pid) = sharing(c, &options)?;
            same("user", &pid, &c.pod_pid(&pod.id)?)?;
            let map = c.get(&id, "tr -s ' ' </proc/self/uid_map; id -u; stat -c %u /bin/busybox; touch /data/x && stat -c %u /data/x; dd if=/dev/zero of=/proc/sys/kernel/hostname 2>/dev/null || echo refused")?;
            eq("inside", map.as_str(), "0 400000 65536\n0\n0\n0\nrefused")?;
            let uid = fs::read_to_string(format!("/proc/{pid}/status"))?;
            ensure(uid.contains("Uid:\t400000\t400000"), uid)?;
            // A volume belongs to the same ids inside and outside.
            let dir = c.x.fresh("volume");
            fs::create_dir(&dir)?;
            let volume = Mount { uid_mappings: ids.clone(), gid_mappings: ids, ..bind(&dir, "/volume") };
            let out = c.sh(&pod, "touch /volume/made && stat -c %u /volume /volume/made", |c| {
                security(c).namespace_options = Some(options.clone());
                c.mounts.push(volume);
            })?;
            eq("owners inside", out.exits(0)?.stdout.as_str(), "0\n0\n")?;
            eq("owner outside", fs::metadata(dir.join("made"))?.uid(), 0)
        }),
        case("mount/bind", "files of the host, to be written and only to be read", |c| {
            let dir = c.x.fresh("dir");
            fs::create_dir(&dir)?;
            fs::write(dir.join("file"), "of the host\n")?;
            let mounts = vec![bind(&dir, "/rw"), Mount { readonly: true, ..bind(&dir, "/ro") }, bind(&dir.join("file"), "/file")];
            let script = "cat /rw/file /ro/file /file; echo made >/rw/made; (echo x >/ro/x) 2>/dev/null || echo refused; rm -f /ro/made 2>/dev/null || echo refused";
            let out = c.sh(&c.pod()?, script, |c| c.mounts = mounts)?.exits(0)?;
            eq("output", out.stdout.as_str(), "of the host\nof the host\nof the host\nrefused\nrefused\n")?;
            eq("made", fs::read_to_string(dir.join("made"))?.as_str(), "made\n")
        }),
        case("mount/kubelet", "what every container of kubelet's has, below directories that the image lacks and may not be written", |c| {
            let (log, hosts, secrets) = (c.x.fresh("log"), c.x.fresh("hosts"), c.x.fresh("secrets"));
            fs::write(&log, "")?;
            fs::write(&hosts, "127.0.0.1 of-kubelet\n")?;
            fs::create_dir(&secrets)?;
            fs::write(secrets.join("token"), "secret\n")?;
            let at = "/var/run/secrets/kubernetes.io/serviceaccount";
            let mounts = vec![
                bind(&log, "/dev/termination-log"),
                bind(&hosts, "/etc/hosts"),
                Mount { readonly: true, ..bind(&secrets, at) },
            ];
            let script = format!("cat /etc/hosts {at}/token; echo why >/dev/termination-log; touch /var/x {at}/x 2>/dev/null || echo refused");
            let out = c.sh(&c.pod()?, &script, |c| {
                c.mounts = mounts;
                security(c).readonly_rootfs = true;
            })?;
            eq("output", out.exits(0)?.stdout.as_str(), "127.0.0.1 of-kubelet\nsecret\nrefused\n")?;
            eq("termination log", fs::read_to_string(log)?.as_str(), "why\n")
        }),
        case("mount/propagation", "what the host mounts later comes to the container, where it is asked for", |c| {
            let shared = Shared::at(c.x.fresh("shared"))?;
            let pod = c.pod()?;
            let [none, from] = [MountPropagation::PropagationPrivate, MountPropagation::PropagationHostToContainer]
                .map(|p| c.up(&pod, IDLE, |c: &mut ContainerConfig| c.mounts.push(shared.mount(p))));
            shared.fill()?;
            eq("private", c.get(&none?, "ls /shared/below")?.as_str(), "")?;
            eq("from the host", c.get(&from?, "cat /shared/below/file")?.as_str(), "of the host")
        }),
        case("mount/propagation/bidirectional", "what a container mounts comes to the host", |c| {
            let shared = Shared::at(c.x.fresh("shared"))?;
            let pod = c.pod_with(|p| pod_security(p).privileged = true)?;
            let id = c.up(&pod, IDLE, |c| {
                security(c).privileged = true;
                c.mounts.push(shared.mount(MountPropagation::PropagationBidirectional));
            })?;
            c.get(&id, "mount -t tmpfs none /shared/below && echo of the container >/shared/below/file")?;
            eq("file", fs::read_to_string(shared.0.join("below/file"))?.as_str(), "of the container\n")?;
            c.get(&id, "umount /shared/below")?;
            ensure(!shared.0.join("below/file").exists(), "the host still has what the container has unmounted")
        }),
        case("mount/recursive-read-only", "nothing below a mount may be written either", |c| {
            if !features(c)?.recursive_read_only_mounts {
                return skip("this containerd does not believe that the runtime can do it");
            }
            let shared = Shared::at(c.x.fresh("shared"))?;
            shared.fill()?;
            let mounts = [("/ro", false), ("/rro", true)].map(|(to, recursive_read_only)| Mount {
                readonly: true,
                recursive_read_only,
                ..bind(&shared.0, to)
            });
            let script = "touch /ro/below/x && echo written; touch /rro/below/x 2>/dev/null || echo refused; cat /rro/below/file";
            let out = c.sh(&c.pod()?, script, |c| c.mounts = mounts.into())?.exits(0)?;
            eq("output", out.stdout.as_str(), "written\nrefused\nof the host")
        }),
    ]);
    all
}
