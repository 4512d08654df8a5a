//! Pictures of topologies, by their geometry.

use roxmltree::{Document, Node};
use testbed::topology::draw;

use crate::topologies;

/// Left, top, right, bottom.
type Area = [f64; 4];

fn number(node: &Node<'_, '_>, name: &str) -> f64 {
    let text = node.attribute(name);
    text.and_then(|t| t.parse().ok())
        .unwrap_or_else(|| panic!("{name} of {node:?}"))
}

/// Rectangles of this class.
fn areas(document: &Document<'_>, class: &str) -> Vec<Area> {
    let of = |n: &Node<'_, '_>| {
        n.has_tag_name("rect")
            && n.attribute("class")
                .is_some_and(|c| c.split(' ').any(|c| c == class))
    };
    let found = document.descendants().filter(of).map(|rect| {
        let (x, y) = (number(&rect, "x"), number(&rect, "y"));
        [
            x,
            y,
            x + number(&rect, "width"),
            y + number(&rect, "height"),
        ]
    });
    found.collect()
}

fn meet(a: &Area, b: &Area) -> bool {
    a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3]
}

/// The straight parts of every cable of a class, with the cable's number.
fn segments(document: &Document<'_>, class: &str) -> Vec<(usize, Area)> {
    let wires = document
        .descendants()
        .filter(|n| n.attribute("class") == Some(class));
    let mut all = Vec::new();
    for (number, wire) in wires.enumerate() {
        let way = wire.attribute("d").expect("a path").trim_start_matches('M');
        let points: Vec<Vec<f64>> = way
            .split('L')
            .map(|p| p.split(' ').map(|n| n.parse().expect("a number")).collect())
            .collect();
        for pair in points.windows(2) {
            let (a, b) = (&pair[0], &pair[1]);
            assert!(
                (a[0] - b[0]).abs() < 0.01 || (a[1] - b[1]).abs() < 0.01,
                "a cable is slanted: {way}"
            );
            let corners = [
                a[0].min(b[0]),
                a[1].min(b[1]),
                a[0].max(b[0]),
                a[1].max(b[1]),
            ];
            all.push((number, corners));
        }
    }
    all
}

#[test]
fn nodes_do_not_meet_and_no_cable_crosses_one() {
    for topology in topologies::all() {
        topology.check().expect("a topology");
        let name = &topology.name;
        let svg = draw::svg(&topology);
        let document = Document::parse(&svg).unwrap_or_else(|e| panic!("{name}: {e}"));
        let mut nodes = areas(&document, "card");
        nodes.extend(areas(&document, "bus"));
        assert_eq!(nodes.len(), topology.nodes.len(), "{name}");
        let root = document.root_element();
        let whole = [0.0, 0.0, number(&root, "width"), number(&root, "height")];
        for (index, a) in nodes.iter().enumerate() {
            assert!(
                a[0] >= whole[0] && a[1] >= whole[1] && a[2] <= whole[2] && a[3] <= whole[3],
                "{name}: {a:?} is outside {whole:?}"
            );
            for b in &nodes[..index] {
                assert!(!meet(a, b), "{name}: {a:?} meets {b:?}");
            }
        }
        let mut wires = segments(&document, "wire");
        wires.extend(segments(&document, "wire branch"));
        let count = |class| {
            document
                .descendants()
                .filter(|n| n.attribute("class") == Some(class))
                .count()
        };
        assert_eq!(
            count("wire") + count("wire branch"),
            topology.links.len(),
            "{name}"
        );
        for (_, wire) in wires {
            for node in &nodes {
                let inside = [node[0] + 0.5, node[1] + 0.5, node[2] - 0.5, node[3] - 0.5];
                assert!(
                    !meet(&wire, &inside),
                    "{name}: the cable {wire:?} crosses {node:?}"
                );
            }
        }
        assert_eq!(svg, draw::svg(&topology), "{name} is drawn in two ways");
    }
}

#[test]
fn two_cables_never_lie_on_one_another() {
    for topology in topologies::all() {
        let svg = draw::svg(&topology);
        let document = Document::parse(&svg).expect("well-formed");
        let wires = segments(&document, "wire");
        for (index, a) in wires.iter().enumerate() {
            for b in wires[..index].iter().filter(|b| b.0 != a.0) {
                let (a, b) = (a.1, b.1);
                let level = (a[1] - b[1]).abs().max((a[3] - b[3]).abs()) < 2.0;
                let upright = (a[0] - b[0]).abs().max((a[2] - b[2]).abs()) < 2.0;
                let beside = level && a[0] < b[2] && b[0] < a[2];
                let below = upright && a[1] < b[3] && b[1] < a[3];
                assert!(!beside && !below, "{}: {a:?} lies on {b:?}", topology.name);
            }
        }
    }
}

#[test]
fn every_node_address_and_site_is_said_in_every_form() {
    for topology in topologies::all() {
        let svg = draw::svg(&topology);
        let document = Document::parse(&svg).expect("well-formed");
        let said: Vec<&str> = document.descendants().filter_map(|n| n.text()).collect();
        let (text, dot) = (draw::text(&topology), draw::dot(&topology));
        let sites = topology.nodes.iter().filter_map(|n| n.site.as_ref());
        for word in topology.nodes.iter().map(|n| &n.name).chain(sites) {
            let start = |s: &&str| s.split(' ').next() == Some(word);
            assert!(said.iter().any(start), "{word} is not in the picture");
            assert!(text.contains(word.as_str()), "{word} is not in {text}");
            assert!(
                dot.contains(&format!("\"{word}\"")),
                "{word} is not in {dot}"
            );
        }
        let ends = topology.links.iter().flat_map(|l| &l.ends);
        for address in ends.flat_map(|e| &e.addresses).map(ToString::to_string) {
            assert!(said.iter().any(|s| s.ends_with(&address)), "{address}");
            assert!(
                text.contains(&address) && dot.contains(&address),
                "{address}"
            );
        }
    }
}
