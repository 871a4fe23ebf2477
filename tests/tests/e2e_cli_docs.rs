//! `inkpot completions` and `inkpot man`, the real binary: what they write is taken by a shell and by groff, and has
//! every command that `--help` shows.
#![allow(clippy::unwrap_used)]

use inkpot_tests::harness::tool::Tool;
use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
};

const SHELLS: [&str; 5] = ["bash", "elvish", "fish", "powershell", "zsh"];

fn text<'a>(args: impl IntoIterator<Item = &'a str>) -> String {
    Tool::new(args).run("").exit(0).text()
}

/// The commands that a help text lists.
fn commands(help: &str) -> Vec<&str> {
    let rows = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    rows.map(|row| row.split_ascii_whitespace().next().unwrap()).filter(|command| *command != "help").collect()
}

fn pipe(program: &str, args: &[&str], input: &[u8]) -> Output {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{program}: {error}"));
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn completions_have_every_command_and_option_and_nothing_hidden() {
    let help = text(["--help"]);
    for shell in SHELLS {
        let script = text(["completions", shell]);
        for word in commands(&help).into_iter().chain(["give-up-after", "token-file", "version"]) {
            assert!(script.contains(word), "{shell} does not know {word}");
        }
        for word in ["wire-server", "until-stdin-ends"] {
            assert!(!script.contains(word), "{shell} offers {word}");
        }
        let _ = Tool::new(["completions"]).env("SHELL", &format!("/usr/bin/{shell}")).run("").exit(0);
    }
}

#[test]
fn bash_takes_the_completions_and_completes() {
    let script = text(["completions", "bash"]);
    let checked = pipe("bash", &["-n"], script.as_bytes());
    assert!(checked.status.success() && checked.stderr.is_empty(), "{checked:?}");
    // As bash calls it: the command, the word under the cursor, the one before.
    let call = "last=$((${#COMP_WORDS[@]} - 1)); COMP_CWORD=$last; \
                _inkpot inkpot \"${COMP_WORDS[last]}\" \"${COMP_WORDS[last - 1]}\"; echo \"${COMPREPLY[@]}\"";
    let complete = |words: &str| {
        let answer = pipe("bash", &["--norc"], format!("{script}\nCOMP_WORDS=({words}); {call}").as_bytes());
        String::from_utf8(answer.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(complete("inkpot app"), "append");
    assert_eq!(complete("inkpot append --give"), "--give-up-after");
    assert_eq!(complete("inkpot context us"), "use");
    assert_eq!(complete("inkpot wire"), "");
}

#[test]
fn shell_is_guessed_or_asked_for() {
    let bash = text(["completions", "bash"]);
    assert_eq!(Tool::new(["completions"]).env("SHELL", "/bin/bash").run("").exit(0).text(), bash);
    for tool in [Tool::new(["completions"]).without_env("SHELL"), Tool::new(["completions"]).env("SHELL", "/bin/tcsh")]
    {
        let ended = tool.run("").exit(2).says("name one: bash, elvish, fish, powershell, zsh");
        assert_eq!(ended.text(), "");
    }
    let _ = Tool::new(["completions", "tcsh"]).run("").exit(2).says("invalid value 'tcsh'");
    let help = text(["completions", "--help"]);
    assert!(SHELLS.iter().all(|shell| help.contains(&format!("inkpot completions {shell} >"))), "{help}");
}

/// The page as a reader sees it. Groff must have nothing to complain of.
fn rendered(page: &[u8]) -> String {
    let shown = pipe("groff", &["-man", "-Tutf8", "-ww", "-rLL=200n", "-P-cbou"], page);
    assert!(shown.status.success() && shown.stderr.is_empty(), "{}", String::from_utf8_lossy(&shown.stderr));
    String::from_utf8(shown.stdout).unwrap()
}

/// Asserts that a page shows what stands below the options in the help, each line of it.
#[track_caller]
fn assert_shows(page: &str, help: &str, from: &str) {
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let shown = words(page);
    let below = help.lines().skip_while(|line| !line.starts_with(from)).filter(|line| !line.is_empty());
    let mut checked = 0;
    for line in below {
        match line.strip_suffix(':').filter(|line| !line.starts_with(' ')) {
            Some(heading) => {
                assert!(page.lines().any(|line| line.trim() == heading.to_uppercase()), "no {heading}: {page}")
            }
            None => assert!(shown.contains(&words(line)), "not in the page: {line}\n{page}"),
        }
        checked += 1;
    }
    assert!(checked > 1, "the help has nothing from {from:?} on: {help}");
}

#[test]
fn main_page_has_what_help_has() {
    let page = rendered(text(["man"]).as_bytes());
    let help = text(["--help"]);
    assert_shows(&page, &help, "Examples:");
    for heading in ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXAMPLES", "EXIT STATUS", "ENVIRONMENT"] {
        assert!(page.lines().any(|line| line.trim() == heading), "{heading} is missing:\n{page}");
    }
    for command in commands(&help) {
        assert!(page.contains(&format!("inkpot-{command}(1)")), "{command} is missing:\n{page}");
    }
    assert!(!page.contains("wire-server"));
}

/// Asserts that the command and those below it have a page; gives how many those are.
fn assert_pages(folder: &Path, command: &[&str]) -> usize {
    let name = ["inkpot"].iter().chain(command).copied().collect::<Vec<_>>().join("-");
    let page = fs::read(folder.join(format!("{name}.1"))).unwrap_or_else(|error| panic!("{name}: {error}"));
    let page = rendered(&page);
    assert!(page.contains(&format!("{name}(1)")) && page.contains(&format!("{name} - ")), "{page}");
    // `inkpot server --help` is the server's own.
    if command == ["server"] {
        assert!(page.contains("that of inkpotd"), "{page}");
        return 1;
    }
    let main_help = text(["--help"]);
    assert_shows(&page, &main_help, "Exit status:");
    let help = text(command.iter().copied().chain(["--help"]));
    if help.lines().any(|line| line == "Examples:") {
        assert_shows(&page, &help, "Examples:");
    }
    let below = commands(&help).into_iter().map(|below| assert_pages(folder, &[command, &[below]].concat()));
    below.sum::<usize>() + 1
}

#[test]
fn every_visible_command_has_a_page_that_renders() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("share/man1");
    let ended = Tool::new(["man", "--dir", dir.to_str().unwrap()]).run("").exit(0);
    let pages = fs::read_dir(&dir).unwrap().count();
    assert_eq!(ended.stderr, format!("{pages} pages in {}\n", dir.display()));
    assert_eq!(ended.text(), "");
    assert_eq!(assert_pages(&dir, &[]), pages, "no page but of what help shows");
    assert_eq!(fs::read_to_string(dir.join("inkpot.1")).unwrap(), text(["man"]));
    // A second run replaces them.
    let _ = Tool::new(["man", "--dir", dir.to_str().unwrap()]).run("").exit(0);
    let _ = Tool::new(["man", "--dir", dir.join("inkpot.1").to_str().unwrap()]).run("").exit(1).says("cannot write to");
    let _ = Tool::new(["man", "append"]).run("").exit(2).says("unexpected argument");
}
