//! TCP: from a SYN to an anycast address to a connection with one member.
