//! `signalbox bench`: small loads, for what they count and say. How fast they
//! are is no test's matter.

use std::{fs, process::Stdio, time::Duration};

use serde_json::Value;
use tokio::{process::Command, time::sleep};

use super::{PATIENCE, Process, client, client_at, json, run, signalbox};
use crate::support::{TestServer, within};

/// Flags of a load that is over soon.
const SOON: [&str; 4] = ["--warm-up", "100ms", "--time", "300ms"];

const KEYS: [&str; 35] = [
    "work",
    "peer",
    "address",
    "settings",
    "unit",
    "runs",
    "units",
    "seconds",
    "units_per_second",
    "sends",
    "sends_per_second",
    "latency_mean_ns",
    "latency_p50_ns",
    "latency_p90_ns",
    "latency_p99_ns",
    "latency_p99_9_ns",
    "latency_max_ns",
    "corrected_mean_ns",
    "corrected_p50_ns",
    "corrected_p90_ns",
    "corrected_p99_ns",
    "corrected_p99_9_ns",
    "corrected_max_ns",
    "server_cpu_ns",
    "server_cpu_ns_per_unit",
    "server_cpu_share",
    "server_rss_before_bytes",
    "server_rss_bytes",
    "server_pss_bytes",
    "server_rss_bytes_per_unit",
    "client_cpu_ns",
    "client_cpu_ns_per_unit",
    "client_cpu_share",
    "client_rss_bytes",
    "members_reached",
];

/// What `mixed` tells besides.
const HOSTILE: [&str; 43] = [
    "without_bad_p50_ns",
    "without_bad_p90_ns",
    "without_bad_p99_ns",
    "without_bad_p99_9_ns",
    "without_bad_max_ns",
    "without_bad_tenth_p99_ns",
    "without_bad_late_p99_ns",
    "again_p50_ns",
    "again_p90_ns",
    "again_p99_ns",
    "again_p99_9_ns",
    "again_max_ns",
    "again_tenth_p99_ns",
    "again_late_p99_ns",
    "with_bad_p50_ns",
    "with_bad_p90_ns",
    "with_bad_p99_ns",
    "with_bad_p99_9_ns",
    "with_bad_max_ns",
    "with_bad_tenth_p99_ns",
    "with_bad_late_p99_ns",
    "p99_ratio",
    "p99_ratio_least",
    "p99_ratio_most",
    "p99_ratio_of_tenths",
    "p99_ratio_of_all",
    "noise_ratio",
    "noise_ratio_least",
    "noise_ratio_most",
    "noise_ratio_of_tenths",
    "noise_ratio_of_all",
    "without_bad_server_cpu_share",
    "measuring_cpu_share",
    "good_lost",
    "good_twice",
    "bad_joins",
    "floods",
    "floods_refused",
    "floods_taken",
    "oversize_ended",
    "slow_ended",
    "slow_kept",
    "bad_other",
];

/// What a load on a server that it starts finds.
async fn found(arguments: &[&str]) -> Value {
    let mut command = signalbox(&["bench"]);
    command.args(arguments).arg("--json");
    let found = json(&run(command).await.well());
    for key in KEYS {
        assert!(found.get(key).is_some(), "no {key} in {found}");
    }
    assert_eq!(found["work"], arguments[0]);
    assert_eq!(found["peer"], "Signalbox");
    for known in ["units", "server_rss_bytes", "client_cpu_ns", "client_rss_bytes"] {
        assert!(number(&found, known) > 0, "{known} in {found}");
    }
    // A server that has nothing to do uses none.
    assert!(found["server_cpu_ns"].is_u64(), "{found}");
    found
}

fn number(found: &Value, key: &str) -> u64 {
    found[key].as_u64().unwrap_or_else(|| panic!("{key} is no whole number in {found}"))
}

