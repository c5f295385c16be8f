//! How many TCP connections there may be, in all and from one address.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex},
};

use crate::{engine::lock, telemetry::Cap};

/// Descriptors for what is no connection of a client's: sockets that listen,
/// connections of operators, files that are read again.
const RESERVE: usize = 64;

/// How many TCP connections an operator allows; 0 is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TransportCaps {
    /// In all; unless set, as many as there may be files open, less a reserve.
    pub all: Option<usize>,
    /// From one address; of IPv6, from one network of 64 bits, which is what one
    /// customer has. Unless set, three quarters: no one address takes every place.
    pub per_address: Option<usize>,
}

impl TransportCaps {
    /// The numbers, in all and from one address, when there may be so many files
    /// open.
    pub(super) fn within(self, open_files: Option<usize>) -> (usize, usize) {
        let all = self.all.unwrap_or_else(|| open_files.map_or(0, |files| files.saturating_sub(RESERVE).max(1)));
        let per_address = self.per_address.unwrap_or(if all == 0 { 0 } else { (all - all / 4).max(1) });
        (all, per_address)
    }
}

/// Who is there.
#[derive(Debug)]
pub(super) struct Places {
    all: usize,
    per_address: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full {
    pub(super) cap: Cap,
    pub(super) count: usize,
    pub(super) most: usize,
}

impl Full {
    /// For the log, and for the peer.
    pub(super) fn message(&self) -> String {
        let whose = if self.cap == Cap::Transports { "the server" } else { "your address" };
        format!(
            "{whose} has {} TCP connections; the limit is {}, given one more; come back in a second",
            self.count, self.most
        )
    }
}

impl Places {
    /// So many, in all and from one address; 0 is no limit.
    pub(super) fn new((all, per_address): (usize, usize)) -> Arc<Self> {
        Arc::new(Self { all, per_address, taken: Mutex::default() })
    }

    /// A place for one from this address.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr) -> Result<Place, Full> {
        let address = network(address);
        let mut taken = lock(&self.taken);
        let (count, most) = (taken.all, self.all);
        if most != 0 && count >= most {
            return Err(Full { cap: Cap::Transports, count, most });
        }
        let its = taken.by_address.entry(address).or_default();
        let (count, most) = (*its, self.per_address);
        if most != 0 && count >= most {
            return Err(Full { cap: Cap::TransportsPerAddress, count, most });
        }
        *its += 1;
        taken.all += 1;
        Ok(Place { address, places: Arc::clone(self) })
    }
}

/// One connection's place; dropping it gives the place back.
#[derive(Debug)]
pub(super) struct Place {
    address: IpAddr,
    places: Arc<Places>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = lock(&self.places.taken);
        taken.all -= 1;
        if let Some(count) = taken.by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                taken.by_address.remove(&self.address);
            }
        }
    }
}

/// What counts as one address.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unless_told_it_takes_what_the_system_lets_it() {
        let caps = |all, per_address| TransportCaps { all, per_address };
        for (caps, open_files, numbers) in [
            (caps(None, None), Some(1_024), (960, 720)),
            (caps(None, None), None, (0, 0)),
            (caps(None, None), Some(10), (1, 1)),
            (caps(Some(0), None), Some(1_024), (0, 0)),
            (caps(Some(100), Some(0)), Some(1_024), (100, 0)),
            (caps(None, Some(7)), Some(1_024), (960, 7)),
        ] {
            assert_eq!(caps.within(open_files), numbers, "{caps:?}");
        }
    }

    #[test]
    fn one_address_never_takes_every_place() {
        let places = Places::new((3, 2));
        let [one, other] = ["192.0.2.1", "192.0.2.2"].map(|address| address.parse().unwrap());
        let first = places.take(one).unwrap();
        let _second = places.take(one).unwrap();
        let full = places.take(one).unwrap_err();
        assert_eq!(full, Full { cap: Cap::TransportsPerAddress, count: 2, most: 2 });
        assert!(full.message().contains("your address has 2 TCP connections; the limit is 2"));
        let _third = places.take(other).unwrap();
        assert_eq!(places.take(other).unwrap_err().cap, Cap::Transports);
        drop(first);
        let _fourth = places.take(other).unwrap();
        assert_eq!(lock(&places.taken).by_address.len(), 2);
    }

    #[test]
    fn a_network_of_ipv6_is_one_address_and_none_is_remembered_that_left() {
        let places = Places::new((0, 1));
        let place = places.take("2001:db8::1".parse().unwrap()).unwrap();
        assert!(places.take("2001:db8::2".parse().unwrap()).is_err());
        assert!(places.take("2001:db8:0:1::1".parse().unwrap()).is_ok());
        assert!(places.take("::ffff:192.0.2.1".parse().unwrap()).is_ok());
        drop(place);
        assert!(lock(&places.taken).by_address.is_empty());
    }
}
