//! The server that is attacked: the built command, as a process.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use signalbox::bench::{Pin, Usage};

/// How it is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// As it is, open.
    Open,
    /// With TLS.
    Tls,
    /// With a secret for tokens.
    Tokens,
    /// With few files to be had, and no cap below their number.
    FewFiles,
    /// With a cap on connections that is soon reached.
    FewPlaces,
}

/// The memory that it may spend on signals, in bytes.
pub(crate) const MEMORY: u64 = 64 * 1_024 * 1_024;
/// As many files as the one with few may have open.
pub(crate) const FEW_FILES: usize = 300;
/// As many connections as the one with few places takes.
pub(crate) const FEW_PLACES: usize = 200;
/// What its tokens are signed with.
pub(crate) const SECRET: &str = "the secret of the attacked, long enough";

pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    admin: SocketAddr,
    /// The authority of its certificate, if it has one.
    pub(crate) ca: Option<String>,
    /// Lines in its log that tell of a refusal.
    pub(crate) refusals_logged: Arc<AtomicU64>,
    files: Vec<PathBuf>,
}

impl Server {
    pub(crate) fn start(kind: Kind, cpu: Option<usize>) -> Self {
        let mut flags = vec![
            "serve".to_owned(),
            "--listen=127.0.0.1:0".into(),
            "--admin-listen=127.0.0.1:0".into(),
            "--log-format=text".into(),
            format!("--memory-for-signals={MEMORY}"),
        ];
        let mut files = Vec::new();
        let mut ca = None;
        match kind {
            Kind::Open => flags.push("--max-transports-per-address=0".into()),
            Kind::Tls => {
                let (authority, chain, key) = certificate();
                let (chain, key) = (file("chain", &chain), file("key", &key));
                flags.push(format!("--tls-cert={}", chain.display()));
                flags.push(format!("--tls-key={}", key.display()));
                flags.push("--max-transports-per-address=0".into());
                files.extend([chain, key]);
                ca = Some(authority);
            }
            Kind::Tokens => {
                let secret = file("secret", SECRET);
                flags.push(format!("--jwt-secret-file={}", secret.display()));
                files.push(secret);
            }
            Kind::FewFiles => flags.push("--max-transports=0".into()),
            Kind::FewPlaces => flags.push(format!("--max-transports={FEW_PLACES}")),
        }
        let executable = env!("CARGO_BIN_EXE_signalbox");
        let mut command = match kind {
            Kind::FewFiles => {
                let mut shell = Command::new("sh");
                let line = format!("ulimit -n {FEW_FILES} && exec \"$0\" \"$@\"");
                shell.args(["-c", &line, executable]);
                shell
            }
            _ => Command::new(executable),
        };
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("SIGNALBOX_")) {
            command.env_remove(name);
        }
        let pin = cpu.map(|cpu| Pin::to(cpu).expect("a CPU for the server"));
        command.args(&flags).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the server starts");
        drop(pin);

        let refusals_logged = Arc::<AtomicU64>::default();
        let errors = BufReader::new(child.stderr.take().expect("it was piped"));
        let count = Arc::clone(&refusals_logged);
        thread::spawn(move || {
            for line in errors.lines().map_while(Result::ok) {
                if line.contains("signalbox::audit") {
                    count.fetch_add(1, Ordering::Relaxed);
                } else if line.contains("ERROR") || line.contains("panicked") {
                    eprintln!("server: {line}");
                }
            }
        });
        let mut output = BufReader::new(child.stdout.take().expect("it was piped"));
        let (mut address, mut admin) = (None, None);
        while address.is_none() || admin.is_none() {
            let mut line = String::new();
            assert!(output.read_line(&mut line).expect("its output is text") > 0, "the server did not come up");
            let found = line.split_once("://").and_then(|(_, rest)| rest.split_whitespace().next()?.parse().ok());
            if line.contains("gRPC   ") {
                address = found;
            } else if line.contains("admin  ") {
                admin = found;
            }
        }
        thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
        let (address, admin) = (address.expect("an address"), admin.expect("an admin address"));
        Self { child, address, admin, ca, refusals_logged, files }
    }

    /// Its endpoint, as clients have it.
    pub(crate) fn endpoint(&self) -> String {
        match self.ca {
            Some(_) => format!("https://localhost:{}", self.address.port()),
            None => format!("http://{}", self.address),
        }
    }

    pub(crate) fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// CPU time that it has used.
    pub(crate) fn cpu(&self) -> Duration {
        Usage::of(&[self.child.id()]).map_or(Duration::ZERO, |usage| Duration::from_nanos(usage.cpu_ns))
    }

    /// Resident memory now, and at the most since [`Server::forget_peak`], in bytes.
    pub(crate) fn memory(&self) -> (u64, u64) {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let read = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1_024
        };
        (read("VmRSS:"), read("VmHWM:"))
    }

    pub(crate) fn forget_peak(&self) {
        // Source: proc(5), clear_refs.
        let _ = fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5");
    }

    /// The value of a metric, named with its labels. None when there is no answer.
    pub(crate) fn metric(&self, name: &str) -> Option<f64> {
        let mut stream = TcpStream::connect(self.admin).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        write!(stream, "GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").ok()?;
        let mut page = String::new();
        stream.read_to_string(&mut page).ok()?;
        page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        for file in &self.files {
            let _ = fs::remove_file(file);
        }
    }
}

fn file(name: &str, content: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("signalbox-attack-{}-{name}", std::process::id()));
    fs::write(&path, content).expect("a temporary file");
    path
}

/// An authority's certificate, one that it gave to localhost, and its key.
fn certificate() -> (String, String, String) {
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority");
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("parameters");
    let certificate = params.signed_by(&key, &authority).expect("a certificate");
    (authority.pem(), certificate.pem(), key.serialize_pem())
}
