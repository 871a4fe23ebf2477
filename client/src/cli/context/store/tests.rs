#![allow(clippy::unwrap_used)]

use super::*;

fn name(name: &str) -> Name {
    name.parse().unwrap()
}

#[test]
fn names_are_plain() {
    for good in ["a", "prod-eu_1.b", "7", &"x".repeat(64)] {
        assert_eq!(name(good).to_string(), good);
    }
    for bad in ["", "A", "a b", "-a", ".a", "_", "a/b", "ä", "a\n", &"x".repeat(65)] {
        assert!(bad.parse::<Name>().is_err(), "{bad:?}");
    }
}

#[test]
fn what_is_written_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    assert_eq!(Contexts::read(&file).unwrap(), Contexts::default());
    let plain = Context { endpoint: "http://h:1".into(), ..Context::default() };
    let tls = Tls {
        ca_file: Some("/ca".into()),
        client_cert: Some("/ü".into()),
        client_key: Some("/k".into()),
        server_name: Some("n".into()),
    };
    let odd = Context { endpoint: "https://[::1]:2".into(), token_file: Some("/a \"b\"/ü".into()), tls };
    let contexts = [(name("a.b"), plain), (name("c"), odd)].into();
    let contexts = Contexts { current: Some(name("a.b")), contexts };
    contexts.write(&file, folder.path()).unwrap();
    assert_eq!(Contexts::read(&file).unwrap(), contexts);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
}

#[test]
fn faults_are_told_with_their_line_and_without_its_text() {
    let table = [
        ("current = \"a\"\nfoo = 1\n", "line 2: unknown field `foo`"),
        ("\n\n[contexts.a]\nendpoint = \"x\"\ntoken = \"secret\"\n", "line 5: unknown field `token`"),
        ("[contexts.a]\ntoken_file = \"/t\"\n", "line 1: missing field `endpoint`"),
        ("[contexts.a]\nendpoint = \"x\"\ntoken_file = \"t\"\n", "line 3: this must be an absolute path"),
        (
            "[contexts.a]\nendpoint = \"x\"\n[contexts.a.tls]\nca_file = \"c\"\n",
            "line 4: this must be an absolute path",
        ),
        ("[contexts.a]\nendpoint = \"x\"\n[contexts.a.tls]\nkey = \"secret\"\n", "line 4: unknown field `key`"),
        ("current = \"No Name\"\n", "line 1: the name \"No Name\" is not"),
        ("[contexts.\"No Name\"]\nendpoint = \"x\"\n", "line 1: the name \"No Name\" is not"),
        ("\n\nsecret\n", "line 3: "),
        ("contexts = 1\n", "line 1: invalid type"),
    ];
    for (text, expected) in table {
        let why = Contexts::parse(text).unwrap_err();
        assert!(why.starts_with(expected) && !why.contains("secret"), "{why}");
    }
}
