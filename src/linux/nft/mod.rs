//! The kernel's rules, as text that `nft list ruleset` shows again.
//!
//! * [`inet hamp_member`](member): the gate, and where a SYN goes. Starts closed, and closes at
//!   the dead time when its daemon renews nothing any more.
//! * [`inet hamp_client`](client): the TCP shim. Keeps its connections over a restart and a crash.
//! * [`netdev hamp_link`](link): the ARP and neighbour discovery that the kernel does not see.
//!   Starts anew; the client's part ends with its lease. `arp hamp_link` is its part for the links
//!   that hamp does not speak on.
//!
//! [`Tables`] is what a daemon holds. Every change is one transaction: all of it or nothing.

pub mod client;
pub mod connections;
pub mod copy;
mod cover;
mod family;
pub mod link;
pub mod member;
mod rules;
pub mod session;
mod verified;

use std::time::Duration;

use crate::addr::{Class, Prefix};
use crate::node::Verified;
use crate::proto::rebind::member::Mode;
use cover::Cover;
pub use member::unicast::{Own, Unicast};
pub use rules::Missing;
use rules::{Rules, Slot};
pub use session::{Error, Session};

/// A daemon's hand on the kernel's rules.
#[derive(Debug)]
pub struct Tables {
    nft: Rules,
    class: Class,
    open: Cover,
    hidden: Cover,
    /// The gate is a member's.
    serving: bool,
    /// What the gate knows of this host.
    own: Own,
    client: bool,
}

impl Tables {
    /// Starts nft and loads the table of the links: ARP requests for `held`, addresses that an
    /// earlier daemon configured, are hidden without a gap.
    pub fn start(class: Class, held: &[Prefix]) -> Result<Self, Error> {
        let mut nft = Rules::start()?;
        let mut hidden = Cover::default();
        let change = hidden.insert(held);
        let (first, _) = change.into.split_at(change.into.len().min(AT_ONCE));
        nft.keep(Slot::Links, link::text(&class, first))?;
        nft.instead(Slot::Links, vec![link::text(&class, &[])]);
        nft.elements(Slot::Hidden, &change, link::hide, link::show)?;
        Ok(Self {
            nft,
            class,
            open: Cover::default(),
            hidden,
            serving: false,
            own: Own::default(),
            client: false,
        })
    }

    /// Ends the start. Until now what is refused is an error; from now on it is loaded again until
    /// it is taken, and [`Tables::missing`] tells.
    pub fn settle(&mut self) {
        self.nft.settle();
    }

    /// Notes what the tables hold, after changes.
    pub fn note(&mut self) {
        self.nft.note();
    }

    /// Looks whether others have changed a table of ours, and loads everything again if so.
    pub fn look(&mut self) {
        self.nft.look();
    }

    /// Why the rules are not in place, if they are not.
    pub fn missing(&self) -> Option<&Missing> {
        self.nft.missing()
    }

    /// How often others have changed the rules, or nft has failed.
    pub fn losses(&self) -> u64 {
        self.nft.losses()
    }

    /// Other addresses are anycast from now on; the gate and the shim are to be loaded again.
    pub fn set_class(&mut self, class: Class) -> Result<(), Error> {
        self.class = class;
        let hidden = cover::Change {
            out: Vec::new(),
            into: self.hidden.outermost().into_iter().collect(),
        };
        let (first, _) = hidden.into.split_at(hidden.into.len().min(AT_ONCE));
        self.nft.keep(Slot::Links, link::text(&self.class, first))?;
        self.nft
            .instead(Slot::Links, vec![link::text(&self.class, &[])]);
        self.nft
            .elements(Slot::Hidden, &hidden, link::hide, link::show)
    }

    /// Loads the gate of a host that serves nothing: it is silent about addresses without a route.
    pub fn load_silence(&mut self) -> Result<(), Error> {
        self.load_gate(None, true)
    }

    /// Loads the member's gate, closed; it takes TCP as `mode` says, and is silent, if it is to be,
    /// about addresses without a route. After the shim of a host that is a client too.
    pub fn load_member(&mut self, mode: Mode, silent: bool) -> Result<(), Error> {
        self.load_gate(Some(mode), silent)
    }

    fn load_gate(&mut self, mode: Option<Mode>, silent: bool) -> Result<(), Error> {
        self.open = Cover::default();
        for emptied in [Slot::Open, Slot::Own, Slot::Lease] {
            self.nft.forget(&emptied);
        }
        self.own = Own::default();
        self.serving = mode.is_some();
        let text = member::text(&self.class, mode, silent, self.client);
        self.nft.keep(Slot::Member, text)
    }

    /// Takes the gate away, if there is one of an earlier daemon.
    pub fn unload_gate(&mut self) -> Result<(), Error> {
        self.nft.forget(&Slot::Member);
        self.nft.run(&delete(member::TABLE))
    }

