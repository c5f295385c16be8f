//! `signalbox doctor`: whether what a server would depend on will do.

use clap::Args;
use serde_json::json;

use crate::server::{Finding, ServeArgs, Verdict};

use super::{failure::Failure, output};

/// The command's flags: a server's, and how to print.
#[derive(Args, Clone, Debug)]
pub(super) struct DoctorArgs {
    /// Print JSON lines
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    serve: ServeArgs,
}

/// Prints what it finds. A failure when something has to be mended.
pub(super) async fn run(args: DoctorArgs) -> Result<(), Failure> {
    let config = args.serve.check().map_err(Failure::Usage)?;
    let findings = config.engine.examine().await;
    if findings.is_empty() && !args.json {
        output::line("the configuration is sound, and the memory engine depends on nothing")?;
    }
    for finding in &findings {
        if args.json {
            output::line(&as_json(finding).to_string())?;
        } else {
            output::line(&as_text(finding))?;
        }
    }
    match findings.iter().filter(|finding| finding.verdict == Verdict::Bad).count() {
        0 => Ok(()),
        count => Err(Failure::Refused(format!("{count} of {} must be mended", findings.len()))),
    }
}

fn name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Good => "ok",
        Verdict::Doubtful => "warn",
        Verdict::Bad => "bad",
    }
}

fn as_text(finding: &Finding) -> String {
    let mend = finding.mend.as_ref().map_or_else(String::new, |mend| format!("\n{:19}to mend it: {mend}", ""));
    format!("{:<5}{:<14}{}{mend}", name(finding.verdict), finding.what, finding.is)
}

fn as_json(finding: &Finding) -> serde_json::Value {
    json!({
        "what": finding.what,
        "verdict": name(finding.verdict),
        "is": finding.is,
        "mend": finding.mend,
    })
}
