//! `data check`: reads every sample of a source, without training.

use std::{
    collections::BTreeMap,
    fmt::Write,
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};
use clap::Args;
use data::{Ledger, SampleError, Source};
use rayon::prelude::*;
use text_encoder::tokenizer::Tokenizer;
use vision_encoder::image::DecodeOptions;

use crate::{
    device::memory::peak_bytes,
    files,
    input::{
        image_reader::{decoded, decoding},
        sources::open_one,
    },
    outputs, progress,
    recipe::{Overrides, Recipe},
    run::bad_sample,
    say::say,
};

/// Options of `data check`.
#[derive(Args, Clone, Debug)]
pub(crate) struct CheckArgs {
    /// A table, JSON, Parquet, tar shards (`train-*.tar`, or several files) or a folder of pictures.
    #[arg(required = true)]
    source: Vec<PathBuf>,
    /// Sets a key of the recipe, as in data.table.caption_column=caption; may be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// CLIP's vocabulary, to count its tokens; without it a vocabulary of 4096 is learnt from a sample of the captions.
    #[arg(long, value_name = "FILE")]
    vocabulary: Option<PathBuf>,
    /// Writes the bad samples to this file, one JSON object a line.
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
}

/// Prints what is bad in a source, and what the rest is like.
///
/// # Errors
///
/// If the source cannot be read, or nothing in it can be used.
pub(crate) fn run(args: &CheckArgs) -> anyhow::Result<()> {
    let overrides = Overrides {
        set: args.set.clone(),
        train: args.source.clone(),
        val: Vec::new(),
    };
    let recipe = Recipe::load(Path::new("default"), &overrides)?;
    let [source] = &recipe.data.train[..] else {
        anyhow::bail!(
            "these are several sources; check them one by one (only tar shards are one together)"
        );
    };
    let source = open_one(source, &recipe)?;
    if let Some(path) = &args.ledger {
        let vocabulary: Vec<&Path> = args.vocabulary.iter().map(PathBuf::as_path).collect();
        outputs::check(path, source.as_ref(), &args.source, &vocabulary)?;
    }
    let walk = Walk::over(source.as_ref(), &decoding(&recipe));
    let usable = source.len() - walk.ledger.total() as usize;
    let mut ledger = source.skipped().clone();
    ledger.merge(&walk.ledger);
    if let Some(path) = &args.ledger {
        let lines = ledger
            .errors()
            .iter()
            .map(|error| format!("{}\n", bad_sample(error)));
        files::write_output(path, lines.collect::<String>().as_bytes())?;
    }
    let mut said = format!("{}: {}\n", source.name(), source.kind());
    for note in source.notes() {
        writeln!(said, "{note}")?;
    }
    for error in ledger.errors().iter().take(SHOWN) {
        writeln!(said, "skipped: {error}")?;
    }
    let more = ledger.errors().len().saturating_sub(SHOWN);
    if more > 0 {
        writeln!(
            said,
            "... and {more} more; --ledger FILE writes all of them"
        )?;
    }
    writeln!(said, "{usable} samples usable, {} skipped", ledger.total())?;
    for (kind, count) in ledger.counts() {
        writeln!(said, "  {count} {kind}")?;
    }
    if usable > 0 {
        walk.describe(&mut said)?;
        tokens(args, source.as_ref(), &walk, &mut said)?;
    }
    writeln!(said, "peak memory {} MB", peak_bytes() >> 20)?;
    say(said.trim_end());
    ensure!(
        usable > 0,
        "{}: 0 samples can be used: {ledger}",
        source.name()
    );
    Ok(())
}

/// Bad samples that are printed in full.
const SHOWN: usize = 20;

/// What reading every sample found.
struct Walk {
    /// An error for each row whose picture cannot be used.
    ledger: Ledger,
    /// The first row of each distinct caption, where that row can be used.
    caption_rows: Vec<usize>,
    /// Of the distinct pictures.
    sizes: Vec<(u32, u32)>,
}

