//! Which methods there are, by their paths: those of the services that are served,
//! out of their descriptors.

use std::sync::LazyLock;

use prost::Message as _;
use prost_types::FileDescriptorSet;

use crate::{proto, telemetry::Method};

static METHODS: LazyLock<Vec<Method>> = LazyLock::new(|| {
    let sets = [
        proto::FILE_DESCRIPTOR_SET,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    ];
    let files = sets.iter().filter_map(|set| FileDescriptorSet::decode(*set).ok()).flat_map(|set| set.file);
    let mut names: Vec<String> = files
        .flat_map(|file| {
            let package = file.package().to_owned();
            file.service.into_iter().map(move |service| (package.clone(), service))
        })
        .flat_map(|(package, service)| {
            let of = format!("{package}.{}", service.name());
            service.method.into_iter().map(move |method| format!("{of}/{}", method.name()))
        })
        .collect();
    names.sort_unstable();
    names.dedup();
    names.truncate(Method::MOST);
    // Once in the process's life.
    names.into_iter().enumerate().map(|(number, name)| Method { name: name.leak(), number }).collect()
});

/// The method of a request's path.
pub(super) fn method(path: &[u8]) -> Method {
    let Some(name) = path.strip_prefix(b"/") else { return Method::OTHER };
    let place = METHODS.binary_search_by(|method| method.name.as_bytes().cmp(name));
    place.map_or(Method::OTHER, |place| METHODS[place])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_known_by_their_paths() {
        for name in [
            "signalbox.v1.SignalingService/Join",
            "signalbox.v1.SignalingService/SendFromServer",
            "signalbox.v1.SignalingService/Subscribe",
            "signalbox.v1.SessionService/WatchSessions",
            "grpc.health.v1.Health/Check",
            "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        ] {
            let method = method(format!("/{name}").as_bytes());
            assert_eq!(method.name, name);
            assert!(method.number < Method::MOST);
        }
        for other in ["", "/", "signalbox.v1.SignalingService/Join", "/signalbox.v1.SignalingService/Joi", "/a.B/C"] {
            assert_eq!(method(other.as_bytes()), Method::OTHER, "{other}");
        }
        assert!(METHODS.len() < Method::MOST, "every method has a number of its own");
    }
}