    /// Loads the client's shim, or replaces its rules and keeps its connections.
    /// A table of another layout goes, with its connections.
    pub fn load_client(&mut self) -> Result<(), Error> {
        self.client = true;
        let kept = client::Kept::find()?;
        // Two transactions: the socket of an ordinary user's nft does not take all of it at once.
        let texts = |kept: &client::Kept| {
            let judging = verified::judging(&self.class);
            vec![client::text(&self.class, kept), judging]
        };
        self.nft.keep_all(Slot::Client, texts(&kept))?;
        self.nft.instead(Slot::Client, texts(&kept.loaded()));
        Ok(())
    }

    /// Keeps a [copy](copy::take) of what the shim knows of connections, to be loaded with it.
    pub fn keep_connections(&mut self, texts: Vec<String>) {
        self.nft.instead(Slot::Connections, texts);
    }

    /// Attaches the links' rules to the interface with this index; again, if they are.
    pub fn attach(&mut self, index: u32, interface: &str) -> Result<(), Error> {
        let text = link::attach(index, interface);
        self.nft.keep(Slot::Attached(index), text)
    }

    /// Takes away what was attached to the interface with this index, which is gone.
    pub fn detach(&mut self, index: u32) -> Result<(), Error> {
        self.nft.forget(&Slot::Attached(index));
        self.nft.forget(&Slot::Entries(index));
        self.nft.run(&link::detach(index))
    }

    /// Lets the kernel's entries for anycast addresses end in under a minute on the interface with
    /// this index, also when nobody looks after them any more; again, if it does.
    pub fn end_entries(&mut self, index: u32, interface: &str) -> Result<(), Error> {
        let text = link::end_entries(index, interface);
        self.nft.keep(Slot::Entries(index), text)
    }

    /// Tells the gate, which is loaded, the addresses that SYNs are rewritten to and those of this
    /// host's interfaces.
    pub fn set_own(&mut self, own: &Own) -> Result<(), Error> {
        if self.own != *own {
            let texts = member::unicast::set(own, self.serving);
            // Unknown until all of it is set.
            self.own = Own::default();
            self.nft.keep_all(Slot::Own, texts)?;
            self.own = own.clone();
        }
        Ok(())
    }

    /// Hides ARP requests for `prefixes` from the kernel: before their addresses are configured.
    pub fn hide(&mut self, prefixes: &[Prefix]) -> Result<(), Error> {
        let change = self.hidden.insert(prefixes);
        self.nft
            .elements(Slot::Hidden, &change, link::hide, link::show)
    }

    /// Stops hiding ARP requests for `prefixes`: after their addresses are gone.
    pub fn show(&mut self, prefixes: &[Prefix]) -> Result<(), Error> {
        let change = self.hidden.remove(prefixes);
        self.nft
            .elements(Slot::Hidden, &change, link::hide, link::show)
    }

    /// Opens the gate for `prefixes`, and lets everything that it is open for be open for `lasts`
    /// from now (at least 1 ms).
    pub fn lease(&mut self, prefixes: &[Prefix], lasts: Duration) -> Result<(), Error> {
        let change = self.open.insert(prefixes);
        self.nft
            .elements(Slot::Open, &change, member::open, member::close)?;
        self.nft.lease(Slot::Lease, lasts, member::lease)
    }

    /// Closes the gate for `prefixes` at once; what lies in them and was opened itself stays open.
    pub fn close(&mut self, prefixes: &[Prefix]) -> Result<(), Error> {
        let change = self.open.remove(prefixes);
        self.nft
            .elements(Slot::Open, &change, member::open, member::close)
    }

    /// Hides the class's ARP and neighbour discovery on `interface` from the kernel (client), for
    /// `lasts` from now (at least 1 ms).
    pub fn lease_hiding(&mut self, interface: &str, lasts: Duration) -> Result<(), Error> {
        self.nft.renew(&link::lease_hiding(interface, lasts))
    }

    /// Says who counts on each link, by its name, from now on: elsewhere, and from others, what is
    /// said for their addresses is not believed while the lease lasts.
    pub fn set_verified(&mut self, links: &[(&str, &Verified)]) -> Result<(), Error> {
        let text = verified::refill(links, self.client);
        self.nft.keep(Slot::Verified, text)
    }

    /// Lets only those count on the links of these names, for `lasts` from now (at least 1 ms); on
    /// none, everybody counts again.
    pub fn lease_verified(&mut self, links: &[&str], lasts: Duration) -> Result<(), Error> {
        self.nft.renew(&verified::lease(links, self.client, lasts))
    }

    /// Takes the member's and the links' rules away, at the end of a daemon. The client's shim
    /// stays: it carries connections.
    pub fn retire(&mut self) -> Result<(), Error> {
        self.nft.finish(
            &[member::TABLE, link::TABLE, link::OTHER_LINKS]
                .map(delete)
                .concat(),
        )
    }
}

/// Prefixes or elements in one transaction at most: an ordinary user's is limited to a socket's buffer.
const AT_ONCE: usize = 200;

/// Removes everything of ours, and with it every rebound connection (`hamp clean`).
pub fn clean() -> Result<(), Error> {
    let tables = [member::TABLE, client::TABLE, link::TABLE, link::OTHER_LINKS];
    Session::start_patiently()?.run(&tables.map(delete).concat())
}

/// Deletes a table that may be missing.
fn delete(table: &str) -> String {
    format!("add table {table}\ndelete table {table}\n")
}
