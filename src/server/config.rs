//! What an operator sets: flags and environment, checked whole before a socket
//! opens.

use std::{net::SocketAddr, path::PathBuf, str::FromStr, time::Duration};

use clap::{Args, ValueEnum, builder::BoolishValueParser};

use crate::{
    auth::Expected,
    domain::Limits,
    grpc::{Origin, Origins, Rates},
    hub::Capacity,
    telemetry::{LogFormat, TraceSettings},
};

use super::{
    places::TransportCaps,
    projects::RestSettings,
    shared::{EngineSettings, Files},
    tls::TlsSettings,
    tokens::TokenSettings,
};

/// Where sessions live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EngineKind {
    /// In this process: one node, gone with it.
    Memory,
    /// In Redis 7 or Valkey, for any number of nodes.
    Redis,
}

/// The flags of `signalbox serve`.
///
/// Each is also an environment variable, SIGNALBOX_ and its name.
#[derive(Args, Clone, Debug)]
#[command(allow_negative_numbers = true)]
pub struct ServeArgs {
    /// Where to serve gRPC, as IP:PORT
    #[arg(long, env = "SIGNALBOX_LISTEN", value_name = "ADDR", default_value = "127.0.0.1:50051", value_parser = address, help_heading = "Listening")]
    pub listen: SocketAddr,

    /// Where to serve plain HTTP for operators (/status, /metrics, /livez, /readyz), as IP:PORT, or `none`
    #[arg(long, env = "SIGNALBOX_ADMIN_LISTEN", value_name = "ADDR", default_value = "127.0.0.1:9464", value_parser = AdminListen::from_str, help_heading = "Listening")]
    pub admin_listen: AdminListen,

    /// Where to serve OpenTok's REST calls for server signals and disconnecting, over plain HTTP, as IP:PORT
    #[arg(long, env = "SIGNALBOX_REST", value_name = "ADDR", value_parser = address, help_heading = "Listening")]
    pub rest: Option<SocketAddr>,

    /// The projects that may call by REST: lines of `KEY SECRET`, as OpenTok has them, secrets of 32 bytes or more. Without it everyone may who reaches that port
    #[arg(long, env = "SIGNALBOX_REST_KEY_FILE", value_name = "FILE", help_heading = TOKENS)]
    pub rest_key_file: Option<PathBuf>,

    /// Without a key for tokens: let everyone who reaches the port do everything, on addresses that are not loopback too
    #[arg(long, env = "SIGNALBOX_INSECURE_OPEN", value_parser = BoolishValueParser::new(), help_heading = "Listening")]
    pub insecure_open: bool,

    /// The certificate chain of this server, in PEM: the gRPC port then speaks TLS 1.2 and 1.3, and nothing else
    #[arg(long, env = "SIGNALBOX_TLS_CERT", value_name = "FILE", help_heading = TLS)]
    pub tls_cert: Option<PathBuf>,

    /// The certificate's private key, in PEM
    #[arg(long, env = "SIGNALBOX_TLS_KEY", value_name = "FILE", help_heading = TLS)]
    pub tls_key: Option<PathBuf>,

    /// The authorities whose clients may connect, in PEM: others may not, and every client needs a certificate
    #[arg(long, env = "SIGNALBOX_TLS_CLIENT_CA", value_name = "FILE", help_heading = TLS)]
    pub tls_client_ca: Option<PathBuf>,

    /// Don't tell callers which services there are (gRPC server reflection)
    #[arg(long, env = "SIGNALBOX_NO_REFLECTION", value_parser = BoolishValueParser::new(), help_heading = "Listening")]
    pub no_reflection: bool,

    /// Serve browsers too, by gRPC-Web, for pages of this origin
    #[arg(long, env = "SIGNALBOX_CORS_ORIGIN", value_name = "ORIGIN", help = CORS_ORIGIN, value_delimiter = ',', value_parser = Origin::from_str, help_heading = "Listening")]
    pub cors_origin: Vec<Origin>,

