//! What commands say to people: what is wrong and what to do, without a trace of the program's language.

use anyhow::{Result, ensure};
use testbed::harness::Test;

use crate::common::{configure, serving, start};
use crate::watched::{MEMBER, link, rust_in};

pub(crate) const TESTS: &[Test] = &[(
    "what_commands_say_is_for_people",
    what_commands_say_is_for_people,
)];

fn what_commands_say_is_for_people() -> Result<()> {
    let lab = link()?;
    let one = lab.host("one");
    one.write("/tmp/type.toml", "[node]\ninterfaces = 5\n")?;
    one.write(
        "/tmp/number.toml",
        "[node]\ninterfaces = [\"eth0\"]\nhello_ms = \"x\"\n",
    )?;
    let keys = "[node]\ninterfaces = [\"eth0\"]\n[trust]\nmode = \"count\"\nauthorities = [\"/no/such\"]\n";
    one.write("/tmp/keys.toml", keys)?;
    let says = |command: &str, code: i32, what: &str| -> Result<()> {
        let output = one.run(&command.split(' ').collect::<Vec<_>>())?;
        let told = format!("{}{}", output.stdout, output.stderr);
        ensure!(output.status.code() == Some(code), "{command}: {output:?}");
        ensure!(told.contains(what), "{command}: {told}");
        ensure!(
            rust_in(&told).is_none(),
            "{command}: {:?}: {told}",
            rust_in(&told)
        );
        Ok(())
    };
    for (command, code, what) in [
        (
            "hamp run --config /no/such",
            78,
            "install examples/hamp.toml",
        ),
        (
            "hamp config check /no/such",
            78,
            "install examples/hamp.toml",
        ),
        (
            "hamp config check /tmp/type.toml",
            78,
            "interfaces: this is the integer 5; it has to be an array",
        ),
        (
            "hamp config check /tmp/number.toml",
            78,
            "hello_ms: this is the string \"x\"; it has to be a whole number",
        ),
        (
            "hamp config check /tmp/keys.toml",
            78,
            "No such file or directory",
        ),
        (
            "hamp run --config /tmp/keys.toml",
            78,
            "No such file or directory",
        ),
        ("hamp decode /no/such", 1, "No such file or directory"),
        ("hamp status", 1, "no hamp daemon runs"),
        ("hamp leave", 2, "hamp leave [OPTIONS] --all"),
        ("hamp drain --timeout x", 2, "whole number"),
    ] {
        says(command, code, what)?;
    }
    configure(one, &format!("{MEMBER}[client]\n"))?;
    let daemon = start(one)?;
    serving(one, 2)?;
    for (command, code, what) in [
        ("hamp why 198.18.0.1", 0, "nobody else"),
        ("hamp why 10.15.46.2", 1, "outside the class (198.18.0.0/16"),
        ("hamp why 198.18.0.0/16", 2, "one address of it"),
        ("hamp why 198.18.7.7", 0, "no member on this link serves it"),
        ("hamp leave 198.18.0.7", 1, "not served here"),
        ("hamp join 198.18.0.1", 1, "198.18.0.1 is served already"),
        (
            "hamp join 10.0.0.1",
            1,
            "10.0.0.1 is not in the anycast class",
        ),
    ] {
        says(command, code, what)?;
    }
    lab.carrier("one", "eth0", false)?;
    one.sh("ip route flush table main; ip -6 route flush table main; true")?;
    says("hamp why 198.18.7.7", 0, "way ")?;
    let log = one.read(daemon.log())?;
    ensure!(log.contains("serving prefix=\"198.18.0.1\""), "{log}");
    Ok(())
}
