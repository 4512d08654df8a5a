//! Every cable of a routed network captured to one file, and a frame followed on its way.

use testbed::capture::Capture;
use testbed::{Lab, Result, Topology};

testbed::before_main!();

/// Prints where the echo request was seen, and when.
pub(crate) fn main() -> Result<()> {
    let routed = Topology::new("routed")
        .switch("lan")
        .router("router")
        .link("lan", &["10.0.0.254/24"])
        .host("client")
        .link("lan", &["10.0.0.1/24"])
        .route("default", "10.0.0.254")
        .host("server")
        .cable("router", &["10.0.1.1/30"], &["10.0.1.2/30"])
        .route("default", "10.0.1.2");
    let lab = Lab::new(&routed)?;
    let file = std::env::temp_dir().join(format!("routed-{}.pcapng", std::process::id()));
    let capture = Capture::all(&lab, Some(&file))?;
    lab.host("client")
        .run(&["ping", "-c1", "-W1", "10.0.1.1"])?
        .ok()?;
    let seen = capture.finish()?;

    // In an IPv4 frame without options: protocol 1 (ICMP), type 8 (echo request).
    let echo = |bytes: &[u8]| bytes.get(23) == Some(&1) && bytes.get(34) == Some(&8);
    let way: Vec<_> = seen.frames.iter().filter(|f| echo(&f.bytes)).collect();
    for frame in &way {
        let link = &seen.links[frame.link];
        let what = if frame.from_host { "sends" } else { "gets" };
        let ms = frame.at.ms_since(way[0].at);
        println!("{ms:6.3} ms: {} {what} it at {}", link.host, link.interface);
    }
    assert_eq!(way.len(), 4, "client, router twice, server");
    let bytes = std::fs::metadata(&file)?.len();
    println!(
        "{} frames, {bytes} bytes of pcapng for Wireshark",
        seen.frames.len()
    );
    // An example that is also a test leaves nothing behind.
    std::fs::remove_file(file)?;
    Ok(())
}
