//! Random histories, played on the session and on the scripts at once.

use std::{collections::HashMap, rc::Rc, sync::Arc};

use super::{Bed, session};
use crate::{
    clock::Now,
    domain::{ConnectionId, Ending, Epoch, Limits, Named, Refusal, ResumeToken, Sequence, SessionId},
    engine::redis::{Done, Store, Trouble},
    session::{
        Admission, Command, Effect, Handle, Join, SendResult, ServerAccepted, ServerSend, Session,
        tests::{
            properties::{WORTH_MEETING, play_many},
            subject::Subject,
        },
    },
};

/// How many histories are played, unless `SIGNALBOX_REDIS_HISTORIES` says otherwise.
const HISTORIES: usize = 300;

/// A session, and the same in Redis.
struct Both {
    bed: Rc<Bed>,
    session: Session,
    store: Store,
    name: SessionId,
    /// The session counts its streams, the scripts those of each connection.
    generations: HashMap<Handle, Handle>,
}

impl Both {
    fn new(bed: &Rc<Bed>, limits: &Arc<Limits>, name: &str) -> Self {
        Self {
            session: Session::new(Arc::clone(limits)),
            store: bed.store(limits),
            name: session(name),
            bed: Rc::clone(bed),
            generations: HashMap::new(),
        }
    }

    fn store(&self, now: Now) -> Store {
        self.store.at(now.monotonic.as_micros() as u64)
    }

    fn handle(&self, handle: Handle) -> Handle {
        self.generations.get(&handle).copied().unwrap_or(Handle { generation: 0, ..handle })
    }

    /// The scripts' effects are the session's.
    fn same(&mut self, effects: &[Effect], theirs: &[Effect]) {
        for (ours, theirs) in effects.iter().zip(theirs) {
            if let (Effect::Attach(ours, _), Effect::Attach(theirs, _)) = (ours, theirs) {
                self.generations.insert(*ours, *theirs);
            }
        }
        let renamed: Vec<_> = effects
            .iter()
            .map(|effect| match effect.clone() {
                Effect::Answer(handle, result) => Effect::Answer(self.handle(handle), result),
                Effect::Attach(handle, view) => Effect::Attach(self.handle(handle), view),
                Effect::Release(handle, ending, resumable) => Effect::Release(self.handle(handle), ending, resumable),
                effect => effect,
            })
            .collect();
        assert_eq!(theirs, renamed);
    }

    fn done<T>(done: Result<Done<T>, Trouble>) -> (T, Vec<Effect>) {
        let Done { answer, effects, .. } = done.unwrap_or_else(|trouble| panic!("{trouble}"));
        (answer, effects.into_iter().map(|(_, effect)| effect).collect())
    }
}

/// What the effects of this call alone are.
macro_rules! both {
    ($self:ident, $effects:ident, $ours:expr, $theirs:expr) => {{
        let before = $effects.len();
        let ours = $ours;
        let (theirs, done) = Self::done($self.bed.runtime.block_on($theirs));
        $self.same(&$effects[before..], &done);
        (ours, theirs)
    }};
}

impl Subject for Both {
    fn join(&mut self, now: Now, epoch: Epoch, join: Join, effects: &mut Vec<Effect>) -> Result<Admission, Refusal> {
        let (store, mut redis) = (self.store(now), self.bed.redis.clone());
        let (ours, theirs) = both!(
            self,
            effects,
            self.session.join(now, epoch, join.clone(), effects),
            store.join(&mut redis, &self.name, Some(epoch), join)
        );
        let renamed = ours.clone().map(|admission| Admission { handle: self.handle(admission.handle), ..admission });
        assert_eq!(theirs, renamed);
        ours
    }

    fn command(&mut self, now: Now, from: Handle, command: Command, effects: &mut Vec<Effect>) {
        let (store, mut redis, handle) = (self.store(now), self.bed.redis.clone(), self.handle(from));
        both!(
            self,
            effects,
            self.session.command(now, from, command.clone(), effects),
            store.send(&mut redis, &self.name, handle, vec![command])
        );
    }

    fn command_beside(
        &mut self,
        now: Now,
        from: ConnectionId,
        token: &ResumeToken,
        command: Command,
        effects: &mut Vec<Effect>,
    ) -> Result<Option<SendResult>, Refusal> {
        let (store, mut redis) = (self.store(now), self.bed.redis.clone());
        let (ours, theirs) = both!(
            self,
            effects,
            self.session.command_beside(now, from, token, command.clone(), effects),
            store.command_beside(&mut redis, &self.name, from, token, &Arc::new(vec![command]))
        );
        assert_eq!(theirs, ours.clone().ok().map(Vec::from_iter));
        ours
    }

    fn detach(&mut self, now: Now, handle: Handle, ending: Ending, effects: &mut Vec<Effect>) {
        let (store, mut redis, theirs) = (self.store(now), self.bed.redis.clone(), self.handle(handle));
        both!(
            self,
            effects,
            self.session.detach(now, handle, ending, effects),
            store.detach(&mut redis, &self.name, theirs, ending)
        );
    }

    fn tick(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let (store, mut redis) = (self.store(now), self.bed.redis.clone());
        both!(self, effects, self.session.tick(now, effects), store.reap(&mut redis, &self.name));
    }

    fn send_from_server(
        &mut self,
        now: Now,
        send: ServerSend,
        effects: &mut Vec<Effect>,
    ) -> Result<ServerAccepted, Refusal> {
        let (store, mut redis) = (self.store(now), self.bed.redis.clone());
        let (ours, theirs) = both!(
            self,
            effects,
            self.session.send_from_server(now, send.clone(), effects),
            store.send_from_server(&mut redis, &self.name, send)
        );
        assert_eq!(theirs, ours);
        ours
    }

    fn disconnect_from_server(
        &mut self,
        now: Now,
        connection: &Named,
        effects: &mut Vec<Effect>,
    ) -> Result<Sequence, Refusal> {
        let (store, mut redis) = (self.store(now), self.bed.redis.clone());
        let (ours, theirs) = both!(
            self,
            effects,
            self.session.disconnect_from_server(now, connection, effects),
            store.disconnect(&mut redis, &self.name, connection)
        );
        assert_eq!(theirs, ours);
        ours
    }

    fn look(&mut self, now: Now) -> &Session {
        let (store, mut redis) = (self.store(now), self.bed.redis.clone());
        let looked = self.bed.runtime.block_on(store.look(&mut redis, &self.name, 0, 1_000));
        let ours = self.session.facts().map(|facts| (facts, self.session.connections(0).collect::<Vec<_>>()));
        assert_eq!(looked.unwrap_or_else(|trouble| panic!("{trouble}")), ours);
        &self.session
    }
}

#[test]
fn scripts_do_what_the_session_does_in_every_history() {
    let Some(bed) = Bed::new() else { return };
    bed.lease(super::NODE, u64::MAX >> 12);
    let bed = Rc::new(bed);
    let asked = std::env::var("SIGNALBOX_REDIS_HISTORIES").ok().and_then(|count| count.parse().ok());
    let count = asked.unwrap_or(HISTORIES);
    let mut number = 0;
    let met = play_many(7, count, |limits| {
        number += 1;
        Box::new(Both::new(&bed, limits, &format!("session-{number}")))
    });
    for what in WORTH_MEETING {
        assert!(met.get(what).is_some_and(|times| *times >= 10), "{what}: {met:?}");
    }
}
