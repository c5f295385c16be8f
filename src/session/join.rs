//! Getting in: joining anew, and resuming.

use std::{sync::Arc, time::Duration};

use crate::{
    clock::Now,
    domain::{ConnectionId, ConnectionInfo, Ending, Epoch, Event, Refusal, ResumeToken, Role, SendId, Sequence},
};

use super::{
    Session,
    bucket::Bucket,
    effect::{Admission, ConnectionView, Effect, Handle, Outcome, View},
    ledger::Ledger,
    log::{Log, Missed},
    member::{Member, Stream},
    refusals::{full, too_much_data},
};

/// How somebody wants in.
#[derive(Clone, Debug)]
pub struct Join {
    /// What it says about itself; ignored in a resume.
    pub data: String,
    /// What it may do.
    pub role: Role,
    /// The window it asks for.
    pub window: Duration,
    /// Which events it wants.
    pub view: View,
    /// The connection it wants back.
    pub resume: Option<Resume>,
    /// The name it gets when it joins anew: from a random source.
    pub fresh_id: ConnectionId,
    /// The secret it gets when it joins anew: from a random source.
    pub fresh_token: ResumeToken,
}

/// What a client remembers of its connection.
#[derive(Clone, Debug)]
pub struct Resume {
    /// The connection; none when the text given can't be one.
    pub connection: Option<ConnectionId>,
    /// Its secret.
    pub token: ResumeToken,
    /// The session's life.
    pub epoch: Epoch,
    /// The newest sequence seen.
    pub last_sequence: Sequence,
    /// The newest outcome seen.
    pub last_result_send_id: SendId,
}

impl Session {
    /// Lets somebody in. `epoch` becomes the session's if this join starts it;
    /// it must be above that of every earlier life.
    ///
    /// # Errors
    /// `CONNECTION_DATA_TOO_LARGE`, `SESSION_FULL`.
    pub fn join(
        &mut self,
        now: Now,
        epoch: Epoch,
        join: Join,
        effects: &mut Vec<Effect>,
    ) -> Result<Admission, Refusal> {
        // A window that is over but not yet ticked away must not be resumed.
        self.tick(now, effects);
        match join.resume.as_ref().and_then(|resume| self.resumable(resume)) {
            Some(joined) => Ok(self.resume(now, joined, join, effects)),
            None => self.join_anew(now, epoch, join, effects),
        }
    }

    /// The member that a resume may have.
    fn resumable(&self, resume: &Resume) -> Option<Sequence> {
        let joined = *self.index.get(&resume.connection?)?;
        (self.members.get(&joined)?.token == resume.token.hash()).then_some(joined)
    }

    fn join_anew(
        &mut self,
        now: Now,
        epoch: Epoch,
        join: Join,
        effects: &mut Vec<Effect>,
    ) -> Result<Admission, Refusal> {
        let (given, most) = (join.data.len(), self.limits.max_connection_data_bytes);
        // Not when it is parsed: whether a resume is honoured, and so ignores
        // its data, shows only here.
        if self.limits.exceeds(given, most) {
            return Err(too_much_data(given, &self.limits));
        }
        let (count, most) = (self.members.len(), self.limits.max_connections_per_session);
        if self.limits.exceeds(count + 1, most) {
            return Err(full(count, &self.limits));
        }
        if self.members.is_empty() {
            debug_assert!(epoch > self.epoch);
            self.epoch = epoch;
            self.created_at = now.wall;
            self.sequence = 0;
            self.log = Log::default();
            effects.push(Effect::Started);
        }
        let info =
            Arc::new(ConnectionInfo { id: join.fresh_id, created_at: now.wall, data: join.data, role: join.role });
        let joined = self.append(now, Event::Created(Arc::clone(&info)), effects);
        self.generation += 1;
        let handle = Handle { connection: info.id, generation: self.generation };
        let window = join.window.min(self.limits.max_resume_window);
        self.filtering += usize::from(join.view.signal_types.is_selective());
        effects.push(Effect::Attach(handle, join.view.clone()));
        self.index.insert(info.id, joined);
        self.members.insert(
            joined,
            Member {
                info: Arc::clone(&info),
                joined,
                token: join.fresh_token.hash(),
                window,
                view: join.view,
                generation: self.generation,
                stream: Stream::Attached,
                ledger: Ledger::default(),
                bucket: Bucket::default(),
            },
        );
        Ok(Admission {
            handle,
            outcome: Outcome::New,
            snapshot: self.snapshot(joined),
            info,
            epoch: self.epoch,
            sequence: joined,
            token: join.fresh_token,
            window,
            last_send_id: 0,
            restated: Vec::new(),
            missed: Missed::default(),
        })
    }

    fn resume(&mut self, now: Now, joined: Sequence, join: Join, effects: &mut Vec<Effect>) -> Admission {
        let Join { view, resume, window, .. } = join;
        // `resumable` found it by these, so they are there.
        let resume = resume.expect("a resume was found resumable");
        let window = window.min(self.limits.max_resume_window);
        self.generation += 1;
        let generation = self.generation;
        let member = self.members.get_mut(&joined).expect("a resumable member is a member");
        let id = member.info.id;
        let taken_over = Handle { connection: id, generation: member.generation };
        self.filtering -= usize::from(member.view.signal_types.is_selective());
        self.filtering += usize::from(view.signal_types.is_selective());
        member.view = view.clone();
        member.window = window;
        member.generation = generation;
        let before = std::mem::replace(&mut member.stream, Stream::Attached);
        let missed = self.missed(joined, &resume, &view);
        match before {
            Stream::Attached => effects.push(Effect::Release(taken_over, Ending::TakenOver, true)),
            Stream::Detached(until) => {
                self.deadlines.remove(&(until, joined));
                self.append(now, Event::Restored(id), effects);
            }
        }
        let handle = Handle { connection: id, generation };
        effects.push(Effect::Attach(handle, view));
        let member = &self.members[&joined];
        let mut admission = Admission {
            handle,
            outcome: Outcome::ResumedWithGap,
            info: Arc::clone(&member.info),
            snapshot: Vec::new(),
            epoch: self.epoch,
            sequence: self.sequence,
            token: resume.token,
            window,
            last_send_id: member.ledger.last(),
            restated: member.ledger.after(resume.last_result_send_id),
            missed: Missed::default(),
        };
        match missed {
            Some((since, missed)) => {
                admission.outcome = Outcome::Resumed;
                admission.sequence = since;
                admission.missed = missed;
            }
            None => admission.snapshot = self.snapshot(joined),
        }
        admission
    }

    /// What the client lacks, and since when; nothing when the log, or this
    /// life of the session, doesn't reach back to it.
    fn missed(&self, joined: Sequence, resume: &Resume, view: &View) -> Option<(Sequence, Missed)> {
        if resume.epoch != self.epoch {
            return None;
        }
        let member = self.members.get(&joined)?;
        // Nothing before its joining was ever for it.
        let since = resume.last_sequence.max(member.joined);
        Some((since, self.log.after(since, self.sequence, view, member.info.id)?))
    }

    /// Everyone, or, for one who is spared the others, only itself.
    fn snapshot(&self, joined: Sequence) -> Vec<ConnectionView> {
        match self.members.get(&joined) {
            Some(me) if me.view.suppress_connection_events => vec![me.to_view()],
            _ => self.members.values().map(Member::to_view).collect(),
        }
    }
}
