//! Two nodes: what each is told, and what becomes of a node that has no lease.

use std::time::Duration;

use futures_util::StreamExt as _;

use super::{Bed, NODE, partitions, session};
use crate::{
    domain::{
        ConnectionId, DisconnectReason, Ending, Event, Limits, Named, RESUME_TOKEN_BYTES, ResumeToken, Role, SessionId,
        Signal,
    },
    engine::redis::{Done, Push, Store, Trouble, channel},
    session::{Admission, Command, Effect, Handle, Join, Outcome, Resume, ServerSend, View},
};

const OTHER: &str = "node-2:boot-1";
const SECOND: u64 = 1_000_000;
const WINDOW: Duration = Duration::from_secs(5);

/// Two nodes with a lease from the first second to the hundredth, in a session.
struct Nodes {
    bed: Bed,
    name: SessionId,
    stores: [Store; 2],
}

impl Nodes {
    fn new() -> Option<Self> {
        Self::within(Limits::default())
    }

    fn within(limits: Limits) -> Option<Self> {
        let bed = Bed::new()?;
        let limits = std::sync::Arc::new(limits);
        let stores = [NODE, OTHER].map(|node| Store::new(node.to_owned(), limits.clone(), partitions()));
        for store in &stores {
            let mut redis = bed.redis.clone();
            let store = store.at(SECOND);
            let beat = store.beat(&mut redis, Duration::from_secs(99), true);
            assert_eq!(bed.runtime.block_on(beat).unwrap(), 100 * SECOND);
        }
        Some(Self { bed, name: session("s"), stores })
    }

    fn join(&self, node: usize, number: u8, window: Duration, resume: Option<Resume>) -> (Admission, Vec<Effect>) {
        let join = Join {
            data: number.to_string(),
            role: Role::Publisher,
            window,
            view: View::default(),
            resume,
            fresh_id: id(number),
            fresh_token: token(number),
        };
        let mut redis = self.bed.redis.clone();
        let store = self.stores[node].at(2 * SECOND);
        let joined = store.join(&mut redis, &self.name, 7, join);
        let Done { answer, effects } = self.bed.runtime.block_on(joined).unwrap();
        (answer.unwrap(), effects.into_iter().map(|(_, effect)| effect).collect())
    }

    fn send(&self, node: usize, from: Handle, data: &str, now: u64) -> Result<Vec<Effect>, Trouble> {
        self.ask(node, from, vec![Command::Send(0, Ok((signal(data), None)))], now)
    }

    fn ask(&self, node: usize, from: Handle, commands: Vec<Command>, now: u64) -> Result<Vec<Effect>, Trouble> {
        let mut redis = self.bed.redis.clone();
        let store = self.stores[node].at(now);
        let asked = store.send(&mut redis, &self.name, from, commands);
        Ok(self.bed.runtime.block_on(asked)?.effects.into_iter().map(|(_, effect)| effect).collect())
    }

    /// What a node is told on its channel while something is done.
    fn told(&self, node: &str, what: impl FnOnce()) -> Vec<Push> {
        let mut listening = self.bed.runtime.block_on(self.bed.listen()).unwrap();
        let partition = partitions().of(&self.name);
        self.bed.runtime.block_on(listening.subscribe(channel(partition, node))).unwrap();
        what();
        // Nothing that is published after this is what we wait for.
        let mut redis = self.bed.redis.clone();
        let mark = redis::cmd("PUBLISH").arg(channel(partition, node)).arg("").to_owned();
        self.bed.runtime.block_on(mark.exec_async(&mut redis)).unwrap();
        self.bed.runtime.block_on(async {
            let mut messages = listening.into_on_message();
            let mut told = Vec::new();
            loop {
                let message = messages.next().await.expect("a message");
                match message.get_payload_bytes() {
                    [] => return told,
                    bytes => told.push(Push::read(bytes, &Limits::default()).unwrap()),
                }
            }
        })
    }
}

