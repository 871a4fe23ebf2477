//! `inkpot context` and `--context`, the real binary: which server and which token a command uses, and what becomes of
//! the file of the contexts.
#![allow(clippy::unwrap_used)]

use inkpot_tests::{
    Server, Setup,
    harness::tool::{Ended, Tool},
};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::{Value, json};
use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    thread,
};
use tempfile::TempDir;

/// Where nobody listens.
const NOBODY: &str = "http://127.0.0.1:1";
const RED: &str = "red-token-0123456789abcdef";
const BLUE: &str = "blue-token-0123456789abcdef";

/// A user with a home of its own.
struct User(TempDir);

impl User {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn tool<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Tool {
        Tool::new(args).env("HOME", self.0.path().to_str().unwrap()).without_env("XDG_CONFIG_HOME")
    }

    fn run<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Ended {
        self.tool(args).run("")
    }

    /// A context without a token.
    fn add(&self, name: &str, endpoint: &str) {
        let _ = self.run(["context", "add", name, "--endpoint", endpoint]).exit(0);
    }

    fn show<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Value {
        self.run(["--output", "json", "context", "show"].into_iter().chain(args)).exit(0).json()
    }

    fn config(&self) -> PathBuf {
        self.0.path().join(".config/inkpot/config.toml")
    }

    fn write_config(&self, text: &str) {
        fs::create_dir_all(self.config().parent().unwrap()).unwrap();
        fs::write(self.config(), text).unwrap();
    }

