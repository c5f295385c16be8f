//! A scenario, step by step.

use std::{collections::BTreeMap, time::Duration};

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    agent::{Agent, Language},
    faults,
    proxy::Proxy,
    servers::{Secret, Server},
    way::Way,
};

/// The session that everybody is in.
const SESSION: &str = "conformance";

/// Which faults there are, where there are some.
const SEED: u64 = 7;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    pub(crate) name: String,
    /// Flags of the servers.
    #[serde(default)]
    server: Vec<String>,
    #[serde(default = "one")]
    servers: usize,
    /// Whether a token is needed.
    #[serde(default)]
    secret: bool,
    /// Whether the network has the proof's faults.
    #[serde(default)]
    faults: bool,
    steps: Vec<Step>,
}

fn one() -> usize {
    1
}

/// One of these; see `clients/scenarios.json`.
#[derive(Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Step {
    /// Asks something, and waits for what is expected.
    Do {
        who: String,
        r#do: String,
        with: Option<Value>,
        expect: Option<Value>,
        fails: Option<Value>,
    },
    /// Some event comes, after others.
    Sees {
        who: String,
        sees: Value,
    },
    /// The next event; one that may come first is passed over.
    Next {
        who: String,
        next: Value,
        #[serde(default)]
        optional: bool,
    },
    /// The next signal.
    Signal {
        who: String,
        signal: Value,
    },
    /// Sends so many signals, `0`, `1`, ..., and doesn't wait.
    Signals {
        who: String,
        signals: usize,
        #[serde(default)]
        every: f64,
    },
    /// So many of those were accepted.
    Accepted {
        who: String,
        accepted: usize,
    },
    /// Each of so many came, once, in order.
    Each {
        who: String,
        each: usize,
    },
    /// Some event came, at some time.
    Was {
        who: String,
        was: String,
    },
    Network {
        network: String,
        is: String,
    },
    Server {
        server: usize,
        is: String,
    },
    Pause {
        pause: f64,
    },
}

/// What a scenario is played with.
struct Scene<'a> {
    language: &'a Language,
    agents: BTreeMap<String, Agent>,
    ways: BTreeMap<String, Vec<Way>>,
    proxies: Vec<Proxy>,
    servers: Vec<Server>,
    secret: Option<Secret>,
    faults: bool,
    sent: Vec<u64>,
}

/// Plays it on agents of one language.
///
/// # Errors
/// What went otherwise.
pub(crate) async fn play(scenario: &Scenario, language: &Language) -> Result<(), String> {
    let secret = if scenario.secret { Some(Secret::new()?) } else { None };
    let mut flags = scenario.server.clone();
    flags.extend(language.flags.iter().map(ToString::to_string));
    if let Some(secret) = &secret {
        flags.extend(["--jwt-secret-file".to_owned(), secret.path().display().to_string()]);
    }
    let mut servers = Vec::new();
    for _ in 0..scenario.servers {
        servers.push(Server::start(&flags).await?);
    }
    let (agents, ways, proxies, sent) = Default::default();
    let mut scene = Scene { language, agents, ways, proxies, servers, secret, faults: scenario.faults, sent };
    for (number, step) in scenario.steps.iter().enumerate() {
        scene.play(step).await.map_err(|why| format!("step {}: {why}", number + 1))?;
    }
    Ok(())
}

