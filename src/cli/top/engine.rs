//! What is told of engines and processes: names and values, line by line.

use crate::cli::output::harmless;

use super::{
    show,
    state::{Node, State},
};

/// For each server that answers, what there is to tell.
pub(super) fn lines(state: &State) -> Vec<(String, String)> {
    let many = state.nodes.len() > 1;
    let mut lines = Vec::new();
    for (at, node) in state.nodes.iter().enumerate().filter(|(_, node)| node.away.is_none()) {
        if many {
            lines.push((format!("node {}", at + 1), String::new()));
        }
        tell(node, &mut lines);
    }
    lines
}

#[allow(clippy::cast_precision_loss)] // It is shortened.
fn tell(node: &Node, lines: &mut Vec<(String, String)>) {
    let Some(snapshot) = &node.snapshot else { return };
    let mut line = |name: &str, value: String| lines.push((harmless(name).replace('_', " "), value));
    line("engine", harmless(&snapshot.engine.kind));
    if snapshot.engine.answers.is_some() {
        let latency = node.rates.as_ref().and_then(|rates| rates.latency);
        line("latency, mean", latency.map_or("–".to_owned(), |latency| format!("{:.2} ms", latency * 1_000.0)));
    }
    for (name, value) in &snapshot.engine.figures {
        line(name, show::number(Some(*value)));
    }
    for (name, spent) in &snapshot.memory.spent {
        line(&format!("memory for {name}"), show::bytes(*spent as u64));
    }
    for (name, times) in &snapshot.memory.relief {
        line(&format!("place made by {name}"), show::count(*times));
    }
    for (name, times) in &snapshot.totals.cap_hits {
        line(&format!("cap hit: {name}"), show::count(*times));
    }
    line("panics, each a bug", show::count(snapshot.totals.panics));
    if let Some(process) = snapshot.process {
        line("process", process.id.to_string());
        line("resident memory", show::bytes(process.memory_bytes));
        line("threads", show::count(process.threads));
    }
}