    /// Threads that serve connections; 0: one for each CPU
    #[arg(long, env = "SIGNALBOX_WORKERS", value_name = "COUNT", default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=1_024), help_heading = "Listening")]
    pub workers: u16,

    /// A file with the secret that tokens are signed with, by HS256: 32 bytes or more. It may be in SIGNALBOX_JWT_SECRET instead
    #[arg(long, env = "SIGNALBOX_JWT_SECRET_FILE", value_name = "FILE", help_heading = TOKENS)]
    pub jwt_secret_file: Option<PathBuf>,

    /// A JSON Web Key Set with the public keys of those who sign tokens: ES256, EdDSA, RS256
    #[arg(long, env = "SIGNALBOX_JWT_JWKS_FILE", value_name = "FILE", help_heading = TOKENS)]
    pub jwt_jwks_file: Option<PathBuf>,

    /// What a token's `iss` must be; without it, anything
    #[arg(long, env = "SIGNALBOX_JWT_ISSUER", value_name = "NAME", help_heading = TOKENS)]
    pub jwt_issuer: Option<String>,

    /// What a token's `aud` must be, or hold
    #[arg(long, env = "SIGNALBOX_JWT_AUDIENCE", value_name = "NAME", default_value = "signalbox", help_heading = TOKENS)]
    pub jwt_audience: String,

    /// Where sessions live
    #[arg(long, env = "SIGNALBOX_ENGINE", value_enum, default_value = "memory", help_heading = "Sessions")]
    pub engine: EngineKind,

    /// Where Redis is, for `--engine redis`
    #[arg(long, env = "SIGNALBOX_REDIS_URL", value_name = "URL", help = REDIS_URL, default_value = "redis://127.0.0.1:6379", hide_env_values = true, help_heading = REDIS)]
    pub redis_url: String,

    /// The authority that signed Redis's certificate, in PEM, unless the system knows it
    #[arg(long, env = "SIGNALBOX_REDIS_CA", value_name = "FILE", help_heading = REDIS)]
    pub redis_ca: Option<PathBuf>,

    /// A certificate for Redis to know this node by, in PEM
    #[arg(long, env = "SIGNALBOX_REDIS_CERT", value_name = "FILE", help_heading = REDIS)]
    pub redis_cert: Option<PathBuf>,

    /// That certificate's private key, in PEM
    #[arg(long, env = "SIGNALBOX_REDIS_KEY", value_name = "FILE", help_heading = REDIS)]
    pub redis_key: Option<PathBuf>,

    /// The longest time that a connection may live on without a stream, from 0s (none may) to 24h
    #[arg(long, env = "SIGNALBOX_MAX_RESUME_WINDOW", value_name = "DURATION", default_value = "120s", value_parser = between(Duration::ZERO, DAY), help_heading = "Sessions")]
    pub max_resume_window: Duration,

    /// The silence after which a heartbeat is sent, from 100ms to 1h
    #[arg(long, env = "SIGNALBOX_HEARTBEAT_INTERVAL", value_name = "DURATION", default_value = "25s", value_parser = between(Duration::from_millis(100), HOUR), help_heading = "Sessions")]
    pub heartbeat_interval: Duration,

    /// The time for ending every stream at shutdown, from 0s (cut at once) to 1h
    #[arg(long, env = "SIGNALBOX_DRAIN_TIMEOUT", value_name = "DURATION", default_value = "10s", value_parser = between(Duration::ZERO, HOUR), help_heading = "Sessions")]
    pub drain_timeout: Duration,

    /// Signals per second of one connection, sustained; 0: no limit
    #[arg(long, env = "SIGNALBOX_SIGNALS_PER_SECOND", value_name = "COUNT", default_value_t = 50, value_parser = clap::value_parser!(u32).range(0..=1_000_000), help_heading = LIMITS)]
    pub signals_per_second: u32,

    /// Signals of one connection at once, after a pause; 0: no limit, to the rate either
    #[arg(long, env = "SIGNALBOX_SIGNAL_BURST", value_name = "COUNT", default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=1_000_000), help_heading = LIMITS)]
    pub signal_burst: u32,

