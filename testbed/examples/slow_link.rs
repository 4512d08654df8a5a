//! Two hosts, and what a slow cable between them does to a ping.

use testbed::{Impairment, Lab, Result, Topology};

testbed::before_main!();

/// Prints the round trips in the words of `ping`.
pub(crate) fn main() -> Result<()> {
    let pair = Topology::new("pair")
        .host("near")
        .host("far")
        .cable("near", &["10.0.0.2/30"], &["10.0.0.1/30"])
        .impaired(Impairment::delay_ms(25));
    let lab = Lab::new(&pair)?;
    let said = lab.host("near").sh("ping -c3 -i0.2 -q 10.0.0.2")?;
    println!("{}", said.trim());
    // Both directions are slow.
    let fastest = said
        .split("mdev = ")
        .nth(1)
        .and_then(|rest| rest.split('/').next());
    assert!(fastest.is_some_and(|ms| ms.parse::<f64>().is_ok_and(|ms| ms >= 50.0)));
    Ok(())
}
