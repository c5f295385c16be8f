//! What a connection asks for beside its stream.

use signalbox::{
    domain::{ConnectionId, DisconnectReason, Ending, Event, Limits, Named, Reason, Refusal, ResumeToken},
    session::{Command, Outcome, SendResult},
};

use super::bed::{Bed, MakeBed, Stream, session, signal};

fn send(id: u64, data: &str) -> Command {
    Command::Send(id, Ok((signal(data), None)))
}

async fn ask(bed: &Bed, of: &Stream, command: Command) -> Result<Option<SendResult>, Refusal> {
    Ok(ask_all(bed, of, vec![command]).await?.pop())
}

async fn ask_all(bed: &Bed, of: &Stream, commands: Vec<Command>) -> Result<Vec<SendResult>, Refusal> {
    bed.engine.command_beside(session("s"), of.id(), of.admission.token.clone(), commands).await
}

/// The place of a send that must be accepted.
async fn place(bed: &Bed, of: &Stream, command: Command) -> u64 {
    ask(bed, of, command).await.unwrap().expect("an outcome").outcome.unwrap().sequence
}

pub(super) async fn what_is_asked_beside_a_stream_is_decided_as_on_it(bed: MakeBed) {
    let bed = bed(Limits::default());
    let (mut stream, mut other) = (bed.join("s").await, bed.join("s").await);
    stream.send(1, "on it");
    let on_it = stream.outcome().await;
    assert_eq!(ask(&bed, &stream, send(1, "again")).await.unwrap(), Some(on_it));
    let beside = place(&bed, &stream, send(2, "beside")).await;
    for stream in [&mut stream, &mut other] {
        while stream.data().await != "beside" {}
    }
    // The stream is told of no outcome but those of what it asks.
    stream.send(2, "again");
    let told = stream.outcome().await;
    assert_eq!((told.send_id, told.outcome.unwrap().sequence), (2, beside));
    let gone = ask(&bed, &stream, Command::Disconnect(3, Ok(Named::Other("nobody".into())))).await.unwrap().unwrap();
    assert_eq!(gone.outcome.unwrap_err().reason, Reason::ConnectionNotFound);
    place(&bed, &stream, Command::Disconnect(4, Ok(Named::Id(other.id())))).await;
    assert_eq!(other.released().await, Ending::ForceDisconnected);
    let several = (5..=68).map(|id| send(id, "several")).collect();
    let several = ask_all(&bed, &stream, several).await.unwrap();
    let places: Vec<_> = several.iter().map(|result| result.outcome.as_ref().unwrap().sequence).collect();
    assert!(places.len() == 64 && places.windows(2).all(|two| two[0] + 1 == two[1]), "{places:?}");

    assert_eq!(ask(&bed, &stream, Command::Leave).await.unwrap(), None);
    assert_eq!(stream.released().await, Ending::Left);
    assert_eq!(ask(&bed, &stream, Command::Leave).await.unwrap_err().reason, Reason::ConnectionNotFound);
}

pub(super) async fn who_is_interrupted_may_ask_beside(bed: MakeBed) {
    let bed = bed(Limits::default());
    let (mut stream, mut other) = (bed.join("s").await, bed.join("s").await);
    stream.link.detach(Ending::Broken);
    assert_eq!(stream.released().await, Ending::Broken);
    let first = place(&bed, &stream, send(1, "interrupted")).await;
    assert_eq!(other.data().await, "interrupted");
    let mut resumed = bed.resume("s", stream.ticket(first - 1)).await;
    assert_eq!((resumed.admission.outcome, resumed.admission.last_send_id), (Outcome::Resumed, 1));
    assert_eq!(resumed.admission.restated.len(), 1);
    resumed.send(1, "again");
    assert_eq!(resumed.outcome().await.outcome.unwrap().sequence, first);

    resumed.link.detach(Ending::Broken);
    resumed.released().await;
    assert_eq!(ask(&bed, &stream, Command::Leave).await.unwrap(), None);
    loop {
        if let Event::Destroyed(id, reason) = other.entry().await.event {
            assert_eq!((id, reason), (stream.id(), DisconnectReason::ClientDisconnected));
            break;
        }
    }
    assert_eq!(bed.resume("s", stream.ticket(first)).await.admission.outcome, Outcome::New);
}

pub(super) async fn who_does_not_know_the_secret_asks_for_nothing(bed: MakeBed) {
    let bed = bed(Limits::default());
    let (mut stream, other) = (bed.join("s").await, bed.join("s").await);
    let nobody = ConnectionId::from_random([9; 16]);
    let (right, wrong) = (&stream.admission.token, &other.admission.token);
    for (name, connection, token) in [
        ("s", stream.id(), wrong),
        ("s", stream.id(), &ResumeToken::presented(String::new())),
        ("s", nobody, right),
        ("t", stream.id(), right),
    ] {
        for command in [send(1, "no"), Command::Leave, Command::Disconnect(2, Ok(Named::Id(other.id())))] {
            let asked = bed.engine.command_beside(session(name), connection, token.clone(), vec![command]).await;
            assert_eq!(asked.unwrap_err().reason, Reason::ConnectionNotFound);
        }
    }
    stream.send(1, "first");
    assert_eq!(stream.data().await, "first");
}
