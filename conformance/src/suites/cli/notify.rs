//! NOTIFY_SOCKET: the container has a socket of its own, and a supervisor hears that it is ready (sd_notify(3)).

use std::io::IoSliceMut;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde_json::Value;

use super::case;
use crate::ctx::{Cmd, Ctx, Outcome, Running, Stop, args, ensure, eq, fail, patience};
use crate::frame::Case;

/// A supervisor's socket.
struct Supervisor {
    path: String,
    socket: UnixDatagram,
}

impl Supervisor {
    fn new(x: &Ctx) -> Result<Supervisor, Stop> {
        let path = x.fresh("notify.sock");
        let socket = UnixDatagram::bind(&path)?;
        socket.set_read_timeout(Some(patience(Duration::from_secs(10))))?;
        Ok(Supervisor { path: path.to_string_lossy().into_owned(), socket })
    }

    /// A command under this supervisor.
    fn of<'a>(&self, cmd: Cmd<'a>) -> Cmd<'a> {
        cmd.env(&[("NOTIFY_SOCKET", &self.path), ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")])
    }

    /// The next message, and the descriptor that came with it.
    fn next(&self) -> Result<(String, Option<OwnedFd>), Stop> {
        let mut space = [std::mem::MaybeUninit::uninit(); 64];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut text = vec![0; 4096];
        let n = recvmsg(&self.socket, &mut [IoSliceMut::new(&mut text)], &mut control, RecvFlags::CMSG_CLOEXEC)?.bytes;
        text.truncate(n);
        let fd = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut list) => list.next(),
            _ => None,
        });
        Ok((String::from_utf8_lossy(&text).into_owned(), fd))
    }

    /// The three messages of a container that is ready; `main` is its main process. The sender waits for the barrier.
    fn hears(&self, main: u32, sender: &mut Running) -> Outcome {
        eq("first", self.next()?.0.as_str(), "READY=1\n")?;
        eq("second", self.next()?.0, format!("MAINPID={main}\n"))?;
        let (text, barrier) = self.next()?;
        eq("third", text.as_str(), "BARRIER=1")?;
        eq("ended before the barrier", sender.child.try_wait()?, None)?;
        match barrier {
            Some(_) => Ok(()),
            None => fail("no descriptor came with the barrier"),
        }
    }

    /// Nothing has come.
    fn heard_nothing(&self) -> Outcome {
        self.socket.set_nonblocking(true)?;
        match self.socket.recv(&mut [0; 100]) {
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => Ok(()),
            other => fail(format!("a message came: {other:?}")),
        }
    }
}

const READY: &str = "notify READY=1 , wait";

pub(super) fn cases() -> Vec<Case> {
    let mut all = vec![
        case("notify/start", "contract 5.1.11, runc: READY, MAINPID and BARRIER after start", |x| {
            let s = Supervisor::new(x)?;
            let b = x.bundle(|c| args(c, READY))?;
            let _out = {
                let cmd = s.of(x.cmd(["create", "--bundle", b.dir(), "--pid-file", &b.path("pid"), &b.id]));
                let mut out = cmd.spawn()?;
                out.started()?;
                out
            };
            let pid = std::fs::read_to_string(b.path("pid"))?.parse()?;
            let mut start = s.of(x.cmd(["start", &b.id])).spawn()?;
            s.hears(pid, &mut start)?;
            eq("exit status of start", start.wait()?, 0)?;
            x.status(&b.id, "running")
        }),
        case("notify/run-detached", "contract 5.1.11, runc: run --detach ends when the container is ready", |x| {
            let s = Supervisor::new(x)?;
            let b = x.bundle(|c| args(c, READY))?;
            let pid_file = b.path("pid");
            let cmd = x.cmd(["run", "--detach", "--bundle", b.dir(), "--pid-file", &pid_file, &b.id]);
            let mut run = s.of(cmd).spawn()?;
            eq("first", s.next()?.0.as_str(), "READY=1\n")?;
            let pid = std::fs::read_to_string(&pid_file)?;
            eq("second", s.next()?.0, format!("MAINPID={pid}\n"))?;
            let barrier = s.next()?;
            eq("third", barrier.0.as_str(), "BARRIER=1")?;
            drop(barrier);
            eq("exit status of run", run.wait()?, 0)?;
            x.status(&b.id, "running")
        }),
        case("notify/run", "contract 5.1.11, runc: in the foreground the main process is the runtime's", |x| {
            let s = Supervisor::new(x)?;
            let b = x.bundle(|c| args(c, READY))?;
            let mut run = s.of(x.cmd(["run", "--bundle", b.dir(), &b.id])).spawn()?;
            let pid = run.child.id();
            s.hears(pid, &mut run)?;
            x.rt(["kill", &b.id, "KILL"])?.ok()?;
            eq("exit status of run", run.wait()?, 137)
        }),
        case("notify/place", "runc: a read-only mount with a socket of the container's own", |x| {
            let s = Supervisor::new(x)?;
            let b = x.bundle(|c| args(c, "report , mkdir /run/notify/x , notify READY=1 , exit 4"))?;
            let mut run = s.of(x.cmd(["run", "--detach", "--bundle", b.dir(), &b.id])).spawn()?;
            let f: Value = serde_json::from_str(&run.line()?)?;
            eq("NOTIFY_SOCKET", f["env"]["NOTIFY_SOCKET"].as_str(), Some("/run/notify/notify.sock"))?;
            let made: Value = serde_json::from_str(&run.line()?)?;
            eq("mkdir", made["result"].as_str(), Some("EROFS"))?;
            for _ in 0..3 {
                s.next()?;
            }
            eq("exit status of run", run.wait()?, 0)
        }),
        case("notify/unset", "without NOTIFY_SOCKET nothing is added", |x| {
            let f = x.facts(|_| ())?;
            eq("NOTIFY_SOCKET", f["env"].get("NOTIFY_SOCKET").is_some(), false)
        }),
    ];
    // runc waits for ever in some of these.
    let mut patient = vec![
        case("notify/never-ready", "contract 5.1.11: who ends without being ready is not waited for", |x| {
            let s = Supervisor::new(x)?;
            let b = x.bundle(|c| args(c, "notify STATUS=broken , exit 3"))?;
            s.of(x.cmd(["run", "--detach", "--bundle", b.dir(), &b.id])).go()?.ok()?;
            s.heard_nothing()
        }),
        case("notify/status", "contract 5.1.11: run's status is the program's, ready or not", |x| {
            let s = Supervisor::new(x)?;
            let b = x.bundle(|c| args(c, "exit 3"))?;
            s.of(x.cmd(["run", "--bundle", b.dir(), &b.id])).go()?.exits(3)?;
            s.heard_nothing()
        }),
        case("notify/other-messages", "contract 5.1.11: only READY is passed on, whenever it comes", |x| {
            let s = Supervisor::new(x)?;
            let b = x.bundle(|c| args(c, "notify STATUS=starting , notify READY=1 , wait"))?;
            let mut run = s.of(x.cmd(["run", "--detach", "--bundle", b.dir(), &b.id])).spawn()?;
            for want in ["READY=1\n", "MAINPID=", "BARRIER=1"] {
                let (text, _barrier) = s.next()?;
                ensure(text.starts_with(want), text)?;
            }
            eq("exit status of run", run.wait()?, 0)
        }),
    ];
    patient.iter_mut().for_each(|case| case.timeout = Duration::from_secs(10));
    all.extend(patient);
    all
}
