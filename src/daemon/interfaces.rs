//! Which interfaces are meant by `node.interfaces`.
//!
//! The kernel takes two kinds of names: an interface's own, and its altnames. Either may be written,
//! of an interface that exists or not yet. What people write beside that and no interface is called
//! (a pattern, a description, a number, `eth0@if5`) would be waited for without end: it is refused,
//! with what to write.

use std::path::Path;

use super::config::{Config, Error, KeyPath, nearest};
use crate::linux::netlink::Link;

/// What an interface's own name has at most (IFNAMSIZ, without its end).
const NAME_BYTES: usize = 15;
/// What makes a name a pattern for shells, netplan or packet filters.
const PATTERN: [char; 10] = ['*', '?', '[', ']', '{', '}', '+', '%', '^', '$'];

/// Whether this is a name of a link.
pub fn is_called(link: &Link, name: &str) -> bool {
    link.name == name || link.altnames.iter().any(|other| other == name)
}

/// What the link of this name is called first; the name itself where there is none.
pub fn real<'a>(links: &'a [Link], name: &'a str) -> &'a str {
    let called = links.iter().find(|link| is_called(link, name));
    called.map_or(name, |link| &link.name)
}

/// The interfaces that the configuration in `file` means; one that does not exist as it is named.
///
/// # Errors
/// One is named as none can be, or is there twice.
pub fn check(file: &Path, config: &Config, links: &[Link]) -> Result<Vec<String>, Error> {
    let mut meant: Vec<String> = Vec::new();
    for (at, name) in config.node.interfaces.iter().enumerate() {
        let wrong = |message: String| {
            let key = KeyPath::of(&["node", "interfaces"]).index(at);
            Error::at(file, &key, message)
        };
        let real = real(links, name);
        let found = links.iter().find(|link| link.name == real);
        match found {
            None => {
                if let Some(message) = mistaken(name, links) {
                    return Err(wrong(message));
                }
            }
            Some(link) if link.loopback => {
                return Err(wrong(format!("\"{name}\" is {real}, which is no link")));
            }
            Some(_) => {}
        }
        if meant.iter().any(|other| other == real) {
            return Err(wrong(format!(
                "\"{name}\" is {real}, which is listed twice"
            )));
        }
        meant.push(real.to_owned());
    }
    Ok(meant)
}

/// What is wrong with a name that no interface has; `None`: one may come to have it.
fn mistaken(name: &str, links: &[Link]) -> Option<String> {
    let write = |link: &Link| format!("write \"{}\"", link.name);
    let others = links.iter().filter(|link| !link.loopback);
    let is = |what: &str, found: Option<&Link>| {
        found.map(|link| format!("\"{name}\" is {what} of {}: {}", link.name, write(link)))
    };
    let find = |wanted: &dyn Fn(&Link) -> bool| links.iter().find(|link| wanted(link));
    let alike = |other: &str| other.eq_ignore_ascii_case(name);
    let parsed = |link: &Link| {
        let mut own = link.addresses.iter();
        name.parse() == Ok(link.index)
            || mac(link).eq_ignore_ascii_case(name)
            || own.any(|own| own.address.to_string() == name)
    };
    if let Some(told) = is(
        "the description (ifalias)",
        find(&|link| link.alias == name),
    ) {
        return Some(told);
    }
    if let Some(told) = is("the number or an address", find(&parsed)) {
        return Some(told);
    }
    let cased = find(&|link| alike(&link.name) || link.altnames.iter().any(|name| alike(name)));
    if let Some(link) = cased {
        let known = link.altnames.iter().find(|name| alike(name));
        let known = known.filter(|_| !alike(&link.name)).unwrap_or(&link.name);
        return Some(format!(
            "\"{name}\": upper and lower case are not the same here: write \"{known}\""
        ));
    }
    if name.contains(PATTERN) {
        let (start, _) = name.split_once(PATTERN).unwrap_or((name, ""));
        let like = others.filter(|link| link.name.starts_with(start));
        let mut like: Vec<String> = like.map(|link| format!("\"{}\"", link.name)).collect();
        like.truncate(8);
        let like = if like.is_empty() {
            "as `ip -br link` lists it".to_owned()
        } else {
            like.join(", ")
        };
        return Some(format!(
            "\"{name}\" is a pattern, and patterns mean nothing here: write each interface, {like}"
        ));
    }
    // `ip link` shows a pair's or a VLAN's other end behind @; ifconfig labels addresses by a colon.
    if let Some((first, _)) = name.split_once(['@', ':']) {
        return Some(format!(
            "\"{name}\" is no name of a link: write the interface alone, \"{first}\""
        ));
    }
    (name.len() > NAME_BYTES).then(|| {
        let mut known = Vec::new();
        for link in others {
            known.extend([&link.name].into_iter().chain(&link.altnames).cloned());
        }
        let near = nearest(name, known.into_iter());
        let near = near.map_or_else(String::new, |near| format!("; the nearest is \"{near}\""));
        format!(
            "\"{name}\" is longer than an interface's name ({NAME_BYTES} bytes), and no altname of an \
             interface here{near}"
        )
    })
}

fn mac(link: &Link) -> String {
    let bytes: Vec<String> = link.mac.iter().map(|byte| format!("{byte:02x}")).collect();
    bytes.join(":")
}
