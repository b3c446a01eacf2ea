//! `bench compare`: the cases of a file of lines again on this backend, and the ratios.

use std::fmt::Write;

use anyhow::{Context, ensure};
use clap::ValueEnum;
use serde_json::Value;

use super::{BenchArgs, Case, again, step::MICRO_BATCHES};
use crate::{
    device::Backend,
    files::{TEXT, read_text},
    say::{say, tell},
};

/// Runs every case of the peer's file in a process of its own and prints both sides.
pub(super) fn run(args: &BenchArgs) -> anyhow::Result<()> {
    let path = args.peer.as_deref().context("a file of lines")?;
    let text = read_text(path, TEXT)?;
    let mut peers = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let at = || format!("{}, line {}", path.display(), number + 1);
        let line: Value = serde_json::from_str(line).with_context(at)?;
        let case = line["case"].as_str();
        let case = case.with_context(|| format!("{}: it names no `case`", at()))?;
        peers.push((case.to_owned(), line));
    }
    ensure!(!peers.is_empty(), "{}: no lines", path.display());
    let mut rows = Vec::new();
    let mut runs: Vec<(Case, usize, Vec<Value>)> = Vec::new();
    for (case, peer) in &peers {
        let name = case.split('/').next().unwrap_or(case);
        let known = Case::from_str(name, false).ok();
        let known = known.filter(|known| !matches!(known, Case::All | Case::Compare));
        let Some(known) = known else {
            tell(format_args!(
                "{case}: passed over, there is no such case here"
            ));
            continue;
        };
        if matches!(known, Case::Images | Case::Tokens) && args.data.is_none() {
            tell(format_args!("{case}: passed over, it wants --data TABLE"));
            continue;
        }
        let batch = batch_of(peer, args);
        // All operations are lines of one run.
        let again =
            |(of, at, _): &(Case, usize, _)| known == Case::Ops && (*of, *at) == (known, batch);
        if !runs.iter().any(again) {
            runs.push((known, batch, measured(known, batch, peer, args)?));
        }
        let run = runs
            .iter()
            .rfind(|(of, at, _)| (*of, *at) == (known, batch));
        let lines = run.map_or(&[][..], |(.., lines)| lines);
        match lines.iter().find(|line| line["case"] == **case) {
            Some(ours) => rows.push(Row::new(case, ours, peer)),
            None => tell(format_args!(
                "{case}: passed over, there is no such case here"
            )),
        }
    }
    say(table(&rows)?.trim_end());
    Ok(())
}

/// The `--batch` that gives the peer's batch.
fn batch_of(peer: &Value, args: &BenchArgs) -> usize {
    let batch = peer["batch"].as_u64().map_or(args.batch, |n| n as usize);
    match peer["case"].as_str() {
        Some("accum") => (batch / MICRO_BATCHES).max(1),
        _ => batch,
    }
}

/// The lines of a case with the peer's batch and number of threads.
fn measured(
    case: Case,
    batch: usize,
    peer: &Value,
    args: &BenchArgs,
) -> anyhow::Result<Vec<Value>> {
    let workers = peer["workers"]
        .as_u64()
        .map_or(args.workers, |n| n as usize);
    let output = again(case, [batch, workers], args)?.output()?;
    ensure!(
        output.status.success(),
        "bench {}: {}",
        case.name(),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    let text = String::from_utf8(output.stdout)?;
    let lines = text.lines().map(serde_json::from_str);
    Ok(lines.collect::<Result<_, _>>()?)
}

/// A case, both sides. Rates are per second.
#[derive(Debug, PartialEq)]
struct Row {
    case: String,
    unit: &'static str,
    ours: f64,
    peer: f64,
    memory: [Option<f64>; 2],
}

impl Row {
    fn new(case: &str, ours: &Value, peer: &Value) -> Self {
        let rates = [
            ("samples_per_s", "samples"),
            ("images_per_s", "images"),
            ("captions_per_s", "captions"),
        ];
        let rate = rates
            .into_iter()
            .find(|(key, _)| ours[key].is_number() && peer[key].is_number());
        let number = |line: &Value, key: &str| line[key].as_f64().unwrap_or(f64::NAN);
        let per_s = |line: &Value| match rate {
            Some((key, _)) => number(line, key),
            None => 1.0 / number(line, "step_s"),
        };
        Self {
            case: case.to_owned(),
            unit: rate.map_or("steps", |(_, unit)| unit),
            ours: per_s(ours),
            peer: per_s(peer),
            memory: [ours, peer].map(|line| line["peak_rss_mb"].as_f64()),
        }
    }
}

fn table(rows: &[Row]) -> anyhow::Result<String> {
    let mut text = format!(
        "{:<24} {:>12} {:>12}  {:<10} {:>6}   {}\n",
        "case",
        Backend::built().name(),
        "peer",
        "a second",
        "ratio",
        "MB, ours / peer"
    );
    for row in rows {
        let memory = row
            .memory
            .map(|mb| mb.map_or("-".to_owned(), |mb| format!("{mb:.0}")));
        writeln!(
            text,
            "{:<24} {:>12} {:>12}  {:<10} {:>6.2}   {}",
            row.case,
            figure(row.ours),
            figure(row.peer),
            row.unit,
            row.ours / row.peer,
            memory.join(" / ")
        )?;
    }
    Ok(text)
}

/// Three digits.
fn figure(value: f64) -> String {
    let digits = (2.0 - value.abs().log10().floor()).clamp(0.0, 3.0) as usize;
    format!("{value:.digits$}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rates_are_compared_where_both_have_them_and_else_the_time_of_a_step() {
        let ours =
            json!({"case": "full", "samples_per_s": 15.0, "step_s": 2.0, "peak_rss_mb": 1400});
        let peer =
            json!({"case": "full", "samples_per_s": 7.5, "step_s": 4.0, "peak_rss_mb": 3500});
        let row = Row::new("full", &ours, &peer);
        assert_eq!((row.ours, row.peer, row.unit), (15.0, 7.5, "samples"));
        let loss = |step: f64| json!({"case": "loss", "step_s": step});
        let row = Row::new("loss", &loss(0.4), &loss(0.8));
        assert_eq!((row.ours / row.peer, row.unit), (2.0, "steps"));
        let text = table(&[Row::new("full", &ours, &peer), row]).unwrap();
        assert!(text.contains("2.00   1400 / 3500"), "{text}");
        assert!(text.contains("2.00   - / -"), "{text}");
    }

    #[test]
    fn a_batch_of_micro_batches_is_given_by_one_of_them() {
        let args = BenchArgs {
            case: Case::Compare,
            peer: None,
            batch: 32,
            steps: 1,
            workers: 1,
            data: None,
            vocabulary: None,
            device: None,
        };
        assert_eq!(batch_of(&json!({"case": "accum", "batch": 64}), &args), 8);
        assert_eq!(batch_of(&json!({"case": "full", "batch": 64}), &args), 64);
        assert_eq!(batch_of(&json!({"case": "images"}), &args), 32);
    }
}
