//! A root filesystem by hand: bash and ls of the host, with the libraries that they need, and nothing else.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use common::{Result, Stage, example};
use serde_json::json;

fn main() -> ExitCode {
    example("chroot", |_| Ok(()), outside)
}

fn outside(stage: &Stage) -> Result {
    let root = stage.directory.join("rootfs");
    fs::remove_file(root.join("example"))?;
    let programs = ["/bin/bash", "/bin/ls"];
    let mut files: Vec<PathBuf> = programs.iter().map(PathBuf::from).collect();
    for program in programs {
        files.extend(libraries(program)?);
    }
    files.sort();
    files.dedup();
    println!("A root of {} files, copied from the host:", files.len());
    for file in &files {
        let target = root.join(file.strip_prefix("/")?);
        fs::create_dir_all(target.parent().unwrap_or(&root))?;
        // What a link leads to: under /lib64 and /usr/lib are many.
        fs::copy(file, target)?;
        println!("    {}", file.display());
    }
    let mut config = stage.config(&[]);
    config["process"]["args"] = json!(["/bin/bash", "-c", "echo $BASH_VERSION; ls /; cd ..; echo $PWD; ls /home 2>&1"]);
    config["process"]["env"] = json!(["PATH=/bin"]);
    config["process"]["cwd"] = json!("/");
    let (printed, status) = stage.run(&config)?;
    println!("bash in it:");
    let lines: Vec<_> = printed.lines().collect();
    stage.check("its version", lines[0], lines[0].starts_with(|c: char| c.is_ascii_digit()));
    let (last, names) = lines[1..].split_last().ok_or("it said nothing")?;
    let (above, names) = names.split_last().ok_or("it said nothing")?;
    stage.check("what `ls /` shows", names.join(" "), names.contains(&"bin") && !names.contains(&"home"));
    stage.check("where `cd ..` leads from /", above, *above == "/");
    stage.check("the host's /home", last, last.contains("No such file"));
    stage.check("how it ended", status, status.code() == Some(2));
    Ok(())
}

/// What ldd(1) says that a program needs.
fn libraries(program: &str) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd").arg(program).output()?;
    let told = String::from_utf8(output.stdout)?;
    let words = told.split_whitespace().filter(|word| word.starts_with('/'));
    Ok(words.map(PathBuf::from).filter(|path| Path::is_file(path)).collect())
}