impl Walk {
    /// Reads and decodes each distinct picture once, a few at a time.
    fn over(source: &dyn Source, options: &DecodeOptions) -> Self {
        const AT_A_TIME: usize = 256;
        let groups = source.groups();
        let mut walk = Self {
            ledger: Ledger::new(),
            caption_rows: Vec::new(),
            sizes: Vec::new(),
        };
        let bar = progress::bar(groups.image_rows().len() as u64);
        let mut broken: BTreeMap<usize, SampleError> = BTreeMap::new();
        for rows in groups.image_rows().chunks(AT_A_TIME) {
            let sizes = rows.par_iter().map(|row| {
                let picture = decoded(source, *row, options);
                picture.map(|picture| (picture.width(), picture.height()))
            });
            for (row, size) in rows.iter().zip(sizes.collect::<Vec<_>>()) {
                match size {
                    Ok(size) => walk.sizes.push(size),
                    Err(error) => drop(broken.insert(groups.image_of_row()[*row], error)),
                }
            }
            bar.inc(rows.len() as u64);
        }
        bar.finish_and_clear();
        let images = groups.image_of_row();
        for error in images.iter().filter_map(|image| broken.get(image)) {
            walk.ledger.record(error.clone());
        }
        let usable = |row: &usize| !broken.contains_key(&images[*row]);
        walk.caption_rows = groups
            .caption_rows()
            .iter()
            .copied()
            .filter(usable)
            .collect();
        walk
    }

    fn describe(&self, said: &mut String) -> anyhow::Result<()> {
        writeln!(
            said,
            "{} pictures, {} captions",
            self.sizes.len(),
            self.caption_rows.len()
        )?;
        let quantiles = |mut values: Vec<u32>| {
            values.sort_unstable();
            let at = |share: f64| values[((values.len() - 1) as f64 * share).round() as usize];
            format!("{} / {} / {}", at(0.0), at(0.5), at(1.0))
        };
        let widths = quantiles(self.sizes.iter().map(|size| size.0).collect());
        let heights = quantiles(self.sizes.iter().map(|size| size.1).collect());
        writeln!(said, "width in pixels (least / median / most):  {widths}")?;
        writeln!(said, "height in pixels (least / median / most): {heights}")?;
        Ok(())
    }
}

/// Distinct captions of which the tokens are counted, and of which a vocabulary is learnt: the spread of their lengths
/// does not change with more, and a million take minutes.
const COUNTED: usize = 50_000;

/// How long the captions are, and the context that suits them.
fn tokens(
    args: &CheckArgs,
    source: &dyn Source,
    walk: &Walk,
    said: &mut String,
) -> anyhow::Result<()> {
    const BIN: usize = 8;
    const LONGEST: usize = 512;
    let all = walk.caption_rows.len();
    let counted = all.min(COUNTED);
    if counted == 0 {
        return Ok(());
    }
    let rows = (0..counted).map(|number| walk.caption_rows[number * all / counted]);
    let captions: Vec<_> = rows.map(|row| source.caption(row)).collect();
    let tokenizer = match &args.vocabulary {
        Some(path) => {
            let bytes = files::read_file(path, files::VOCABULARY)?;
            Tokenizer::clip_bpe(&bytes).with_context(|| path.display().to_string())?
        }
        None => Tokenizer::train_bpe(captions.iter().map(|caption| &**caption), 4096)
            .context("learning a vocabulary from the captions")?,
    };
    let mut bins: BTreeMap<usize, usize> = BTreeMap::new();
    for captions in captions.chunks(4096) {
        for length in tokenizer.encode_batch(captions, LONGEST)?.lengths {
            *bins.entry(length.div_ceil(BIN) * BIN).or_default() += 1;
        }
    }
    let sample = if counted < all {
        format!(" ({counted} of {all} different ones, spread evenly)")
    } else {
        String::new()
    };
    writeln!(said, "captions by tokens, start and end included{sample}:")?;
    let (mut covered, mut suggested) = (0, None);
    for (end, count) in &bins {
        let open = if *end >= LONGEST { " or more" } else { "" };
        writeln!(said, "  {:>3}-{end:<3}{open} {count:>8}", end + 1 - BIN)?;
        covered += count;
        if suggested.is_none() && covered as f64 >= 0.99 * captions.len() as f64 {
            suggested = Some(*end);
        }
    }
    if let Some(context) = suggested {
        writeln!(
            said,
            "model.text.context = {context} holds 99 % of them whole"
        )?;
    }
    Ok(())
}
