//! Captures as pcapng files (draft-ietf-opsawg-pcapng), one interface block for each tap.

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use pcap_file::DataLink;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption, InterfaceTsResolution,
};
use pcap_file::pcapng::{PcapNgBlock, PcapNgWriter};

use super::Frame;
use super::tap::Side;

type Writer = PcapNgWriter<BufWriter<File>>;

/// An interface as a file names it.
pub(super) struct Interface {
    /// Its short name.
    pub(super) name: String,
    /// What it belongs to and where it was tapped.
    pub(super) about: String,
}

/// The files of a capture.
pub(super) enum Output {
    /// None.
    None,
    /// One with all taps.
    One(Writer),
    /// One for each tap.
    Each(Vec<Writer>),
}

impl Output {
    /// One file with these interfaces.
    pub(super) fn one(path: &Path, interfaces: &[Interface]) -> Result<Self> {
        let mut writer = create(path)?;
        interfaces
            .iter()
            .try_for_each(|interface| describe(&mut writer, interface))?;
        Ok(Self::One(writer))
    }

    /// A file for each interface.
    pub(super) fn each(files: impl Iterator<Item = (PathBuf, Interface)>) -> Result<Self> {
        let open = |(path, interface): (PathBuf, Interface)| {
            let mut writer = create(&path)?;
            describe(&mut writer, &interface)?;
            Ok(writer)
        };
        Ok(Self::Each(files.map(open).collect::<Result<_>>()?))
    }

    /// Adds a frame that was seen at this side of its link, with as many bytes as are there.
    pub(super) fn write(&mut self, frame: &Frame, side: Side, bytes: &[u8]) -> Result<()> {
        let (writer, interface) = match self {
            Self::None => return Ok(()),
            Self::One(writer) => (writer, frame.link),
            Self::Each(writers) => (&mut writers[frame.link], 0),
        };
        let inbound = frame.from_host == (side == Side::Switch);
        let packet = EnhancedPacketBlock {
            interface_id: u32::try_from(interface)?,
            timestamp: Duration::from_nanos(frame.at.0),
            original_len: u32::try_from(frame.length)?,
            data: Cow::Borrowed(bytes),
            // Inbound or outbound as the tapped interface sees it (EPB flags, bits 0-1).
            options: vec![EnhancedPacketOption::Flags(if inbound { 1 } else { 2 })],
        };
        writer.write_block(&packet.into_block())?;
        Ok(())
    }

    /// Writes what is still in memory.
    pub(super) fn finish(self) -> Result<()> {
        let writers = match self {
            Self::None => Vec::new(),
            Self::One(writer) => vec![writer],
            Self::Each(writers) => writers,
        };
        for writer in writers {
            writer.into_inner().flush().context("write a capture")?;
        }
        Ok(())
    }
}

fn create(path: &Path) -> Result<Writer> {
    let file = File::create(path).with_context(|| format!("create {}", path.display()))?;
    Ok(PcapNgWriter::new(BufWriter::new(file))?)
}

fn describe(writer: &mut Writer, interface: &Interface) -> Result<()> {
    let block = InterfaceDescriptionBlock {
        linktype: DataLink::ETHERNET,
        snaplen: 0,
        options: vec![
            InterfaceDescriptionOption::IfName(Cow::Borrowed(&interface.name)),
            InterfaceDescriptionOption::IfDescription(Cow::Borrowed(&interface.about)),
            InterfaceDescriptionOption::IfTsResol(InterfaceTsResolution::NANO),
        ],
    };
    writer.write_block(&block.into_block())?;
    Ok(())
}
