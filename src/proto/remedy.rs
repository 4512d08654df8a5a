//! What people can do about a member that is not believed, by the reason for which it is not.

use super::Reason;

impl Reason {
    /// What to do where something of a living member is refused or skipped for this reason.
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::MalformedMessage => {
                "it sends what no member of this version does: which program is it? (hamp decode)"
            }
            Self::UnknownMessage => {
                "it speaks another version: the same version of hamp on all hosts of the link"
            }
            Self::Timers => "its hello interval or missed hellos are out of range: 10 to 60000 ms",
            Self::WrongPort => "it speaks on another UDP port: port 1021 on both ends",
            Self::Checksum => {
                "its checksums are wrong: is something between that leaves them unfinished? \
                 (ethtool -K IF tx off there)"
            }
            Self::HopLimit => {
                "it is not on this link, or something between forwards its messages: \
                 keep the groups 224.0.0.254 and ff02::114 on their link"
            }
            Self::Fragment => "its messages come in fragments: nothing between may split them",
            Self::ForeignSource | Self::ForeignMac => {
                "it speaks from another address than it states: do two hosts have one key or one \
                 name, or does something between rewrite addresses?"
            }
            Self::ForeignAddress => {
                "it states an address that is not its own, or not by its certificate: whose is it?"
            }
            Self::UnknownMember | Self::UnknownChain | Self::GenerationGap => {
                "its hellos come, but not its reports: do this host's queries reach it, and packets \
                 of 1280 bytes this host? (the MTU and the filters between)"
            }
            Self::Unchallenged | Self::StaleTime => {
                "it does not answer this host's queries: do they reach it, within its dead time?"
            }
            Self::StatementBehind | Self::StatementAhead | Self::IndexAhead | Self::IndexBehind => {
                "its clock runs otherwise, or its messages are held back: what delays them?"
            }
            Self::WrongValue | Self::Replay | Self::OwnId => {
                "two hosts speak in its name, or somebody forges it: give each a key of its own"
            }
            Self::DigestMismatch => {
                "its reports do not add up: the same version of hamp on all hosts of the link"
            }
            Self::TableFull | Self::MemberLimit | Self::LinkLimit | Self::RouterLimit => {
                "there is no more room: fewer members or addresses on the link"
            }
            Self::OutsideClass => {
                "this host's class does not hold it: [class] has to be the same on all hosts"
            }
            Self::UnknownRecord => {
                "a record of a later version: the same version of hamp on all hosts of the link"
            }
            Self::Unsigned | Self::NoCertificate => {
                "it has no key: give it one (hamp key new, hamp authority certify), or trust less \
                 here (hamp trust count)"
            }
            Self::BadCertificate => "its certificate is damaged, or forged: certify its key anew",
            Self::UnknownAuthority => {
                "its authority is not trusted here: trust.authorities in the configuration, hamp reload"
            }
            Self::CertificateNotYet => {
                "its certificate does not hold yet: is the time right, here and at the authority?"
            }
            Self::CertificateExpired => {
                "its certificate has ended: certify its key anew; or is the time wrong here?"
            }
            Self::Revoked => "its certificate was taken back: certify it anew, or switch it off",
            Self::ForeignKey | Self::BadSignature => {
                "it speaks with another key than its certificate's: does it have its own files?"
            }
            Self::TooManyChecks => "more signed messages than can be checked: who sends them?",
            Self::WrongRole => "the certificate has not this role: hamp authority certify --role",
            Self::PrefixNotAllowed => {
                "the certificate does not cover it: hamp authority certify --prefix"
            }
            Self::TooManyRecords => {
                "more addresses than the certificate allows: hamp authority certify --limit"
            }
            _ => "see docs/trust.md and docs/limitations.md",
        }
    }
}