fn id(number: u8) -> ConnectionId {
    ConnectionId::from_random([number; 16])
}

fn signal(data: &str) -> Signal {
    Signal::parse(String::new(), data.into()).unwrap()
}

fn token(number: u8) -> ResumeToken {
    ResumeToken::from_random([number; RESUME_TOKEN_BYTES])
}

fn resume(admission: &Admission) -> Option<Resume> {
    Some(Resume {
        connection: Some(admission.handle.connection),
        token: admission.token.clone(),
        epoch: admission.epoch,
        last_sequence: admission.sequence,
        last_result_send_id: 0,
    })
}

fn events<'a>(effects: &'a [Effect]) -> Vec<&'a Event> {
    let event = |effect: &'a Effect| match effect {
        Effect::Entry(entry) => Some(&entry.event),
        _ => None,
    };
    effects.iter().filter_map(event).collect()
}

#[test]
fn events_go_to_the_nodes_that_have_members_and_to_no_others() {
    let Some(nodes) = Nodes::new() else { return };
    let (one, _) = nodes.join(0, 1, WINDOW, None);
    assert_eq!(nodes.told(OTHER, || drop(nodes.send(0, one.handle, "alone", 2 * SECOND).unwrap())), []);
    let (other, _) = nodes.join(1, 2, WINDOW, None);
    assert_eq!((other.sequence, other.snapshot.len()), (3, 2));
    let mut own = Vec::new();
    let told = nodes.told(OTHER, || own = nodes.send(0, one.handle, "to both", 2 * SECOND).unwrap());
    let [Effect::Entry(entry), Effect::Answer(..)] = &own[..] else { panic!("{own:?}") };
    assert_eq!(entry.sequence, 4);
    assert_eq!(told, [Push::Events(nodes.name.clone(), 7, vec![entry.clone()])]);
    assert_eq!(nodes.told(NODE, || drop(nodes.send(0, one.handle, "again", 2 * SECOND).unwrap())), []);
}

#[test]
fn a_resume_elsewhere_takes_the_stream_over() {
    let Some(nodes) = Nodes::new() else { return };
    let (one, _) = nodes.join(0, 1, WINDOW, None);
    let mut resumed = None;
    let told = nodes.told(NODE, || resumed = Some(nodes.join(1, 9, WINDOW, resume(&one))));
    let (again, effects) = resumed.unwrap();
    assert_eq!((again.outcome, again.handle.connection), (Outcome::Resumed, one.handle.connection));
    assert_eq!(told, [Push::Release(nodes.name.clone(), one.handle, Ending::TakenOver)]);
    assert!(effects.contains(&Effect::Attach(again.handle, View::default())), "{effects:?}");
    assert_eq!(nodes.send(0, one.handle, "from the old stream", 2 * SECOND).unwrap(), []);
    assert_eq!(nodes.send(1, again.handle, "from the new one", 2 * SECOND).unwrap().len(), 2);
}

#[test]
fn a_node_whose_lease_is_over_changes_nothing_and_must_begin_anew() {
    let Some(nodes) = Nodes::new() else { return };
    let (one, _) = nodes.join(0, 1, WINDOW, None);
    let late = 100 * SECOND;
    assert!(matches!(nodes.send(0, one.handle, "late", late), Err(Trouble::Fenced)));
    let mut redis = nodes.bed.redis.clone();
    let store = nodes.stores[0].at(late);
    let beat = store.beat(&mut redis, Duration::from_secs(9), false);
    assert!(matches!(nodes.bed.runtime.block_on(beat), Err(Trouble::Fenced)));
    let anew = Store::new("node-1:boot-2".into(), Limits::default().into(), partitions()).at(late);
    let beat = anew.beat(&mut redis, Duration::from_secs(9), true);
    assert_eq!(nodes.bed.runtime.block_on(beat).unwrap(), 109 * SECOND);
    let (facts, _) = nodes.bed.runtime.block_on(anew.look(&mut redis, &nodes.name, 0, 10)).unwrap().unwrap();
    assert_eq!(facts.sequence, 1, "nothing was sent");
}

