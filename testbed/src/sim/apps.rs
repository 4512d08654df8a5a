//! Programs on a simulated host: the service of the labs, and clients that keep asking for it.
//!
//! They are those of `crate::who` and `crate::load` over the sockets of a host in user
//! space, and leave the same requests.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::Result;
use hamp::time::Instant;
use hamp::user::{End, Host, ListenHandle, SocketError, TcpHandle, TcpState, UdpHandle};

use crate::capture::Stamp;
use crate::load::{PATIENCE, Service, Stream};
use crate::report::Request;
use crate::who;

/// Bytes taken from a connection at a time.
const CHUNK: usize = 4096;
/// A client that says nothing for so long is left by the service.
const SILENCE: Duration = Duration::from_secs(5);

/// All addresses of a host, of both families.
const ANY: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

/// Everything that runs on one host.
#[derive(Debug, Default)]
pub struct Apps {
    server: Option<Server>,
    clients: Vec<Client>,
}

#[derive(Debug)]
struct Server {
    name: String,
    udp: UdpHandle,
    tcp: ListenHandle,
    open: Vec<Served>,
}

/// A connection to the service.
#[derive(Debug)]
struct Served {
    handle: TcpHandle,
    since: Instant,
    head: Vec<u8>,
}

#[derive(Debug)]
struct Client {
    host: String,
    stream: Stream,
    /// When it asks next; `None` when it has stopped.
    next: Option<Instant>,
    id: u16,
    open: Vec<Asked>,
}

/// A request that has not ended.
#[derive(Debug)]
struct Asked {
    sent: Instant,
    way: Way,
}

#[derive(Debug)]
enum Way {
    Dns {
        socket: UdpHandle,
        query: Vec<u8>,
    },
    Http {
        connection: TcpHandle,
        asked: bool,
        answer: Vec<u8>,
    },
}

impl Apps {
    /// Serves `name` from now on, on all addresses of the host.
    ///
    /// # Errors
    /// A port is in use.
    pub fn serve(&mut self, host: &mut Host, name: &str) -> Result<()> {
        self.server = Some(Server {
            name: name.into(),
            udp: host.udp_bind(SocketAddr::new(ANY, who::DNS_PORT))?,
            tcp: host.tcp_listen(SocketAddr::new(ANY, who::HTTP_PORT))?,
            open: Vec::new(),
        });
        Ok(())
    }

    /// Asks from now on, as `host`.
    pub fn ask(&mut self, now: Instant, host: &str, stream: Stream) {
        self.clients.push(Client {
            host: host.into(),
            next: Some(now + stream.offset),
            stream,
            id: 0,
            open: Vec::new(),
        });
    }

    /// Asks no more; what is on its way may still end.
    pub fn stop(&mut self) {
        self.clients
            .iter_mut()
            .for_each(|client| client.next = None);
    }

    /// Does what can be done now; requests that have ended go to `ended`.
    pub fn poll(&mut self, now: Instant, host: &mut Host, ended: &mut Vec<Request>) {
        if let Some(server) = &mut self.server {
            server.poll(now, host);
        }
        for client in &mut self.clients {
            client.poll(now, host, ended);
        }
    }

    /// When [`Self::poll`] has something to do though nothing has arrived.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let open = self.server.iter().flat_map(|server| &server.open);
        let silent = open.map(|served| served.since + SILENCE);
        let clients = self.clients.iter().flat_map(|client| {
            let given_up = client.open.first().map(|asked| asked.sent + PATIENCE);
            client.next.into_iter().chain(given_up)
        });
        silent.chain(clients).min()
    }
}

impl Server {
    fn poll(&mut self, now: Instant, host: &mut Host) {
        while let Some(asked) = host.udp_receive(self.udp) {
            if let Some(answer) = who::dns_answer(&asked.payload, &self.name) {
                // What cannot be sent is lost, as UDP is.
                let from = Some(asked.to.ip());
                let _ = host.udp_send(now, self.udp, from, asked.from, &answer);
            }
        }
        while let Some(handle) = host.tcp_accept(self.tcp) {
            self.open.push(Served {
                handle,
                since: now,
                head: Vec::new(),
            });
        }
        let name = &self.name;
        self.open.retain_mut(|served| {
            let handle = served.handle;
            served.head.extend(host.tcp_receive(now, handle, CHUNK));
            let whole = who::http_is_whole(&served.head);
            if whole {
                host.tcp_send(now, handle, &who::http_answer(name));
            }
            let over = host.tcp_at_end(handle) || served.since + SILENCE <= now;
            if whole || over {
                host.tcp_close(now, handle);
            }
            !(whole || over)
        });
    }
}

impl Client {
    fn poll(&mut self, now: Instant, host: &mut Host, ended: &mut Vec<Request>) {
        while let Some(at) = self.next.filter(|at| *at <= now) {
            self.next = Some(at + self.stream.every);
            self.id = self.id.wrapping_add(1);
            match self.begin(now, host) {
                Ok(way) => self.open.push(Asked { sent: now, way }),
                Err(error) => ended.push(self.request(now, now, Err(error.to_string()))),
            }
        }
        let mut open = std::mem::take(&mut self.open);
        open.retain_mut(|asked| {
            let outcome = asked.way.poll(now, host).or_else(|| {
                let late = asked.sent + PATIENCE <= now;
                late.then(|| Err(format!("no answer within {} ms", PATIENCE.as_millis())))
            });
            let Some(outcome) = outcome else { return true };
            asked.way.end(now, host);
            ended.push(self.request(asked.sent, now, outcome));
            false
        });
        self.open = open;
    }

