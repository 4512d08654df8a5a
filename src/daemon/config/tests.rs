//! What a configuration file may say, and what is answered to one that may not be.

use super::*;

fn error(text: &str) -> String {
    Config::parse(text, "hamp.toml").unwrap_err().to_string()
}

const NODE: &str = "[node]\ninterfaces = [\"eth0\"]\n";

#[test]
fn a_short_file_gets_the_documented_defaults() {
    let config = Config::parse(NODE, "hamp.toml").unwrap();
    assert_eq!(config.hello(), Duration::from_secs(1));
    assert_eq!(config.dead(), Duration::from_secs(3));
    assert_eq!(config.class(), Class::default());
    assert_eq!(config.node.control, "@hamp");
    assert!(config.member.is_none() && !config.is_client());
    let client = Config::parse(&format!("{NODE}[client]\n"), "hamp.toml").unwrap();
    assert!(client.is_client());
}

#[test]
fn the_example_loads_and_holds_every_key() {
    let text = include_str!("../../../examples/hamp.toml");
    let config = Config::parse(text, "examples/hamp.toml").unwrap();
    assert_eq!(config.addresses().len(), 2);
    assert!(config.is_client() && config.router.is_none() && config.trust.is_none());
    // What is switched off there has no space after its mark; prose has one.
    let switched = |line: &str| line.len() > 1 && line.starts_with('#') && !line.starts_with("# ");
    let whole: String = text
        .lines()
        .map(|line| if switched(line) { &line[1..] } else { line })
        .flat_map(|line| [line, "\n"])
        .collect();
    let config = Config::parse(&whole, "examples/hamp.toml").unwrap();
    assert!(config.router.is_some() && config.trust.is_some());
    // Whatever key the parser names as known must be in the example.
    for table in [
        "node", "class", "member", "client", "router", "trust", "limits",
    ] {
        let probe = format!("[{table}]\nno_such_key = 1\n");
        let refused = toml::from_str::<Config>(&probe).unwrap_err();
        for key in refused.message().split('`').skip(3).step_by(2) {
            let key = format!("{key} = ");
            assert!(
                whole.lines().any(|line| line.starts_with(&key)),
                "{table}: {key}"
            );
        }
    }
}

#[test]
fn the_unit_starts_the_one_file() {
    let unit = include_str!("../../../examples/hamp.service");
    assert!(unit.contains(&format!("hamp run --config {FILE}\n")));
}

#[test]
fn an_unknown_key_names_file_line_and_the_nearest_known_key() {
    for (text, expected) in [
        (
            "[nod]\n",
            "hamp.toml:1: unknown key \"nod\"; the nearest known key is \"node\"",
        ),
        (
            "[node]\ninterfaces = [\"eth0\"]\nhelo_ms = 5\n",
            "hamp.toml:3: unknown key \"helo_ms\"; the nearest known key is \"hello_ms\"",
        ),
        (
            "[node]\ninterfaces = [\"eth0\"]\n[client]\nenable = true\n",
            "hamp.toml:4: unknown key \"enable\"; the nearest known key is \"enabled\"",
        ),
    ] {
        assert_eq!(error(text), expected);
    }
}