impl Scene<'_> {
    async fn play(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Do { who, r#do, with, expect, fails } => {
                let answer = self.ask(who, r#do, with.as_ref()).await?;
                let (what, wanted) = match fails {
                    Some(fails) => ("error", fails.clone()),
                    None => ("ok", expect.clone().unwrap_or_else(|| json!({}))),
                };
                let wanted = self.filled(&wanted)?;
                let is_list = what == "ok" && expect.is_none() && answer["ok"].is_array();
                if !is_list && !matches(&wanted, &answer[what]) {
                    return Err(format!("{who}'s {do} gave {answer}, not {what} {wanted}"));
                }
                if r#do == "join" && what == "ok" {
                    self.agent(who)?.connection = answer["ok"]["connection"].as_str().unwrap_or_default().to_owned();
                }
            }
            Step::Sees { who, sees } => {
                let wanted = self.filled(sees)?;
                let agent = self.agent(who)?;
                loop {
                    let event = agent.event().await.map_err(|why| format!("{who} never saw {wanted}: {why}"))?;
                    if matches(&wanted, &event) {
                        break;
                    }
                }
            }
            Step::Next { who, next, optional } => {
                let wanted = self.filled(next)?;
                let agent = self.agent(who)?;
                let event = agent.event().await.map_err(|why| format!("{who} never saw {wanted}: {why}"))?;
                if !matches(&wanted, &event) && !optional {
                    return Err(format!("{who} saw {event}, not {wanted}"));
                }
                if *optional && !matches(&wanted, &event) {
                    agent.put_back(event);
                }
            }
            Step::Signal { who, signal } => {
                let wanted = self.filled(signal)?;
                let event =
                    self.agent(who)?.signal().await.map_err(|why| format!("{who} never saw {wanted}: {why}"))?;
                if !matches(&wanted, &event) {
                    return Err(format!("{who} saw {event}, not {wanted}"));
                }
            }
            Step::Signals { who, signals, every } => {
                self.sent.clear();
                for number in 0..*signals {
                    let id = self.agent(who)?.ask("signal", &json!({ "data": number.to_string() })).await?;
                    self.sent.push(id);
                    sleep(Duration::from_secs_f64(*every)).await;
                }
            }
            Step::Accepted { who, accepted } => {
                let sent = std::mem::take(&mut self.sent);
                let agent = self.agent(who)?;
                for id in sent.iter().take(*accepted) {
                    let answer = agent.answer(*id).await?;
                    if answer["ok"]["sequence"].as_u64().is_none() {
                        return Err(format!("{who}'s signal gave {answer}"));
                    }
                }
            }
            Step::Each { who, each } => {
                let agent = self.agent(who)?;
                for number in 0..*each {
                    let event = agent.signal().await.map_err(|why| format!("{who} never saw {number}: {why}"))?;
                    if event["data"].as_str() != Some(&number.to_string()) {
                        return Err(format!("{who} saw {event}, not {number}"));
                    }
                }
            }
            Step::Was { who, was } => {
                let seen = &self.agent(who)?.seen;
                if !seen.contains_key(was) {
                    return Err(format!("{who} saw {seen:?}, and no {was}"));
                }
            }
            Step::Network { network, is } => {
                let ways = self.ways.get(network).ok_or("nobody of that name")?;
                ways.iter().for_each(|way| way.set(is == "up"));
            }
            Step::Server { server, is } => {
                assert_eq!(is, "drained", "that is all that can be done to it");
                self.servers.get_mut(*server).ok_or("no such server")?.drain().await?;
            }
            Step::Pause { pause } => sleep(Duration::from_secs_f64(*pause)).await,
        }
        Ok(())
    }

    fn agent(&mut self, who: &str) -> Result<&mut Agent, String> {
        self.agents.get_mut(who).ok_or_else(|| format!("{who} is nobody yet"))
    }

    async fn ask(&mut self, who: &str, what: &str, with: Option<&Value>) -> Result<Value, String> {
        let mut with = self.filled(with.unwrap_or(&json!({})))?;
        if what == "join" {
            let endpoints = self.endpoints(who).await?;
            let fields = with.as_object_mut().ok_or("no object")?;
            fields.insert("endpoints".into(), json!(endpoints));
            fields.insert("session".into(), json!(SESSION));
            self.agents.insert(who.to_owned(), Agent::start(self.language)?);
        }
        let agent = self.agent(who)?;
        let id = agent.ask(what, &with).await?;
        agent.answer(id).await
    }

    /// The ways of a member to all servers, made for it.
    async fn endpoints(&mut self, who: &str) -> Result<Vec<String>, String> {
        let mut endpoints = Vec::new();
        let mut ways = Vec::new();
        for server in &self.servers {
            let address = if self.faults {
                let number = self.proxies.len() as u64;
                let plans = move |connection| faults::Plan::of(SEED, number << 16 | connection);
                let proxy = Proxy::start(plans, vec![server.address]).await.map_err(|error| error.to_string())?;
                let address = proxy.address();
                self.proxies.push(proxy);
                address
            } else {
                let way = Way::to(server.address).await.map_err(|error| error.to_string())?;
                ways.push(way);
                ways.last().ok_or("no way")?.address()
            };
            endpoints.push(format!("http://{address}"));
        }
        self.ways.insert(who.to_owned(), ways);
        Ok(endpoints)
    }

    /// With the names filled in: `$ada` is her connection, `$x9` nine x, `$token60` a token
    /// for a minute.
    fn filled(&self, value: &Value) -> Result<Value, String> {
        Ok(match value {
            Value::String(text) => match text.strip_prefix('$') {
                None => value.clone(),
                Some(name) if self.agents.contains_key(name) => json!(self.agents[name].connection),
                Some(name) => {
                    let seconds = name.strip_prefix("token");
                    if let (Some(seconds), Some(secret)) = (seconds, &self.secret) {
                        return Ok(json!(secret.token(SESSION, seconds)?));
                    }
                    let count = name.strip_prefix('x').and_then(|count| count.parse().ok());
                    json!("x".repeat(count.ok_or_else(|| format!("{text} is nothing"))?))
                }
            },
            Value::Array(all) => Value::Array(all.iter().map(|one| self.filled(one)).collect::<Result<_, _>>()?),
            Value::Object(all) => {
                let filled = all.iter().map(|(name, one)| Ok((name.clone(), self.filled(one)?)));
                Value::Object(filled.collect::<Result<_, String>>()?)
            }
            other => other.clone(),
        })
    }
}

/// Whether all that is wanted is there.
fn matches(wanted: &Value, is: &Value) -> bool {
    match (wanted, is) {
        (Value::Object(wanted), Value::Object(is)) => {
            wanted.iter().all(|(name, wanted)| is.get(name).is_some_and(|is| matches(wanted, is)))
        }
        (Value::Array(wanted), Value::Array(is)) => {
            wanted.len() == is.len() && wanted.iter().zip(is).all(|(wanted, is)| matches(wanted, is))
        }
        (wanted, is) => wanted == is,
    }
}
