//! Network namespace: a container has no device but its own loopback, and does not reach the host's.

mod common;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use common::{Result, Stage, example, names, share};

fn main() -> ExitCode {
    example("net", inside, outside)
}

fn outside(stage: &Stage) -> Result {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    println!("The host listens on {address}. A container that has a network namespace:");
    let mut config = stage.config(&[&address]);
    let (printed, _) = stage.run(&config)?;
    let (devices, reached) = printed.trim().split_once(';').ok_or("it said nothing")?;
    stage.check("its devices", devices, devices == "lo");
    stage.check("whether it reaches the host's port", reached, reached == "Connection refused");
    println!("One that shares the host's:");
    share(&mut config, "network");
    let (printed, _) = stage.run(&config)?;
    let (devices, reached) = printed.trim().split_once(';').ok_or("it said nothing")?;
    let hosts = names("/sys/class/net").iter().filter(|name| *name != "bonding_masters").count();
    stage.check("as many devices as the host", devices.split(' ').count(), devices.split(' ').count() == hosts);
    stage.check("whether it reaches the host's port", reached, reached == "yes");
    Ok(())
}

fn inside(arguments: &[String]) -> Result {
    let address: SocketAddr = arguments.first().ok_or("no address")?.parse()?;
    // Not /sys/class/net: a sysfs shows the namespace in which it was mounted.
    let devices = std::fs::read_to_string("/proc/net/dev")?;
    let devices: Vec<_> = devices.lines().skip(2).filter_map(|line| Some(line.split_once(':')?.0.trim())).collect();
    let reached = match TcpStream::connect_timeout(&address, Duration::from_secs(5)) {
        Ok(_) => "yes".to_owned(),
        Err(error) => error.to_string().split(" (").next().unwrap_or_default().to_owned(),
    };
    println!("{};{reached}", devices.join(" "));
    Ok(())
}
