//! `signalbox token`: signs a token by the secret that a server has.

use std::{
    env, fs, io,
    path::PathBuf,
    time::{Duration, UNIX_EPOCH},
};

use clap::Args;
use serde_json::json;

use crate::{
    auth::{Audience, Bearer, Claims, Secret, sign},
    clock::{Clock as _, SystemClock},
};

use super::{failure::Failure, output};

/// The command's flags.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  \
    signalbox token --session demo --data alice --secret-file secret\n  \
    signalbox token --role server --expires 30d --secret-file secret\n\n\
    A secret of its own: head -c 32 /dev/urandom | base64 > secret")]
pub(super) struct TokenArgs {
    /// The one session that it opens; none for the role `server`
    #[arg(long, value_name = "SESSION_ID", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    session: Option<String>,

    /// subscriber (receives), publisher (also signals), moderator (also disconnects), server (a backend)
    #[arg(long, default_value = "publisher", value_parser = role)]
    role: Bearer,

    /// What the connection's data is: the bearer can't give any itself
    #[arg(long)]
    data: Option<String>,

    /// Who the bearer is (`sub`), for the server's audit log
    #[arg(long, value_name = "NAME")]
    subject: Option<String>,

    /// How long it is good, as 90s, 1h, 30d
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = humantime::parse_duration)]
    expires: Duration,

    /// Who makes it (`iss`)
    #[arg(long, env = "SIGNALBOX_JWT_ISSUER", value_name = "NAME")]
    issuer: Option<String>,

    /// Whom it is for (`aud`)
    #[arg(long, env = "SIGNALBOX_JWT_AUDIENCE", value_name = "NAME", default_value = "signalbox")]
    audience: String,

    /// The file with the server's secret. It may be in SIGNALBOX_JWT_SECRET instead
    #[arg(long, env = "SIGNALBOX_JWT_SECRET_FILE", value_name = "FILE")]
    secret_file: Option<PathBuf>,

    /// Print JSON: the token, and when it expires
    #[arg(long)]
    json: bool,
}

fn role(name: &str) -> Result<Bearer, String> {
    Bearer::named(name).ok_or_else(|| {
        let known: Vec<_> = Bearer::NAMED.iter().map(|bearer| bearer.name()).collect();
        format!("not one of {}", known.join(", "))
    })
}

/// Prints a token.
pub(super) fn run(args: &TokenArgs) -> Result<(), Failure> {
    let claims = claims(args)?;
    let expires_at = claims.exp.clone();
    let token = sign(&claims, &secret(args)?).map_err(|wrong| Failure::Refused(wrong.to_string()))?;
    if args.json {
        return Ok(output::line(&json!({ "token": token, "expires_at": expires_at }).to_string())?);
    }
    Ok(output::line(&token)?)
}

fn claims(args: &TokenArgs) -> Result<Claims, Failure> {
    match (args.role, &args.session) {
        (Bearer::Server, Some(_)) => {
            return Err(Failure::Usage("a token of the role server names no --session".to_owned()));
        }
        (Bearer::Server, None) | (_, Some(_)) => {}
        (_, None) => return Err(Failure::Usage("a member's token needs the --session that it opens".to_owned())),
    }
    let now = SystemClock::new().now().wall.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(Claims {
        iss: args.issuer.clone(),
        aud: Some(Audience::One(args.audience.clone())),
        exp: Some(now.saturating_add(args.expires).as_secs().into()),
        nbf: None,
        sub: args.subject.clone(),
        session: args.session.clone(),
        role: Some(args.role.name().to_owned()),
        data: args.data.clone(),
    })
}

fn secret(args: &TokenArgs) -> Result<Secret, Failure> {
    let text = match (&args.secret_file, env::var_os("SIGNALBOX_JWT_SECRET")) {
        (Some(file), _) => fs::read(file).map_err(|error| {
            io::Error::new(error.kind(), format!("can't read the secret in '{}': {error}", file.display()))
        })?,
        (None, Some(secret)) => secret.into_encoded_bytes(),
        (None, None) => {
            return Err(Failure::Usage(
                "there is no secret: --secret-file, SIGNALBOX_JWT_SECRET_FILE or SIGNALBOX_JWT_SECRET".to_owned(),
            ));
        }
    };
    Secret::new(&text).map_err(|wrong| Failure::Refused(wrong.to_string()))
}
