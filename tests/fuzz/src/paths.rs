//! Names of files and tenants, and what makes or matches them.

use crate::{edits::Input, memory::within};
use inkpot_client::PathTemplate;
use inkpot_proto::{
    limits::{MAX_COMPONENT_BYTES, MAX_PATH_BYTES, MAX_PATH_DEPTH, RESERVED_PREFIX},
    path::{FilePath, TenantName},
};
use inkpot_server::policy::{NameTemplate, Pattern};
use std::{path::Component, time::UNIX_EPOCH};

const OF_A_BYTE: usize = 256;
const BASE: usize = 64 << 10;

fn bound(bytes: &[u8]) -> usize {
    BASE + OF_A_BYTE * bytes.len()
}

/// A path, and the name of a tenant. One that passes leads to a file below the root, whatever reads it.
pub fn path(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    within(bound(bytes), || {
        if let Ok(path) = FilePath::parse(text) {
            assert_eq!(path.as_str(), text);
            check_path(text);
        }
        if let Ok(tenant) = TenantName::parse(text) {
            assert_eq!(tenant.as_str(), text);
            check_path(text);
            assert!(!text.contains('/'));
        }
    });
}

fn check_path(text: &str) {
    assert!(!text.is_empty() && text.len() <= MAX_PATH_BYTES && !text.contains(['\0', '\\', '\n']));
    let components: Vec<&str> = text.split('/').collect();
    assert!(components.len() <= MAX_PATH_DEPTH);
    assert!(components.iter().all(|one| (1..=MAX_COMPONENT_BYTES).contains(&one.len())));
    assert!(!components.iter().any(|one| one.starts_with(RESERVED_PREFIX)));
    // The library of the language sees the same components, and none that is special.
    let seen = std::path::Path::new(text).components();
    assert!(seen.eq(components.iter().map(|one| Component::Normal(one.as_ref()))), "{text:?} is no plain path");
}

/// Lines of an input as texts.
fn lines(bytes: &[u8]) -> Option<Vec<&str>> {
    std::str::from_utf8(bytes).ok().map(|text| text.split('\n').collect())
}

/// A pattern, and paths to match. A path as a pattern matches itself.
pub fn pattern(bytes: &[u8]) {
    let Some(lines) = lines(bytes) else { return };
    within(bound(bytes), || {
        let Some((pattern, paths)) = lines.split_first() else { return };
        let Ok(parsed) = Pattern::parse(pattern) else { return };
        assert_eq!(Pattern::parse(&parsed.to_string()).as_ref(), Ok(&parsed));
        let everything = Pattern::parse("**").expect("a pattern");
        for path in paths.iter().filter_map(|path| FilePath::parse(path).ok()) {
            let _ = parsed.matches(&path);
            assert!(everything.matches(&path));
        }
        if let Ok(path) = FilePath::parse(pattern) {
            assert!(parsed.matches(&path), "{pattern:?} does not match itself");
        }
    });
}

/// A template for the names of rotated files. It is read back as it was written.
pub fn name_template(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    within(bound(bytes), || {
        // The form that it must have is hard to guess.
        for text in [text, &format!("{{stem}}@{text}{{ext}}")] {
            if let Ok(template) = NameTemplate::parse(text) {
                assert_eq!(NameTemplate::parse(&template.to_string()).as_ref(), Ok(&template));
            }
        }
    });
}

/// A template of the client, and values for its variables. No value leads out of the directory where the template puts it.
pub fn path_template(bytes: &[u8]) {
    let Some(lines) = lines(bytes) else { return };
    let mut input = Input(bytes);
    within(bound(bytes), || {
        let Some((text, values)) = lines.split_first() else { return };
        let Ok(template) = PathTemplate::parse(text) else { return };
        let names: Vec<String> = template.variables().map(str::to_owned).collect();
        let value = |number: usize| values.get(number % values.len().max(1)).copied().unwrap_or("x");
        let given: Vec<(&str, &str)> =
            names.iter().enumerate().map(|(number, name)| (name.as_str(), value(number))).collect();
        let at = UNIX_EPOCH + std::time::Duration::from_secs(u64::from(input.byte()) << 24);
        let Ok(path) = template.render(&given, at) else { return };
        assert!(FilePath::parse(&path).is_ok(), "{path:?} came out of a template");
        // Braces that stand for themselves are no slashes, so the depth is that of the template.
        assert_eq!(path.matches('/').count(), text.matches('/').count(), "{text:?} with {given:?} gave {path:?}");
    });
}