#[test]
fn a_bad_value_names_its_line_and_key() {
    for (text, place, what) in [
        (
            "[member]\naddresses = [\n  \"198.18.0.1\",\n  \"198.18.0.300\",\n]\n",
            "member.addresses",
            "198.18.0.300",
        ),
        ("log = \"hamp=[\"\n", "hamp.toml:3: node.log", "\"hamp=[\""),
        (
            "[class]\nipv4 = [\"198.18.0.7/15\"]\n",
            "hamp.toml:4: class.ipv4",
            "198.18.0.0/15?",
        ),
        (
            "[class]\nipv6 = [\"2001:db8::7/64\"]\n",
            "hamp.toml:4: class.ipv6",
            "2001:db8::/64?",
        ),
        (
            "[class]\nipv4 = [\"255.255.255.255/32\"]\n",
            "hamp.toml:4: class.ipv4",
            "never anycast",
        ),
        (
            "[class]\nipv6 = [\"::ffff:198.18.0.0/112\"]\n",
            "hamp.toml:4: class.ipv6",
            "never anycast",
        ),
        (
            "[router]\necmp = 17\n",
            "hamp.toml:4: router.ecmp",
            "within 1 to 16",
        ),
        (
            "[router]\ninterfaces = [\"eth1\"]\n",
            "hamp.toml:4: router.interfaces",
            "none of node.interfaces",
        ),
        (
            "[router]\nlast_link = \"broadcast\"\n",
            "hamp.toml:4: router.last_link",
            "unicast",
        ),
        (
            "[trust]\nmode = \"strict\"\n",
            "hamp.toml:4: trust.mode",
            "enforce",
        ),
        (
            "[trust]\nkey = \"k\"\nauthorities = [\"a\"]\n",
            "hamp.toml:4: trust.key",
            "trust.certificate",
        ),
        (
            "[trust]\nmode = \"count\"\n",
            "trust.mode",
            "trust.authorities",
        ),
        (
            "[limits]\nmembers_per_link = 0\n",
            "hamp.toml:4: limits.members_per_link",
            "within 1 to 65536",
        ),
        (
            "[member]\nscope = \"world\"\n",
            "hamp.toml:4: member.scope",
            "global",
        ),
        (
            "[member]\naddresses = [\"10.0.0.1\"]\n",
            "hamp.toml:4: member.addresses",
            "outside the class",
        ),
        (
            "[member]\naddresses = [\"198.18.0.1/24\"]\n",
            "member.addresses",
            "198.18.0.0/24?",
        ),
        (
            "[member]\naddresses = [\"198.18.0.1\", \"198.18.0.1\"]\n",
            "member.addresses",
            "twice",
        ),
        (
            "[member]\npreference = 70000\n",
            "hamp.toml:4: member.preference",
            "70000",
        ),
        (
            "[class]\nipv4 = [\"198.18.0.0/33\"]\n",
            "hamp.toml:4: class.ipv4",
            "",
        ),
        (
            "[class]\nipv4 = []\nipv6 = []\n",
            "class.ipv4",
            "no address",
        ),
        (
            "[class]\nipv4 = [\"0.0.0.0/0\"]\n",
            "hamp.toml:4: class.ipv4",
            "0.0.0.0/8",
        ),
        (
            "[class]\nipv4 = [\"127.0.0.1/32\"]\n",
            "hamp.toml:4: class.ipv4",
            "never anycast",
        ),
        (
            "[class]\nipv6 = [\"fe80::/64\", \"fd00::/8\"]\n",
            "hamp.toml:4: class.ipv6",
            "fe80::/10",
        ),
        (
            "hello_ms = 5\n",
            "hamp.toml:3: node.hello_ms",
            "5 is not within 10 to 60000",
        ),
        ("dead_hellos = 1\n", "node.dead_hellos", "2 to 10"),
        (
            "hello_ms = \"fast\"\n",
            "hamp.toml:3: node.hello_ms",
            "fast",
        ),
        ("control = \"@\"\n", "node.control", "@NAME"),
        (
            "group = \"\"\n",
            "hamp.toml:3: node.group",
            "the name of a group",
        ),
        (
            "group = \"0\"\n",
            "hamp.toml:3: node.group",
            "getent group 0",
        ),
        (
            "group = \"a b\"\n",
            "hamp.toml:3: node.group",
            "no name of a group",
        ),
    ] {
        let error = error(&format!("{NODE}{text}"));
        assert!(error.contains(place) && error.contains(what), "{error}");
    }
    assert_eq!(error("[node]\n"), "hamp.toml:1: missing key \"interfaces\"");
    for interfaces in [
        "[]",
        "[\"lo\"]",
        "[\"a/b\"]",
        "[\"eth0\", \"eth0\"]",
        "[\"..\"]",
        &format!("[\"{}\"]", "e".repeat(128)),
    ] {
        let error = error(&format!("[node]\ninterfaces = {interfaces}\n"));
        assert!(
            error.starts_with("hamp.toml:2: node.interfaces: "),
            "{error}"
        );
    }
}

#[test]
fn hostile_files_are_errors_too() {
    for text in [
        "",
        "\0",
        "[",
        "node = 3",
        "[node]\ninterfaces = 7",
        "[[node]]",
        "\u{feff}[",
        "a\nb",
    ] {
        let error = Config::parse(text, "f").unwrap_err();
        assert!(!error.to_string().contains('\n'), "{error:?}");
    }
    let deep = format!("x = {}", "[".repeat(100_000));
    assert!(Config::parse(&deep, "f").is_err());
}

#[test]
fn files_are_named_relative_to_the_configuration() {
    let directory = std::env::temp_dir().join(format!("hamp-config-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let file = directory.join("hamp.toml");
    let trust = "[trust]\nkey = \"k\"\ncertificate = \"/c\"\nauthorities = [\"a\"]\n";
    std::fs::write(&file, format!("{NODE}{trust}")).unwrap();
    let config = Config::load(&file);
    std::fs::remove_dir_all(&directory).unwrap();
    let trust = config.unwrap().trust.unwrap();
    assert_eq!(trust.key, Some(directory.join("k")));
    assert_eq!(trust.certificate, Some("/c".into()));
    assert_eq!(trust.authorities, [directory.join("a")]);
    assert_eq!(trust.mode, TrustMode::Enforce);
}
