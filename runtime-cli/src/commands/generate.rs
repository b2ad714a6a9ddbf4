//! `generate`: the manual page and the shells' completions, written from the same tables as the flags are read by.

use runtime_core::{Error, ErrorKind, Result};

use super::{COMMANDS, Call, Command, print};
use crate::GLOBAL;
use crate::args::{Count, Flag, Order, Takes};

pub(super) const COMMAND: Command = Command {
    name: "generate",
    summary: "print the manual page, or a shell's completions",
    usage: "man|bash|zsh|fish",
    flags: &[],
    order: Order::Anywhere,
    count: Count { min: 1, max: 1 },
    run,
};

fn run(call: &Call<'_>) -> Result<u8> {
    match &*call.args.argument(0).unwrap_or_default().to_string_lossy() {
        "man" => print(&man()),
        "bash" => print(&bash()),
        "zsh" => print(&zsh()),
        "fish" => print(&fish()),
        other => Err(Error::new(ErrorKind::InvalidSpec, format!("{other:?}: one of man, bash, zsh, fish"))),
    }
}

/// Whether a container's id comes first.
fn takes_id(command: &Command) -> bool {
    command.usage.contains("<container-id>")
}

/// `-b`, `--bundle`: as they are typed.
fn spellings(flag: &Flag) -> impl Iterator<Item = String> {
    flag.names.iter().map(|name| format!("{}{name}", if name.len() > 1 { "--" } else { "-" }))
}

// --- man(7)

fn man() -> String {
    let mut page = format!(
        ".TH ORLOP 8 \"\" \"orlop {}\" \"System administration\"\n\
         .SH NAME\norlop \\- run containers as the OCI runtime specification says\n\
         .SH SYNOPSIS\n.B orlop\n[\\fIglobal options\\fR] \\fIcommand\\fR [\\fIoptions\\fR] [\\fIarguments\\fR]\n\
         .SH DESCRIPTION\n\
         A low-level container runtime with runc's command line. Engines (dockerd, containerd, podman, CRI-O) start it; it can be used by hand \
         with a bundle: a directory with a root filesystem and a \\fIconfig.json\\fR.\n\
         .SH GLOBAL OPTIONS\n",
        env!("CARGO_PKG_VERSION")
    );
    page.extend(GLOBAL.iter().map(man_flag));
    page += ".SH COMMANDS\n";
    for command in COMMANDS {
        let usage = roff(command.usage);
        page += &format!(".SS orlop {} \\fR{usage}\n{}.\n", command.name, roff(&capital(command.summary)));
        page.extend(command.flags.iter().map(man_flag));
    }
    page += ".SH FILES\n\
        .TP\n.I /run/orlop\nThe state of root's containers; without root's powers \\fI$XDG_RUNTIME_DIR/orlop\\fR. A program that is \
        installed under the name runc keeps it in \\fIrunc\\fR there.\n\
        .SH EXIT STATUS\n\
        \\fBrun\\fR and \\fBexec\\fR in the foreground end with the program's status, or 128 and the number of the signal that ended it; \
        without such a program \\fBexec\\fR ends with 255. All else ends with 0, or with 1 and one line on standard error.\n\
        .SH SEE ALSO\n\
        .BR namespaces (7),\n.BR cgroups (7),\n.BR capabilities (7),\n.BR seccomp (2)\n.PP\n\
        The OCI runtime specification: https://github.com/opencontainers/runtime-spec\n";
    page
}