#[test]
fn a_dead_nodes_connections_are_waited_for_and_told_of_as_lost_with_it() {
    let Some(nodes) = Nodes::new() else { return };
    let (waits, _) = nodes.join(0, 1, WINDOW, None);
    let (_, _) = nodes.join(0, 2, Duration::ZERO, None);
    let (_, _) = nodes.join(1, 3, WINDOW, None);
    let mut redis = nodes.bed.redis.clone();
    let run = &nodes.bed.runtime;
    let partition = partitions().of(&nodes.name);
    let found = run.block_on(nodes.stores[1].sessions_on(&mut redis, partition, NODE, 10)).unwrap();
    assert_eq!(found, std::slice::from_ref(&nodes.name));
    // As long as it has its lease nothing is lost.
    let other = nodes.stores[1].at(99 * SECOND);
    assert_eq!(run.block_on(other.lose(&mut redis, &nodes.name, NODE)).unwrap().answer, 0);
    let beat = other.beat(&mut redis, Duration::from_secs(60), false);
    assert_eq!(run.block_on(beat).unwrap(), 159 * SECOND);
    let other = nodes.stores[1].at(101 * SECOND);
    let Done { answer, effects } = run.block_on(other.lose(&mut redis, &nodes.name, NODE)).unwrap();
    assert_eq!(answer, 2);
    let effects: Vec<_> = effects.into_iter().map(|(_, effect)| effect).collect();
    let told = events(&effects);
    let gone = Event::Destroyed(id(2), DisconnectReason::NodeLost);
    assert!(told.contains(&&Event::Interrupted(id(1))) && told.contains(&&gone), "{told:?}");
    assert_eq!(run.block_on(other.sessions_on(&mut redis, partition, NODE, 10)).unwrap(), []);
    let later = nodes.stores[1].at(107 * SECOND);
    let reaped = run.block_on(later.reap(&mut redis, &nodes.name)).unwrap();
    let effects: Vec<_> = reaped.effects.into_iter().map(|(_, effect)| effect).collect();
    assert_eq!(events(&effects), [&Event::Destroyed(waits.handle.connection, DisconnectReason::NodeLost)]);
}

#[test]
fn nothing_is_left_behind_when_everybody_is_gone() {
    let Some(nodes) = Nodes::new() else { return };
    let (one, _) = nodes.join(0, 1, WINDOW, None);
    nodes.send(0, one.handle, "here", 2 * SECOND).unwrap();
    let mut redis = nodes.bed.redis.clone();
    let run = &nodes.bed.runtime;
    let signal = Signal::parse(String::new(), "with a key".into()).unwrap();
    let key = crate::domain::IdempotencyKey::parse("key").unwrap();
    let store = nodes.stores[0].at(2 * SECOND);
    let sent = store.send_from_server(&mut redis, &nodes.name, ServerSend { signal, to: None, key });
    assert_eq!(run.block_on(sent).unwrap().answer.unwrap().recipient_count, 1);
    run.block_on(store.send(&mut redis, &nodes.name, one.handle, vec![Command::Leave])).unwrap();
    let mut keys: Vec<String> = run.block_on(redis::cmd("KEYS").arg("*").query_async(&mut redis)).unwrap();
    keys.retain(|key| !key.ends_with(":leases"));
    let [response] = &keys[..] else { panic!("{keys:?}") };
    let left: i64 = run.block_on(redis::cmd("PTTL").arg(response).query_async(&mut redis)).unwrap();
    assert!(response.contains(":response:") && left > 0, "{response}, for {left} ms");
}

