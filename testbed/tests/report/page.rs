//! The page as a document.

use std::collections::BTreeSet;

use roxmltree::{Document, Node, ParsingOptions};
use testbed::report::html;

use crate::story::story;

fn parsed(page: &str) -> Document<'_> {
    let options = ParsingOptions {
        allow_dtd: true,
        ..ParsingOptions::default()
    };
    Document::parse_with_options(page, options).unwrap_or_else(|error| {
        let at = error.pos();
        let line = page.lines().nth(at.row as usize - 1).unwrap_or("");
        let near: String = line
            .chars()
            .skip((at.col as usize).saturating_sub(80))
            .take(120)
            .collect();
        panic!("{error}: ...{near}...")
    })
}

fn elements<'d>(document: &'d Document<'d>) -> impl Iterator<Item = Node<'d, 'd>> {
    document.descendants().filter(Node::is_element)
}

#[test]
fn it_is_well_formed_and_needs_nothing_from_elsewhere() {
    let page = html::page(&story(20, 100, ""));
    let document = parsed(&page);
    let mut ids = BTreeSet::new();
    for id in elements(&document).filter_map(|e| e.attribute("id")) {
        assert!(ids.insert(id), "two elements are called {id:?}");
    }
    for element in elements(&document) {
        let name = element.tag_name().name();
        assert!(
            !["link", "img", "iframe", "object", "embed", "image"].contains(&name),
            "{element:?}"
        );
        for attribute in element.attributes() {
            let value = attribute.value();
            match attribute.name() {
                "href" if value == "run.json" => {}
                "href" => {
                    let id = value
                        .strip_prefix('#')
                        .unwrap_or_else(|| panic!("{element:?}"));
                    assert!(ids.contains(id), "nothing is called {id:?}");
                }
                "for" | "aria-labelledby" => {
                    assert!(ids.contains(value), "nothing is called {value:?}");
                }
                "src" | "srcset" | "action" | "data" => panic!("{element:?}"),
                name => assert!(!name.starts_with("on"), "{element:?}"),
            }
        }
        if name == "style" {
            let style = element.text().unwrap_or("");
            assert!(
                !style.contains("@import") && !style.contains("//"),
                "{style}"
            );
            assert!(style.matches("url(").count() == style.matches("url(#").count());
        }
    }
}

#[test]
fn it_says_what_the_story_has() {
    let story = story(20, 100, "");
    let page = html::page(&story);
    let document = parsed(&page);
    let said: Vec<&str> = document.descendants().filter_map(|n| n.text()).collect();
    for host in story.topology.nodes.iter().map(|n| n.name.as_str()) {
        assert!(said.contains(&host), "{host}");
    }
    let words = [
        "made-up",
        "s1 has been silent for the dead time",
        "last-lost/kill",
        "161.5",
        "gratuitous ARP: 198.18.0.1 is at 02:00:00:00:00:01 (s2) (said 2 times)",
        "hello 19 of chain abababab (the last one)",
        "ARP: who has 198.18.0.1? tell 10.0.0.4",
        "no answer, nor to 2 more",
    ];
    for word in words {
        assert!(
            said.iter().any(|s| s.contains(word)),
            "{word:?} is not said"
        );
    }
    let script = elements(&document).find(|e| e.attribute("id") == Some("run"));
    let figures = script.and_then(|s| s.text()).expect("the figures");
    let figures: serde_json::Value = serde_json::from_str(figures).expect("JSON");
    assert_eq!(figures, serde_json::to_value(&story.run).expect("JSON"));
}

#[test]
fn no_name_breaks_out_of_its_place() {
    let hostile = "</script></style></title><img src=x onerror=alert(1)>\"' onload='x' \u{0}\u{1b}[31m\u{202e}]]><!--";
    let page = html::page(&story(20, 100, hostile));
    let document = parsed(&page);
    let scripts: Vec<_> = elements(&document)
        .filter(|e| e.has_tag_name("script"))
        .collect();
    assert_eq!(scripts.len(), 1);
    assert!(elements(&document).all(|e| !e.has_tag_name("img")));
    assert!(elements(&document).all(|e| e.attributes().all(|a| !a.name().starts_with("on"))));
    let figures: serde_json::Value =
        serde_json::from_str(scripts[0].text().unwrap_or("")).expect("JSON");
    assert_eq!(figures["scenario"], format!("made-up{hostile}"));
}

#[test]
fn the_same_story_is_told_in_the_same_bytes() {
    assert_eq!(
        html::page(&story(20, 100, "")),
        html::page(&story(20, 100, ""))
    );
}

#[test]
fn many_requests_are_counted_rather_than_shown() {
    let little = html::page(&story(20, 100, "")).len();
    let much = html::page(&story(120, 500, "")).len();
    assert!(
        much < 2 * little,
        "{much} bytes for 120,000 requests, {little} for 4,000"
    );
}

#[test]
fn the_files_of_a_report_are_there() {
    let dir = std::env::temp_dir().join(format!("hamp-report-{}", std::process::id()));
    html::write(&dir, &story(20, 100, "")).expect("write");
    for name in ["topology.svg", "timeline.svg", "event-1.svg"] {
        let text = std::fs::read_to_string(dir.join(name)).expect(name);
        let document = Document::parse(&text).unwrap_or_else(|e| panic!("{name}: {e}"));
        let ids: BTreeSet<_> = elements(&document)
            .filter_map(|e| e.attribute("id"))
            .collect();
        let used = elements(&document).filter_map(|e| e.attribute("href"));
        for used in used {
            assert!(
                ids.contains(used.trim_start_matches('#')),
                "{name} lacks {used}"
            );
        }
    }
    let figures = std::fs::read_to_string(dir.join("run.json")).expect("run.json");
    let figures: serde_json::Value = serde_json::from_str(&figures).expect("JSON");
    assert_eq!(figures["schema"], "hamp-lab.run/1");
    assert!(dir.join("index.html").exists());
    std::fs::remove_dir_all(dir).expect("remove");
}

#[test]
fn a_network_of_thousands_is_counted_rather_than_drawn() {
    let mut story = story(20, 10, "");
    story.topology = (0..3000).fold(
        testbed::Topology::new("wide").switch("lan"),
        |wide, number| {
            wide.host(&format!("h{number}"))
                .link("lan", &["10.0.0.1/8"])
        },
    );
    let page = html::page(&story);
    assert!(page.contains("3001 nodes and 3000 cables, too many to draw."));
    assert!(page.len() < 1_000_000, "{} bytes", page.len());
}
