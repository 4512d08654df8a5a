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
mod cover;
mod family;
pub mod link;
pub mod member;
pub mod session;
mod verified;

use std::time::Duration;

use crate::addr::{Class, Prefix};
use crate::node::Verified;
use crate::proto::rebind::member::Mode;
use cover::Cover;
pub use member::unicast::{Own, Unicast};
pub use session::{Error, Session};

/// A daemon's hand on the kernel's rules.
#[derive(Debug)]
pub struct Tables {
    nft: Session,
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
        let mut nft = Session::start()?;
        let mut hidden = Cover::default();
        let hidden_now = hidden.insert(held).into;
        let (first, rest) = hidden_now.split_at(hidden_now.len().min(AT_ONCE));
        nft.run(&link::text(&class, first))?;
        let mut tables = Self {
            nft,
            class,
            open: Cover::default(),
            hidden,
            serving: false,
            own: Own::default(),
            client: false,
        };
        tables.each(rest, link::hide)?;
        Ok(tables)
    }

    /// Loads the gate of a host that serves nothing: it is silent about addresses without a route.
    pub fn load_silence(&mut self) -> Result<(), Error> {
        self.load_gate(None, true)
    }

    /// Loads the member's gate, closed; it takes TCP as `mode` says, and is silent, if it is to be,
    /// about addresses without a route.
    pub fn load_member(&mut self, mode: Mode, silent: bool) -> Result<(), Error> {
        self.load_gate(Some(mode), silent)
    }

    fn load_gate(&mut self, mode: Option<Mode>, silent: bool) -> Result<(), Error> {
        self.open = Cover::default();
        self.own = Own::default();
        self.serving = mode.is_some();
        self.nft.run(&member::text(&self.class, mode, silent))
    }

    /// Takes the gate away, if there is one of an earlier daemon.
    pub fn unload_gate(&mut self) -> Result<(), Error> {
        self.nft.run(&delete(member::TABLE))
    }

    /// Loads the client's shim, or replaces its rules and keeps its connections.
    /// A table of another layout goes, with its connections.
    pub fn load_client(&mut self) -> Result<(), Error> {
        self.client = true;
        let kept = client::Kept::find()?;
        let text = client::text(&self.class, &kept) + &verified::judging(&self.class);
        self.nft.run(&text)
    }

    /// Attaches the links' rules to the interface with this index; again, if they are.
    pub fn attach(&mut self, index: u32, interface: &str) -> Result<(), Error> {
        self.nft.run(&link::attach(index, interface))
    }

    /// Takes away what was attached to the interface with this index, which is gone.
    pub fn detach(&mut self, index: u32) -> Result<(), Error> {
        self.nft.run(&link::detach(index))
    }

    /// Lets the kernel's entries for anycast addresses end in under a minute on the interface with
    /// this index, also when nobody looks after them any more; again, if it does.
    pub fn end_entries(&mut self, index: u32, interface: &str) -> Result<(), Error> {
        self.nft.run(&link::end_entries(index, interface))
    }

    /// Tells the gate, which is loaded, the addresses that SYNs are rewritten to and those of this
    /// host's interfaces.
    pub fn set_own(&mut self, own: &Own) -> Result<(), Error> {
        if self.own != *own {
            let texts = member::unicast::set(own, self.serving);
            texts.iter().try_for_each(|text| self.nft.run(text))?;
            self.own = own.clone();
        }
        Ok(())
    }

    /// Hides ARP requests for `prefixes` from the kernel: before their addresses are configured.
    pub fn hide(&mut self, prefixes: &[Prefix]) -> Result<(), Error> {
        let change = self.hidden.insert(prefixes);
        self.each(&change.out, link::show)?;
        self.each(&change.into, link::hide)
    }

    /// Stops hiding ARP requests for `prefixes`: after their addresses are gone.
    pub fn show(&mut self, prefixes: &[Prefix]) -> Result<(), Error> {
        let change = self.hidden.remove(prefixes);
        self.each(&change.out, link::show)?;
        self.each(&change.into, link::hide)
    }

    /// Opens the gate for `prefixes`, and lets everything that it is open for be open for `lasts`
    /// from now (at least 1 ms).
    pub fn lease(&mut self, prefixes: &[Prefix], lasts: Duration) -> Result<(), Error> {
        let change = self.open.insert(prefixes);
        self.each(&change.out, member::close)?;
        self.each(&change.into, member::open)?;
        self.nft.run(&member::lease(lasts))
    }

    /// Closes the gate for `prefixes` at once; what lies in them and was opened itself stays open.
    pub fn close(&mut self, prefixes: &[Prefix]) -> Result<(), Error> {
        let change = self.open.remove(prefixes);
        self.each(&change.out, member::close)?;
        self.each(&change.into, member::open)
    }

    /// Hides the class's ARP and neighbour discovery on `interface` from the kernel (client), for
    /// `lasts` from now (at least 1 ms).
    pub fn lease_hiding(&mut self, interface: &str, lasts: Duration) -> Result<(), Error> {
        self.nft.run(&link::lease_hiding(interface, lasts))
    }

    /// Says who counts on each link, by its name, from now on: elsewhere, and from others, what is
    /// said for their addresses is not believed while the lease lasts.
    pub fn set_verified(&mut self, links: &[(&str, &Verified)]) -> Result<(), Error> {
        self.nft.run(&verified::refill(links, self.client))
    }

    /// Lets only those count on the links of these names, for `lasts` from now (at least 1 ms); on
    /// none, everybody counts again.
    pub fn lease_verified(&mut self, links: &[&str], lasts: Duration) -> Result<(), Error> {
        self.nft.run(&verified::lease(links, self.client, lasts))
    }

    /// Takes the member's and the links' rules away, at the end of a daemon. The client's shim
    /// stays: it carries connections.
    pub fn retire(&mut self) -> Result<(), Error> {
        self.nft.run(
            &[member::TABLE, link::TABLE, link::OTHER_LINKS]
                .map(delete)
                .concat(),
        )
    }

    /// Applies a change to prefixes, some at a time: without the right over all namespaces a
    /// transaction is limited to a socket's buffer. Taking away and adding are transactions of
    /// their own in any case: nft 1.0.6 sees overlaps with what the same one takes away.
    fn each(
        &mut self,
        prefixes: &[Prefix],
        text: impl Fn(&[Prefix]) -> String,
    ) -> Result<(), Error> {
        for some in prefixes.chunks(AT_ONCE) {
            let text = text(some);
            if !text.is_empty() {
                self.nft.run(&text)?;
            }
        }
        Ok(())
    }
}

/// Prefixes in one transaction at most.
const AT_ONCE: usize = 200;

/// Removes everything of ours, and with it every rebound connection (`hamp clean`).
pub fn clean() -> Result<(), Error> {
    let tables = [member::TABLE, client::TABLE, link::TABLE, link::OTHER_LINKS];
    Session::start()?.run(&tables.map(delete).concat())
}

/// Deletes a table that may be missing.
fn delete(table: &str) -> String {
    format!("add table {table}\ndelete table {table}\n")
}