#[tokio::test]
async fn fanout_counts_deliveries() {
    let load = ["fanout", "--sessions", "2", "--receivers", "5", "--senders", "2", "--in-flight", "8", "--size", "100"];
    let found = found(&[&load[..], &SOON].concat()).await;
    let settings = r#"{"sessions":2,"receivers":5,"senders":2,"size_bytes":100,"in_flight":8}"#;
    assert_eq!(found["settings"].to_string(), settings);
    assert_eq!(found["unit"], "delivery");
    assert_eq!(number(&found, "sends"), number(&found, "units") / 5);
    let (p50, p99, max) =
        (number(&found, "latency_p50_ns"), number(&found, "latency_p99_ns"), number(&found, "latency_max_ns"));
    assert!(0 < p50 && p50 <= p99 && p99 <= max, "{found}");
    assert!(number(&found, "corrected_p50_ns") > 0);
}

#[tokio::test]
async fn an_open_loop_keeps_its_rate_and_needs_no_correction() {
    for (work, units_a_send) in [("fanout", 4), ("pairs", 1), ("unary", 1)] {
        let who = match work {
            "fanout" => ["--receivers", "4"],
            "pairs" => ["--pairs", "2"],
            _ => ["--members", "2"],
        };
        let load = [&[work, "--rate", "200", "--warm-up", "100ms", "--time", "1s"], &who[..]].concat();
        let found = found(&load).await;
        let sends = number(&found, "units") / units_a_send;
        // It may be late, but not by half: the next are due all the same.
        assert!((100..=300).contains(&sends), "{found}");
        assert_eq!(found["settings"]["rate_per_second"], 200);
        assert!(found["corrected_p50_ns"].is_null() && number(&found, "latency_p50_ns") > 0, "{found}");
    }
}

#[tokio::test]
async fn pairs_count_messages() {
    let found = found(&[&["pairs", "--pairs", "3"], &SOON[..]].concat()).await;
    assert_eq!((&found["unit"], &found["settings"]["pairs"]), (&"message".into(), &3.into()));
    assert_eq!(number(&found, "sends"), number(&found, "units"));
}

#[tokio::test]
async fn unary_counts_calls_that_were_answered() {
    let load = ["unary", "--members", "3", "--connections", "2", "--in-flight", "5"];
    let found = found(&[&load[..], &SOON].concat()).await;
    assert_eq!((&found["unit"], &found["settings"]["connections"]), (&"call".into(), &2.into()));
}

#[tokio::test]
async fn join_counts_joins_apart_and_together() {
    let joins = ["join", "--joins", "50", "--concurrency", "7", "--warm-up", "50ms"];
    let apart = found(&joins).await;
    assert_eq!((number(&apart, "units"), &apart["settings"]["sessions"]), (50, &50.into()));
    let together = found(&[&joins[..], &["--one-session"]].concat()).await;
    assert_eq!((number(&together, "units"), &together["settings"]["sessions"]), (50, &1.into()));
}

#[tokio::test]
async fn idle_tells_the_memory_of_a_member() {
    // Those of a session are on one connection, on several, and all on one.
    for per_connection in ["1", "3", "40", "1000"] {
        let load = ["idle", "--members", "100", "--settle", "100ms", "--hold", "100ms"];
        let found = found(&[&load[..], &["--per-connection", per_connection]].concat()).await;
        assert_eq!((number(&found, "units"), number(&found, "members_reached")), (100, 100));
        assert!(found["server_rss_bytes_per_unit"].is_number() && found["latency_p50_ns"].is_null(), "{found}");
    }
}

#[tokio::test]
async fn the_table_has_the_same_for_people_and_medians_of_runs() {
    let mut command = signalbox(&["bench", "fanout", "--receivers", "3", "--runs", "2"]);
    let table = run({
        command.args(SOON);
        command
    })
    .await
    .well();
    for says in [
        "fanout: Signalbox at 127.0.0.1:",
        "started for this, medians of 2 runs",
        "receivers 3",
        "deliveries per second",
        "p99.9",
        "omissions corrected",
        "us per delivery",
        "server memory",
        "client CPU",
    ] {
        assert!(table.contains(says), "{says:?} is not in\n{table}");
    }
}

