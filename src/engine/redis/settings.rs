//! Where Redis is, as an operator says it.

use std::{fmt, str::FromStr};

use redis::{
    Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, ProtocolVersion,
    RedisConnectionInfo, RedisResult, TlsCertificates,
};

/// Where Redis is.
#[derive(Clone)]
pub struct RedisSettings {
    place: Place,
    certificates: Option<TlsCertificates>,
}

#[derive(Clone)]
enum Place {
    /// Servers: one, or some of a cluster's.
    Servers(Vec<ConnectionInfo>),
    /// Sentinels that know which server of theirs is the primary, what this is called, and
    /// how it is to be spoken to.
    Sentinels(Vec<ConnectionInfo>, String, Box<ConnectionInfo>),
}

/// Certificates for TLS, in PEM.
#[derive(Clone, Default)]
pub struct RedisTls {
    /// The authority that signed the servers', unless the system knows it.
    pub ca: Option<Vec<u8>>,
    /// This client's, and its key, where servers want one.
    pub client: Option<(Vec<u8>, Vec<u8>)>,
}

/// Passwords are never shown.
impl fmt::Debug for RedisSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for RedisSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all =
            |infos: &[ConnectionInfo]| infos.iter().map(|info| info.addr().to_string()).collect::<Vec<_>>().join(", ");
        match &self.place {
            Place::Servers(servers) => f.write_str(&all(servers)),
            Place::Sentinels(sentinels, name, _) => write!(f, "{name}, by the sentinels {}", all(sentinels)),
        }
    }
}

impl FromStr for RedisSettings {
    type Err = String;

    /// Reads `redis://[user][:password@]host[:port][,host[:port]...][/database]`; `rediss`
    /// for TLS; `unix:///path`; `redis+sentinel://host[:port][,...]/name[?sentinel_password=...]`
    /// with what the servers want to know before the hosts.
    ///
    /// # Errors
    /// What is wrong with it, and what it may be. Never the password.
    fn from_str(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text.split_once("://").ok_or_else(|| wrong("it has no scheme"))?;
        let (plain, is_sentinel) = match scheme {
            "redis" | "rediss" | "valkey" | "valkeys" => (scheme.replace("valkey", "redis"), false),
            "redis+sentinel" | "rediss+sentinel" => (scheme.replace("+sentinel", ""), true),
            "unix" | "redis+unix" | "valkey+unix" => {
                let info = resp3(text).map_err(|error| wrong(&error))?;
                return Ok(Self { place: Place::Servers(vec![info]), certificates: None });
            }
            other => return Err(wrong(&format!("'{other}' is no scheme for it"))),
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, hosts) = authority.rsplit_once('@').map_or(("", authority), |(user, hosts)| (user, hosts));
        let default_port = if is_sentinel { 26_379 } else { 6_379 };
        let at = |user: &str, host: &str, path: &str| {
            let has_port = host.rsplit_once(':').is_some_and(|(name, _)| !name.contains('[') || name.ends_with(']'));
            let port = if has_port { String::new() } else { format!(":{default_port}") };
            let at = if user.is_empty() { "" } else { "@" };
            resp3(&format!("{plain}://{user}{at}{host}{port}/{path}")).map_err(|error| wrong(&error))
        };
        let hosts: Vec<&str> = hosts.split(',').map(str::trim).collect();
        if !is_sentinel {
            let servers = hosts.iter().map(|host| at(user, host, path)).collect::<Result<_, _>>()?;
            return Ok(Self { place: Place::Servers(servers), certificates: None });
        }
        let (name, database) = path.split_once('/').unwrap_or((path, ""));
        if name.is_empty() {
            return Err(wrong("the primary's name is missing, as in redis+sentinel://host/mymaster"));
        }
        let option = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        let secret = option("sentinel_password").map_or_else(String::new, |password| {
            format!("{}:{password}", option("sentinel_username").unwrap_or_default())
        });
        let sentinels = hosts.iter().map(|host| at(&secret, host, "")).collect::<Result<_, _>>()?;
        let primary = Box::new(at(user, "localhost", database)?);
        Ok(Self { place: Place::Sentinels(sentinels, name.to_owned(), primary), certificates: None })
    }
}

fn wrong(why: &str) -> String {
    format!(
        "{why}; it reads redis://[user:password@]host[:port][,host...][/database], rediss:// for TLS, unix:///path, or redis+sentinel://host[:port][,host...]/name"
    )
}

