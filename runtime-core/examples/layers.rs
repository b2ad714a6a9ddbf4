//! Layers: an overlay shows two directories as one. Changes go to the upper one: copies, whiteouts, and what was made anew.

mod common;

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::process::ExitCode;

use common::{Result, Stage, example, names, text};
use serde_json::json;

fn main() -> ExitCode {
    example("layers", inside, outside)
}

fn outside(stage: &Stage) -> Result {
    let at = |name: &str| stage.directory.join(name);
    for name in ["base", "image", "upper", "work"] {
        fs::create_dir_all(at(name))?;
    }
    fs::write(at("base/kept"), "from base\n")?;
    fs::write(at("base/changed"), "from base\n")?;
    fs::write(at("image/removed"), "from image\n")?;
    fs::write(at("image/hidden"), "from image\n")?;
    fs::write(at("base/hidden"), "from base\n")?;
    let mut config = stage.config(&[]);
    let path = |name: &str| at(name).display().to_string();
    let lower = format!("lowerdir={}:{}", path("image"), path("base"));
    let (upper, work) = (format!("upperdir={}", path("upper")), format!("workdir={}", path("work")));
    let mount =
        json!({"destination": "/data", "type": "overlay", "source": "overlay", "options": [lower, upper, work]});
    config["mounts"].as_array_mut().ok_or("no mounts")?.push(mount);

    println!("A container over the layers `base`, `image` and an empty upper one:");
    let (printed, _) = stage.run(&config)?;
    let mut seen = printed.lines();
    let mut next = || seen.next().unwrap_or_default().to_owned();
    let (all, hidden) = (next(), next());
    stage.check("what it sees: all files, as one directory", &all, all == "changed hidden kept removed");
    stage.check("of two files with one name the upper layer's", &hidden, hidden == "from image");

    println!("It changed one file, removed one and made one. The diff, which is the upper layer:");
    let diff = diff(&at("upper"))?;
    diff.iter().for_each(|line| println!("    {line}"));
    stage.check("changed: a copy, with the change", "C changed", diff.contains(&"C changed".to_owned()));
    stage.check("removed: a whiteout, a device 0:0", "D removed", diff.contains(&"D removed".to_owned()));
    stage.check("made", "A made", diff.contains(&"A made".to_owned()));
    stage.check("and nothing else", diff.len(), diff.len() == 3);
    let base = text(at("base/changed"));
    stage.check("the layer below is as it was", &base, base == "from base" && at("image/removed").exists());
    Ok(())
}

/// As `docker diff` shows it: changed, deleted, added.
fn diff(upper: &Path) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for name in names(upper) {
        let metadata = fs::symlink_metadata(upper.join(&name))?;
        let below = ["base", "image"].iter().any(|layer| upper.with_file_name(layer).join(&name).exists());
        let kind = match (metadata.file_type().is_char_device() && metadata.rdev() == 0, below) {
            (true, _) => 'D',
            (false, true) => 'C',
            (false, false) => 'A',
        };
        lines.push(format!("{kind} {name}"));
    }
    Ok(lines)
}

fn inside(_: &[String]) -> Result {
    println!("{}", names("/data").join(" "));
    println!("{}", text("/data/hidden"));
    fs::write("/data/changed", "from the container\n")?;
    fs::remove_file("/data/removed")?;
    fs::write("/data/made", "from the container\n")?;
    Ok(())
}