fn man_flag(flag: &Flag) -> String {
    let value = match flag.takes {
        Takes::Nothing => String::new(),
        Takes::Value => " \\fIvalue\\fR".to_owned(),
        Takes::Number => " \\fInumber\\fR".to_owned(),
        Takes::Maybe(words) => format!(" [\\fI{}\\fR]", words.join("\\fR|\\fI")),
    };
    let names: Vec<_> = spellings(flag).map(|name| format!("\\fB{}\\fR{value}", roff(&name))).collect();
    format!(".TP\n{}\n{}\n", names.join(", "), roff(&capital(flag.help)))
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// A hyphen is typed as it is read, and nothing at a line's beginning is a request.
fn roff(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

// --- shells

/// The words of a table of flags.
fn words(flags: &[Flag]) -> String {
    flags.iter().flat_map(spellings).collect::<Vec<_>>().join(" ")
}

/// The flags that take a value, as alternatives of a `case`.
fn with_value(flags: &[Flag]) -> String {
    flags
        .iter()
        .filter(|flag| matches!(flag.takes, Takes::Value | Takes::Number))
        .flat_map(spellings)
        .collect::<Vec<_>>()
        .join("|")
}

fn bash() -> String {
    let names: Vec<_> = COMMANDS.iter().map(|command| command.name).collect();
    let mut cases = String::new();
    for command in COMMANDS {
        let ids = if takes_id(command) { " ids=yes" } else { "" };
        cases += &format!("        {}) flags='{}'{ids} ;;\n", command.name, words(command.flags));
    }
    format!(
        "# bash completion for orlop, written by `orlop generate bash`\n\
         _orlop() {{\n    \
             local word=${{COMP_WORDS[COMP_CWORD]}} command='' flags='{global}' ids='' root=() i\n    \
             for ((i = 1; i < COMP_CWORD; i++)); do\n        \
                 case ${{COMP_WORDS[i]}} in\n            \
                     --root) root=(--root \"${{COMP_WORDS[i + 1]}}\"); ((i++)) ;;\n            \
                     {valued}) ((i++)) ;;\n            \
                     -*) ;;\n            \
                     *) command=${{COMP_WORDS[i]}}; break ;;\n        \
                 esac\n    \
             done\n    \
             case $command in\n        \
                 '') flags+=' {names}' ;;\n\
         {cases}    \
             esac\n    \
             if [[ $word != -* && $ids ]]; then\n        \
                 flags=$(orlop \"${{root[@]}}\" list --quiet 2>/dev/null)\n    \
             fi\n    \
             mapfile -t COMPREPLY < <(compgen -W \"$flags\" -- \"$word\")\n\
         }}\n\
         complete -o default -F _orlop orlop\n",
        global = words(GLOBAL),
        valued = with_value(GLOBAL).replace("--root|", "").replace("|--root", ""),
        names = names.join(" "),
    )
}

fn zsh() -> String {
    let mut commands = String::new();
    let mut cases = String::new();
    for command in COMMANDS {
        commands += &format!("        '{}:{}'\n", command.name, quoted(command.summary));
        let ids = if takes_id(command) { " \\\n                '1:container:_orlop_ids'" } else { "" };
        cases +=
            &format!("            {}) _arguments{}{ids} '*:file:_files' ;;\n", command.name, zsh_flags(command.flags));
    }
    format!(
        "#compdef orlop\n# Written by `orlop generate zsh`.\n\
         _orlop_ids() {{\n    local -a ids\n    ids=(${{(f)\"$(orlop list --quiet 2>/dev/null)\"}})\n    compadd -a ids\n}}\n\
         _orlop() {{\n    local -a commands\n    local context state line\n    commands=(\n{commands}    )\n    \
         _arguments -C{global} \\\n        '1:command:->command' '*::argument:->argument'\n    \
         case $state in\n        command) _describe command commands ;;\n        argument)\n        case $line[1] in\n{cases}        \
         esac ;;\n    esac\n}}\n_orlop \"$@\"\n",
        global = zsh_flags(GLOBAL),
    )
}

fn zsh_flags(flags: &[Flag]) -> String {
    let one = |flag: &Flag| {
        let help = quoted(flag.help).replace('[', "\\[").replace(']', "\\]");
        let value = match flag.takes {
            Takes::Nothing => String::new(),
            Takes::Value | Takes::Number => format!(":{}:_files", flag.names[0]),
            Takes::Maybe(words) => format!("::{}:({})", flag.names[0], words.join(" ")),
        };
        spellings(flag).map(|name| format!(" \\\n                '{name}[{help}]{value}'")).collect::<String>()
    };
    flags.iter().map(one).collect()
}

fn fish() -> String {
    let names: Vec<_> = COMMANDS.iter().map(|command| command.name).collect();
    let none = format!("not __fish_seen_subcommand_from {}", names.join(" "));
    let mut text = "# fish completion for orlop, written by `orlop generate fish`\n".to_owned();
    text.extend(GLOBAL.iter().map(|flag| fish_flag(&none, flag)));
    for command in COMMANDS {
        let seen = format!("__fish_seen_subcommand_from {}", command.name);
        text += &format!("complete -c orlop -n '{none}' -f -a {} -d '{}'\n", command.name, quoted(command.summary));
        if takes_id(command) {
            text += &format!("complete -c orlop -n '{seen}' -f -a '(orlop list --quiet 2>/dev/null)'\n");
        }
        text.extend(command.flags.iter().map(|flag| fish_flag(&seen, flag)));
    }
    text
}

fn fish_flag(condition: &str, flag: &Flag) -> String {
    let names: String =
        flag.names.iter().map(|name| format!(" -{} {name}", if name.len() > 1 { 'l' } else { 's' })).collect();
    let value = match flag.takes {
        Takes::Nothing => String::new(),
        Takes::Value | Takes::Number => " -r".to_owned(),
        Takes::Maybe(words) => format!(" -f -a '{}'", words.join(" ")),
    };
    format!("complete -c orlop -n '{condition}'{names}{value} -d '{}'\n", quoted(flag.help))
}

/// Between single quotes.
fn quoted(text: &str) -> String {
    text.replace('\'', "’").replace(':', ";")
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command as Program, Stdio};

    use super::*;

    #[test]
    fn all_flags_are_everywhere() {
        let texts = [man(), bash(), zsh(), fish()];
        for command in COMMANDS {
            assert!(texts.iter().all(|text| text.contains(command.name)), "{}", command.name);
            for flag in command.flags.iter().chain(GLOBAL) {
                let name = flag.names[0];
                assert!(texts[0].contains(&roff(&format!("--{name}"))), "{name}");
                assert!(texts[1].contains(&format!("--{name}")) && texts[2].contains(&format!("--{name}[")), "{name}");
                assert!(texts[3].contains(&format!("-l {name}")), "{name}");
            }
        }
    }

    /// The programs that read them find no fault; those that are not installed are passed over.
    #[test]
    fn they_can_be_read() {
        for (program, arguments, text) in [
            ("bash", &["-n"][..], bash()),
            ("zsh", &["-n"], zsh()),
            ("fish", &["--no-execute"], fish()),
            ("mandoc", &["-T", "lint", "-W", "error"], man()),
            ("groff", &["-man", "-Tutf8", "-ww", "-z"], man()),
        ] {
            let child = Program::new(program)
                .args(arguments)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn();
            let Ok(mut child) = child else {
                println!("{program} is not here");
                continue;
            };
            child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
            let output = child.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && output.stderr.is_empty(), "{program}: {said}");
        }
    }
}
