//! What was measured: samples of one run each, their medians, and ratios between
//! samples of the same round.

use serde_json::{Value, json};

use super::{
    servers::{Kind, Program},
    works::{JOBS, Job},
};

/// One run of one job against one peer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Sample {
    /// Server CPU per unit of work, microseconds.
    pub(crate) cpu: Option<f64>,
    /// Units of work per second.
    pub(crate) rate: Option<f64>,
    /// Latency, microseconds.
    pub(crate) p50: Option<f64>,
    pub(crate) p99: Option<f64>,
    /// Server memory per unit, bytes.
    pub(crate) memory: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Metric {
    Cpu,
    Rate,
    P50,
    P99,
    Memory,
}

impl Sample {
    pub(crate) fn get(&self, metric: Metric) -> Option<f64> {
        match metric {
            Metric::Cpu => self.cpu,
            Metric::Rate => self.rate,
            Metric::P50 => self.p50,
            Metric::P99 => self.p99,
            Metric::Memory => self.memory,
        }
    }
}

/// A median, and the least and the most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Spread {
    pub(crate) fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (&least, &most) = (values.first()?, values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 };
        Some(Self { median, least, most })
    }
}

/// All runs of one job.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) job: Job,
    /// One for each round; a round in which a peer failed has no sample of it.
    pub(crate) samples: Vec<(Kind, Vec<Option<Sample>>)>,
}

impl Row {
    fn of(&self, kind: Kind) -> impl Iterator<Item = Option<&Sample>> {
        let samples = self.samples.iter().find(|(of, _)| *of == kind).map(|(_, samples)| samples.as_slice());
        samples.unwrap_or_default().iter().map(Option::as_ref)
    }

    pub(crate) fn spread(&self, kind: Kind, metric: Metric) -> Option<Spread> {
        Spread::of(self.of(kind).flatten().filter_map(|sample| sample.get(metric)).collect())
    }

    pub(crate) fn median(&self, kind: Kind, metric: Metric) -> Option<f64> {
        Some(self.spread(kind, metric)?.median)
    }

    /// The median of the ratios of each round: what slowed the machine in one
    /// slowed both of them.
    pub(crate) fn ratio(&self, of: Kind, to: Kind, metric: Metric) -> Option<f64> {
        let rounds = self.of(of).zip(self.of(to));
        let ratios = rounds.filter_map(|(of, to)| {
            let (of, to) = (of?.get(metric)?, to?.get(metric)?);
            (to > 0.0).then(|| of / to)
        });
        Some(Spread::of(ratios.collect())?.median)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Results {
    pub(crate) machine: String,
    /// Why the figures may be off.
    pub(crate) busy: Option<String>,
    pub(crate) taken: String,
    pub(crate) runs: usize,
    pub(crate) programs: Vec<Program>,
    /// Who is not in it, and why.
    pub(crate) absent: Vec<String>,
    pub(crate) rows: Vec<Row>,
}

impl Results {
    pub(crate) fn row(&self, slug: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.job.slug == slug)
    }

    pub(crate) fn kinds(&self) -> impl Iterator<Item = Kind> {
        self.programs.iter().map(|program| program.kind)
    }

    pub(crate) fn json(&self) -> Value {
        let versions: Vec<_> = self
            .programs
            .iter()
            .map(|program| json!({"peer": program.kind.name(), "version": program.version}))
            .collect();
        let rows: Vec<_> = self.rows.iter().map(row_json).collect();
        json!({
            "machine": self.machine,
            "busy": self.busy,
            "taken": self.taken,
            "runs": self.runs,
            "peers": versions,
            "absent": self.absent,
            "units": {"cpu": "server microseconds per unit", "rate": "units per second",
                "p50": "microseconds", "p99": "microseconds", "memory": "server bytes per unit"},
            "works": rows,
        })
    }
}

impl Results {
    /// Reads what [`Self::json`] gave; what it doesn't know is left out.
    pub(crate) fn read(json: &Value) -> Option<Self> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let programs = json["peers"].as_array()?.iter();
        let rows = json["works"].as_array()?.iter();
        Some(Self {
            machine: text(&json["machine"])?,
            busy: text(&json["busy"]),
            taken: text(&json["taken"])?,
            runs: json["runs"].as_u64()? as usize,
            programs: programs
                .filter_map(|program| {
                    Some(Program::named(kind(program["peer"].as_str()?)?, text(&program["version"])?))
                })
                .collect(),
            absent: json["absent"].as_array()?.iter().filter_map(text).collect(),
            rows: rows.filter_map(read_row).collect(),
        })
    }
}

fn kind(name: &str) -> Option<Kind> {
    Kind::ALL.into_iter().find(|kind| kind.name() == name)
}

fn read_row(json: &Value) -> Option<Row> {
    let slug = json["work"].as_str()?;
    let job = *JOBS.iter().find(|job| job.slug == slug)?;
    let sample = |json: &Value| {
        json.is_object().then(|| Sample {
            cpu: json["cpu"].as_f64(),
            rate: json["rate"].as_f64(),
            p50: json["p50"].as_f64(),
            p99: json["p99"].as_f64(),
            memory: json["memory"].as_f64(),
        })
    };
    let peers = json["runs"].as_object()?.iter();
    let samples = peers.filter_map(|(name, runs)| Some((kind(name)?, runs.as_array()?.iter().map(sample).collect())));
    Some(Row { job, samples: samples.collect() })
}

fn row_json(row: &Row) -> Value {
    let peers = row.samples.iter().map(|(kind, samples)| {
        let samples: Vec<_> = samples
            .iter()
            .map(|sample| {
                sample.map(|Sample { cpu, rate, p50, p99, memory }| {
                    json!({"cpu": cpu, "rate": rate, "p50": p50, "p99": p99, "memory": memory})
                })
            })
            .collect();
        (kind.name().to_owned(), json!(samples))
    });
    json!({
        "work": row.job.slug,
        "title": row.job.title,
        "unit": row.job.unit,
        "runs": Value::Object(peers.collect()),
    })
}
