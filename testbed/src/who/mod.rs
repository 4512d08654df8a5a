//! The service of the labs: whoever answers says which host it is.
//!
//! Over HTTP the body is the host's name, over DNS the text of any TXT record is, so that `curl`
//! and `dig` serve as clients and a real web or name server can take its place. Here are the bytes
//! of both ends, for both worlds; `server` serves them in a host of a kernel lab.

mod server;

pub use server::serve;

use clap::Parser;

/// `hamp-lab who`: the command line of the service.
#[derive(Clone, Debug, Parser)]
#[command(name = "hamp-lab who")]
pub struct Arguments {
    /// What to answer; the host's name if it is left out
    #[arg(long)]
    pub name: Option<String>,
    /// TCP port of the answers over HTTP; 0 for none
    #[arg(long, value_name = "PORT", default_value_t = HTTP_PORT)]
    pub http: u16,
    /// UDP port of the answers over DNS; 0 for none
    #[arg(long, value_name = "PORT", default_value_t = DNS_PORT)]
    pub dns: u16,
}

impl Arguments {
    /// Serves until the process ends.
    ///
    /// # Errors
    /// A port cannot be had.
    pub fn run(self) -> anyhow::Result<()> {
        let own = || nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned());
        let name = self.name.map_or_else(own, Ok)?;
        // A string of a TXT record (RFC 1035 §3.3).
        anyhow::ensure!(name.len() <= 255, "--name is longer than 255 bytes");
        serve(&name, self.http, self.dns)
    }
}

/// Port of the service over HTTP.
pub const HTTP_PORT: u16 = 80;
/// Port of the service over DNS.
pub const DNS_PORT: u16 = 53;

/// The request that [`http_answer`] answers.
pub const HTTP_REQUEST: &[u8] = b"GET / HTTP/1.0\r\n\r\n";

/// Class and type of the question and of the answer: TXT (16) in the Internet (1), RFC 1035 §3.2.
const TXT_IN: [u8; 4] = [0, 16, 0, 1];
/// Length of a DNS header (RFC 1035 §4.1.1).
const HEADER: usize = 12;

/// The whole answer to an HTTP request, once the request's head has been read to its end.
pub fn http_answer(name: &str) -> Vec<u8> {
    let length = name.len() + 1;
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{name}\n"
    )
    .into_bytes()
}

/// Whether this is all of a request's head.
pub fn http_is_whole(request: &[u8]) -> bool {
    request.windows(4).any(|four| four == b"\r\n\r\n")
}

/// The host that an HTTP answer names; the error says what came instead.
pub fn http_name(answer: &[u8]) -> Result<String, String> {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n").ok_or("cut short")?;
    if !head.starts_with("HTTP/1.1 200") {
        return Err(head.lines().next().unwrap_or_default().to_owned());
    }
    Ok(body.trim().to_owned())
}

/// The question for `whoami.test TXT`.
pub fn dns_query(id: u16) -> Vec<u8> {
    let mut query = Vec::with_capacity(29);
    query.extend(id.to_be_bytes());
    query.extend([0x00, 0x00, 0, 1, 0, 0, 0, 0, 0, 0]);
    query.extend(b"\x06whoami\x04test\x00");
    query.extend(TXT_IN);
    query
}

/// The answer to a DNS query: the name for TXT, nothing for other types; `None` for what is no
/// query with one question.
pub fn dns_answer(query: &[u8], name: &str) -> Option<Vec<u8>> {
    let head = query.get(..HEADER)?;
    let is_query = head[2] & 0xf8 == 0;
    if !is_query || head[4..6] != [0, 1] {
        return None;
    }
    let end = name_end(query, HEADER)?;
    let question = query.get(HEADER..end + 4)?;
    let is_text = question.ends_with(&TXT_IN);
    let length = u8::try_from(name.len()).ok()?;
    let mut answer = head[..2].to_vec();
    // An authoritative answer; recursion desired is handed back (RFC 1035 §4.1.1).
    answer.extend([
        0x84 | head[2] & 1,
        0,
        0,
        1,
        0,
        u8::from(is_text),
        0,
        0,
        0,
        0,
    ]);
    answer.extend(question);
    if is_text {
        // The question's name, and a time to live of 0: the next answer may be another host's.
        answer.extend([0xc0, 12]);
        answer.extend(TXT_IN);
        answer.extend([0; 4]);
        answer.extend((u16::from(length) + 1).to_be_bytes());
        answer.push(length);
        answer.extend(name.as_bytes());
    }
    Some(answer)
}

/// The first string of the first record of a DNS answer to `query`.
pub fn dns_name(answer: &[u8], query: &[u8]) -> Option<String> {
    let head = answer.get(..HEADER)?;
    if head[..2] != query[..2] || head[3] & 0x0f != 0 || head[7] == 0 {
        return None;
    }
    // The question as it was asked; then a compressed or a whole name, type, class, time to live,
    // length.
    let at = name_end(answer, query.len())?;
    let data = answer.get(at + 10..)?;
    let length = usize::from(*data.first()?);
    Some(String::from_utf8_lossy(data.get(1..=length)?).into_owned())
}

/// Where the name at `at` ends (RFC 1035 §4.1.4).
fn name_end(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            pointer if pointer & 0xc0 == 0xc0 => return Some(at + 2),
            label => at += 1 + usize::from(label),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_draws_the_name() {
        let query = dns_query(7);
        let answer = dns_answer(&query, "s1").unwrap();
        assert_eq!(dns_name(&answer, &query).as_deref(), Some("s1"));
        assert_eq!(dns_name(&answer, &dns_query(8)), None, "another question's");
        let longest = "x".repeat(255);
        let whole = dns_answer(&query, &longest).unwrap();
        assert_eq!(dns_name(&whole, &query), Some(longest));
        let mut a = query.clone();
        a[26] = 1;
        let empty = dns_answer(&a, "s1").unwrap();
        assert_eq!(empty[7], 0, "an A query has no answer");
        assert_eq!(dns_name(&empty, &a), None);
    }

    #[test]
    fn what_is_no_query_draws_nothing() {
        let query = dns_query(7);
        let answer = dns_answer(&query, "s1").unwrap();
        assert_eq!(dns_answer(&answer, "s1"), None, "answers answer no answers");
        for length in 0..query.len() {
            assert_eq!(dns_answer(&query[..length], "s1"), None, "{length} bytes");
        }
        for length in 0..answer.len() {
            assert_eq!(dns_name(&answer[..length], &query), None, "{length} bytes");
        }
    }

    #[test]
    fn http_says_the_name_or_what_is_wrong() {
        let answer = http_answer("s2");
        assert_eq!(http_name(&answer).as_deref(), Ok("s2"));
        assert!(http_is_whole(HTTP_REQUEST) && !http_is_whole(&HTTP_REQUEST[..17]));
        let refused = http_name(b"HTTP/1.1 404 Not Found\r\n\r\n");
        assert_eq!(refused, Err("HTTP/1.1 404 Not Found".into()));
        assert_eq!(http_name(b"HTTP/1.1 200 OK"), Err("cut short".into()));
    }
}
