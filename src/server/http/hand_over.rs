//! What the command `hand_over` asks for, and how long it waits.

use super::super::hand_overs::{HandOver, HandOvers};
use super::router::parameter;
use crate::driver::NotHandedOver;
use crate::replica::HandOverError;
use hyper::StatusCode;
use std::time::Duration;
use tokio::sync::oneshot;

/// How long a hand-over may take: 2 s until the next leader has all, and an election where that one fails.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// No other server leads: the status of the answer, the server that leads where it is known, and why, for people.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Of the answer.
    pub status: StatusCode,
    /// Where the command is to be sent.
    pub leader: Option<i64>,
    /// A sentence.
    pub why: String,
}

/// The server that a query names; `None` for any.
///
/// # Errors
/// 400.
pub fn to(query: &str) -> Result<Option<i64>, Refusal> {
    let Some(text) = parameter(query, "to") else { return Ok(None) };
    let refused = |_| Refusal {
        status: StatusCode::BAD_REQUEST,
        leader: None,
        why: format!("to: {text:?} is no number of a server"),
    };
    text.parse().map(Some).map_err(refused)
}

/// Has the server hand over, and waits until it follows the next leader; gives that.
///
/// # Errors
/// 409, 503.
pub async fn hand_over(hand_overs: &HandOvers, to: Option<i64>) -> Result<i64, Refusal> {
    let unavailable = |why: String| Refusal { status: StatusCode::SERVICE_UNAVAILABLE, leader: None, why };
    let (sender, told) = oneshot::channel();
    let answer = move |handed_over| {
        // The client may be gone.
        let _ = sender.send(handed_over);
    };
    let asked = hand_overs.send(HandOver { to, answer: Box::new(answer) });
    asked.map_err(|busy| unavailable(busy.to_string()))?;
    match tokio::time::timeout(ANSWER_MAX, told).await {
        Ok(Ok(handed_over)) => handed_over.map_err(refusal),
        Ok(Err(_)) => Err(unavailable("the server stops".to_owned())),
        Err(_) => Err(unavailable(format!("no other leader within {} s", ANSWER_MAX.as_secs()))),
    }
}

fn refusal(why: NotHandedOver) -> Refusal {
    let (status, leader) = match &why {
        NotHandedOver::Refused(HandOverError::NotLeading(leader)) => {
            (StatusCode::CONFLICT, leader.map(|leader| leader.0))
        }
        NotHandedOver::Refused(_) => (StatusCode::CONFLICT, None),
        NotHandedOver::GivenUp(_) => (StatusCode::SERVICE_UNAVAILABLE, None),
    };
    Refusal { status, leader, why: why.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::ServerId;

    /// A query names a server or none; what is no number is not taken for none.
    #[test]
    fn queries() {
        for (query, expected) in [("", Ok(None)), ("to=3", Ok(Some(3))), ("to=", Err(())), ("to=x", Err(()))]
        {
            assert_eq!(to(query).map_err(|refusal| assert_eq!(refusal.status, 400)), expected, "{query}");
        }
    }

    /// A server that does not lead says who does.
    #[test]
    fn refusals() {
        let refused = |why: HandOverError| refusal(why.into());
        let elsewhere = refused(HandOverError::NotLeading(Some(ServerId(2))));
        assert_eq!((elsewhere.status.as_u16(), elsewhere.leader), (409, Some(2)));
        assert_eq!(elsewhere.why, "this server does not lead: server 2 does");
        let none = refused(HandOverError::NoFollower);
        assert_eq!((none.status.as_u16(), none.leader), (409, None));
        assert_eq!(refusal(NotHandedOver::GivenUp(2)).status.as_u16(), 503);
    }
}