#[tokio::test]
async fn a_running_server_takes_the_load_and_its_process_is_found() {
    let server = TestServer::with(&["--signals-per-second", "0"]).await;
    for load in [&["fanout", "--receivers", "3"][..], &["pairs", "--pairs", "2"], &["unary", "--members", "2"]] {
        let found = run(client(&server, &[&["bench"], load, &SOON, &["--json"]].concat())).await.well();
        let found = json(&found);
        assert_eq!(found["address"], server.address().to_string());
        // The server is in this process.
        assert!(number(&found, "server_cpu_ns") > 0 && number(&found, "units") > 0, "{found}");
    }
    let join = ["bench", "join", "--joins", "20", "--warm-up", "0s"];
    assert!(run(client(&server, &join)).await.well().contains("on this machine"));
    let idle = ["bench", "idle", "--members", "20", "--settle", "0s", "--hold", "50ms"];
    assert!(run(client(&server, &idle)).await.well().contains("KB per member"));
    // A name that has the other protocol's address too, where nobody listens.
    let localhost = format!("localhost:{}", server.address().port());
    run(client_at(&localhost, &join)).await.well();
    let pid = std::process::id().to_string();
    let named = run(client(&server, &[&join[..], &["--pid", &pid]].concat())).await.well();
    assert!(named.contains("us per join"), "{named}");
}

#[tokio::test]
async fn mixed_keeps_the_good_from_the_bad() {
    let good = ["mixed", "--members", "6", "--per-session", "3", "--rate", "100"];
    let bad = ["--bad", "50", "--flood-rate", "500", "--rounds", "1", "--warm-up", "200ms", "--time", "1s"];
    let found = found(&[&good[..], &bad].concat()).await;
    for key in HOSTILE {
        assert!(found[key].is_number(), "no {key} in {found}");
    }
    assert_eq!((&found["unit"], &found["settings"]["bad"]), (&"delivery".into(), &3.into()));
    assert_eq!((number(&found, "good_lost"), number(&found, "good_twice")), (0, 0));
    // Everyone has each signal, and nothing of the bad ones counts.
    let sends = number(&found, "sends");
    assert!((50..=150).contains(&sends) && number(&found, "units").abs_diff(3 * sends) <= 6, "{found}");
    let (refused, taken) = (number(&found, "floods_refused"), number(&found, "floods_taken"));
    assert!(refused > 0 && taken >= 100 && refused + taken <= number(&found, "floods"), "{found}");
    // Each comes again.
    assert!(number(&found, "oversize_ended") > 1 && number(&found, "bad_joins") > 4, "{found}");
    assert_eq!(number(&found, "bad_other"), 0, "{found}");
}

#[tokio::test]
async fn what_a_server_refuses_is_told() {
    let server = TestServer::with(&["--max-connections-per-session", "3"]).await;
    let fanout = ["bench", "fanout", "--receivers", "3"];
    let limited = run(client(&server, &[&fanout[..], &SOON].concat())).await;
    limited.failed(1, &["signalbox: the server refused a signal: RATE_LIMITED"]);
    let full = run(client(&server, &["bench", "fanout", "--receivers", "4"])).await;
    full.failed(1, &["signalbox: the server ended a member: SESSION_FULL: RESOURCE_EXHAUSTED: ", "3"]);
    let crowded = ["bench", "idle", "--members", "1500", "--per-connection", "1500", "--per-session", "3"];
    run(client(&server, &crowded)).await.failed(1, &["1000 streams", "1500 members"]);
}

#[tokio::test]
async fn where_nothing_answers_is_told() {
    let fanout = ["bench", "fanout", "--receivers", "2"];
    let nobody = run(client_at("http://127.0.0.1:1", &fanout)).await;
    nobody.failed(1, &["signalbox: can't connect to 127.0.0.1:1", "refused"]);
    let server = TestServer::start().await;
    let admin = run(client_at(&format!("http://{}", server.admin()), &fanout)).await;
    admin.failed(1, &["signalbox: "]);
    let mut bad = signalbox(&fanout);
    bad.arg("--serve-flag=--no-such-flag");
    run(bad).await.failed(1, &["--no-such-flag", "the server that was started did not come up"]);
}

