//! The scapy layers of `examples/scapy`, a third reader and writer of our messages, written from the
//! specification by somebody who had not read `src/wire`.

use std::path::{Path, PathBuf};
use std::process::Command;

fn golden() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let all = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let ours = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.ends_with(".hex") && !name.starts_with("linux-")
    };
    let mut ours: Vec<_> = all.filter(ours).collect();
    ours.sort();
    ours
}

/// A Python that has scapy: that of the path, or Debian's.
fn python() -> Option<&'static str> {
    let has = |python: &&str| {
        let look = Command::new(python).args(["-c", "import scapy"]).output();
        look.is_ok_and(|output| output.status.success())
    };
    ["python3", "/usr/bin/python3"].into_iter().find(has)
}

#[test]
fn scapy_takes_the_golden_packets_apart_and_puts_them_together_again() -> testbed::Result<()> {
    testbed::skippable(|| {
        let python =
            python().ok_or_else(|| testbed::skip("no scapy: apt-get install python3-scapy"))?;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/scapy/hamp.py");
        let packets = golden();
        assert!(packets.len() > 20, "{packets:?}");
        let output = Command::new(python)
            .arg("-B")
            .arg(script)
            .args(&packets)
            .output()?;
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{told}");
        Ok(())
    })
}
