//! Where OpenTok's REST calls are served, and by whose keys: read from a file, and
//! again when it changes.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use crate::{
    auth::{ProjectGate, ProjectKeys, Projects},
    clock::Clock,
};

use super::follow::{follow, read, wrong};

const FLAG: &str = "--rest-key-file";

/// Where OpenTok's REST calls are served, and to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestSettings {
    pub(super) listen: SocketAddr,
    /// None: to everyone.
    key_file: Option<PathBuf>,
}

impl RestSettings {
    /// Settings of these flags; none without an address. The file is read once, to
    /// say at once what is wrong with it.
    ///
    /// # Errors
    /// What to tell the operator: the flag, the file, and what is wrong with it.
    pub(super) fn new(listen: Option<SocketAddr>, key_file: Option<PathBuf>) -> Result<Option<Self>, String> {
        let Some(listen) = listen else {
            return match key_file {
                None => Ok(None),
                Some(_) => Err(format!("{FLAG} needs --rest, the address to serve REST at")),
            };
        };
        let settings = Self { listen, key_file };
        if let Some(contents) = settings.read()? {
            settings.keys(&contents)?;
        }
        Ok(Some(settings))
    }

    /// Whether everyone who reaches the address may call.
    pub(super) fn is_open(&self) -> bool {
        self.key_file.is_none()
    }

    fn read(&self) -> Result<Option<Vec<u8>>, String> {
        self.key_file.as_deref().map(|file| read(file, FLAG)).transpose()
    }

    fn keys(&self, contents: &[u8]) -> Result<ProjectKeys, String> {
        ProjectKeys::read(contents).map_err(|why| wrong(self.key_file.as_deref().unwrap_or("".as_ref()), FLAG, &why))
    }

    /// The gate, and what keeps its keys fresh: to be run beside it.
    ///
    /// # Errors
    /// What is wrong with the keys.
    pub(super) fn gate(self, clock: Arc<dyn Clock>) -> Result<(ProjectGate, impl Future<Output = ()> + Send), String> {
        let mut watched = None;
        let gate = match self.read()? {
            None => {
                let address = self.listen;
                if !address.ip().is_loopback() {
                    tracing::warn!(%address, "open to everyone who reaches this address by REST: there are no projects' keys");
                }
                ProjectGate::Open
            }
            Some(contents) => {
                let keys = self.keys(&contents)?;
                tracing::info!(?keys, "REST calls need a project's token");
                let projects = Arc::new(Projects::new(keys, clock));
                watched = Some((contents, Arc::clone(&projects)));
                ProjectGate::Projects(projects)
            }
        };
        let fresh = async move {
            if let Some((contents, projects)) = watched {
                let settings = self.clone();
                follow(
                    "projects' keys for REST",
                    Some(contents),
                    move || settings.read(),
                    |read| {
                        projects.replace(self.keys(read.as_deref().unwrap_or_default())?);
                        Ok(())
                    },
                )
                .await;
            }
        };
        Ok((gate, fresh))
    }
}

#[cfg(test)]
mod tests {
    use std::{env, fs};

    use http::{HeaderMap, HeaderValue};
    use jsonwebtoken::{EncodingKey, Header, encode};
    use serde_json::json;

    use super::{super::follow::LOOK, *};
    use crate::{auth::TOKEN_HEADER, clock::SystemClock};

    const OLD: &str = "the old secret, which is long enough";
    const NEW: &str = "the new secret, which is long enough";

    fn line(secret: &str) -> String {
        format!("47 {}\n", secret.replace(' ', "-"))
    }

    fn is_good(gate: &ProjectGate, secret: &str) -> bool {
        let claims = json!({ "iss": "47", "ist": "project", "exp": u32::MAX });
        let key = EncodingKey::from_secret(secret.replace(' ', "-").as_bytes());
        let token = encode(&Header::default(), &claims, &key).unwrap();
        let headers = [(TOKEN_HEADER.parse().unwrap(), HeaderValue::from_str(&token).unwrap())];
        gate.check(&HeaderMap::from_iter(headers), "47").is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn keys_follow_their_file_and_stay_when_it_is_no_good() {
        let file = env::temp_dir().join(format!("signalbox-projects-{}", std::process::id()));
        fs::write(&file, line(OLD)).unwrap();
        let settings = RestSettings::new("127.0.0.1:0".parse().ok(), Some(file.clone())).unwrap().unwrap();
        assert!(!settings.is_open());
        let (gate, fresh) = settings.gate(Arc::new(SystemClock::new())).unwrap();
        let fresh = tokio::spawn(fresh);
        let both = line(OLD) + &line(NEW);
        for (content, old, new) in [
            (Some("47 short".to_owned()), true, false),
            (Some(both), true, true),
            (Some(line(NEW)), false, true),
            (Some(String::new()), false, true),
            (None, false, true),
        ] {
            match &content {
                Some(content) => fs::write(&file, content).unwrap(),
                None => fs::remove_file(&file).unwrap(),
            }
            tokio::time::sleep(LOOK * 2).await;
            assert_eq!((is_good(&gate, OLD), is_good(&gate, NEW)), (old, new), "{content:?}");
        }
        fresh.abort();
    }
}
