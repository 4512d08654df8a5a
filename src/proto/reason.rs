//! What packets were used as, why others were not, and how often.

use crate::wire::frame::Ignored;

macro_rules! named {
    ($(#[$about:meta])* $kind:ident { $($(#[$doc:meta])* $name:ident = $text:literal,)+ }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $kind {
            $($(#[$doc])* $name,)+
        }

        impl $kind {
            /// All of them, in the order of this list.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The name in `status` and metrics.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }
        }
    };
}

named! {
/// What a frame is, sent or received.
What {
    /// A member's report.
    Report = "report",
    /// A member's anchor.
    Anchor = "anchor",
    /// A hello.
    Hello = "hello",
    /// A question to members.
    Query = "query",
    /// A request for the link-layer address of an anycast address, by others.
    Request = "request",
    /// The same by this host's own kernel.
    Question = "question",
    /// An answer to a request.
    Answer = "answer",
    /// A takeover that is announced.
    Announcement = "announcement",
    /// A request for a member's own address, to prove that it is its own.
    Proof = "proof",
    /// An address defended against a stranger that claims it.
    Defence = "defence",
}
}

named! {
/// Why a packet was not used.
Reason {
    /// A frame whose lengths or fixed fields do not fit.
    MalformedFrame = "malformed_frame",
    /// A wrong checksum.
    Checksum = "checksum",
    /// A TTL or hop limit below 255: it may come from off the link.
    HopLimit = "hop_limit",
    /// A packet that states another link-layer address than its frame's.
    ForeignMac = "foreign_mac",
    /// A fragment.
    Fragment = "fragment",
    /// A message that does not decode.
    MalformedMessage = "malformed_message",
    /// A message of a type, version or authentication that this version does not know.
    UnknownMessage = "unknown_message",
    /// A message that carries our own id from elsewhere.
    OwnId = "own_id",
    /// A message whose source address or link-layer address is not the member's.
    ForeignSource = "foreign_source",
    /// The second copy of a message (the other family, or a bridge's loop).
    Duplicate = "duplicate",
    /// A message older than what is known of its sender.
    Replay = "replay",
    /// A statement of a new life that answers no question of ours: it may be an old one.
    Unchallenged = "unchallenged",
    /// A statement that was held back for longer than the dead time.
    StatementBehind = "statement_behind",
    /// A statement from further ahead than the time that has passed.
    StatementAhead = "statement_ahead",
    /// A hello of a member whose time was not proved for too long.
    StaleTime = "stale_time",
    /// A hello of a member that has not reported yet.
    UnknownMember = "unknown_member",
    /// A hello of a chain that is not known: a report was missed.
    UnknownChain = "unknown_chain",
    /// A hello whose index lies further ahead than the time that has passed.
    IndexAhead = "index_ahead",
    /// A hello that was held back for longer than the dead time.
    IndexBehind = "index_behind",
    /// A hello whose value does not hash down to the last one.
    WrongValue = "wrong_value",
    /// A change to a generation that is not the one known.
    GenerationGap = "generation_gap",
    /// Records that do not have the digest stated for them.
    DigestMismatch = "digest_mismatch",
    /// One member or record more than the table may hold.
    TableFull = "table_full",
    /// More records than one member may have.
    MemberLimit = "member_limit",
    /// More records than a link's members may have together.
    LinkLimit = "link_limit",
    /// More records than this router keeps in all.
    RouterLimit = "router_limit",
    /// A record outside the anycast class.
    OutsideClass = "outside_class",
    /// A record of a family that this version does not know, or whose prefix is none.
    UnknownRecord = "unknown_record",
    /// A member whose timers are out of range.
    Timers = "timers",
    /// A message to our group on another UDP port.
    WrongPort = "wrong_port",
    /// A question asked again too soon.
    RateLimited = "rate_limited",
    /// A query when this host is no member.
    NotMember = "not_member",
    /// A request for an anycast address that this host does not serve.
    NotServed = "not_served",
    /// A request that a member of a better rank answers.
    NotMyTurn = "not_my_turn",
    /// A probe for duplicates (RFC 5227, RFC 4862) by a member of the same address, or by this host.
    AddressProbe = "address_probe",
    /// An anycast address claimed by a host that is no member for it.
    ForeignClaim = "foreign_claim",
    /// An answer for an anycast address from a host that is no member for it.
    ForeignAnswer = "foreign_answer",
    /// An answer for an address that is resolved already: the first one counts.
    LaterAnswer = "later_answer",
    /// An answer that nobody here asked for.
    Unasked = "unasked",
    /// A TCP segment to an anycast address that is neither a SYN nor of a connection.
    NotASyn = "not_a_syn",
    /// A SYN to an anycast address of a host that has no unicast address to answer from.
    NoUnicast = "no_unicast",
    /// A TCP segment from an anycast address.
    AnycastSource = "anycast_source",
    /// A frame on a link that is down or unknown.
    NoLink = "no_link",
    /// A statement or a query that nobody has signed.
    Unsigned = "unsigned",
    /// A signed message without its sender's certificate as the first option.
    NoCertificate = "no_certificate",
    /// A certificate that does not decode, or that its authority has not signed.
    BadCertificate = "bad_certificate",
    /// A certificate of an authority that is not trusted here.
    UnknownAuthority = "unknown_authority",
    /// A certificate before its time.
    CertificateNotYet = "certificate_not_yet",
    /// A certificate after its time.
    CertificateExpired = "certificate_expired",
    /// A certificate that its authority has taken back.
    Revoked = "revoked",
    /// A message in the name of another member than its certificate's.
    ForeignKey = "foreign_key",
    /// A signature that its sender's key did not make.
    BadSignature = "bad_signature",
    /// A signature that was not checked, because too many were lately.
    TooManyChecks = "too_many_checks",
    /// Something that the sender's certificate has no role for.
    WrongRole = "wrong_role",
    /// A record that the sender's certificate does not cover.
    PrefixNotAllowed = "prefix_not_allowed",
    /// More records than the sender's certificate allows.
    TooManyRecords = "too_many_records",
    /// A unicast address that is not the sender's: another's, or one that its certificate rules out.
    ForeignAddress = "foreign_address",
}
}

impl Reason {
    /// The reason for an ignored frame; `None` for frames that never concerned anycast.
    pub const fn from_frame(ignored: Ignored) -> Option<Self> {
        match ignored {
            Ignored::NotOurs => None,
            Ignored::Malformed => Some(Self::MalformedFrame),
            Ignored::Checksum => Some(Self::Checksum),
            Ignored::HopLimit => Some(Self::HopLimit),
            Ignored::ForeignMac => Some(Self::ForeignMac),
            Ignored::Fragment => Some(Self::Fragment),
        }
    }
}

/// What was received, sent and ignored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counters {
    received: [u64; What::ALL.len()],
    sent: [u64; What::ALL.len()],
    ignored: [u64; Reason::ALL.len()],
    doubted: [u64; Reason::ALL.len()],
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            received: [0; What::ALL.len()],
            sent: [0; What::ALL.len()],
            ignored: [0; Reason::ALL.len()],
            doubted: [0; Reason::ALL.len()],
        }
    }
}

