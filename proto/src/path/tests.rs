#![allow(clippy::unwrap_used)]
use super::*;

#[test]
fn plain_names_are_taken_as_given() {
    for path in ["a", "logs/app.log", "Ünïcode/ß.txt", "a b", "..a", "a..", "x/.hidden", &"d/".repeat(31).add_leaf()]
    {
        assert_eq!(FilePath::parse(path).unwrap().as_str(), path);
    }
}

#[test]
fn each_broken_rule_is_named() {
    let long_component = "a".repeat(256);
    let long_path = vec!["a".repeat(200); 6].join("/");
    let deep = "d/".repeat(32).add_leaf();
    let cases: [(&str, InvalidName); 18] = [
        ("", InvalidName::Empty),
        (&long_path, InvalidName::TooLong),
        (&deep, InvalidName::TooDeep),
        ("/etc/passwd", InvalidName::Absolute),
        ("/proc/self/mem", InvalidName::Absolute),
        ("a//b", InvalidName::EmptyComponent),
        ("a/", InvalidName::EmptyComponent),
        (&long_component, InvalidName::ComponentTooLong),
        ("..", InvalidName::Dots),
        ("../other/f", InvalidName::Dots),
        ("a/../../x", InvalidName::Dots),
        ("./x", InvalidName::Dots),
        (".inkpot", InvalidName::Reserved),
        ("a/.inkpot-staging/x", InvalidName::Reserved),
        ("a\0b", InvalidName::Control),
        ("a\nb", InvalidName::Control),
        ("a\\b", InvalidName::Backslash),
        ("e\u{301}", InvalidName::NotNormalized),
    ];
    for (path, broken) in cases {
        assert_eq!(FilePath::parse(path), Err(broken), "{path:?}");
    }
}

#[test]
fn tenant_names_are_directory_names() {
    for name in ["default", "team-1", "A_b.c"] {
        assert_eq!(TenantName::parse(name).unwrap().as_str(), name);
    }
    for name in ["", ".", "..", ".hidden", "a/b", "a b", "é", "a\0", &"a".repeat(65)] {
        assert_eq!(TenantName::parse(name), Err(InvalidName::TenantGrammar), "{name:?}");
    }
}

trait AddLeaf {
    fn add_leaf(self) -> String;
}

impl AddLeaf for String {
    fn add_leaf(mut self) -> String {
        self.push_str("leaf");
        self
    }
}
