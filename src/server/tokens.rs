//! The keys that tokens are verified with: read from files, and again when the
//! files change.

use std::{
    env, fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    auth::{Expected, Gate, Keys, Secret, Verifier},
    clock::Clock,
};

use super::follow::{follow, read, wrong};

/// The variable that may hold the secret itself. There is no flag for it: flags
/// are seen by everyone on the machine.
const SECRET: &str = "SIGNALBOX_JWT_SECRET";

/// Where the keys are, and what tokens must say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenSettings {
    secret: Option<SecretSource>,
    jwks_file: Option<PathBuf>,
    expected: Expected,
}

#[derive(Clone, PartialEq, Eq)]
enum SecretSource {
    File(PathBuf),
    Given(Vec<u8>),
}

/// Never shows the secret.
impl fmt::Debug for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Given(_) => f.write_str("Given"),
        }
    }
}

/// What the files held.
#[derive(PartialEq)]
struct Contents {
    secret: Option<Vec<u8>>,
    jwks: Option<Vec<u8>>,
}

impl TokenSettings {
    /// Settings of these files and of the environment; none when there is no key
    /// anywhere. The keys are read once, to say at once what is wrong with them.
    ///
    /// # Errors
    /// What to tell the operator: the flag, the file, and what is wrong with it.
    pub(super) fn new(
        secret_file: Option<PathBuf>,
        jwks_file: Option<PathBuf>,
        expected: Expected,
    ) -> Result<Option<Self>, String> {
        let secret = match (secret_file, env::var_os(SECRET)) {
            (Some(_), Some(_)) => return Err(format!("both --jwt-secret-file and {SECRET} are set; one secret it is")),
            (Some(file), None) => Some(SecretSource::File(file)),
            (None, Some(secret)) => Some(SecretSource::Given(secret.into_encoded_bytes())),
            (None, None) => None,
        };
        if secret.is_none() && jwks_file.is_none() {
            return Ok(None);
        }
        let settings = Self { secret, jwks_file, expected };
        settings.keys(&settings.read()?)?;
        Ok(Some(settings))
    }

    fn read(&self) -> Result<Contents, String> {
        let secret = match &self.secret {
            None => None,
            Some(SecretSource::Given(secret)) => Some(secret.clone()),
            Some(SecretSource::File(file)) => Some(read(file, "--jwt-secret-file")?),
        };
        let jwks = self.jwks_file.as_deref().map(|file| read(file, "--jwt-jwks-file")).transpose()?;
        Ok(Contents { secret, jwks })
    }

    fn keys(&self, contents: &Contents) -> Result<Keys, String> {
        let secret = contents.secret.as_deref().map(Secret::new).transpose().map_err(|why| match &self.secret {
            Some(SecretSource::File(file)) => wrong(file, "--jwt-secret-file", &why),
            _ => format!("invalid value of {SECRET}: {why}"),
        })?;
        Keys::new(secret.as_ref(), contents.jwks.as_deref())
            .map_err(|why| wrong(self.jwks_file.as_deref().unwrap_or(Path::new("")), "--jwt-jwks-file", &why))
    }
}

/// The gate of a server with these settings, and what keeps its keys fresh: to
/// be run beside it.
///
/// # Errors
/// What is wrong with the keys.
pub(super) fn gate(
    settings: Option<TokenSettings>,
    clock: Arc<dyn Clock>,
) -> Result<(Gate, impl Future<Output = ()> + Send), String> {
    let mut watched = None;
    let gate = match settings {
        None => Gate::Open,
        Some(settings) => {
            let contents = settings.read()?;
            let keys = settings.keys(&contents)?;
            tracing::info!(?keys, "tokens are needed");
            let verifier = Arc::new(Verifier::new(keys, settings.expected.clone(), clock));
            watched = Some((settings, contents, Arc::clone(&verifier)));
            Gate::Tokens(verifier)
        }
    };
    let fresh = async move {
        if let Some((settings, contents, verifier)) = watched {
            let read = {
                let settings = settings.clone();
                move || settings.read()
            };
            follow("keys for tokens", contents, read, |read| {
                verifier.replace(settings.keys(read)?);
                Ok(())
            })
            .await;
        }
    };
    Ok((gate, fresh))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};

    use super::{super::follow::LOOK, *};
    use crate::{
        auth::{Audience, Claims, sign},
        clock::SystemClock,
    };

    const OLD: &str = "the old secret, which is long enough";
    const NEW: &str = "the new secret, which is long enough";

    fn is_good(gate: &Gate, secret: &str) -> bool {
        let claims = Claims {
            aud: Some(Audience::One("signalbox".to_owned())),
            exp: Some(u32::MAX.into()),
            role: Some("server".to_owned()),
            ..Claims::default()
        };
        let token = sign(&claims, &Secret::new(secret.as_bytes()).unwrap()).unwrap();
        let value = HeaderValue::from_str(&format!("Bearer {token}")).unwrap();
        gate.serve(&HeaderMap::from_iter([(AUTHORIZATION, value)])).is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn keys_follow_their_file_and_stay_when_it_is_no_good() {
        let file = env::temp_dir().join(format!("signalbox-keys-{}", std::process::id()));
        fs::write(&file, OLD).unwrap();
        let expected = Expected { issuer: None, audience: "signalbox".to_owned() };
        let settings = TokenSettings::new(Some(file.clone()), None, expected).unwrap();
        let (gate, fresh) = gate(settings, Arc::new(SystemClock::new())).unwrap();
        let fresh = tokio::spawn(fresh);
        for (content, old, new) in [(Some("short"), true, false), (Some(NEW), false, true), (None, false, true)] {
            match content {
                Some(content) => fs::write(&file, content).unwrap(),
                None => fs::remove_file(&file).unwrap(),
            }
            tokio::time::sleep(LOOK * 2).await;
            assert_eq!((is_good(&gate, OLD), is_good(&gate, NEW)), (old, new), "{content:?}");
        }
        fresh.abort();
    }
}