    fn begin(&self, now: Instant, host: &mut Host) -> Result<Way, SocketError> {
        let to = self.stream.to;
        match self.stream.service {
            Service::Dns => {
                let socket = host.udp_bind(SocketAddr::new(ANY, 0))?;
                let query = who::dns_query(self.id);
                if let Err(error) = host.udp_send(now, socket, None, to, &query) {
                    host.udp_close(socket);
                    return Err(error);
                }
                Ok(Way::Dns { socket, query })
            }
            Service::Http => Ok(Way::Http {
                connection: host.tcp_connect(now, None, to)?,
                asked: false,
                answer: Vec::new(),
            }),
        }
    }

    fn request(&self, sent: Instant, done: Instant, outcome: Result<String, String>) -> Request {
        Request {
            host: self.host.clone(),
            service: self.stream.service.name().into(),
            family: if self.stream.to.is_ipv6() { 6 } else { 4 },
            sent: Stamp(sent.as_micros() * 1000),
            done: Stamp(done.as_micros() * 1000),
            outcome,
        }
    }
}

impl Way {
    /// How it has ended, if it has.
    fn poll(&mut self, now: Instant, host: &mut Host) -> Option<Result<String, String>> {
        match self {
            Self::Dns { socket, query } => {
                let answer = host.udp_receive(*socket)?;
                let name = who::dns_name(&answer.payload, query);
                Some(name.ok_or_else(|| "not an answer to it".into()))
            }
            Self::Http {
                connection,
                asked,
                answer,
            } => {
                let state = host.tcp_state(*connection);
                if state == Some(TcpState::Open) && !*asked {
                    *asked = true;
                    host.tcp_send(now, *connection, who::HTTP_REQUEST);
                }
                answer.extend(host.tcp_receive(now, *connection, CHUNK));
                if host.tcp_at_end(*connection) {
                    let failed = match state {
                        Some(TcpState::Ended(end)) if answer.is_empty() => Some(end),
                        _ => None,
                    };
                    let name = who::http_name(answer);
                    return Some(failed.map_or(name, |end| Err(words(end).into())));
                }
                None
            }
        }
    }

    fn end(&self, now: Instant, host: &mut Host) {
        match self {
            Self::Dns { socket, .. } => host.udp_close(*socket),
            Self::Http { connection, .. } => host.tcp_close(now, *connection),
        }
    }
}

fn words(end: End) -> &'static str {
    match end {
        End::Closed => "closed",
        End::Refused => "connection refused",
        End::Reset => "connection reset",
        End::TimedOut => "connection timed out",
    }
}

#[cfg(test)]
mod tests {
    use hamp::node::LinkId;
    use hamp::user::Interface;

    use super::*;

    const LINK: LinkId = LinkId(1);

    /// Two hosts at the ends of a cable; the second serves.
    fn pair() -> [(Host, Apps); 2] {
        [1u8, 2].map(|number| {
            let mut host = Host::stock(number.into());
            let addresses = [format!("10.0.0.{number}/24"), format!("fd00::{number}/64")];
            let interface = Interface {
                mac: [2, 0, 0, 0, 0, number],
                addresses: addresses.map(|text| text.parse().unwrap()).into(),
                mtu: 1500,
            };
            host.handle_link(Instant::ZERO, LINK, Some(interface));
            (host, Apps::default())
        })
    }

    fn run(pair: &mut [(Host, Apps); 2], end: Instant) -> Vec<Request> {
        let mut ended = Vec::new();
        let mut now = Instant::ZERO;
        while now <= end {
            for from in 0..2 {
                let (host, apps) = &mut pair[from];
                host.handle_timeout(now);
                apps.poll(now, host, &mut ended);
                while let Some(transmit) = pair[from].0.poll_transmit() {
                    pair[1 - from].0.handle_frame(now, LINK, &transmit.frame);
                }
            }
            now += Duration::from_millis(1);
        }
        ended
    }

    fn streams() -> impl Iterator<Item = Stream> {
        ["10.0.0.2", "fd00::2"].into_iter().flat_map(|address| {
            [Service::Dns, Service::Http].map(|service| Stream {
                service,
                to: SocketAddr::new(address.parse().unwrap(), service.port()),
                every: Duration::from_millis(100),
                offset: Duration::from_millis(5),
            })
        })
    }

    #[test]
    fn every_request_is_answered_by_the_name() {
        let mut pair = pair();
        let (host, apps) = &mut pair[1];
        apps.serve(host, "two").unwrap();
        streams().for_each(|stream| pair[0].1.ask(Instant::ZERO, "one", stream));
        let ended = run(&mut pair, Instant::from_millis(1_000));
        assert_eq!(ended.len(), 4 * 10, "{ended:?}");
        for request in ended {
            assert_eq!(request.outcome.as_deref(), Ok("two"), "{request:?}");
            assert!(request.done.ms_since(request.sent) < 10.0, "{request:?}");
        }
    }

    #[test]
    fn what_is_not_served_fails_in_time() {
        let mut pair = pair();
        streams().for_each(|stream| pair[0].1.ask(Instant::ZERO, "one", stream));
        let ended = run(&mut pair, Instant::from_millis(2_000));
        let of = |service: &str| {
            let all = ended.iter().filter(|request| request.service == service);
            all.cloned().collect::<Vec<_>>()
        };
        assert!(!of("http").is_empty() && !of("dns").is_empty());
        for request in of("http") {
            assert_eq!(request.outcome, Err("connection refused".into()));
        }
        for request in of("dns") {
            assert!((1000.0..1010.0).contains(&request.done.ms_since(request.sent)));
        }
    }
}