    /// Writes a file; gives its path.
    fn file(&self, name: &str, content: &str) -> String {
        let path = self.0.path().join(name);
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn commands_use_the_server_and_token_of_the_context() {
    let red = Server::start(Setup::default().token("red", RED));
    let blue = Server::start(Setup::default().token("blue", BLUE));
    let user = User::new();
    let (red_token, blue_token) = (user.file("red", RED), user.file("blue", &format!("{BLUE}\n")));
    for (name, server, token) in [("red", &red, &red_token), ("blue", &blue, &blue_token)] {
        let args = ["context", "add", name, "--endpoint", &server.endpoint(), "--token-file", token];
        let _ = user.run(args).exit(0).says(&format!("context {name} is {}", server.endpoint()));
    }
    let _ = user.run(["context", "use", "red"]).exit(0).says("context red is the current one");
    let _ = user.tool(["append", "f"]).run("red\n").exit(0);
    let _ = user.tool(["append", "f", "--context", "blue"]).run("blue\n").exit(0);
    assert_eq!(user.run(["cat", "f"]).exit(0).text(), "red\n");
    assert_eq!(user.tool(["cat", "f"]).env("INKPOT_CONTEXT", "blue").run("").exit(0).text(), "blue\n");
    let explicit = ["cat", "f", "--endpoint", &blue.endpoint(), "--token-file", &blue_token];
    assert_eq!(user.run(explicit).exit(0).text(), "blue\n");
    // The token of the current context is for its own server alone.
    let without = user.run(["cat", "f", "--endpoint", &red.endpoint()]).exit(1);
    assert!(without.stderr.contains("credential") || without.stderr.contains("token"), "{}", without.stderr);
    // A token that is told wins over one that is kept.
    for tool in
        [user.tool(["cat", "f", "--token-file", &blue_token]), user.tool(["cat", "f"]).env("INKPOT_TOKEN", BLUE)]
    {
        let _ = tool.run("").exit(1);
    }
    let kept = fs::read_to_string(user.config()).unwrap();
    assert!(kept.contains(&red_token) && !kept.contains(RED) && !kept.contains(BLUE), "{kept}");
}

#[test]
fn first_that_names_a_server_wins() {
    let user = User::new();
    let endpoint = |tool: Tool| tool.run("").exit(0).json()["endpoint"].as_str().unwrap().to_owned();
    let args = ["--output", "json", "context", "show"];
    assert_eq!(endpoint(user.tool(args)), "http://127.0.0.1:7411");
    for name in ["current", "variable", "flag"] {
        user.add(name, &format!("http://{name}:1"));
    }
    assert_eq!(endpoint(user.tool(args)), "http://127.0.0.1:7411", "none is the current one yet");
    let _ = user.run(["context", "use", "current"]).exit(0);
    assert_eq!(endpoint(user.tool(args)), "http://current:1");
    let variable = || user.tool(args).env("INKPOT_CONTEXT", "variable");
    assert_eq!(endpoint(variable()), "http://variable:1");
    let with_flag = || user.tool(args.into_iter().chain(["--context", "flag"])).env("INKPOT_CONTEXT", "variable");
    assert_eq!(endpoint(with_flag()), "http://flag:1");
    assert_eq!(endpoint(variable().env("INKPOT_ENDPOINT", "http://v:1")), "http://v:1");
    assert_eq!(endpoint(with_flag().env("INKPOT_ENDPOINT", "http://v:1")), "http://flag:1");
    let explicit = args.into_iter().chain(["--endpoint", "http://e:1"]);
    assert_eq!(
        endpoint(user.tool(explicit).env("INKPOT_ENDPOINT", "http://v:1").env("INKPOT_CONTEXT", "x")),
        "http://e:1"
    );
    // Two options are one too many, wherever they stand.
    for args in [
        ["ls", "--context", "flag", "--endpoint", "http://e:1"],
        ["--context", "flag", "ls", "--endpoint", "http://e:1"],
        ["--endpoint", "http://e:1", "ls", "--context", "flag"],
    ] {
        let _ = user.run(args).exit(2).says("--endpoint and --context each name the server: give one of them");
    }
}

#[test]
fn token_of_the_environment_does_not_go_to_a_context_that_is_told() {
    let user = User::new();
    let (kept, told) = (user.file("kept", RED), user.file("told", BLUE));
    let _ = user.run(["context", "add", "a", "--endpoint", "http://a:1", "--token-file", &kept]).exit(0);
    let _ = user.run(["context", "use", "a"]).exit(0);
    user.add("none", "http://n:1");
    let token = |args: &[&str], variable: (&str, &str)| {
        let tool = user.tool(["--output", "json", "context", "show"].into_iter().chain(args.iter().copied()));
        let tool = tool.env("INKPOT_TOKEN", BLUE).env(variable.0, variable.1);
        tool.run("").exit(0).json()["token_from"].as_str().unwrap().to_owned()
    };
    assert_eq!(token(&["--context", "a"], ("INKPOT_ENDPOINT", "http://v:1")), kept);
    assert_eq!(token(&["--context", "a", "--token-file", &told], ("INKPOT_ENDPOINT", "http://v:1")), told);
    assert_eq!(token(&["--context", "none"], ("INKPOT_CONTEXT", "a")), "INKPOT_TOKEN");
    assert_eq!(token(&[], ("INKPOT_CONTEXT", "a")), "INKPOT_TOKEN");
    assert_eq!(token(&[], ("INKPOT_CONTEXT", "")), "INKPOT_TOKEN");
}

#[test]
fn empty_variables_are_none_and_a_bad_one_hinders_only_who_needs_it() {
    let user = User::new();
    let empty = |args: &[&str]| {
        let names = ["ENDPOINT", "CONTEXT", "TOKEN", "CA_FILE", "CLIENT_CERT", "CLIENT_KEY", "SERVER_NAME"];
        let tool = user.tool(args.iter().copied()).env("INKPOT_CONTEXT_FILE", "");
        names.into_iter().fold(tool, |tool, name| tool.env(&format!("INKPOT_{name}"), ""))
    };
    let shown = empty(&["context", "show", "--output", "json"]).run("").exit(0).json();
    assert_eq!(shown, user.show([]));
    assert_eq!(
        (&shown["endpoint_from"], &shown["tls"], &shown["token_from"]),
        (&json!("default"), &json!({}), &Value::Null)
    );
    let _ = empty(&["context", "add", "a"]).run("").exit(2).says("--endpoint says it");
    let bad = |args: &[&str]| user.tool(args.iter().copied()).env("INKPOT_CONTEXT", "B B").run("");
    for args in [&["completions", "bash"][..], &["man"], &["server", "--help"], &["context", "ls"], &["--version"]] {
        let _ = bad(args).exit(0);
    }
    let _ = bad(&["ls"]).exit(2).says("INKPOT_CONTEXT: the name \"B B\" is not");
    let _ = bad(&["ls", "--endpoint", NOBODY]).exit(1);
}

#[test]
fn contexts_are_added_listed_used_and_forgotten() {
    let user = User::new();
    let token = user.file("token", RED);
    let json =
        |args: &[&str]| user.run(["--output", "json", "context"].into_iter().chain(args.iter().copied())).exit(0);
    assert_eq!(json(&["ls"]).text(), "");
    let a = |current| json!({"name": "a", "endpoint": "host", "token_file": token, "tls": {}, "current": current});
    let b = json!({"name": "b.2", "endpoint": NOBODY, "token_file": null, "tls": {}, "current": false});
    assert_eq!(json(&["add", "b.2", "--endpoint", NOBODY]).json(), b);
    assert_eq!(json(&["add", "a", "--endpoint", "host", "--token-file", &token]).json(), a(false));
    assert_eq!(json(&["use", "a"]).json(), a(true));
    assert_eq!(json(&["ls"]).json_lines(), [a(true), b.clone()]);
    let text = user.run(["context", "ls"]).exit(0).text();
    let rows: Vec<Vec<&str>> = text.lines().map(|row| row.split_ascii_whitespace().collect()).collect();
    assert_eq!(rows, [vec!["*", "a", "host", "token", "in", &token], vec!["b.2", NOBODY]]);
    let config = user.config().to_str().unwrap().to_owned();
    let shown = json!({
        "endpoint": "host", "endpoint_from": "context a", "context": "a", "token_from": token, "tls": {},
        "context_file": config,
    });
    assert_eq!(user.show([]), shown);
    let text = user.run(["context", "show"]).exit(0).text();
    assert!(["host (from context a)", &token, &config].iter().all(|part| text.contains(part)), "{text}");
    assert_eq!(json(&["rm", "a"]).json(), a(false));
    assert_eq!(json(&["ls"]).json_lines(), [b]);
    assert_eq!(user.show([])["endpoint_from"], "default", "what is forgotten is no longer the current one");
    assert!(Path::new(&token).exists(), "the token is the user's");
    // Where words are asked for, data stays empty.
    for args in [["context", "use", "b.2"], ["context", "rm", "b.2"]] {
        assert_eq!(user.run(args).exit(0).text(), "");
    }
}

#[test]
fn file_is_private_and_replaced_as_a_whole() {
    let user = User::new();
    user.add("a", NOBODY);
    let (file, folder) = (user.config(), user.config().parent().unwrap().to_owned());
    assert_eq!((mode(&file), mode(&folder), mode(folder.parent().unwrap())), (0o600, 0o700, 0o700));
    // One that was open to all is so no longer.
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let before = fs::File::open(&file).unwrap();
    user.add("b", NOBODY);
    assert_eq!(mode(&file), 0o600);
    let seen = std::io::read_to_string(before).unwrap();
    assert!(seen.contains("[contexts.a]") && !seen.contains("[contexts.b]"), "a reader sees all of one state: {seen}");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "nothing is left beside it");
    // A link stays one, as those who keep their settings elsewhere need it.
    let elsewhere = user.0.path().join("elsewhere.toml");
    fs::rename(&file, &elsewhere).unwrap();
    symlink(&elsewhere, &file).unwrap();
    user.add("c", NOBODY);
    assert!(fs::symlink_metadata(&file).unwrap().is_symlink());
    assert_eq!(fs::read_to_string(&elsewhere).unwrap().matches("[contexts.").count(), 3);
}

#[test]
fn place_of_the_file_follows_the_environment() {
    let user = User::new();
    let home = user.0.path().to_str().unwrap();
    let (named, xdg) = (format!("{home}/n/own.toml"), format!("{home}/xdg"));
    let add = |name: &str| user.tool(["context", "add", name, "--endpoint", NOBODY]);
    let _ = add("a").env("XDG_CONFIG_HOME", &xdg).env("INKPOT_CONTEXT_FILE", &named).run("").exit(0);
    let _ = add("b").env("XDG_CONFIG_HOME", &xdg).env("INKPOT_CONTEXT_FILE", "").run("").exit(0);
    let _ = add("c").env("XDG_CONFIG_HOME", "not/absolute").run("").exit(0);
    let files = [PathBuf::from(named), format!("{xdg}/inkpot/config.toml").into(), user.config()];
    for (file, name) in files.iter().zip(["a", "b", "c"]) {
        let text = fs::read_to_string(file).unwrap();
        assert!(text.contains(&format!("[contexts.{name}]")) && text.matches("[contexts.").count() == 1, "{text}");
    }
    // A home that nobody can enter hinders only those who want to keep something there.
    let shown =
        Tool::new(["context", "show", "--output", "json"]).env("HOME", "/dev/null").without_env("XDG_CONFIG_HOME");
    assert_eq!(shown.run("").exit(0).json()["context_file"], Value::Null);
    let _ = add("d").env("HOME", "/dev/null").run("").exit(2).says("no place for contexts: set INKPOT_CONTEXT_FILE");
}

#[test]
fn many_changes_at_once_are_all_kept() {
    let user = User::new();
    let names: Vec<String> = (0..12).map(|n| format!("n{n:02}")).collect();
    thread::scope(|scope| {
        for name in &names {
            scope.spawn(|| user.add(name, NOBODY));
        }
    });
    let listed = user.run(["context", "ls", "--output", "json"]).exit(0).json_lines();
    assert_eq!(listed.iter().map(|context| context["name"].as_str().unwrap()).collect::<Vec<_>>(), names);
}

#[test]
fn relative_token_file_is_kept_as_absolute() {
    let user = User::new();
    let token = user.file("token", RED);
    let mut command = user.tool(["context", "add", "a", "--endpoint", "h", "--token-file", "./token"]).command();
    assert!(command.current_dir(user.0.path()).status().unwrap().success());
    assert_eq!(user.show(["--context", "a"])["token_from"], token);
}

#[test]
fn bad_arguments_are_refused_and_change_nothing() {
    let user = User::new();
    let token = user.file("token", RED);
    user.add("a", "http://h:1");
    let before = fs::read(user.config()).unwrap();
    let table: [(&[&str], &str); 12] = [
        (&["add", "a", "--endpoint", "h"], "there is a context a already"),
        (&["add", "b"], "--endpoint says it"),
        (&["add", "b", "--endpoint", "ftp://h"], "the scheme must be http"),
        (&["add", "b", "--endpoint", ""], "not valid"),
        (&["add", "b", "--endpoint", "h", "--token-file", "no-such-file"], "no-such-file: No such file"),
        (&["add", "Prod", "--endpoint", "h"], "the name \"Prod\" is not"),
        (&["add", "", "--endpoint", "h"], "the name \"\" is not"),
        (&["add", "a/b", "--endpoint", "h", "--token-file", &token], "the name \"a/b\" is not"),
        (&["use", "b"], "there is no context b"),
        (&["rm", "b"], "there is no context b"),
        (&["show", "--context", "b"], "there is no context b"),
        (&["show", "--context", "B B"], "the name \"B B\" is not"),
    ];
    for (args, reason) in table {
        let ended = user.run(["context"].into_iter().chain(args.iter().copied())).exit(2).says(reason);
        assert_eq!(ended.text(), "", "{args:?}");
    }
    let _ = user.run(["context"]).exit(2).says("Usage:");
    let _ = user.tool(["ls"]).env("INKPOT_CONTEXT", "b").run("").exit(2).says("there is no context b");
    assert_eq!(fs::read(user.config()).unwrap(), before);
}

#[test]
fn broken_file_is_named_with_its_line_and_stays_as_it_is() {
    let user = User::new();
    let table = [
        (
            "current = \"a\"\n\n[contexts.a]\nendpoint = \"h\"\ntoken = \"secret-0123\"\n",
            "line 5: unknown field `token`",
        ),
        ("colour = \"blue\"\n", "line 1: unknown field `colour`"),
        ("[contexts.a]\nendpoint = \"secret-0123\n", "line 2: "),
        ("[contexts.A]\nendpoint = \"h\"\n", "line 1: the name \"A\" is not"),
        ("[contexts.a]\nendpoint = \"h\"\ntoken_file = \"t\"\n", "line 3: this must be an absolute path"),
    ];
    for (text, why) in table {
        user.write_config(text);
        let expected = format!("{}, {why}", user.config().display());
        for args in
            [&["ls"][..], &["context", "ls"], &["context", "add", "x", "--endpoint", "h"], &["context", "rm", "a"]]
        {
            let ended = user.run(args.iter().copied()).exit(2).says(&expected);
            assert!(!ended.stderr.contains("secret"), "{}", ended.stderr);
        }
        assert_eq!(fs::read_to_string(user.config()).unwrap(), text);
        // It is not read where the server is told.
        let _ = user.run(["ls", "--endpoint", NOBODY]).exit(1);
    }
    // A current context that nobody described.
    user.write_config("current = \"gone\"\n");
    let _ = user.run(["ls"]).exit(2).says("there is no context gone");
    user.add("a", NOBODY);
    let _ = user.run(["context", "use", "a"]).exit(0);
    assert_eq!(user.show([])["context"], "a");
    fs::remove_file(user.config()).unwrap();
    fs::create_dir(user.config()).unwrap();
    let _ = user.run(["ls"]).exit(2).says("cannot read");
}

#[test]
fn what_is_no_regular_file_is_never_replaced() {
    let user = User::new();
    let place = |name: &str| user.0.path().join(name).to_str().unwrap().to_owned();
    let [fifo, to_fifo, dangling, folder] = ["fifo", "to-fifo", "dangling", "folder"].map(place);
    mknodat(CWD, &*fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    symlink(&fifo, &to_fifo).unwrap();
    symlink(place("nothing"), &dangling).unwrap();
    fs::create_dir(&folder).unwrap();
    let kinds = || [&fifo, &to_fifo, &dangling, &folder].map(|path| fs::symlink_metadata(path).unwrap().file_type());
    let before = kinds();
    for (path, why) in [
        (&fifo, "not a regular file"),
        (&to_fifo, "not a regular file"),
        (&dangling, "a link to nothing"),
        (&folder, "not a regular file"),
    ] {
        for args in [&["add", "a", "--endpoint", NOBODY][..], &["use", "a"], &["rm", "a"]] {
            let tool = user.tool(["context"].into_iter().chain(args.iter().copied())).env("INKPOT_CONTEXT_FILE", path);
            let _ = tool.run("").exit(2).says(&format!("cannot write {path}: it is {why}"));
        }
    }
    assert_eq!(kinds(), before);
    assert!(!Path::new(&place("nothing")).exists());
}

#[test]
fn token_file_that_is_gone_stops_only_those_who_need_it() {
    let user = User::new();
    let token = user.file("token", RED);
    let _ = user.run(["context", "add", "a", "--endpoint", NOBODY, "--token-file", &token]).exit(0);
    let _ = user.run(["context", "use", "a"]).exit(0);
    fs::remove_file(&token).unwrap();
    let _ = user.run(["ls"]).exit(2).says("token: No such file");
    assert_eq!(user.show([])["token_from"], token);
    let _ = user.run(["completions", "bash"]).exit(0);
}
