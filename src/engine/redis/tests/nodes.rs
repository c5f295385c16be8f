//! Two nodes: what each is told, and what becomes of a node that has no lease.

use std::time::Duration;

use redis::{PushKind, Value};

use super::{Bed, NODE, partitions, session};
use crate::{
    domain::{
        ConnectionId, DisconnectReason, Ending, Epoch, Event, IdempotencyKey, Limits, Named, RESUME_TOKEN_BYTES,
        ResumeToken, Role, Sequence, SessionId, Signal,
    },
    engine::redis::{
        Asked, Beat, Done, Pulse, Push, Store, Trouble, channel,
        keys::{self, watch},
    },
    session::{Admission, Command, Effect, Handle, Join, Outcome, Resume, ServerSend, View},
};

const OTHER: &str = "node-2:boot-1";
const SECOND: u64 = 1_000_000;
/// Above that of the server process.
const LIFE: Epoch = 2 * SECOND;
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
            for partition in partitions().all() {
                let pulse = bed.runtime.block_on(store.beat(&mut redis, partition, &anew(99))).unwrap();
                assert_eq!((pulse.until, pulse.due, pulse.era, pulse.dead), (100 * SECOND, None, SECOND, vec![]));
            }
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
        let joined = store.join(&mut redis, &self.name, None, join);
        let Done { answer, effects, .. } = self.bed.runtime.block_on(joined).unwrap();
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
        self.told_at(node, what).into_iter().map(|(_, push)| push).collect()
    }

    /// The same, each with the clock.
    fn told_at(&self, node: &str, what: impl FnOnce()) -> Vec<(u64, Push)> {
        let channel = channel(partitions().of(&self.name), node);
        let (_kept, mut hears) = self.bed.runtime.block_on(self.bed.listen(&channel));
        what();
        // Nothing that is published after this is what we wait for.
        let mut redis = self.bed.redis.clone();
        let mark = redis::cmd("SPUBLISH").arg(&channel).arg("").to_owned();
        self.bed.runtime.block_on(mark.exec_async(&mut redis)).unwrap();
        let mut told = Vec::new();
        loop {
            let push = self.bed.runtime.block_on(hears.recv()).expect("a push");
            let (PushKind::SMessage, [_, Value::BulkString(bytes)]) = (push.kind, &push.data[..]) else { continue };
            match Push::read(bytes, &Limits::default()).unwrap() {
                (0, Push::Echo) => return told,
                push => told.push(push),
            }
        }
    }
}

/// Takes a lease for so many seconds.
fn anew(seconds: u64) -> Beat {
    Beat { anew: Some("process-1".into()), ..again(seconds) }
}

/// Renews it.
fn again(seconds: u64) -> Beat {
    Beat { lease: Duration::from_secs(seconds), patience: Duration::from_secs(3), ..Beat::default() }
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
    assert_eq!(told, [Push::Events(nodes.name.clone(), LIFE, vec![entry.clone()])]);
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
    let partition = partitions().of(&nodes.name);
    let renewal = again(9);
    let beat = store.beat(&mut redis, partition, &renewal);
    assert!(matches!(nodes.bed.runtime.block_on(beat), Err(Trouble::Fenced)));
    let reborn = Store::new("node-1:boot-2".into(), Limits::default().into(), partitions()).at(late);
    let pulse = nodes.bed.runtime.block_on(reborn.beat(&mut redis, partition, &anew(9))).unwrap();
    assert_eq!((pulse.until, pulse.dead), (109 * SECOND, vec![]), "nobody is dead so soon");
    let (facts, _) = nodes.bed.runtime.block_on(reborn.look(&mut redis, &nodes.name, 0, 10)).unwrap().unwrap();
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
    let pulse = run.block_on(other.beat(&mut redis, partition, &again(60))).unwrap();
    assert_eq!((pulse.until, pulse.dead), (159 * SECOND, vec![]));
    let other = nodes.stores[1].at(103 * SECOND);
    assert_eq!(run.block_on(other.beat(&mut redis, partition, &again(60))).unwrap().dead, [NODE]);
    let Done { answer, effects, .. } = run.block_on(other.lose(&mut redis, &nodes.name, NODE)).unwrap();
    assert_eq!(answer, 2);
    let effects: Vec<_> = effects.into_iter().map(|(_, effect)| effect).collect();
    let told = events(&effects);
    let gone = Event::Destroyed(id(2), DisconnectReason::NodeLost);
    assert!(told.contains(&&Event::Interrupted(id(1))) && told.contains(&&gone), "{told:?}");
    assert_eq!(run.block_on(other.sessions_on(&mut redis, partition, NODE, 10)).unwrap(), []);
    // Its window began when the lease was over.
    let later = nodes.stores[1].at(105 * SECOND);
    let pulse = run.block_on(later.beat(&mut redis, partition, &again(60))).unwrap();
    assert_eq!(pulse.due, Some(105 * SECOND));
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
    let key = IdempotencyKey::parse("key").unwrap();
    let store = nodes.stores[0].at(2 * SECOND);
    let sent = store.send_from_server(&mut redis, &nodes.name, ServerSend { signal, to: None, key });
    assert_eq!(run.block_on(sent).unwrap().answer.unwrap().recipient_count, 1);
    run.block_on(store.send(&mut redis, &nodes.name, one.handle, vec![Command::Leave])).unwrap();
    let mut keys: Vec<String> = run.block_on(redis::cmd("KEYS").arg("*").query_async(&mut redis)).unwrap();
    keys.retain(|key| of_a_session(key));
    let [response] = &keys[..] else { panic!("{keys:?}") };
    let left: i64 = run.block_on(redis::cmd("PTTL").arg(response).query_async(&mut redis)).unwrap();
    assert!(response.contains(":response:") && left > 0, "{response}, for {left} ms");
}

