//! Who is at the other end of a unix socket: the groups that the kernel noted when it connected.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use nix::libc;

/// `NGROUPS_MAX` of Linux.
const MOST: usize = 65_536;

/// The supplementary groups of the process at the other end (`SO_PEERGROUPS`, Linux 4.13).
pub fn groups(socket: &impl AsFd) -> io::Result<Vec<u32>> {
    let socket = socket.as_fd().as_raw_fd();
    let mut groups: Vec<libc::gid_t> = vec![0; 64];
    loop {
        let size = size_of::<libc::gid_t>();
        let mut length =
            libc::socklen_t::try_from(groups.len() * size).map_err(io::Error::other)?;
        // SAFETY: the kernel writes at most `length` bytes, which the vector has.
        let done = unsafe {
            libc::getsockopt(
                socket,
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        let filled = usize::try_from(length).unwrap_or_default() / size;
        if done == 0 {
            groups.truncate(filled);
            return Ok(groups);
        }
        let error = io::Error::last_os_error();
        // Too small: the kernel has said how much it needs.
        if error.raw_os_error() != Some(libc::ERANGE) || filled <= groups.len() || filled > MOST {
            return Err(error);
        }
        groups.resize(filled, 0);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    #[test]
    fn the_other_end_has_the_groups_of_its_process() {
        let (one, _two) = UnixStream::pair().unwrap();
        let mut own: Vec<u32> = nix::unistd::getgroups()
            .unwrap()
            .into_iter()
            .map(nix::unistd::Gid::as_raw)
            .collect();
        let mut seen = super::groups(&one).unwrap();
        own.sort_unstable();
        seen.sort_unstable();
        assert_eq!(seen, own);
    }
}
