//! `signalbox.v1.SessionService`: what backends look at, moderate and monitor
//! by.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::{Stream, StreamExt as _};
use http::{Request, Response};
use tonic::{Status, body::Body, server::NamedService};
use tower::Service;

use crate::{
    auth::Grant,
    domain::{Epoch, MAX_FRAME_BYTES, Named, Reason, Refusal, Sequence, SessionId},
    engine::{BoxFuture, Change},
    proto::{
        self, DisconnectConnectionRequest, DisconnectConnectionResponse, GetSessionRequest, GetSessionResponse,
        ListConnectionsRequest, ListConnectionsResponse, ListSessionsRequest, ListSessionsResponse,
        WatchSessionsRequest, WatchSessionsResponse,
        session_service_server::{SessionService, SessionServiceServer},
        watch_sessions_response::Event,
    },
    session::Facts,
    telemetry::{CallSpan, Note, UnaryMethod, audit},
};

use super::{
    PeerAddress, Services,
    signaling::answer,
    status::{explain_bad_message, status},
    wire,
};

/// The page when none is asked for, and the largest. Source: the contract.
const PAGE_SIZE: (u32, u32) = (100, 1_000);

/// The service, for a tonic router.
#[must_use]
pub fn session_service(services: Services) -> Explained<SessionServiceServer<Sessions>> {
    Explained(SessionServiceServer::new(Sessions { services }).max_decoding_message_size(MAX_FRAME_BYTES))
}

/// A service whose refusals of bad messages say what the contract says.
#[derive(Clone)]
pub struct Explained<S>(S);

impl<S: NamedService> NamedService for Explained<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<Request<Body>> for Explained<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let response = self.0.call(request);
        Box::pin(async move { response.await.map(explain_bad_message) })
    }
}

/// The calls.
#[derive(Clone)]
pub struct Sessions {
    services: Services,
}

type Answer<T> = Result<tonic::Response<T>, Status>;

impl Sessions {
    /// Lets a backend call this.
    fn serve<T>(&self, request: &tonic::Request<T>, what: &str) -> Result<Arc<Grant>, Refusal> {
        self.services.serve(request.metadata().as_ref(), peer(request), what)
    }

    fn session_id(&self, text: &str) -> Result<SessionId, Refusal> {
        SessionId::parse(text, &self.services.limits, "session_id")
    }

    /// The same, for a call that may be traced.
    fn session(&self, text: &str, span: Option<&CallSpan>) -> Result<SessionId, Refusal> {
        self.session_id(text).inspect(|session| {
            if let Some(span) = span {
                span.note(Note::Session(session));
            }
        })
    }

    async fn sessions(&self, request: ListSessionsRequest) -> Result<ListSessionsResponse, Refusal> {
        let after = PageToken::read(&request.page_token)?.map(|token| match token {
            PageToken::Session(id) => self.session_id(&id).map_err(|_| wrong_token()),
            PageToken::Connection(..) => Err(wrong_token()),
        });
        let page = self.services.engine.sessions(after.transpose()?, page_size(request.page_size)).await?;
        let next = page.items.last().filter(|_| page.more).map(|(id, _)| PageToken::Session(id.to_string()));
        Ok(ListSessionsResponse {
            sessions: page.items.iter().map(|(id, facts)| to_session(id, facts)).collect(),
            next_page_token: next.map(|token| token.write()).unwrap_or_default(),
        })
    }

    async fn connections(
        &self,
        request: ListConnectionsRequest,
        span: Option<&CallSpan>,
    ) -> Result<ListConnectionsResponse, Refusal> {
        let session = self.session(&request.session_id, span)?;
        let (life, after) = match PageToken::read(&request.page_token)? {
            None => (None, 0),
            Some(PageToken::Connection(epoch, joined)) => (Some(epoch), joined),
            Some(PageToken::Session(_)) => return Err(wrong_token()),
        };
        let listed = self.services.engine.connections(session, after, page_size(request.page_size)).await?;
        // Places of another life mean nothing in this one.
        if life.is_some_and(|life| life != listed.epoch) {
            return Err(wrong_token());
        }
        let page = listed.page;
        let next =
            page.items.last().filter(|_| page.more).map(|(joined, _)| PageToken::Connection(listed.epoch, *joined));
        Ok(ListConnectionsResponse {
            connections: page.items.iter().map(|(_, view)| wire::to_connection_view(view)).collect(),
            next_page_token: next.map(|token| token.write()).unwrap_or_default(),
        })
    }