#[test]
fn what_streams_ask_for_together_is_done_as_if_each_had_asked_alone() {
    let Some(nodes) = Nodes::new() else { return };
    let [one, two, three] = [1, 2, 3].map(|number| nodes.join(0, number, WINDOW, None).0.handle);
    let ask = |from, id, data: &str| Asked {
        session: nodes.name.clone(),
        from,
        refused: std::sync::Arc::default(),
        commands: vec![Command::Send(id, Ok((signal(data), None))), Command::Send(id + 1, Ok((signal(data), None)))]
            .into(),
    };
    let gone = Handle { generation: 9, ..one };
    let asked = [ask(one, 1, "a"), ask(gone, 1, "b"), ask(two, 1, "c"), ask(three, 1, "d"), ask(one, 3, "e")];
    let mut redis = nodes.bed.redis.clone();
    let run = &nodes.bed.runtime;
    // One meets an error in what Redis has.
    let broken = crate::engine::redis::Keys::of(&nodes.name, partitions()).outcomes(&two.connection);
    run.block_on(redis::cmd("SET").arg(&broken).arg("no stream").exec_async(&mut redis)).unwrap();
    let done = run.block_on(nodes.stores[0].at(2 * SECOND).send_all(&mut redis, &asked)).unwrap().answer;
    let accepted = |of: Handle, places: [Sequence; 2]| {
        let done = done[asked.iter().position(|asked| asked.from == of).unwrap()].as_ref().unwrap();
        let answered = |effect: &Effect| match effect {
            Effect::Answer(handle, result) if *handle == of => Some(result.outcome.as_ref().unwrap().sequence),
            _ => None,
        };
        assert_eq!(done.effects.iter().filter_map(|(_, effect)| answered(effect)).collect::<Vec<_>>(), places);
    };
    accepted(one, [4, 5]);
    assert!(done[1].as_ref().is_ok_and(|done| done.effects.is_empty()), "{:?}", done[1]);
    let trouble = done[2].as_ref().unwrap_err();
    assert!(trouble.to_string().contains("WRONGTYPE") && !trouble.changed_nothing(), "{trouble}");
    // What had its place before the error keeps it.
    accepted(three, [7, 8]);
    assert_eq!(done[4].as_ref().unwrap().effects.len(), 4);
}

