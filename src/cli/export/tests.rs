//! How another router's neighbours are written on the command line and into its configuration.

use super::*;

fn neighbour(text: &str) -> Result<Neighbour, String> {
    text.parse()
}

#[test]
fn neighbours_are_an_address_and_a_number() {
    let good = neighbour("fd00::1=65000").unwrap();
    assert_eq!(
        (good.address.to_string(), good.remote_as),
        ("fd00::1".into(), 65000)
    );
    for bad in [
        "10.0.0.1",
        "10.0.0.1=",
        "10.0.0.1=0",
        "10.0.0.1=4294967296",
        "x=1",
        "0.0.0.0=1",
        "224.0.0.1=1",
        "fe80::1=65000",
        "127.0.0.1=1",
    ] {
        assert!(neighbour(bad).is_err(), "{bad}");
    }
}

#[test]
fn names_of_interfaces_cannot_break_out_of_the_file() {
    for good in ["eth0", "br-lan", "eth0.15", "lan_1"] {
        assert!(interface(good).is_ok(), "{good}");
    }
    for bad in ["", "a b", "a\"", "a;", "a\nb", "sixteen-letters-"] {
        assert!(interface(bad).is_err(), "{bad:?}");
    }
}