    /// TCP connections on this node; 0: no limit [default: as many as the system lets it have files open, but for 64]
    #[arg(long, env = "SIGNALBOX_MAX_TRANSPORTS", value_name = "COUNT", help_heading = LIMITS)]
    pub max_transports: Option<usize>,

    /// TCP connections from one IP address, or from one /64 of IPv6; 0: no limit [default: three quarters of those on this node]
    #[arg(long, env = "SIGNALBOX_MAX_TRANSPORTS_PER_ADDRESS", value_name = "COUNT", help_heading = LIMITS)]
    pub max_transports_per_address: Option<usize>,

    /// Bytes per second read from one TCP connection, a tenth of them at once; beyond, it waits; 0: no limit
    #[arg(long, env = "SIGNALBOX_TRANSPORT_BYTES_PER_SECOND", value_name = "BYTES", default_value_t = 33_554_432, help_heading = LIMITS)]
    pub transport_bytes_per_second: u64,

    /// Messages per second read from one TCP connection, as bytes: each HTTP/2 frame counts, each gRPC message in it, 256 bytes of headers, and a Join a hundred times; 0: no limit
    #[arg(long, env = "SIGNALBOX_TRANSPORT_MESSAGES_PER_SECOND", value_name = "COUNT", default_value_t = 100_000, help_heading = LIMITS)]
    pub transport_messages_per_second: u64,

    /// Join streams on this node; 0: no limit
    #[arg(long, env = "SIGNALBOX_MAX_CONNECTIONS", value_name = "COUNT", default_value_t = 0, help_heading = LIMITS)]
    pub max_connections: usize,

    /// Connections in one session, interrupted ones included; 0: no limit
    #[arg(long, env = "SIGNALBOX_MAX_CONNECTIONS_PER_SESSION", value_name = "COUNT", default_value_t = 10_000, help_heading = LIMITS)]
    pub max_connections_per_session: usize,

    /// Join streams from one IP address; 0: no limit
    #[arg(long, env = "SIGNALBOX_MAX_CONNECTIONS_PER_ADDRESS", value_name = "COUNT", default_value_t = 0, help_heading = LIMITS)]
    pub max_connections_per_address: usize,

    /// HTTP/2 streams at once on one TCP connection; 0: no limit
    #[arg(long, env = "SIGNALBOX_MAX_STREAMS_PER_TRANSPORT", value_name = "COUNT", default_value_t = 1_000, help_heading = LIMITS)]
    pub max_streams_per_transport: u32,

    /// Events waiting for one connection before it is closed as a slow reader; 0: no limit
    #[arg(long, env = "SIGNALBOX_OUTBOX_EVENTS", value_name = "COUNT", default_value_t = 1_024, help_heading = LIMITS)]
    pub outbox_events: usize,

    /// Bytes waiting for one connection before it is closed as a slow reader; 0: no limit
    #[arg(long, env = "SIGNALBOX_OUTBOX_BYTES", value_name = "BYTES", default_value_t = 1_048_576, help_heading = LIMITS)]
    pub outbox_bytes: usize,

    /// Events of one session kept for those that resume; 0: no limit
    #[arg(long, env = "SIGNALBOX_LOG_EVENTS", value_name = "COUNT", default_value_t = 1_000, help_heading = LIMITS)]
    pub log_events: usize,

    /// Bytes of one session kept for those that resume; 0: no limit
    #[arg(long, env = "SIGNALBOX_LOG_BYTES", value_name = "BYTES", default_value_t = 1_048_576, help_heading = LIMITS)]
    pub log_bytes: usize,

    /// The time that a client may take nothing of what waits for it, before it is closed as a slow reader, from 1s to 1h
    #[arg(long, env = "SIGNALBOX_READER_TIMEOUT", value_name = "DURATION", default_value = "60s", value_parser = between(Duration::from_secs(1), HOUR), help_heading = LIMITS)]
    pub reader_timeout: Duration,