#[test]
fn what_a_node_refused_by_itself_is_told_again_by_a_resume() {
    let Some(nodes) = Nodes::new() else { return };
    let (one, _) = nodes.join(0, 1, WINDOW, None);
    let away = crate::domain::Refusal::new(crate::domain::Reason::EngineUnavailable, "away");
    let asked = Asked {
        session: nodes.name.clone(),
        from: one.handle,
        refused: vec![(1, away.clone()), (2, away)].into(),
        commands: vec![Command::Send(3, Ok((signal("taken"), None))), Command::Send(2, Ok((signal("again"), None)))]
            .into(),
    };
    let mut redis = nodes.bed.redis.clone();
    let done =
        nodes.bed.runtime.block_on(nodes.stores[0].at(2 * SECOND).send_all(&mut redis, &[asked])).unwrap().answer;
    let answered = |effect: &Effect| matches!(effect, Effect::Answer(_, result) if result.send_id != 1);
    let effects = &done[0].as_ref().unwrap().effects;
    assert_eq!(effects.iter().filter(|(_, effect)| answered(effect)).count(), 2, "the first two were told before");
    let (back, _) = nodes.join(1, 9, WINDOW, resume(&one));
    let restated: Vec<_> = back.restated.iter().map(|one| (one.send_id, one.outcome.is_ok())).collect();
    assert_eq!((back.last_send_id, restated), (3, vec![(1, false), (2, false), (3, true)]));
}

