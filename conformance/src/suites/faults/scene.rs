//! What is on the stage while the commands of one container are swept: that container, another one that must not notice,
//! and what the container has beside the usual.

use serde_json::{Value, json};

use super::Census;
use super::sweep::Step;
use crate::ctx::{Bundle, Console, Ctx, Live, Outcome, Stop, args, namespace, push};
use crate::suites::spec::{as_made, device, is_here};

/// What a container has beside the usual.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Extra {
    Nothing,
    UserNamespace,
    /// A user namespace that is joined, with new ones that belong to it: a process stands between runtime and init.
    Hop,
    /// All six.
    Hooks,
    Terminal,
    NetDevice,
}

impl Extra {
    /// Follows the command in the name of a case.
    pub(super) fn suffix(self) -> &'static str {
        match self {
            Extra::Nothing => "",
            Extra::UserNamespace => "-userns",
            Extra::Hop => "-hop",
            Extra::Hooks => "-hooks",
            Extra::Terminal => "-terminal",
            Extra::NetDevice => "-net-device",
        }
    }

    /// What each command is swept with; `further` as well.
    pub(super) fn of(further: &'static [Extra]) -> impl Iterator<Item = Extra> {
        [Extra::Nothing, Extra::UserNamespace].into_iter().chain(further.iter().copied())
    }
}

const DEVICE: &str = "dev7";

pub(super) struct Scene<'a> {
    x: &'a Ctx,
    extra: Extra,
    pub(super) bundle: Bundle,
    /// Runs all the time.
    pub(super) other: Live,
    console: Console,
}

impl<'a> Scene<'a> {
    pub(super) fn new(x: &'a Ctx, extra: Extra, patch: impl FnOnce(&mut Value)) -> Result<Scene<'a>, Stop> {
        let other = x.live(|c| {
            if extra == Extra::Hop {
                give_ids(c);
            }
        })?;
        let bundle = x.bundle(|c| {
            args(c, "sleep");
            patch(c);
            match extra {
                Extra::Nothing => {}
                Extra::UserNamespace => give_ids(c),
                Extra::Hop => {
                    let path = format!("/proc/{}/ns/user", other.pid);
                    namespace(c, "user", Some(json!({"type": "user", "path": path})));
                }
                Extra::Hooks => {
                    for kind in ["prestart", "createRuntime", "createContainer", "poststart", "poststop"] {
                        c["hooks"][kind] = json!([{"path": x.job.probe, "args": ["probe", "exit", "0"]}]);
                    }
                    c["hooks"]["startContainer"] = json!([{"path": "/probe", "args": ["probe", "exit", "0"]}]);
                }
                Extra::Terminal => c["process"]["terminal"] = json!(true),
                Extra::NetDevice => c["linux"]["netDevices"] = json!({DEVICE: {"name": "inside0"}}),
            }
        })?;
        Ok(Scene { x, extra, bundle, other, console: x.console()? })
    }

    /// A command line, with the socket for the terminal where it makes one.
    pub(super) fn words(&self, step: Step) -> Vec<String> {
        let mut words: Vec<String> = step(&self.bundle).into_iter().map(str::to_owned).collect();
        let makes_terminal =
            matches!(words[0].as_str(), "create" | "run") || words.iter().take(2).eq(["exec", "--detach"].iter());
        if self.extra == Extra::Terminal && makes_terminal {
            let mut flags = vec!["--console-socket".to_owned(), self.console.path.clone()];
            if words[0] == "exec" {
                flags.push("--tty".to_owned());
            }
            words.splice(1..1, flags);
        }
        words
    }

    /// Brings the container to where the command is given.
    pub(super) fn set(&self, steps: &[Step]) -> Outcome {
        // It has ended with an earlier container.
        if self.extra == Extra::NetDevice && !is_here(self.x, DEVICE)? {
            device(self.x, DEVICE)?;
        }
        steps.iter().try_for_each(|step| self.x.rt(self.words(*step))?.ok().map(drop))
    }

    /// What a container that was not made must have left as it was, beside what is counted.
    pub(super) fn given_back(&self) -> Outcome {
        if self.extra == Extra::NetDevice { as_made(self.x, DEVICE) } else { Ok(()) }
    }

    /// Closes the terminals that came. Nobody may look at the container after that: their processes are hung up.
    pub(super) fn close_terminals(&self) -> Outcome {
        self.console.drain()
    }

    pub(super) fn census(&self) -> Result<Census, Stop> {
        Census::take(self.x, &[self.other.pid])
    }
}

/// A user namespace.
fn give_ids(c: &mut Value) {
    push(&mut c["linux"]["namespaces"], json!({"type": "user"}));
    for ids in ["uidMappings", "gidMappings"] {
        c["linux"][ids] = json!([{"containerID": 0, "hostID": 100_000, "size": 1000}]);
    }
}
