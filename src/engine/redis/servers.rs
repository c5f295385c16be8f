//! Where Redis is: which process is asked for which partition.

use std::{collections::HashMap, sync::Arc};

use redis::Client;
use tokio::sync::Mutex;

use super::{Trouble, wire::Wire};

/// The processes there are, and the connections to them.
pub(super) struct Servers {
    client: Client,
    wires: Mutex<HashMap<String, Arc<Wire>>>,
}

impl Servers {
    pub(super) fn new(client: Client) -> Self {
        Self { client, wires: Mutex::default() }
    }

    /// A connection to the process that has a partition.
    pub(super) async fn wire(&self, _partition: u16) -> Result<Arc<Wire>, Trouble> {
        // One at a time: the others find what it made.
        let mut wires = self.wires.lock().await;
        let address = self.client.get_connection_info().addr().to_string();
        if let Some(wire) = wires.get(&address).filter(|wire| !wire.is_closed()) {
            return Ok(Arc::clone(wire));
        }
        let wire = Arc::new(Wire::open(&self.client).await?);
        wires.insert(address, Arc::clone(&wire));
        Ok(wire)
    }
}