    async fn watch(&self, request: WatchSessionsRequest, span: Option<&CallSpan>) -> Result<WatchStream, Refusal> {
        let only = request.session_id;
        let session = if only.is_empty() { None } else { Some(self.session(&only, span)?) };
        let watch = self.services.engine.watch(session).await?;
        let hub = self.services.hub.clone();
        let drained = {
            let hub = hub.clone();
            async move { hub.draining().await }
        };
        let changes = watch
            .map(move |change| match change {
                Ok(change) => Ok(to_watched(change, &only)),
                Err(refusal) => {
                    hub.metrics().refused(refusal.reason);
                    Err(status(&refusal))
                }
            })
            .take_until(drained);
        // What ends by itself has told why; what the drain cut has not.
        let going_away = Refusal::new(Reason::GoingAway, "the server is going away; watch again, here or elsewhere");
        let end = EndOfWatch { changes: Some(Box::pin(changes)), going_away };
        Ok(Box::pin(futures_util::stream::unfold(end, EndOfWatch::next)))
    }
}

/// What a watch's response is.
type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchSessionsResponse, Status>> + Send>>;

/// A watch that ends with a status: its own, or that of the drain.
struct EndOfWatch {
    changes: Option<WatchStream>,
    going_away: Refusal,
}

impl EndOfWatch {
    async fn next(mut self) -> Option<(Result<WatchSessionsResponse, Status>, Self)> {
        let next = self.changes.as_mut()?.next().await;
        let item = next.unwrap_or_else(|| Err(status(&self.going_away)));
        if item.is_err() {
            self.changes = None;
        }
        Some((item, self))
    }
}

#[tonic::async_trait]
impl SessionService for Sessions {
    async fn list_sessions(&self, request: tonic::Request<ListSessionsRequest>) -> Answer<ListSessionsResponse> {
        let call = async {
            self.serve(&request, "ListSessions")?;
            self.sessions(request.into_inner()).await
        };
        answer(&self.services, UnaryMethod::ListSessions, call).await
    }

    async fn get_session(&self, request: tonic::Request<GetSessionRequest>) -> Answer<GetSessionResponse> {
        let call = async {
            self.serve(&request, "GetSession")?;
            let span = span(&request);
            let session = self.session(&request.into_inner().session_id, span.as_deref())?;
            let facts = self.services.engine.session(session.clone()).await?;
            Ok(GetSessionResponse { session: Some(to_session(&session, &facts)) })
        };
        answer(&self.services, UnaryMethod::GetSession, call).await
    }

    async fn list_connections(
        &self,
        request: tonic::Request<ListConnectionsRequest>,
    ) -> Answer<ListConnectionsResponse> {
        let call = async {
            self.serve(&request, "ListConnections")?;
            let span = span(&request);
            self.connections(request.into_inner(), span.as_deref()).await
        };
        answer(&self.services, UnaryMethod::ListConnections, call).await
    }

    async fn disconnect_connection(
        &self,
        request: tonic::Request<DisconnectConnectionRequest>,
    ) -> Answer<DisconnectConnectionResponse> {
        let call = async {
            let (grant, peer) = (self.serve(&request, "DisconnectConnection")?, peer(&request));
            let span = span(&request);
            let request = request.into_inner();
            let session = self.session(&request.session_id, span.as_deref())?;
            let connection = Named::read(request.connection_id);
            if let (Some(span), Named::Id(connection)) = (&span, &connection) {
                span.note(Note::Connection(*connection));
            }
            let who = audit::Who { subject: grant.subject.as_deref(), address: peer.map(|peer| peer.0) };
            audit::disconnects(who, Some(&session), &connection);
            self.services.engine.disconnect(session, connection).await?;
            Ok(DisconnectConnectionResponse {})
        };
        answer(&self.services, UnaryMethod::DisconnectConnection, call).await
    }

    type WatchSessionsStream = WatchStream;