/// Whether this is no partition's key.
fn of_a_session(key: impl AsRef<str>) -> bool {
    ![":leases", ":server", ":clock"].iter().any(|end| key.as_ref().ends_with(end))
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
        let log = crate::engine::redis::Keys::of(&nodes.name, partitions()).log();
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

#[test]
fn streams_are_still_ones_own_under_a_new_name_unless_they_are_elsewhere() {
    let Some(nodes) = Nodes::new() else { return };
    let (kept, _) = nodes.join(0, 1, WINDOW, None);
    let (moved, _) = nodes.join(0, 2, WINDOW, None);
    let (other, _) = nodes.join(1, 3, WINDOW, None);
    nodes.join(1, 9, WINDOW, resume(&moved));
    let (mut redis, run) = (nodes.bed.redis.clone(), &nodes.bed.runtime);
    let partition = partitions().of(&nodes.name);
    let name = "node-1:boot-2";
    let reborn = Store::new(name.into(), Limits::default().into(), partitions()).at(3 * SECOND);
    let before = Some((NODE.to_owned(), Duration::from_secs(5)));
    run.block_on(reborn.beat(&mut redis, partition, &Beat { before, ..anew(90) })).unwrap();
    let unknown = Handle { connection: id(8), generation: 1 };
    let streams = [kept.handle, moved.handle, unknown];
    let settled = run.block_on(reborn.settle(&mut redis, &nodes.name, &streams)).unwrap();
    assert_eq!((settled.epoch, settled.answer), (LIFE, (3, vec![true, false, false])));
    let told = nodes.told(name, || drop(nodes.send(1, other.handle, "to all", 3 * SECOND).unwrap()));
    assert!(matches!(&told[..], [Push::Events(..)]), "{told:?}");
    assert_eq!(run.block_on(reborn.sessions_on(&mut redis, partition, NODE, 10)).unwrap(), []);
}

/// Two nodes, and a session, when another process answers.
struct Successor {
    nodes: Nodes,
    one: Admission,
    clock: u64,
}

impl Successor {
    fn new() -> Option<Self> {
        let nodes = Nodes::new()?;
        let (one, _) = nodes.join(0, 1, WINDOW, None);
        let mut redis = nodes.bed.redis.clone();
        let sent = nodes.stores[0].at(2 * SECOND);
        let signal = ServerSend { signal: signal("sent"), to: None, key: None };
        let clock = nodes.bed.runtime.block_on(sent.send_from_server(&mut redis, &nodes.name, signal)).unwrap().clock;
        assert_eq!(clock, SECOND + 2, "it begins with the era");
        Some(Self { nodes, one, clock })
    }

    /// A node, under a new name, says what it was told.
    fn says(&self, node: usize, process: &str, clock: u64, at: u64) -> Result<Pulse, Trouble> {
        let name = ["node-1:boot-2", "node-2:boot-2"][node];
        let store = Store::new(name.into(), Limits::default().into(), partitions()).at(at);
        let before = Some(([NODE, OTHER][node].to_owned(), Duration::from_secs(8)));
        let beat = Beat { anew: Some(process.into()), before, clock, ..again(90) };
        let partition = partitions().of(&self.nodes.name);
        let mut redis = self.nodes.bed.redis.clone();
        self.nodes.bed.runtime.block_on(store.beat(&mut redis, partition, &beat))
    }

    fn life(&self) -> Option<Epoch> {
        let mut redis = self.nodes.bed.redis.clone();
        let store = self.nodes.stores[1].at(6 * SECOND);
        let looked = store.look(&mut redis, &self.nodes.name, 0, 1);
        self.nodes.bed.runtime.block_on(looked).unwrap().map(|(facts, _)| facts.epoch)
    }
}

#[test]
fn where_another_process_knows_all_that_was_told_nothing_changes() {
    let Some(successor) = Successor::new() else { return };
    for _ in 0..2 {
        let waits = successor.says(0, "process-2", successor.clock, 4 * SECOND);
        assert!(matches!(waits, Err(Trouble::Wait)), "{waits:?}");
    }
    for node in [1, 0, 1] {
        let pulse = successor.says(node, "process-2", successor.clock, 5 * SECOND).unwrap();
        assert_eq!((pulse.era, pulse.is_new_era), (SECOND, false));
    }
    assert_eq!(successor.life(), Some(LIFE));
}

#[test]
fn where_another_process_lacks_what_was_told_an_era_begins() {
    let Some(successor) = Successor::new() else { return };
    let waits = successor.says(0, "process-2", successor.clock + 1, 4 * SECOND);
    assert!(matches!(waits, Err(Trouble::Wait)), "{waits:?}");
    assert_eq!(successor.life(), Some(LIFE));
    let pulse = successor.says(1, "process-2", successor.clock, 5 * SECOND).unwrap();
    assert_eq!((pulse.era, pulse.is_new_era), (5 * SECOND, true));
    assert_eq!(successor.says(0, "process-2", successor.clock + 1, 5 * SECOND).unwrap().era, pulse.era);
    assert_eq!(successor.life(), None);
    let Successor { nodes, one, .. } = successor;
    // The next life is above the era, and knows nobody.
    let (again, _) = nodes.join(0, 9, WINDOW, resume(&one));
    assert_eq!((again.outcome, again.sequence, again.snapshot.len()), (Outcome::New, 1, 1));
    let mut redis = nodes.bed.redis.clone();
    let swept = nodes.stores[0].sweep(&mut redis, &nodes.name, pulse.era);
    nodes.bed.runtime.block_on(swept).unwrap();
    assert_eq!(nodes.send(0, again.handle, "in the new life", 5 * SECOND).unwrap().len(), 2, "it wasn't swept");
}

#[test]
fn whatever_tells_of_a_script_tells_what_the_clock_was_by_it() {
    let Some(successor) = Successor::new() else { return };
    let Successor { nodes, one, .. } = &successor;
    let partition = partitions().of(&nodes.name);
    let mut redis = nodes.bed.redis.clone();
    let (run, store) = (&nodes.bed.runtime, nodes.stores[0].at(2 * SECOND));
    let (other, _) = nodes.join(1, 2, WINDOW, None);
    let signal = ServerSend { signal: signal("keyed"), to: None, key: IdempotencyKey::parse("key").unwrap() };
    let mut send = || run.block_on(store.send_from_server(&mut redis, &nodes.name, signal.clone())).unwrap().clock;
    let mut clock = 0;
    let told = nodes.told_at(OTHER, || clock = send());
    assert!(matches!(&told[..], [(told, Push::Events(..))] if *told == clock), "{told:?} at {clock}");
    // What is told again, or read, is a script's, too.
    assert_eq!(send(), clock);
    let log = run.block_on(store.read(&mut redis, &nodes.name, LIFE, other.sequence)).unwrap();
    assert_eq!((log.clock, log.answer.map(|entries| entries.len())), (clock, Some(1)));
    let resumed = nodes.told_at(NODE, || drop(nodes.join(1, 9, WINDOW, resume(one))));
    assert!(matches!(resumed[..], [(told, Push::Release(..))] if told == clock + 1), "{resumed:?} at {clock}");
    // A process without that, and whose script it was has not heard of it.
    run.block_on(redis::cmd("DECR").arg(keys::clock(partition)).exec_async(&mut redis)).unwrap();
    let waits = successor.says(1, "process-2", clock, 4 * SECOND);
    assert!(matches!(waits, Err(Trouble::Wait)), "{waits:?}");
    assert!(successor.says(0, "process-2", resumed[0].0, 4 * SECOND).unwrap().is_new_era);
}

#[test]
fn where_a_node_that_nobody_waited_for_was_told_more_an_era_begins_late() {
    let Some(successor) = Successor::new() else { return };
    let partition = partitions().of(&successor.nodes.name);
    let mut redis = successor.nodes.bed.redis.clone();
    // As of before the other node's lease.
    let run = &successor.nodes.bed.runtime;
    run.block_on(redis::cmd("ZREM").arg(keys::leases(partition)).arg(OTHER).exec_async(&mut redis)).unwrap();
    let pulse = successor.says(0, "process-2", successor.clock, 4 * SECOND).unwrap();
    assert_eq!((pulse.era, pulse.is_new_era), (SECOND, false));
    let pulse = successor.says(1, "process-2", successor.clock + 1, 5 * SECOND).unwrap();
    assert_eq!((pulse.era, pulse.is_new_era), (5 * SECOND, true));
    assert_eq!(successor.life(), None);
    // What was told in that era doesn't begin another.
    let pulse = successor.says(0, "process-2", successor.clock, 6 * SECOND).unwrap();
    assert_eq!((pulse.era, pulse.is_new_era), (5 * SECOND, false));
    let Successor { nodes, one, .. } = &successor;
    let (again, _) = nodes.join(0, 9, WINDOW, resume(one));
    assert_eq!(again.outcome, Outcome::New);
}

#[test]
fn a_node_that_says_nothing_any_more_may_have_been_told_what_is_lost() {
    let Some(successor) = Successor::new() else { return };
    let waits = successor.says(0, "process-2", successor.clock, 99 * SECOND);
    assert!(matches!(waits, Err(Trouble::Wait)), "{waits:?}");
    let pulse = successor.says(0, "process-2", successor.clock, 101 * SECOND).unwrap();
    assert!(pulse.is_new_era);
    // What is left of its sessions is removed.
    let Successor { nodes, .. } = successor;
    let mut redis = nodes.bed.redis.clone();
    let run = &nodes.bed.runtime;
    let store = Store::new("node-1:boot-2".into(), Limits::default().into(), partitions()).at(102 * SECOND);
    run.block_on(store.sweep(&mut redis, &nodes.name, pulse.era)).unwrap();
    let keys: Vec<String> = run.block_on(redis::cmd("KEYS").arg("*").query_async(&mut redis)).unwrap();
    assert!(!keys.iter().any(of_a_session), "{keys:?}");
}

#[test]
fn lives_are_told_apart_by_redis_itself() {
    let Some(nodes) = Nodes::new() else { return };
    let join = |name: &SessionId, number| {
        let join = Join {
            data: String::new(),
            role: Role::Publisher,
            window: WINDOW,
            view: View::default(),
            resume: None,
            fresh_id: id(number),
            fresh_token: token(number),
        };
        let mut redis = nodes.bed.redis.clone();
        nodes.bed.runtime.block_on(nodes.stores[0].at(2 * SECOND).join(&mut redis, name, None, join)).unwrap().epoch
    };
    let first = session("n");
    let other = (0..).map(|n| session(&format!("n{n}"))).find(|n| partitions().of(n) == partitions().of(&first));
    assert_eq!((join(&first, 20), join(&other.unwrap(), 21)), (2 * SECOND, 2 * SECOND + 1));
}

#[test]
fn who_wants_to_know_is_told_who_comes_and_goes() {
    let Some(nodes) = Nodes::new() else { return };
    let (mut redis, run) = (nodes.bed.redis.clone(), &nodes.bed.runtime);
    let partition = partitions().of(&nodes.name);
    let (_kept, mut hears) = run.block_on(nodes.bed.listen(&watch(partition)));
    let (one, _) = nodes.join(0, 1, WINDOW, None);
    let watched = Beat { watched: Duration::from_secs(10), ..again(90) };
    run.block_on(nodes.stores[0].at(2 * SECOND).beat(&mut redis, partition, &watched)).unwrap();
    nodes.join(1, 2, WINDOW, None);
    nodes.send(0, one.handle, "of no interest", 2 * SECOND).unwrap();
    let told = std::iter::from_fn(|| hears.try_recv().ok()).filter(|push| push.kind == PushKind::SMessage).count();
    assert_eq!(told, 1);
}
