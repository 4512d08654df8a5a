//! hamp in three hosts: two serve one address, one asks, and the one that answers is killed.

use std::time::Duration;

use testbed::{Lab, Result, Topology, wait};

testbed::before_main!();

/// The address that both members serve.
const ADDRESS: &str = "198.18.0.1";

/// Prints who answered before the fault and after it.
pub(crate) fn main() -> Result<()> {
    // A member is dead after three missed hellos.
    let node = "[node]\nhello_ms = 100\n";
    let member = format!("{node}[member]\naddresses = [\"{ADDRESS}\"]\n");
    let three = Topology::new("takeover")
        .switch("lan")
        .host("one")
        .link("lan", &["10.0.0.1/24"])
        .hamp(&member)
        .program("who", &["hamp-lab", "who"])
        .host("two")
        .link("lan", &["10.0.0.2/24"])
        .hamp(&member)
        .program("who", &["hamp-lab", "who"])
        .host("client")
        .link("lan", &["10.0.0.100/24"])
        .hamp(format!("{node}[client]\nenabled = true\n"));
    let lab = Lab::new(&three)?;
    lab.start()?;
    let ask = || {
        let url = format!("http://{ADDRESS}/");
        let answer = lab
            .host("client")
            .run(&["curl", "-sS", "-m1", &url])?
            .ok()?;
        Ok(answer.trim().to_owned())
    };
    let limit = Duration::from_secs(20);
    let before = wait::until_ok("an answer", limit, ask)?;
    let owner = if before.contains("one") { "one" } else { "two" };
    println!("before: {before}");
    lab.kill(owner)?;
    let after = wait::until_ok("another answer", limit, || {
        let answer = ask()?;
        anyhow::ensure!(answer != before, "still {answer}");
        Ok(answer)
    })?;
    println!("after:  {after}");
    Ok(())
}
