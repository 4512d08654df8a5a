//! Capture files of frames by hand.
#![allow(dead_code, reason = "each test binary uses its part of this module")]

use std::time::Duration;

use pcap_file::DataLink;
use pcap_file::pcap::{PcapPacket, PcapWriter};
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketBlock;
use pcap_file::pcapng::blocks::interface_description::InterfaceDescriptionBlock;
use pcap_file::pcapng::{PcapNgBlock, PcapNgWriter};

/// When all frames were captured: in the time of the golden packets' certificates.
const AT: Duration = Duration::from_secs(1_795_176_005);

pub(crate) fn pcap(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut writer = PcapWriter::new(Vec::new()).unwrap();
    for frame in frames {
        let packet = PcapPacket::new(AT, length(frame), frame.as_slice()).unwrap();
        writer.write_packet(&packet).unwrap();
    }
    writer.into_inner()
}

/// Of a frame, its first `kept` bytes.
pub(crate) fn cut(frame: &[u8], kept: usize) -> Vec<u8> {
    let mut writer = PcapWriter::new(Vec::new()).unwrap();
    let packet = PcapPacket::new(AT, length(frame), &frame[..kept]).unwrap();
    writer.write_packet(&packet).unwrap();
    writer.into_inner()
}

pub(crate) fn pcapng(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut writer = PcapNgWriter::new(Vec::new()).unwrap();
    let link = InterfaceDescriptionBlock {
        linktype: DataLink::ETHERNET,
        snaplen: 0,
        options: vec![],
    };
    writer.write_block(&link.into_block()).unwrap();
    for frame in frames {
        let packet = EnhancedPacketBlock {
            interface_id: 0,
            timestamp: AT,
            original_len: length(frame),
            data: frame.into(),
            options: vec![],
        };
        writer.write_block(&packet.into_block()).unwrap();
    }
    writer.into_inner()
}

fn length(frame: &[u8]) -> u32 {
    u32::try_from(frame.len()).unwrap()
}
