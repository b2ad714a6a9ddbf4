//! User namespace: one process, two ids. 2333 inside is 0 outside; and the reverse, which is what containers want.

mod common;

use std::process::ExitCode;

use common::{Result, Stage, example, text};
use serde_json::json;

fn main() -> ExitCode {
    example("user", inside, outside)
}

fn outside(stage: &Stage) -> Result {
    for (inner, outer, why) in [(2333, 0, "as on a course"), (0, 2333, "root inside, nobody outside")] {
        println!("uid {inner} of the container is uid {outer} of the host: {why}");
        let mut config = stage.config(&[]);
        config["linux"]["namespaces"].as_array_mut().ok_or("no namespaces")?.push(json!({"type": "user"}));
        let map = json!([{"containerID": inner, "hostID": outer, "size": 1}]);
        config["linux"]["uidMappings"] = map.clone();
        config["linux"]["gidMappings"] = map;
        config["process"]["user"] = json!({"uid": inner, "gid": inner});
        // The group of terminals, 5, is not mapped here.
        for mount in config["mounts"].as_array_mut().ok_or("no mounts")? {
            if let Some(options) = mount["options"].as_array_mut() {
                options.retain(|option| option != "gid=5");
            }
        }
        let mut running = stage.start(&config)?;
        let seen = running.line()?;
        stage.check("what it says of itself (getuid)", &seen, seen == inner.to_string());
        let outside = uid_of(running.pid());
        stage.check("what the host says of it (/proc/PID/status)", &outside, outside == outer.to_string());
        let map = text(format!("/proc/{}/uid_map", running.pid()));
        let map = map.split_whitespace().collect::<Vec<_>>().join(" ");
        let right = map == format!("{inner} {outer} 1");
        stage.check("its uid_map: inside, outside, how many", map, right);
        running.container.kill(9, false)?;
        running.end()?;
    }
    Ok(())
}

fn uid_of(pid: i32) -> String {
    let status = text(format!("/proc/{pid}/status"));
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap_or_default();
    line.split_whitespace().next().unwrap_or_default().to_owned()
}

fn inside(_: &[String]) -> Result {
    println!("{}", nix::unistd::getuid());
    loop {
        std::thread::park();
    }
}
