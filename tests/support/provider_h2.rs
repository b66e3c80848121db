//! The scripted provider over HTTP/2.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use nix::libc::linger;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::Linger;
use tokio::io::{AsyncRead, AsyncWrite};

use super::http1::Ended;
use super::provider::{Request, Shared};
use super::script::{End, Piece, Reply};

/// Serves one connection until it ends, or until a script ends it.
pub async fn serve<S>(stream: S, number: usize, shared: Arc<Shared>)
where
    S: AsyncRead + AsyncWrite + AsFd + Unpin + Send + 'static,
{
    let Ok(twin) = stream.as_fd().try_clone_to_owned() else { return };
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    let (close, mut closed) = tokio::sync::mpsc::channel::<End>(1);
    loop {
        let accepted = tokio::select! {
            accepted = connection.accept() => accepted,
            // A script that cuts the connection: everything is dropped, the socket with it.
            end = closed.recv() => {
                if end == Some(End::Reset) {
                    let at_once = linger { l_onoff: 1, l_linger: 0 };
                    let _ = setsockopt(&twin, Linger, &at_once);
                }
                return;
            }
        };
        let Some(Ok((request, respond))) = accepted else { return };
        let (shared, close) = (Arc::clone(&shared), close.clone());
        tokio::spawn(async move {
            let _ = exchange(request, respond, number, &shared, close).await;
        });
    }
}

async fn exchange(
    request: http::Request<h2::RecvStream>,
    mut respond: SendResponse<Bytes>,
    connection: usize,
    shared: &Shared,
    close: tokio::sync::mpsc::Sender<End>,
) -> Result<(), h2::Error> {
    let (head, mut incoming) = request.into_parts();
    let mut body = Vec::new();
    let mut ended = Ended::Complete;
    while let Some(data) = incoming.data().await {
        match data {
            Ok(data) => {
                body.extend_from_slice(&data);
                incoming.flow_control().release_capacity(data.len())?;
            }
            Err(error) => {
                ended = Ended::Cut(error.to_string());
                break;
            }
        }
    }
    let (number, reply) = shared.take(Request {
        number: 0,
        connection,
        method: head.method.to_string(),
        target: head.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        version: "HTTP/2".to_owned(),
        raw_head: Vec::new(),
        headers: pairs(&head.headers),
        body,
        ended,
        at: Instant::now(),
    });
    if let Some(gate) = &reply.hold {
        tokio::select! {
            () = gate.wait() => {}
            _ = std::future::poll_fn(|cx| respond.poll_reset(cx)) => {
                shared.left(number);
                return Ok(());
            }
        }
    }
    if reply.status == 0 && reply.pieces.is_empty() && reply.end != End::Reset {
        let _ = close.send(End::Reset).await;
        // The end of a stream before that of its connection would be another one's.
        return std::future::pending().await;
    }
    if reply.status == 0 {
        // Bytes as they are can only be said over HTTP/1.1.
        let silent = reply.pieces.is_empty();
        respond.send_reset(if silent { Reason::INTERNAL_ERROR } else { Reason::HTTP_1_1_REQUIRED });
        return Ok(());
    }
    let bodiless = reply.pieces.is_empty() && reply.end == End::Clean && reply.trailers.is_empty();
    let mut out = respond.send_response(response(&reply), bodiless)?;
    if bodiless {
        return Ok(());
    }
    if play(&mut out, &reply).await.is_err() {
        shared.left(number);
        return Ok(());
    }
    finish(out, &reply, number, shared, close).await
}

async fn play(out: &mut SendStream<Bytes>, reply: &Reply) -> io::Result<()> {
    for piece in &reply.pieces {
        match piece {
            Piece::Data(data) => send(out, data).await?,
            Piece::Bytewise(data) => {
                for byte in data {
                    send(out, &[*byte]).await?;
                }
            }
            Piece::Pause(pause) => tokio::time::sleep(*pause).await,
            Piece::Wait(gate) => tokio::select! {
                () = gate.wait() => {}
                _ = std::future::poll_fn(|cx| out.poll_reset(cx)) => return Err(io::Error::other("reset")),
            },
        }
    }
    Ok(())
}

async fn finish(
    mut out: SendStream<Bytes>,
    reply: &Reply,
    number: usize,
    shared: &Shared,
    close: tokio::sync::mpsc::Sender<End>,
) -> Result<(), h2::Error> {
    match reply.end {
        End::Clean if reply.trailers.is_empty() => out.send_data(Bytes::new(), true),
        End::Clean => out.send_trailers(map(&reply.trailers)),
        End::Reset => {
            out.send_reset(Reason::INTERNAL_ERROR);
            Ok(())
        }
        End::Fin | End::TruncatedChunk => {
            let _ = close.send(reply.end).await;
            Ok(())
        }
        End::Hang => {
            let _ = std::future::poll_fn(|cx| out.poll_reset(cx)).await;
            shared.left(number);
            Ok(())
        }
    }
}

/// Sends bytes as the window allows.
async fn send(out: &mut SendStream<Bytes>, data: &[u8]) -> io::Result<()> {
    let mut rest = Bytes::copy_from_slice(data);
    while !rest.is_empty() {
        out.reserve_capacity(rest.len());
        let granted = std::future::poll_fn(|cx| out.poll_capacity(cx)).await;
        let size = match granted {
            Some(Ok(size)) => size.min(rest.len()),
            Some(Err(error)) => return Err(io::Error::other(error)),
            None => return Err(io::Error::other("the stream ended")),
        };
        out.send_data(rest.split_to(size), false).map_err(io::Error::other)?;
    }
    Ok(())
}

fn response(reply: &Reply) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = http::StatusCode::from_u16(reply.status).expect("a script's status is one");
    *response.headers_mut() = map(&reply.headers);
    response
}

fn map(headers: &[(String, String)]) -> HeaderMap {
    let pairs = headers.iter().map(|(name, value)| {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a script's header name is one");
        (name, HeaderValue::from_str(value).expect("a script's header value is one"))
    });
    let mut all = HeaderMap::new();
    for (name, value) in pairs {
        all.append(name, value);
    }
    all
}

/// Headers as text, in order.
pub fn pairs(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
}
