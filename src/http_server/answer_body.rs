//! Body of an answer, which is sent in pieces at the pace of the peer.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Instant;

use super::activity::ActiveRequest;
use super::stall::must_be_taken_by;

/// Maximum size of a piece, in bytes. A peer that does not read holds one piece per stream in memory after the
/// answer was given up. Larger pieces would be split: it is the size of a frame of HTTP/2.
pub(crate) const PIECE_BYTES: usize = 16 << 10;
/// Rate at which a peer must take an answer whose length is known, in bytes a second. The first pieces have more time.
const RATE_MIN: usize = 16 << 10;

/// Body of an answer. Its request is in progress until this is dropped.
pub(super) struct AnswerBody {
    body: Body,
    /// Rest of the last frame.
    rest: Bytes,
    /// When the first piece was ready, and the bytes that the peer has taken.
    began: Option<Instant>,
    sent: usize,
    request: ActiveRequest,
}

impl AnswerBody {
    pub(super) fn new(body: Body, request: ActiveRequest) -> Self {
        Self { body, rest: Bytes::new(), began: None, sent: 0, request }
    }

    /// Returns until when the peer must take the next piece.
    fn deadline(&mut self) -> Instant {
        let now = Instant::now();
        let began = *self.began.get_or_insert(now);
        let time = self.request.piece_time_max();
        match self.body.size_hint().exact() {
            // A live stream has no length and waits for changes.
            None => now + time,
            Some(_) => (began + time + Duration::from_secs((self.sent / RATE_MIN) as u64)).min(now + time),
        }
    }
}

impl HttpBody for AnswerBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        must_be_taken_by(None);
        if self.rest.is_empty() {
            let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(context)) else {
                return Poll::Ready(None);
            };
            match frame?.into_data() {
                Ok(data) => self.rest = data,
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            }
        }
        let deadline = self.deadline();
        let length = self.rest.len().min(PIECE_BYTES);
        let piece = self.rest.split_to(length);
        self.sent += length;
        must_be_taken_by(Some(deadline));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (mut hint, rest) = (self.body.size_hint(), self.rest.len() as u64);
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + rest);
        }
        hint.set_lower(hint.lower() + rest);
        hint
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        must_be_taken_by(None);
    }
}