#[tokio::test]
async fn a_shared_connection_may_have_as_many_members_as_the_server_takes() {
    let load = ["idle", "--members", "1000", "--per-connection", "1000", "--settle", "0s", "--hold", "50ms"];
    assert_eq!(number(&found(&load).await, "members_reached"), 1_000);
}

/// A command in a shell that sets its limits of open files before.
fn with_files(limits: &str, arguments: &str) -> Command {
    let mut command = Command::new("sh");
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("SIGNALBOX_")) {
        command.env_remove(name);
    }
    let line = format!(r#"{limits} && exec "$0" {arguments}"#);
    command.args(["-c", &line, env!("CARGO_BIN_EXE_signalbox")]).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[tokio::test]
async fn soft_limits_of_open_files_are_raised_for_the_load_and_the_server() {
    let idle = "bench idle --members 100 --settle 0s --hold 50ms --json";
    let found = json(&run(with_files("ulimit -Sn 64", idle)).await.well());
    assert_eq!(number(&found, "members_reached"), 100);
}

#[tokio::test]
async fn too_few_files_are_told_with_the_limit_where_it_cannot_be_raised() {
    let raised = run(with_files("ulimit -n 64; ulimit -Hn 132", "--version")).await.code == 0;
    let idle = "bench idle --members 100 --settle 0s --hold 50ms";
    let done = run(with_files("ulimit -n 64", idle)).await;
    if raised {
        // Root may.
        done.well();
    } else {
        done.failed(1, &["100 connections need 132 open files", "this process may have 64", "ulimit -Hn 132"]);
    }
}

#[tokio::test]
async fn a_running_server_that_may_open_too_few_files_is_told_before() {
    let mut server = Process::start(with_files("ulimit -n 100", "serve --listen 127.0.0.1:0 --admin-listen none"));
    let address = loop {
        if let Some((_, address)) = server.line().await.split_once("gRPC   http://") {
            break address.to_owned();
        }
    };
    let pid = server.pid().to_string();
    let idle = ["bench", "idle", "--members", "200", "--pid", &pid];
    run(client_at(&address, &idle)).await.failed(1, &["200 connections need 232 open files", &pid, "may have 100"]);
    server.signal("TERM").await;
    server.done().await;
}

#[tokio::test]
async fn bad_usage_is_told() {
    for (arguments, says) in [
        (&["bench"][..], "fanout"),
        (&["bench", "fanout", "--rate", "5", "--in-flight", "5"], "cannot be used with"),
        (&["bench", "fanout", "--size", "31"], "32..=8192"),
        (&["bench", "fanout", "--receivers", "0"], "1..=1000000"),
        (&["bench", "pairs", "--rate=-1"], "--rate"),
        (&["bench", "pairs", "--time", "soon"], "500ms, 30s, 2m"),
        (&["bench", "join", "--server", "x:1", "--server-cpu", "0"], "cannot be used with"),
        (&["bench", "join", "--pid", "1"], "--server"),
    ] {
        run(signalbox(arguments)).await.failed(2, &[says]);
    }
}

/// The children of a process.
fn children(pid: u32) -> Vec<u32> {
    let parent = format!("PPid:\t{pid}\n");
    let all = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    all.filter(|pid: &u32| {
        fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|status| status.contains(&parent))
    })
    .collect()
}

#[tokio::test]
async fn an_interrupt_ends_the_server_too() {
    for signal in ["INT", "TERM"] {
        let bench = Process::start(signalbox(&["bench", "fanout", "--receivers", "2", "--time", "1h"]));
        let pid = bench.pid();
        let server = within(PATIENCE, "the server", async {
            loop {
                if let [server] = children(pid)[..] {
                    break server;
                }
                sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        bench.signal(signal).await;
        bench.done().await.failed(1, &["signalbox: stopped"]);
        assert!(!fs::exists(format!("/proc/{server}")).unwrap());
    }
}
