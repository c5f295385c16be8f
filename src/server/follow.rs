//! Files that are read again while the server runs, so that keys and
//! certificates can change without a restart.

use std::{fs, io, path::Path, sync::Arc, time::Duration};

/// How often the files are looked at.
pub(super) const LOOK: Duration = Duration::from_secs(2);
/// What a file of keys or certificates may have: thousands of them.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// A file's content.
///
/// # Errors
/// What to tell the operator: the flag, the file, and what is wrong with it.
pub(super) fn read(file: &Path, flag: &str) -> Result<Vec<u8>, String> {
    let read = || {
        let size = fs::metadata(file)?.len();
        if size > MAX_FILE_BYTES {
            let kind = io::ErrorKind::FileTooLarge;
            return Err(io::Error::new(kind, format!("it has {size} bytes; the limit is {MAX_FILE_BYTES}")));
        }
        fs::read(file)
    };
    read().map_err(|error| wrong(file, flag, &error))
}

/// What is wrong with a file.
pub(super) fn wrong(file: &Path, flag: &str, why: &dyn std::fmt::Display) -> String {
    format!("invalid file '{}' for '{flag}': {why}", file.display())
}

/// Reads again and again, and hands on what has changed. What can't be read, or
/// isn't taken, is said once, and leaves everything as it was.
pub(super) async fn follow<C: PartialEq + Send + 'static>(
    what: &'static str,
    mut contents: C,
    read: impl Fn() -> Result<C, String> + Send + Sync + 'static,
    mut take: impl FnMut(&C) -> Result<(), String>,
) {
    let read = Arc::new(read);
    let mut said = None;
    let mut interval = tokio::time::interval(LOOK);
    loop {
        interval.tick().await;
        let reading = Arc::clone(&read);
        // A file system may be slow, or far away.
        let Ok(read) = tokio::task::spawn_blocking(move || reading()).await else { continue };
        let taken = match read {
            Ok(read) if read == contents => Ok(()),
            Ok(read) => take(&read).map(|()| {
                tracing::info!(what, "the files have changed, and are taken");
                contents = read;
            }),
            Err(error) => Err(error),
        };
        let error = taken.err();
        if let Some(error) = error.as_ref().filter(|error| said.as_ref() != Some(*error)) {
            tracing::warn!(what, error, "the files have changed, and can't be used: what was there before stays");
        }
        said = error;
    }
}
