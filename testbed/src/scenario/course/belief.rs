//! What hosts believe, read from what they send: a frame to a link-layer address says whom its
//! sender takes for the owner of the IP address inside.

use std::net::IpAddr;

use crate::capture::Stamp;
use crate::report::packet::What;
use crate::report::traffic::Traffic;

/// When a host sent a request to an anycast address over UDP, and to which host.
pub(super) fn beliefs<'a>(
    traffic: &'a Traffic,
    host: &'a str,
    address: IpAddr,
) -> impl Iterator<Item = (Stamp, String)> + 'a {
    let sent = traffic.sent.iter().filter(move |sent| {
        let asks = matches!(sent.what, What::Datagram { to, .. } if to.ip() == address);
        asks && sent.from == host
    });
    sent.map(|sent| {
        let host = traffic.host(sent.destination);
        (sent.at, host.unwrap_or_else(|| "nobody".into()))
    })
}

/// When a host got an answer from an anycast address over UDP, and which host had sent it.
pub(super) fn answers<'a>(
    traffic: &'a Traffic,
    host: &'a str,
    address: IpAddr,
) -> impl Iterator<Item = (Stamp, &'a str)> + 'a {
    traffic.sent.iter().filter_map(move |sent| {
        let of = matches!(sent.what, What::Datagram { from, .. } if from.ip() == address);
        let got = sent.to.iter().find(|(to, _)| of && to == host)?;
        Some((got.1, sent.from.as_str()))
    })
}

/// A question to all who has an address, and what became of it.
#[derive(Clone, Debug)]
pub(super) struct Question {
    /// What was asked for.
    pub(super) target: IpAddr,
    /// Answers in the order of their arrival: from whom, after how many milliseconds, and whether
    /// Override was set.
    pub(super) answers: Vec<(String, f64, bool)>,
    /// Whom the host believed in the end.
    pub(super) believed: String,
}

/// The questions that a host asked from `from` on; those of an entry that is checked are no
/// questions to all.
pub(super) fn questions(traffic: &Traffic, host: &str, from: Stamp) -> Vec<Question> {
    let mut questions: Vec<(Stamp, Question)> = Vec::new();
    for sent in traffic.sent.iter().filter(|sent| sent.at >= from) {
        match &sent.what {
            What::Question { target, .. } if sent.from == host && sent.is_group() => {
                let question = Question {
                    target: *target,
                    answers: Vec::new(),
                    believed: "nobody".into(),
                };
                questions.push((sent.at, question));
            }
            What::Answer {
                target,
                announcement: false,
                overrides,
                ..
            } => {
                let Some((_, at)) = sent.to.iter().find(|(to, _)| to == host) else {
                    continue;
                };
                let mut all = questions.iter_mut().rev();
                if let Some((asked, question)) = all.find(|(_, q)| q.target == *target) {
                    let after = at.ms_since(*asked);
                    question
                        .answers
                        .push((sent.from.clone(), after, *overrides == Some(true)));
                }
            }
            What::Datagram { to, .. } if sent.from == host => {
                let mut all = questions.iter_mut().rev();
                if let Some((_, question)) = all.find(|(_, q)| q.target == to.ip()) {
                    let believed = traffic.host(sent.destination);
                    question.believed = believed.unwrap_or_else(|| "nobody".into());
                }
            }
            _ => {}
        }
    }
    questions
        .into_iter()
        .map(|(_, question)| question)
        .collect()
}