    /// Bytes that all sessions together spend on signals: logs, outboxes, and what was decided, for those that ask again; 0: no limit
    #[arg(long, env = "SIGNALBOX_MEMORY_FOR_SIGNALS", value_name = "BYTES", default_value_t = 1_073_741_824, help_heading = LIMITS)]
    pub memory_for_signals: usize,

    /// Bytes of a session id; 0: no limit
    #[arg(long, env = "SIGNALBOX_MAX_SESSION_ID_BYTES", value_name = "BYTES", default_value_t = 255, help_heading = LIMITS)]
    pub max_session_id_bytes: usize,

    /// Bytes of a connection's data; 0: no limit
    #[arg(long, env = "SIGNALBOX_MAX_CONNECTION_DATA_BYTES", value_name = "BYTES", default_value_t = 1_000, help_heading = LIMITS)]
    pub max_connection_data_bytes: usize,

    /// Recipients named by one signal; 0: no limit
    #[arg(long, env = "SIGNALBOX_MAX_RECIPIENTS", value_name = "COUNT", default_value_t = 100, help_heading = LIMITS)]
    pub max_recipients: usize,

    /// Signal types in one connection's filter; 0: no limit
    #[arg(long, env = "SIGNALBOX_MAX_SIGNAL_TYPES", value_name = "COUNT", default_value_t = 32, help_heading = LIMITS)]
    pub max_signal_types: usize,

    /// Sends of one connection whose outcome it has not taken; 0: no limit
    #[arg(long, env = "SIGNALBOX_MAX_UNRESOLVED_SENDS", value_name = "COUNT", default_value_t = 1_024, help_heading = LIMITS)]
    pub max_unresolved_sends: usize,

    /// Where to send traces: an OTLP receiver that speaks gRPC, as http://127.0.0.1:4317 (https:// for TLS); without it there are none
    #[arg(long, env = "SIGNALBOX_OTLP_ENDPOINT", value_name = "URL", help_heading = TRACES)]
    pub otlp_endpoint: Option<String>,

    /// Which part of the calls is traced that have no trace already, from 0 to 1; a `traceparent` in a call's metadata decides for itself
    #[arg(long, env = "SIGNALBOX_OTLP_SAMPLE_RATIO", value_name = "RATIO", default_value_t = 1.0, value_parser = ratio, help_heading = TRACES)]
    pub otlp_sample_ratio: f64,

    /// How log lines look, on standard error
    #[arg(long, env = "SIGNALBOX_LOG_FORMAT", value_enum, default_value = "text", help_heading = "Logs")]
    pub log_format: LogFormat,

    /// Which log lines: error, warn, info, debug, trace, or a filter as `signalbox=debug,h2=warn`
    #[arg(long, env = "SIGNALBOX_LOG_LEVEL", value_name = "LEVEL", default_value = "info", help_heading = "Logs")]
    pub log_level: String,
}

const LIMITS: &str = "Limits";
const TRACES: &str = "Traces";
const TOKENS: &str = "Tokens";
const REDIS: &str = "Redis";
const REDIS_URL: &str = "Where Redis is: redis://[user:password@]host[:port][,host...][/database], rediss:// for TLS; \
                         of a cluster, some of its servers; redis+sentinel://host[:port][,host...]/name for the \
                         primary that sentinels know by this name";
const CORS_ORIGIN: &str = "Serve browsers too, by gRPC-Web on the gRPC port, for pages of this origin, as \
                           https://example.com; may be given more than once, or with commas; `*`: pages of all \
                           origins";
const TLS: &str = "TLS";
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// The address for operators, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdminListen(pub Option<SocketAddr>);

impl FromStr for AdminListen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" { Ok(Self(None)) } else { address(text).map(|address| Self(Some(address))) }
    }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "not an IP:PORT, as 127.0.0.1:50051 or [::1]:50051".to_owned())
}

fn ratio(text: &str) -> Result<f64, String> {
    let ratio = text.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
    ratio.ok_or_else(|| "not a number from 0 to 1, as 0.01".to_owned())
}