#[test]
fn several_commands_at_once_are_the_same_as_one_by_one() {
    let play = |at_once: bool| {
        let nodes = Nodes::new()?;
        let [one, two, _] = [1, 2, 3].map(|number| nodes.join(usize::from(number == 2), number, WINDOW, None).0);
        let to = |ids: &[u8]| {
            let ids = ids.iter().map(|number| id(*number).to_string()).collect();
            Some(crate::domain::Recipients::parse(ids, &Limits::default()).unwrap())
        };
        let refusal = || crate::domain::Refusal::new(crate::domain::Reason::SignalDataTooLarge, "too large");
        let named = |number| Named::Id(id(number));
        let commands = vec![
            Command::Send(1, Ok((signal("to all"), None))),
            Command::Send(2, Ok((signal("to one and nobody"), to(&[2, 9])))),
            Command::Send(3, Err(refusal().field("signal.data"))),
            Command::Send(2, Ok((signal("again"), None))),
            Command::Disconnect(5, Ok(named(9))),
            Command::Disconnect(6, Ok(named(2))),
            Command::Send(7, Ok((signal("to who is gone"), to(&[2])))),
            Command::Disconnect(6, Ok(named(3))),
            Command::Disconnect(8, Ok(Named::Other("none".into()))),
            Command::Disconnect(9, Ok(named(3))),
            Command::Send(4, Ok((signal("below"), None))),
            Command::Disconnect(10, Ok(named(1))),
            Command::Send(11, Ok((signal("from who is gone"), None))),
        ];
        let mut done = Vec::new();
        let told = nodes.told(OTHER, || {
            if at_once {
                done = nodes.ask(0, one.handle, commands, 2 * SECOND).unwrap();
            } else {
                done = commands
                    .into_iter()
                    .flat_map(|command| nodes.ask(0, one.handle, vec![command], 2 * SECOND).unwrap())
                    .collect();
            }
        });
        let thrown = Push::Release(nodes.name.clone(), two.handle, Ending::ForceDisconnected);
        assert!(told.contains(&thrown), "{told:?}");
        Some(done)
    };
    let (Some(at_once), Some(one_by_one)) = (play(true), play(false)) else { return };
    assert!(at_once.len() > 12 && at_once.contains(&Effect::Ended), "{at_once:?}");
    assert_eq!(at_once, one_by_one);
}

#[test]
fn the_log_keeps_as_many_bytes_as_it_may_whatever_sizes_come() {
    let limits = Limits { log_bytes: 4_000, signals_per_second: 0, ..Limits::default() };
    let Some(nodes) = Nodes::within(limits) else { return };
    let (one, _) = nodes.join(0, 1, WINDOW, None);
    let kept = || {
        let mut redis = nodes.bed.redis.clone();
        let [_, _, _, log, ..] = crate::engine::redis::Keys::of(&nodes.name, partitions()).all();
        nodes.bed.runtime.block_on(redis::cmd("XLEN").arg(log).query_async::<usize>(&mut redis)).unwrap()
    };
    // Each counts 64 more than it has.
    (0..100).for_each(|_| drop(nodes.send(0, one.handle, &"s".repeat(36), 2 * SECOND).unwrap()));
    assert_eq!(kept(), 40);
    let at_40 = one.sequence + 100 - 40;
    // One that takes the place of more than are looked at in one go.
    nodes.send(0, one.handle, &"l".repeat(3_700), 2 * SECOND).unwrap();
    assert_eq!(kept(), 3, "itself, and two of a hundred");
    // One that has no place at all.
    nodes.send(0, one.handle, &"x".repeat(5_000), 2 * SECOND).unwrap();
    assert_eq!(kept(), 0);
    nodes.send(0, one.handle, "after it", 2 * SECOND).unwrap();
    assert_eq!(kept(), 1);
    let since = |last_sequence| resume(&one).map(|resume| Resume { last_sequence, ..resume });
    let newest = one.sequence + 103;
    assert_eq!(nodes.join(0, 8, WINDOW, since(at_40)).0.outcome, Outcome::ResumedWithGap);
    let resumed = nodes.join(0, 8, WINDOW, since(newest - 1)).0;
    assert_eq!((resumed.outcome, resumed.missed.len()), (Outcome::Resumed, 1));
}
