//! A backend that pushes signals, loses answers, and asks again by the key.

use std::{sync::Arc, time::Duration};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use signalbox::proto;
use tokio::time::sleep;

use super::{record::Push, world::World};

/// Pushes signals into the sessions until the world is calm.
pub(crate) async fn push(world: Arc<World>, sessions: [&'static str; 2]) -> Vec<Push> {
    let mut dice = StdRng::seed_from_u64(world.plan.seed ^ 0xbac0_0e4d);
    let mut pushes = Vec::new();
    while !world.calm.is_cancelled() {
        sleep(Duration::from_millis(dice.random_range(50..1_500))).await;
        let number = pushes.len();
        let request = proto::SendFromServerRequest {
            session_id: sessions[dice.random_range(0..2)].into(),
            signal: Some(proto::Signal { r#type: "news".into(), data: format!("the backend says {number} ") }),
            to: None,
            idempotency_key: if dice.random_bool(0.7) { format!("key {number}") } else { String::new() },
        };
        let keyed = !request.idempotency_key.is_empty();
        let mut push = Push { request, answers: Vec::new(), calls: 0 };
        // With a key it is safe to ask until an answer comes, and once more.
        let most = if keyed { dice.random_range(1..=4) } else { 1 };
        while push.calls < most {
            push.calls += 1;
            sleep(Duration::from_millis(dice.random_range(1..60))).await;
            match world.send_from_server(&push.request).await {
                Some(answer) if dice.random_bool(0.8) => push.answers.push(answer),
                Some(_) => world.record.met("an answer lost"),
                None => {}
            }
        }
        world.record.trace("backend", format_args!("{push:?}"));
        pushes.push(push);
    }
    pushes
}