    async fn watch_sessions(&self, request: tonic::Request<WatchSessionsRequest>) -> Answer<WatchStream> {
        let watched = async {
            self.serve(&request, "WatchSessions")?;
            let span = span(&request);
            self.watch(request.into_inner(), span.as_deref()).await
        };
        watched.await.map(tonic::Response::new).map_err(|refusal| {
            self.services.hub.metrics().refused(refusal.reason);
            status(&refusal)
        })
    }
}

fn peer<T>(request: &tonic::Request<T>) -> Option<PeerAddress> {
    request.extensions().get().copied()
}

/// Its span, when it is traced.
fn span<T>(request: &tonic::Request<T>) -> Option<Arc<CallSpan>> {
    request.extensions().get().cloned()
}

fn page_size(asked: u32) -> usize {
    let (unset, most) = PAGE_SIZE;
    (if asked == 0 { unset } else { asked.min(most) }) as usize
}

fn to_session(id: &SessionId, facts: &Facts) -> proto::Session {
    proto::Session {
        session_id: id.to_string(),
        connection_count: u32::try_from(facts.connections).unwrap_or(u32::MAX),
        epoch: facts.epoch,
        sequence: facts.sequence,
        created_at: Some(facts.created_at.into()),
    }
}

fn to_watched(change: Change, only: &str) -> WatchSessionsResponse {
    let event = match change {
        Change::SessionStarted(session, epoch, created_at) => Event::SessionStarted(proto::SessionStarted {
            session_id: session.to_string(),
            epoch,
            created_at: Some(created_at.into()),
        }),
        Change::SessionEnded(session, epoch) => {
            Event::SessionEnded(proto::SessionEnded { session_id: session.to_string(), epoch })
        }
        Change::ConnectionCreated(session, sequence, view) => {
            Event::ConnectionCreated(proto::ConnectionCreatedInSession {
                session_id: session.to_string(),
                sequence,
                connection: Some(wire::to_connection_view(&view)),
            })
        }
        Change::ConnectionDestroyed(session, sequence, connection, reason) => {
            Event::ConnectionDestroyed(proto::ConnectionDestroyedInSession {
                session_id: session.to_string(),
                sequence,
                connection_id: connection.to_string(),
                reason: wire::to_disconnect_reason(reason).into(),
            })
        }
        Change::SnapshotComplete => Event::SnapshotComplete(proto::SnapshotComplete { session_id: only.to_owned() }),
    };
    WatchSessionsResponse { event: Some(event) }
}

/// Where the next page begins: opaque to callers.
#[derive(Debug, PartialEq, Eq)]
enum PageToken {
    /// After this session.
    Session(String),
    /// After the connection that joined at this place of this life.
    Connection(Epoch, Sequence),
}

impl PageToken {
    fn write(&self) -> String {
        URL_SAFE_NO_PAD.encode(match self {
            Self::Session(id) => format!("s{id}"),
            Self::Connection(epoch, joined) => format!("c{epoch}:{joined}"),
        })
    }

    fn read(token: &str) -> Result<Option<Self>, Refusal> {
        if token.is_empty() {
            return Ok(None);
        }
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| wrong_token())?;
        let text = String::from_utf8(bytes).map_err(|_| wrong_token())?;
        if let Some(id) = text.strip_prefix('s') {
            return Ok(Some(Self::Session(id.to_owned())));
        }
        let place = text.strip_prefix('c').and_then(|place| place.split_once(':'));
        let place = place.and_then(|(epoch, joined)| Some((epoch.parse().ok()?, joined.parse().ok()?)));
        place.map(|(epoch, joined)| Some(Self::Connection(epoch, joined))).ok_or_else(wrong_token)
    }
}

fn wrong_token() -> Refusal {
    Refusal::new(
        Reason::PageTokenInvalid,
        "the page token is not one that this listing gave, or its session has ended since; begin without one",
    )
    .field("page_token")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn page_tokens_come_back(id in "[!-~]{1,255}", epoch: u64, joined: u64) {
            for token in [PageToken::Session(id.clone()), PageToken::Connection(epoch, joined)] {
                prop_assert_eq!(PageToken::read(&token.write()).unwrap(), Some(token));
            }
        }

        #[test]
        fn any_text_is_a_token_or_refused(text in ".{0,80}") {
            if let Err(refusal) = PageToken::read(&text) {
                prop_assert_eq!(refusal.reason, Reason::PageTokenInvalid);
            }
        }
    }
}
