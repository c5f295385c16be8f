//! A backend: it signals into the session through the faults, by unary calls
//! that it repeats with their key; and, past the faults, asks how things are.

use std::{future::Future, sync::Arc, time::Duration};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use signalbox::proto::{
    self, SendFromServerRequest, SendFromServerResponse, session_service_client::SessionServiceClient,
    signaling_service_client::SignalingServiceClient,
};
use tokio::time::{sleep, timeout};
use tonic::{
    Code, Response, Status,
    transport::{Channel, Endpoint, Error},
};
use tonic_types::StatusExt as _;

use crate::{
    history::{Members, Outcome, Record, State},
    stage::{SESSION, Stage, data, pause},
};

/// A call that has taken this long is lost.
const PATIENCE: Duration = Duration::from_millis(1_500);
/// How often a call is made until it is given up.
const ATTEMPTS: usize = 4;

/// How things are, past the faults. Reconnects by itself.
#[derive(Clone)]
pub(crate) struct Office(Channel);

impl Office {
    pub(crate) fn at(url: String) -> Result<Self, Error> {
        Ok(Self(Endpoint::from_shared(url)?.connect_lazy()))
    }

    /// The session as it is now; none when it isn't, or nobody can tell.
    pub(crate) async fn session(&self) -> Option<proto::Session> {
        let request = proto::GetSessionRequest { session_id: SESSION.into() };
        soon(SessionServiceClient::new(self.0.clone()).get_session(request)).await.ok()?.session
    }

    /// Who is there; none when nobody can tell.
    pub(crate) async fn members(&self) -> Option<Members> {
        let mut members = Members::new();
        let mut page_token = String::new();
        loop {
            let request = proto::ListConnectionsRequest { session_id: SESSION.into(), page_size: 0, page_token };
            let page = soon(SessionServiceClient::new(self.0.clone()).list_connections(request)).await.ok()?;
            members.extend(page.connections.into_iter().map(|connection| {
                let interrupted = connection.state() == proto::ConnectionState::Interrupted;
                (connection.connection_id, if interrupted { State::Interrupted } else { State::Connected })
            }));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Some(members);
            }
        }
    }

    /// Signals to everyone, once.
    pub(crate) async fn tell(&self, tag: &str) -> Result<SendFromServerResponse, Status> {
        soon(SignalingServiceClient::new(self.0.clone()).send_from_server(request(tag.into(), tag, None))).await
    }
}

async fn soon<T>(call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, Status> {
    match timeout(PATIENCE, call).await {
        Ok(answer) => answer.map(Response::into_inner),
        Err(_) => Err(Status::deadline_exceeded("nobody answered in time")),
    }
}

fn request(data: String, key: &str, to: Option<Vec<String>>) -> SendFromServerRequest {
    SendFromServerRequest {
        session_id: SESSION.into(),
        signal: Some(proto::Signal { r#type: String::new(), data }),
        to: to.map(|connection_ids| proto::Recipients { connection_ids }),
        idempotency_key: key.into(),
    }
}

/// Signals into the session until it gets calm. The address is one with faults.
pub(crate) async fn push(stage: Arc<Stage>, office: Office, through: String) {
    let mut dice = StdRng::seed_from_u64(stage.seed ^ 0xbac_0ff1ce);
    let recorder = stage.recorder("the backend".into());
    let mut count = 0;
    while !stage.calm.is_cancelled() {
        sleep(pause(&mut dice, 100)).await;
        count += 1;
        let tag = format!("s.{count}");
        let to = dice
            .random_bool(0.3)
            .then(|| (0..dice.random_range(1..4)).map(|_| stage.somebody(&mut dice)).collect::<Vec<_>>());
        recorder.record(Record::Sent { tag: tag.clone(), to: to.clone() });
        let request = request(data(&mut dice, &tag), &tag, to);
        let outcome = send(&stage, &office, &through, request).await;
        recorder.record(Record::Decided { tag, outcome });
    }
}

/// Calls until there is an answer.
async fn send(stage: &Stage, office: &Office, through: &str, request: SendFromServerRequest) -> Outcome {
    let before = office.session().await.map(|session| session.epoch);
    for attempt in 0..ATTEMPTS {
        match call(through, request.clone()).await {
            Ok(SendFromServerResponse { sequence, not_connected_ids: not_connected, .. }) => {
                let after = office.session().await.map(|session| session.epoch);
                // The answer doesn't say in which epoch, and may be that to an earlier
                // attempt: in the same as before all of them, and after.
                let epoch = before.filter(|_| before == after);
                return Outcome::Accepted { epoch, sequence, not_connected };
            }
            // An earlier attempt may have had an effect, in another life of
            // the server.
            Err(status) if status.code() == Code::NotFound && attempt == 0 => {
                let reason = status.get_error_details().error_info().map(|info| info.reason.clone());
                return Outcome::Refused { reason: reason.unwrap_or_default() };
            }
            Err(_) if stage.calm.is_cancelled() => break,
            Err(_) => {}
        }
    }
    Outcome::Unknown
}

/// One call, on a connection of its own.
async fn call(through: &str, request: SendFromServerRequest) -> Result<SendFromServerResponse, Status> {
    soon(async {
        let broken = |error: Error| Status::unavailable(error.to_string());
        let endpoint = Endpoint::from_shared(through.to_owned()).map_err(broken)?;
        let channel = endpoint.connect().await.map_err(broken)?;
        SignalingServiceClient::new(channel).send_from_server(request).await
    })
    .await
}