/// Where traces go; none: nowhere.
fn traces(endpoint: Option<String>, ratio: f64) -> Result<Option<TraceSettings>, String> {
    let Some(endpoint) = endpoint else { return Ok(None) };
    let uri = endpoint.parse::<http::Uri>().ok();
    let is_one = uri.is_some_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
            && uri.query().is_none()
    });
    if is_one {
        return Ok(Some(TraceSettings { endpoint, ratio }));
    }
    Err(format!(
        "invalid value '{endpoint}' for '--otlp-endpoint': not a URL of an OTLP receiver that speaks gRPC, as \
         http://127.0.0.1:4317 or https://collector.example:4317"
    ))
}

/// A parser of durations within a range.
fn between(least: Duration, most: Duration) -> impl Fn(&str) -> Result<Duration, String> + Clone + Send + Sync {
    move |text| {
        let duration =
            humantime::parse_duration(text).map_err(|error| format!("{error}; durations read 500ms, 30s, 2m"))?;
        if (least..=most).contains(&duration) {
            return Ok(duration);
        }
        let (least, most) = (humantime::format_duration(least), humantime::format_duration(most));
        Err(format!("not between {least} and {most}"))
    }
}

impl ServeArgs {
    /// Checks what no single flag can.
    ///
    /// # Errors
    /// What to tell the operator: the flag, the value and what is allowed.
    pub fn check(self) -> Result<Config, String> {
        let expected = Expected { issuer: self.jwt_issuer, audience: self.jwt_audience };
        let tokens = TokenSettings::new(self.jwt_secret_file, self.jwt_jwks_file, expected)?;
        let tls = TlsSettings::new(self.tls_cert, self.tls_key, self.tls_client_ca, !self.cors_origin.is_empty())?;
        let files = Files { ca: self.redis_ca, cert: self.redis_cert, key: self.redis_key };
        let rest = RestSettings::new(self.rest, self.rest_key_file)?;
        let engine = EngineSettings::new(self.engine, &self.redis_url, &files)?;
        let open_to_others = |flag: &str, address: SocketAddr| {
            if address.ip().is_loopback() || self.insecure_open || tokens.is_some() {
                return Ok(());
            }
            Err(format!(
                "invalid value '{address}' for '{flag}': without tokens the server is open to everyone, so it binds \
                 only loopback addresses (127.0.0.0/8, [::1]); give it a key (--jwt-secret-file, --jwt-jwks-file), or \
                 --insecure-open to do it nevertheless"
            ))
        };
        open_to_others("--listen", self.listen)?;
        if let Some(address) = self.admin_listen.0 {
            open_to_others("--admin-listen", address)?;
        }
        if let Some(rest) = rest.as_ref().filter(|rest| rest.is_open()) {
            let address = rest.listen;
            if tokens.is_some() {
                return Err(format!(
                    "invalid value '{address}' for '--rest': it would let everyone do what needs a token by gRPC; give \
                     it --rest-key-file"
                ));
            }
            if !address.ip().is_loopback() && !self.insecure_open {
                return Err(format!(
                    "invalid value '{address}' for '--rest': without --rest-key-file it is open to everyone, so it \
                     binds only loopback addresses (127.0.0.0/8, [::1]), unless --insecure-open is given"
                ));
            }
        }
        Ok(Config {
            listen: self.listen,
            admin_listen: self.admin_listen.0,
            rest,
            tokens,
            tls,
            engine,
            reflection: !self.no_reflection,
            origins: Origins::from(self.cors_origin),
            capacity: Capacity { streams: self.max_connections, streams_per_address: self.max_connections_per_address },
            max_streams_per_transport: self.max_streams_per_transport,
            transports: TransportCaps { all: self.max_transports, per_address: self.max_transports_per_address },
            open_files: None,
            rates: Rates { bytes: self.transport_bytes_per_second, messages: self.transport_messages_per_second },
            workers: usize::from(self.workers),
            drain_timeout: self.drain_timeout,
            traces: traces(self.otlp_endpoint, self.otlp_sample_ratio)?,
            limits: Limits {
                max_session_id_bytes: self.max_session_id_bytes,
                max_connection_data_bytes: self.max_connection_data_bytes,
                max_recipients: self.max_recipients,
                max_signal_types: self.max_signal_types,
                max_unresolved_sends: self.max_unresolved_sends,
                signals_per_second: self.signals_per_second,
                signal_burst: self.signal_burst,
                max_connections_per_session: self.max_connections_per_session,
                log_events: self.log_events,
                log_bytes: self.log_bytes,
                outbox_events: self.outbox_events,
                outbox_bytes: self.outbox_bytes,
                memory_for_signals: self.memory_for_signals,
                max_resume_window: self.max_resume_window,
                heartbeat_interval: self.heartbeat_interval,
                reader_timeout: self.reader_timeout,
            },
        })
    }
}

