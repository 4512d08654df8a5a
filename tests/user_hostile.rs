//! What a stranger can send to a host in user space: damaged frames, with checksums that fit.

mod support;
mod user_net;

use hamp::time::Duration;
use hamp::user::TcpState;
use support::Random;
use user_net::{BOTH, HELLO, LINK, Net};

const CLIENT: usize = 3;
const STOCK: usize = 4;
const PROMPT: Duration = Duration::from_millis(20);

/// RFC 1071.
fn sum(bytes: &[u8], start: u32) -> u32 {
    let words = bytes.chunks(2).map(|pair| {
        let low = pair.get(1).copied().unwrap_or_default();
        u32::from(u16::from_be_bytes([pair[0], low]))
    });
    words.fold(start, |sum, word| {
        let sum = sum + word;
        (sum & 0xffff) + (sum >> 16)
    })
}

fn checksum(sum: u32) -> [u8; 2] {
    (!u16::try_from(sum).unwrap()).to_be_bytes()
}

/// Makes the checksums right again, so that the damage is read.
fn mend(frame: &mut [u8]) {
    let (protocol, addresses, payload) = match (frame.get(12..14), frame.get(14)) {
        (Some([0x08, 0x00]), Some(first)) if frame.len() >= 34 => {
            let header = 14 + usize::from(first & 15) * 4;
            if header < 34 || header > frame.len() {
                return;
            }
            frame[24..26].fill(0);
            let header_sum = checksum(sum(&frame[14..header], 0));
            frame[24..26].copy_from_slice(&header_sum);
            (frame[23], 26..34, header)
        }
        (Some([0x86, 0xdd]), _) if frame.len() >= 54 => (frame[20], 22..54, 54),
        _ => return,
    };
    let at = payload
        + match protocol {
            6 => 16,
            17 => 6,
            1 | 58 => 2,
            _ => return,
        };
    if at + 2 > frame.len() {
        return;
    }
    frame[at..at + 2].fill(0);
    let length = u32::try_from(frame.len() - payload).unwrap();
    let start = if protocol == 1 {
        0
    } else {
        sum(&frame[addresses], u32::from(protocol) + length)
    };
    let right = checksum(sum(&frame[payload..], start));
    frame[at..at + 2].copy_from_slice(&right);
}

/// Every kind of frame that the hosts of a link exchange.
fn frames(net: &mut Net) -> Vec<(usize, Vec<u8>)> {
    for address in BOTH {
        for station in [CLIENT, STOCK] {
            net.ask(station, address, PROMPT).expect("an answer");
        }
        let connection = net.connect(CLIENT, address);
        net.talk(CLIENT, connection, PROMPT).expect("an answer");
        net.act(CLIENT, |host, now| host.tcp_close(now, connection));
        net.run_for(PROMPT);
    }
    let sent = net.sent.drain(..);
    sent.map(|(_, by, frame)| (by, frame)).collect()
}

#[test]
fn no_damaged_frame_stops_a_host_or_makes_it_answer_for_ever() {
    let mut net = Net::first_link();
    let frames = frames(&mut net);
    assert!(frames.len() > 100, "{}", frames.len());
    let mut random = Random::new(1546);
    for round in 0..20_000 {
        let (_, frame) = &frames[random.below(frames.len())];
        let mut damaged = frame.clone();
        // The addresses of the frame stay, or nobody reads on.
        damaged.truncate(12);
        damaged.extend(random.damage(&frame[12..]));
        if random.below(4) != 0 {
            mend(&mut damaged);
        }
        let victim = random.below(net.stations.len());
        let host = &mut net.stations[victim].host;
        host.handle_frame(net.now, LINK, &damaged);
        let mut answers = 0;
        while host.poll_transmit().is_some() {
            answers += 1;
        }
        assert!(answers <= 20, "{answers} answers to {damaged:02x?}");
        while host.poll_event().is_some() {}
        if round % 100 == 0 {
            net.run_for(HELLO);
        }
    }
    // Strangers may pose as members, and connections may have been reset; the hosts still work.
    net.run_for(Duration::from_secs(120));
    for address in ["10.0.0.1", "fd00::1"] {
        net.ask(STOCK, address, Duration::from_secs(4))
            .expect("an answer");
        let connection = net.connect(STOCK, address);
        assert_eq!(net.talk(STOCK, connection, PROMPT), Some(1));
        assert_eq!(net.state(STOCK, connection), TcpState::Open);
    }
}