impl Counters {
    /// Frames used, by what they were; none that were not seen.
    pub fn received(&self) -> impl Iterator<Item = (What, u64)> {
        seen(What::ALL, &self.received)
    }

    /// Frames sent, by what they were; none that were not sent.
    pub fn sent(&self) -> impl Iterator<Item = (What, u64)> {
        seen(What::ALL, &self.sent)
    }

    /// Frames not used, by reason; none that did not occur.
    pub fn ignored(&self) -> impl Iterator<Item = (Reason, u64)> {
        seen(Reason::ALL, &self.ignored)
    }

    /// Messages used although nobody vouches for them, by what is wrong with them; none that did
    /// not occur.
    pub fn doubted(&self) -> impl Iterator<Item = (Reason, u64)> {
        seen(Reason::ALL, &self.doubted)
    }

    /// Frames not used for `reason`.
    pub fn ignored_for(&self, reason: Reason) -> u64 {
        self.ignored[reason as usize]
    }

    /// Counts one frame that was used.
    pub fn count_received(&mut self, what: What) {
        self.received[what as usize] += 1;
    }

    /// Counts one frame that was sent.
    pub fn count_sent(&mut self, what: What) {
        self.sent[what as usize] += 1;
    }

    /// Counts one frame that was not used.
    pub fn count_ignored(&mut self, reason: Reason) {
        self.ignored[reason as usize] += 1;
    }

    /// Counts one message that was used although nobody vouches for it.
    pub fn count_doubted(&mut self, reason: Reason) {
        self.doubted[reason as usize] += 1;
    }

    /// Messages used although `reason` speaks against them.
    pub fn doubted_for(&self, reason: Reason) -> u64 {
        self.doubted[reason as usize]
    }
}

fn seen<T: Copy>(names: &[T], counts: &[u64]) -> impl Iterator<Item = (T, u64)> {
    let all = names.iter().copied().zip(counts.iter().copied());
    all.filter(|(_, count)| *count > 0)
}