fn resp3(url: &str) -> Result<ConnectionInfo, String> {
    let info = url.into_connection_info().map_err(|error| error.detail().unwrap_or("it can't be read").to_owned())?;
    let redis = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    Ok(info.set_redis_settings(redis.set_lib_name("signalbox", env!("CARGO_PKG_VERSION"))))
}

impl RedisSettings {
    /// The same, over TLS with these certificates.
    #[must_use]
    pub fn with_tls(mut self, tls: RedisTls) -> Self {
        let client_tls = tls.client.map(|(client_cert, client_key)| ClientTlsConfig { client_cert, client_key });
        self.certificates = Some(TlsCertificates { client_tls, root_cert: tls.ca });
        self
    }

    /// Clients of the servers named; of the primary that the sentinels name.
    pub(super) async fn clients(&self) -> RedisResult<Vec<Client>> {
        match &self.place {
            Place::Servers(servers) => servers.iter().map(|server| self.client(server.clone())).collect(),
            Place::Sentinels(sentinels, name, primary) => {
                let mut asked = Err((redis::ErrorKind::InvalidClientConfig, "there is no sentinel").into());
                for sentinel in sentinels {
                    asked = self.ask_sentinel(sentinel, name).await;
                    if asked.is_ok() {
                        break;
                    }
                }
                let (host, port) = asked?;
                Ok(vec![self.client(self.at(primary, host, port))?])
            }
        }
    }

    async fn ask_sentinel(&self, sentinel: &ConnectionInfo, name: &str) -> RedisResult<(String, u16)> {
        let config = redis::AsyncConnectionConfig::new()
            .set_connection_timeout(Some(super::wire::ANSWER_TIMEOUT))
            .set_response_timeout(Some(super::wire::ANSWER_TIMEOUT));
        let client = self.client(sentinel.clone())?;
        let mut sentinel = client.get_multiplexed_async_connection_with_config(&config).await?;
        redis::cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(name).query_async(&mut sentinel).await
    }

    /// A client of another server of the same kind.
    pub(super) fn other(&self, host: String, port: u16) -> RedisResult<Client> {
        match &self.place {
            Place::Servers(servers) => self.client(self.at(&servers[0], host, port)),
            Place::Sentinels(_, _, primary) => self.client(self.at(primary, host, port)),
        }
    }

    fn at(&self, like: &ConnectionInfo, host: String, port: u16) -> ConnectionInfo {
        let addr = match like.addr() {
            ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
                ConnectionAddr::TcpTls { host, port, insecure: *insecure, tls_params: tls_params.clone() }
            }
            _ => ConnectionAddr::Tcp(host, port),
        };
        like.clone().set_addr(addr)
    }

    fn client(&self, info: ConnectionInfo) -> RedisResult<Client> {
        match (&self.certificates, info.addr()) {
            (Some(certificates), ConnectionAddr::TcpTls { .. }) => Client::build_with_tls(info, certificates.clone()),
            _ => Client::open(info),
        }
    }
}

/// Only a name for what a connection says of itself; the rest is the URL's.
impl From<Client> for RedisSettings {
    fn from(client: Client) -> Self {
        let info = client.get_connection_info().clone();
        let redis: RedisConnectionInfo = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        Self { place: Place::Servers(vec![info.set_redis_settings(redis)]), certificates: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_reached_is_shown_without_its_secrets() {
        for (url, shown) in [
            ("redis://127.0.0.1:6379", "127.0.0.1:6379"),
            ("redis://localhost", "localhost:6379"),
            ("redis://:secret@[::1]/3", "::1:6379"),
            ("valkey://me:secret@a:1,b,c:3", "a:1, b:6379, c:3"),
            ("rediss://me:secret@redis.example", "redis.example:6379"),
            ("unix:///run/redis.sock", "/run/redis.sock"),
            ("redis+sentinel://:secret@a,b:2/main?sentinel_password=secret", "main, by the sentinels a:26379, b:2"),
        ] {
            let settings: RedisSettings = url.parse().unwrap_or_else(|error| panic!("{url}: {error}"));
            assert_eq!(settings.to_string(), shown);
            assert!(!format!("{settings:?}").contains("secret"));
        }
    }

    #[test]
    fn what_can_not_be_is_told_why() {
        for (url, why) in [
            ("localhost:6379", "no scheme"),
            ("http://localhost", "'http' is no scheme"),
            ("redis+sentinel://a,b", "name is missing"),
            ("redis://:secret@host:port", "redis://[user:password@]host"),
            ("redis://:secret@host/database", "redis://[user:password@]host"),
        ] {
            let error = url.parse::<RedisSettings>().expect_err(url);
            assert!(error.contains(why) && !error.contains("secret"), "{url}: {error}");
        }
    }
}
