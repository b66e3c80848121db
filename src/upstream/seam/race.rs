//! A second attempt beside one that is slow to begin: whichever says something first is the answer.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, Result};
use pingora_http::{RequestHeader, ResponseHeader};

use super::connector::Roads;
use super::session::SeamSession;

/// When a stream is asked for a second time, and by whom.
#[derive(Clone)]
pub struct Hedge {
    /// How long the first attempt may take to say something.
    pub after: Duration,
    /// Whom that asks; marked for the seam.
    pub peer: Arc<HttpPeer>,
    /// Makes the second attempt.
    pub backup: Arc<dyn Backup>,
}

impl fmt::Debug for Hedge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hedge").field("after", &self.after).finish_non_exhaustive()
    }
}

/// Makes a second attempt, and is told how it came out.
#[async_trait]
pub trait Backup: Send + Sync {
    /// What to send, and to whom; `None` where there is nobody, or no second attempt may be made.
    async fn begin(&self) -> Option<Second>;

    /// One of the two is the answer, or has to do as one: the second, if `second`. `other` is what became of the other.
    /// A second that failed is told of at once, as what it takes may be long in use otherwise.
    fn over(&self, second: bool, other: Fate);
}

/// A second attempt.
pub struct Second {
    /// Whom to ask; marked for the seam.
    pub peer: Box<HttpPeer>,
    /// The head of the request, with its [`Course`](super::Course).
    pub head: Box<RequestHeader>,
    /// Its body.
    pub body: Bytes,
}

/// What became of the attempt that is not the answer.
#[derive(Debug)]
pub enum Fate {
    /// It was still awaited, and is cancelled.
    Cancelled,
    /// It failed.
    Failed(Box<Error>),
    /// It was answered by a status that is no success.
    Refused(Box<ResponseHeader>),
}

/// What an attempt came to: a status, or why there is none.
type Said = Result<u16>;

/// What the second attempt came to, with its session if there is one.
type Other = (Option<(Box<SeamSession>, Box<HttpPeer>)>, Said);

/// How a race ends.
enum End {
    /// There was nobody to race with, or nobody is left.
    Alone(Said),
    /// The first is the answer, before the second said anything.
    First(Said),
    /// The second is, beside a first that came to this, or to nothing yet.
    Second(Box<SeamSession>, Box<HttpPeer>, Option<Said>),
}

impl SeamSession {
    /// Reads the answer's beginning as [`Self::open`] does, and asks elsewhere as well where it is slow. The session
    /// becomes the one that has the answer.
    ///
    /// # Errors
    ///
    /// Those of the first attempt, when there is no other answer.
    pub(super) async fn race(&mut self, hedge: Hedge) -> Result<()> {
        let roads = Arc::clone(self.roads());
        match self.run(&hedge, &roads).await {
            End::Alone(said) => said.map(|_| ()),
            End::First(said) => {
                hedge.backup.over(false, Fate::Cancelled);
                said.map(|_| ())
            }
            End::Second(session, peer, said) => {
                let fate = match said {
                    None => Fate::Cancelled,
                    Some(Err(error)) => Fate::Failed(error),
                    Some(Ok(_)) => self.fate(),
                };
                hedge.backup.over(true, fate);
                let was = self.become_other(session);
                self.moved = Some(peer);
                roads.cancel(was, &hedge.peer).await;
                Ok(())
            }
        }
    }

    async fn run(&mut self, hedge: &Hedge, roads: &Arc<Roads>) -> End {
        let mut first = pin!(self.open());
        if let Ok(said) = tokio::time::timeout(hedge.after, &mut first).await {
            return End::Alone(said);
        }
        let mut second = pin!(ask(roads, &*hedge.backup));
        let mut one: Option<Said> = None;
        let asked = loop {
            tokio::select! {
                biased;
                said = &mut first, if one.is_none() => match said {
                    Ok(status) if status < 400 => return End::First(Ok(status)),
                    said => one = Some(said),
                },
                asked = &mut second => break asked,
            }
        };
        match asked {
            Some((Some((session, peer)), Ok(status))) if status < 400 => return End::Second(session, peer, one),
            Some(failed) => give_up(failed, hedge, roads),
            None => {}
        }
        // The first is all there is.
        End::Alone(match one {
            Some(said) => said,
            None => first.await,
        })
    }

    /// What became of it, where it has an answer.
    fn fate(&self) -> Fate {
        self.head().map_or(Fate::Cancelled, |head| Fate::Refused(Box::new(head.clone())))
    }
}

/// The second attempt failed: nobody waits for it any more.
fn give_up((session, said): Other, hedge: &Hedge, roads: &Arc<Roads>) {
    let fate = match said {
        Err(error) => Fate::Failed(error),
        Ok(_) => session.as_ref().map_or(Fate::Cancelled, |(session, _)| session.fate()),
    };
    hedge.backup.over(false, fate);
    if let Some((session, peer)) = session {
        let roads = Arc::clone(roads);
        tokio::spawn(async move { roads.cancel(session, &peer).await });
    }
}

/// Makes the second attempt, and waits for its beginning; `None` where there is none.
async fn ask(roads: &Arc<Roads>, backup: &dyn Backup) -> Option<Other> {
    let Second { peer, head, body } = backup.begin().await?;
    let mut session = match roads.open(&peer).await {
        Ok((session, _)) => session,
        Err(error) => return Some((None, Err(error))),
    };
    let said = match session.send(head, body).await {
        Ok(()) => session.open().await,
        Err(error) => Err(error),
    };
    Some((Some((session, peer)), said))
}
