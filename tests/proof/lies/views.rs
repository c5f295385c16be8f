//! Lies about who is there, and about how it all ended.

use super::*;

#[test]
fn a_member_lost_from_a_view_at_rest_is_found() {
    finds(&[Kind::Membership], |evidence, seed| {
        let (rest, _) = end(evidence);
        let (client, at) = pick(rest, seed)?;
        match &mut records(evidence, client)[at] {
            Record::AtRest { members } => members.pop_first().map(drop),
            _ => None,
        }
    });
}

#[test]
fn a_list_of_the_server_that_is_not_what_happened_is_found() {
    finds(&[Kind::Membership], |evidence, seed| {
        let members = &mut evidence.rest.as_mut().ok()?.members;
        match seed % 3 {
            0 => members.pop_first().map(drop),
            1 => members.insert("a ghost".into(), State::Interrupted).is_none().then_some(()),
            _ => members.first_entry().map(|mut first| *first.get_mut() = State::Interrupted),
        }
    });
}

#[test]
fn a_snapshot_that_is_not_what_happened_is_found() {
    finds(&[Kind::Membership], |evidence, seed| {
        let told = spots(
            evidence,
            |records, at| matches!(&records[at], Record::Joined(entry) | Record::Reconnected { entry, .. } if entry.members.len() > 2),
        );
        let (client, at) = pick(told, seed)?;
        let (Record::Joined(entry) | Record::Reconnected { entry, .. }) = &mut records(evidence, client)[at] else {
            return None;
        };
        match seed % 2 {
            0 => entry.members.insert("a ghost".into(), State::Connected).is_none().then_some(()),
            _ => {
                let other = entry.members.keys().find(|id| **id != entry.connection)?.clone();
                entry.members.remove(&other).map(drop)
            }
        }
    });
}

#[test]
fn a_connection_event_that_cannot_be_is_found() {
    finds(&[Kind::Absurd], |evidence, seed| {
        let (rest, place) = end(evidence);
        let ghost = String::from("a ghost");
        let thing = match seed % 3 {
            0 => Thing::Destroyed(ghost),
            1 => Thing::Restored(ghost),
            _ => Thing::Interrupted(ghost),
        };
        for (client, at) in rest {
            records(evidence, client).insert(at, Record::Saw { place, thing: thing.clone() });
        }
        Some(())
    });
}

#[test]
fn one_who_never_comes_to_rest_is_found() {
    finds(&[Kind::Restless], |evidence, seed| {
        let (rest, _) = end(evidence);
        let (client, at) = pick(rest, seed)?;
        records(evidence, client).remove(at);
        Some(())
    });
    finds(&[Kind::Restless], |evidence, _| {
        evidence.rest = Err("somebody didn't come".into());
        Some(())
    });
}

#[test]
fn one_who_rests_in_an_epoch_that_is_over_is_found() {
    finds(&[Kind::Silence, Kind::Membership], |evidence, _| evidence.rest.as_mut().ok().map(|rest| rest.epoch += 1));
}

#[test]
fn records_that_cannot_be_are_found() {
    finds(&[Kind::Impossible], |evidence, seed| {
        let over = spots(evidence, |records, at| matches!(records[at], Record::Disconnected { .. }));
        let (client, _) = pick(over, seed)?;
        let place = Place::new(1, 1);
        records(evidence, client).push(Record::Saw { place, thing: Thing::Destroyed("c".into()) });
        Some(())
    });
    finds(&[Kind::Impossible], |evidence, _| {
        let outcome = Outcome::Unknown;
        records(evidence, 0).push(Record::Decided { tag: "never sent".into(), outcome });
        Some(())
    });
}
