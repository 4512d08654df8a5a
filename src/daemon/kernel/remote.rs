//! What others have routes for, as the node wants to know it: the prefixes of the class whose members
//! live elsewhere.

use std::collections::BTreeSet;

use tokio::sync::watch;

use crate::addr::{Class, Prefix};
use crate::daemon::Failure;
use crate::linux::netlink::Foreign;

/// The watch, on a thread of its own; without a router it stays silent.
#[derive(Debug)]
pub struct Remote(Option<watch::Receiver<BTreeSet<Prefix>>>);

impl Remote {
    /// Watches nothing.
    pub fn none() -> Self {
        Self(None)
    }

    /// Begins to watch. The thread ends with the process, or with the first change after this is
    /// dropped.
    pub fn watch(class: Class) -> Result<Self, Failure> {
        let mut foreign = Foreign::watch(class).map_err(|error| Failure::io("netlink", &error))?;
        let (tell, told) = watch::channel(BTreeSet::new());
        std::thread::Builder::new()
            .name("remote".to_owned())
            .spawn(move || {
                loop {
                    let told = match foreign.wait() {
                        Ok(prefixes) => tell.send(prefixes),
                        Err(error) => {
                            tracing::error!(%error, "routes of others are no longer seen");
                            return;
                        }
                    };
                    if told.is_err() {
                        return;
                    }
                }
            })
            .map_err(|error| Failure::io("thread", &error))?;
        Ok(Self(Some(told)))
    }

    /// Waits for news: all prefixes that others have routes for now.
    pub async fn next(&mut self) -> BTreeSet<Prefix> {
        if let Self(Some(told)) = self
            && told.changed().await.is_ok()
        {
            return told.borrow_and_update().clone();
        }
        std::future::pending().await
    }
}
