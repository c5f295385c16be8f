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
            None => ProjectGate::Open,
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