/// A server's configuration, valid.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to serve gRPC.
    pub listen: SocketAddr,
    /// Where to serve operators, if anywhere.
    pub admin_listen: Option<SocketAddr>,
    /// Where to serve OpenTok's REST calls, if anywhere, and to whom.
    pub rest: Option<RestSettings>,
    /// The keys for tokens; none: everyone may do everything.
    pub tokens: Option<TokenSettings>,
    /// The certificates; none: plain text.
    pub tls: Option<TlsSettings>,
    /// Where sessions live.
    pub engine: EngineSettings,
    /// Whether callers are told which services there are.
    pub reflection: bool,
    /// Whose pages may call by gRPC-Web, which isn't served where there are none.
    pub origins: Origins,
    /// How many streams to take.
    pub capacity: Capacity,
    /// HTTP/2 streams at once on one TCP connection; 0 is no limit.
    pub max_streams_per_transport: u32,
    /// How many TCP connections to take.
    pub transports: TransportCaps,
    /// How many files the process may have open, if that is known.
    pub open_files: Option<usize>,
    /// What one TCP connection may send in a second.
    pub rates: Rates,
    /// Threads that serve connections, the one that runs the server included:
    /// 0 and 1 add none to it. (`signalbox serve` makes 0 one for each CPU.)
    pub workers: usize,
    /// The time for ending every stream at shutdown.
    pub drain_timeout: Duration,
    /// Where traces go; none: nowhere.
    pub traces: Option<TraceSettings>,
    /// What bounds clients.
    pub limits: Limits,
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        serve: ServeArgs,
    }

    fn parse(arguments: &[&str]) -> Result<Config, String> {
        let arguments = std::iter::once(&"signalbox").chain(arguments);
        Command::try_parse_from(arguments).map_err(|error| error.to_string())?.serve.check()
    }

    #[test]
    fn the_defaults_are_the_contracts() {
        let config = parse(&[]).unwrap();
        assert_eq!(config.limits, Limits::default());
        assert_eq!(config.listen.to_string(), "127.0.0.1:50051");
        assert_eq!(config.admin_listen.unwrap().to_string(), "127.0.0.1:9464");
        assert_eq!(config.capacity, Capacity::default());
        assert_eq!(config.max_streams_per_transport, 1_000);
        assert_eq!(config.drain_timeout, Duration::from_secs(10));
    }

    #[test]
    fn a_bad_value_names_the_flag_the_value_and_what_is_allowed() {
        for (arguments, says) in [
            (["--listen", "localhost"], ["--listen", "'localhost'", "IP:PORT"]),
            (["--admin-listen", "off"], ["--admin-listen", "'off'", "IP:PORT"]),
            (["--heartbeat-interval", "1ms"], ["--heartbeat-interval", "'1ms'", "between 100ms and 1h"]),
            (["--max-resume-window", "2days"], ["--max-resume-window", "'2days'", "between 0s and 1day"]),
            (["--drain-timeout", "soon"], ["--drain-timeout", "'soon'", "500ms, 30s, 2m"]),
            (["--signals-per-second", "-1"], ["--signals-per-second", "-1", ""]),
            (["--signal-burst", "1000001"], ["--signal-burst", "1000001", "0..=1000000"]),
            (["--engine", "nats"], ["--engine", "'nats'", "memory"]),
            (["--cors-origin", "example.com"], ["--cors-origin", "'example.com'", "without a path"]),
            (["--log-format", "xml"], ["--log-format", "'xml'", "json"]),
            (["--otlp-endpoint", "collector:4317"], ["--otlp-endpoint", "'collector:4317'", "http://127.0.0.1:4317"]),
            (["--otlp-endpoint", "http://a:b@c"], ["--otlp-endpoint", "'http://a:b@c'", "https://"]),
            (["--otlp-sample-ratio", "1.5"], ["--otlp-sample-ratio", "'1.5'", "from 0 to 1"]),
            (["--otlp-sample-ratio", "NaN"], ["--otlp-sample-ratio", "'NaN'", "from 0 to 1"]),
            (["--listen", "0.0.0.0:50051"], ["--listen", "0.0.0.0:50051", "--insecure-open"]),
            (["--admin-listen", "[::]:9464"], ["--admin-listen", "[::]:9464", "--insecure-open"]),
        ] {
            let error = parse(&arguments).unwrap_err();
            assert!(says.iter().all(|word| error.contains(word)), "{arguments:?}: {error}");
        }
    }

    #[test]
    fn rest_is_off_and_open_only_where_grpc_is() {
        let file = std::env::temp_dir().join(format!("signalbox-config-{}", std::process::id()));
        std::fs::write(&file, format!("47 {0}\n48 {0}", "s".repeat(40))).unwrap();
        let keys = ["--rest-key-file", file.to_str().unwrap()];
        let secret = ["--jwt-secret-file", file.to_str().unwrap()];
        let on = |address, more: &[&str]| parse(&[&["--rest", address], more].concat());
        let refused = |address, more: &[&str], says: &str| {
            let error = on(address, more).unwrap_err();
            assert!(error.contains(says) && error.contains("--rest"), "{address} {more:?}: {error}");
        };
        assert_eq!(parse(&[]).unwrap().rest, None);
        assert!(on("127.0.0.1:0", &[]).unwrap().rest.unwrap().is_open());
        assert!(on("0.0.0.0:0", &["--insecure-open"]).unwrap().rest.unwrap().is_open());
        for address in ["127.0.0.1:0", "0.0.0.0:0"] {
            for more in [&[][..], &secret] {
                assert!(!on(address, &[&keys, more].concat()).unwrap().rest.unwrap().is_open());
            }
            refused(address, &secret, "'--rest': it would let everyone do what needs a token");
            refused(address, &[&secret[..], &["--insecure-open"]].concat(), "give it --rest-key-file");
        }
        refused("0.0.0.0:0", &[], "--insecure-open");
        refused("localhost", &[], "IP:PORT");
        assert!(parse(&keys).unwrap_err().contains("--rest-key-file needs --rest"));
        std::fs::write(&file, "# one\n47 short").unwrap();
        refused("127.0.0.1:0", &keys, "line 2: a secret for HS256 has at least 32 bytes; this one has 5");
        std::fs::remove_file(&file).unwrap();
        refused("127.0.0.1:0", &keys, "No such file");
    }

    #[test]
    fn origins_come_one_by_one_or_with_commas() {
        assert!(parse(&[]).unwrap().origins.is_empty());
        let one_by_one = parse(&["--cors-origin", "http://a:1", "--cors-origin", "https://b"]).unwrap().origins;
        assert_eq!(parse(&["--cors-origin", "http://a:1,https://b"]).unwrap().origins, one_by_one);
        assert!(!one_by_one.is_empty());
    }

    #[test]
    fn open_to_others_only_when_told_so() {
        assert!(parse(&["--listen", "0.0.0.0:1", "--insecure-open"]).is_ok());
        assert!(parse(&["--listen", "[::1]:1"]).is_ok());
        assert_eq!(parse(&["--admin-listen", "none"]).unwrap().admin_listen, None);
    }
}
