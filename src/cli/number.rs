//! Arguments of commands that are numbers or addresses, with errors for people.

use std::fmt::Display;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;

use crate::addr::is_host;
use crate::daemon::config::AddressOrPrefix;

/// A parser of whole numbers within a range.
pub(super) fn in_range<T>(
    range: RangeInclusive<T>,
) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync
where
    T: FromStr + PartialOrd + Display + Clone + Send + Sync,
{
    move |text| {
        let number = text.parse().ok();
        let number = number.filter(|number| range.contains(number));
        number.ok_or_else(|| {
            format!(
                "it is a whole number from {} to {}",
                range.start(),
                range.end()
            )
        })
    }
}

/// One address.
pub(super) fn address(text: &str) -> Result<IpAddr, String> {
    let AddressOrPrefix(prefix) = text.parse()?;
    if is_host(&prefix) {
        Ok(prefix.addr())
    } else {
        Err(format!(
            "this is a prefix: name one address of it, such as {}",
            prefix.addr()
        ))
    }
}
