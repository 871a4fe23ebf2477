//! RUNBOOK.md stays true: what it quotes stands in the sources, what alerts and links name is there.
#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn page() -> String {
    fs::read_to_string(root().join("RUNBOOK.md")).unwrap()
}

/// The sources of server and tool, less their tests, with string literals that go over lines joined as the compiler does.
fn sources() -> String {
    let mut text = String::new();
    for folder in ["server/src", "server/wal/src", "client/src"] {
        collect(&root().join(folder), &mut text);
    }
    let lines = text.split("\\\n");
    let mut joined: String = lines.enumerate().map(|(n, part)| if n == 0 { part } else { part.trim_start() }).collect();
    joined.retain(|character| character != '\\');
    joined
}

fn collect(folder: &Path, text: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.starts_with("tests") {
            continue;
        }
        if path.is_dir() {
            collect(&path, text);
        } else if name.ends_with(".rs") {
            // A comment is nothing that is printed.
            let code = fs::read_to_string(&path).unwrap();
            code.lines().filter(|line| !line.trim_start().starts_with("//")).for_each(|line| {
                text.push_str(line);
                text.push('\n');
            });
        }
    }
}

/// Whether a literal holds the quoted words, in order, with a `{…}` for each `…`.
fn is_printed(sources: &str, quote: &str) -> bool {
    let parts: Vec<&str> = quote.split('…').collect();
    let Some(longest) = parts.iter().max_by_key(|part| part.len()) else { return false };
    sources.match_indices(longest).any(|(at, _)| {
        // The literal around it: from a quotation mark to the next.
        let start = sources[..at].rfind('"').map_or(0, |start| start + 1);
        let end = sources[at..].find('"').map_or(sources.len(), |end| at + end);
        matches(&sources[start..end], &parts)
    })
}

fn matches(literal: &str, parts: &[&str]) -> bool {
    let mut rest = literal;
    for (n, part) in parts.iter().enumerate() {
        if n > 0 {
            let Some(behind) = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')) else { return false };
            rest = behind.1;
        }
        match rest.strip_prefix(part) {
            Some(behind) => rest = behind,
            None if n == 0 => match rest.find(part) {
                Some(at) => rest = &rest[at + part.len()..],
                None => return false,
            },
            None => return false,
        }
    }
    true
}

#[test]
fn every_message_that_the_runbook_quotes_is_printed() {
    let (page, sources) = (page(), sources());
    let quotes: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("> ")).collect();
    assert!(quotes.len() > 30, "{}", quotes.len());
    let unknown: Vec<&&str> = quotes.iter().filter(|quote| !is_printed(&sources, quote)).collect();
    assert!(unknown.is_empty(), "nobody prints: {unknown:#?}");
    for never in ["shard was closed for good", "… is damaged at word …", "cannot listen at …; is another"] {
        assert!(!is_printed(&sources, never), "the search finds what is not there: {never}");
    }
}

/// The anchors of a page, as renderers make them of headings.
fn anchors(page: &str) -> BTreeSet<String> {
    let headings = page.lines().filter_map(|line| line.strip_prefix("## "));
    headings.map(|heading| heading.to_lowercase().replace(' ', "-")).collect()
}

#[test]
fn alerts_and_links_lead_to_sections_and_each_alert_has_one() {
    let page = page();
    let anchors = anchors(&page);
    for link in page.split("](#").skip(1) {
        let anchor = link.split(')').next().unwrap();
        assert!(anchors.contains(anchor), "no section {anchor}");
    }
    let rules = fs::read_to_string(root().join("deploy/prometheus/inkpot.rules.yml")).unwrap();
    let alerts: Vec<&str> = rules.split("- alert: ").skip(1).collect();
    assert!(alerts.len() > 5);
    for alert in alerts {
        let name = alert.lines().next().unwrap();
        let link = alert.lines().find_map(|line| line.trim().strip_prefix("runbook: RUNBOOK.md#"));
        let anchor = link.unwrap_or_else(|| panic!("{name} has no runbook"));
        assert!(anchors.contains(anchor), "{name} leads to {anchor}");
        let section = page.split("\n## ").find(|section| {
            section.lines().next().is_some_and(|heading| heading.to_lowercase().replace(' ', "-") == anchor)
        });
        assert!(section.unwrap().contains(&format!("`{name}`")), "section {anchor} does not name {name}");
    }
}

#[test]
fn each_section_says_what_it_means_and_what_to_do() {
    for section in page().split("\n## ").skip(1) {
        let heading = section.lines().next().unwrap().to_owned();
        for part in ["- **What it means.**", "- **Do.**"] {
            assert!(section.contains(part), "{heading} has no {part}");
        }
    }
}
