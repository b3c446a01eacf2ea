//! Batches of training, prepared ahead by worker threads in an order that no thread changes.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use anyhow::{Context, bail, ensure};
use data::{Mixture, Part, SampleError, Source, bucketed};
use rayon::{ThreadPool, ThreadPoolBuilder};
use serde::{Deserialize, Serialize};

use crate::{input::sources::Joined, input::watched::Watched, recipe::Recipe};

/// Batches that are sorted by caption length together, where the recipe asks for it.
const BUCKET_WINDOW: usize = 50;

/// Where in the data a run stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// The epoch, from 0.
    pub epoch: u64,
    /// Samples of the epoch's order that were gone through.
    pub next: usize,
    /// Samples of the epoch that could not be used.
    pub skipped: usize,
}

/// From rows of a source to batches: what a loader knows of what is learnt.
pub trait Collate: Sync {
    /// What a row becomes on a worker thread.
    type Item: Send;
    /// A micro-batch in host memory.
    type Batch: Send;

    /// What some rows become, each with its row, in order. They are drawn anew, as augmented pictures are, for each epoch.
    fn items(
        &self,
        source: &dyn Source,
        rows: &[usize],
        epoch: u64,
    ) -> Vec<Result<(usize, Self::Item), SampleError>>;

    /// A batch of such rows.
    ///
    /// # Errors
    ///
    /// If a caption has no encoding.
    fn collate(
        &self,
        source: &dyn Source,
        items: &[(usize, Self::Item)],
    ) -> anyhow::Result<Self::Batch>;

    /// Tokens of each row, by which rows of similar length make a batch.
    ///
    /// # Errors
    ///
    /// If a caption has no encoding.
    fn lengths(&self, source: &dyn Source) -> anyhow::Result<Vec<u16>>;
}

/// A batch, and what the run must remember with it.
pub struct Prepared<B> {
    /// The micro-batches.
    pub batches: Vec<B>,
    /// Where the next batch begins.
    pub after: Position,
    /// The samples whose places others took.
    pub skipped: Vec<SampleError>,
}

/// Why there is no further batch, and the samples that were skipped on the way to it.
pub struct Failed {
    /// The reason.
    pub error: anyhow::Error,
    /// Samples that could not be used.
    pub skipped: Vec<SampleError>,
}

/// A batch, or why there is none.
pub type Next<B> = Result<Prepared<B>, Failed>;

/// Makes the batches of a run, one after the other.
pub struct Loader<'a, C> {
    source: &'a Watched<'a>,
    inputs: &'a C,
    mixture: Mixture,
    settings: Settings,
    pool: ThreadPool,
    position: Position,
    order: Vec<usize>,
    /// Tokens of each caption, where batches are of similar length.
    lengths: Option<Vec<u16>>,
}

struct Settings {
    seed: u64,
    batch: usize,
    micro_batch: usize,
    strict: bool,
    max_bad: f64,
}

impl<'a, C: Collate> Loader<'a, C> {
    /// The batches from `position` on.
    ///
    /// # Errors
    ///
    /// If the worker threads cannot be started, or a caption cannot be tokenised.
    pub fn new(
        source: &'a Watched<'a>,
        inputs: &'a C,
        recipe: &Recipe,
        position: Position,
    ) -> anyhow::Result<Self> {
        let batch = recipe.train.batch;
        let pool = ThreadPoolBuilder::new()
            .num_threads(recipe.data.workers)
            .thread_name(|number| format!("data-{number}"))
            .build()
            .context("starting the worker threads (`data.workers`)")?;
        let lengths = if recipe.data.bucket {
            Some(inputs.lengths(source)?)
        } else {
            None
        };
        let mut loader = Self {
            source,
            inputs,
            mixture: mixture(source.joined(), recipe),
            settings: Settings {
                seed: recipe.seed,
                batch,
                micro_batch: recipe.train.micro_batch.unwrap_or(batch),
                strict: recipe.data.strict,
                max_bad: recipe.data.max_bad,
            },
            pool,
            position,
            order: Vec::new(),
            lengths,
        };
        loader.order = loader.order_of(position.epoch);
        Ok(loader)
    }

    /// Samples in an epoch.
    pub fn epoch_len(&self) -> usize {
        self.mixture.epoch_len()
    }

    fn order_of(&self, epoch: u64) -> Vec<usize> {
        let order = self.mixture.epoch(epoch);
        match &self.lengths {
            None => order,
            Some(lengths) => bucketed(
                &order,
                self.settings.batch,
                BUCKET_WINDOW,
                (self.settings.seed, epoch),
                |index| usize::from(lengths[index]),
            ),
        }
    }

    /// The next batch. A pair that cannot be used is told of, and the next one takes its place; what does not fill an
    /// epoch's last batch waits for another epoch.
    ///
    /// # Errors
    ///
    /// If more samples are bad than `data.max_bad` allows, or any with `data.strict`; if a whole epoch holds no batch
    /// of usable pairs; if a picture is not what it was when the record was made that the run goes on from.
    pub fn next_batch(&mut self) -> Next<C::Batch> {
        let mut skipped = Vec::new();
        match self.fill(&mut skipped) {
            Ok(batches) => Ok(Prepared {
                batches,
                after: self.position,
                skipped,
            }),
            Err(error) => Err(Failed { error, skipped }),
        }
    }

    fn fill(&mut self, skipped: &mut Vec<SampleError>) -> anyhow::Result<Vec<C::Batch>> {
        let batch = self.settings.batch;
        let mut items: Vec<(usize, C::Item)> = Vec::with_capacity(batch);
        let mut restarts = 0;
        while items.len() < batch {
            let wanted = batch - items.len();
            if self.order.len().saturating_sub(self.position.next) < wanted {
                restarts += 1;
                ensure!(
                    restarts < 3,
                    "{}: not one batch of {batch} usable samples; lower `train.batch` or mend the data",
                    self.source.name()
                );
                items.clear();
                self.position = Position {
                    epoch: self.position.epoch + 1,
                    ..Position::default()
                };
                self.order = self.order_of(self.position.epoch);
                continue;
            }
            let rows = &self.order[self.position.next..self.position.next + wanted];
            self.position.next += wanted;
            let epoch = self.position.epoch;
            let (inputs, source) = (self.inputs, self.source);
            let made = self.pool.install(|| inputs.items(source, rows, epoch));
            if let Some(changed) = self.source.changed() {
                return Err(changed.into());
            }
            for item in made {
                match item {
                    Ok(item) => items.push(item),
                    Err(error) => {
                        self.position.skipped += 1;
                        let judged = self.judge(&error);
                        skipped.push(error);
                        judged?;
                    }
                }
            }
        }
        let chunks = items.chunks(self.settings.micro_batch);
        chunks
            .map(|items| self.inputs.collate(self.source, items))
            .collect()
    }

    fn judge(&self, error: &SampleError) -> anyhow::Result<()> {
        if self.settings.strict {
            bail!("{error} (`data.strict`)");
        }
        let (bad, all) = (self.position.skipped, self.mixture.epoch_len());
        if bad as f64 > self.settings.max_bad * all as f64 {
            bail!(
                "{bad} of {all} samples of an epoch cannot be used, more than the share of {} that \
                 `data.max_bad` allows; the last: {error}",
                self.settings.max_bad
            );
        }
        Ok(())
    }

    /// Makes batches until `steps` are made, one fails, or nobody takes them.
    pub fn feed(mut self, steps: u64, sender: &SyncSender<Next<C::Batch>>) {
        for _ in 0..steps {
            let batch = self.next_batch();
            let failed = batch.is_err();
            if sender.send(batch).is_err() || failed {
                break;
            }
        }
    }
}

/// A queue of prepared batches: at most `prefetch` wait in it, and memory holds no more.
pub fn queue<B>(prefetch: usize) -> (SyncSender<Next<B>>, Receiver<Next<B>>) {
    sync_channel(prefetch)
}

/// The order in which a recipe goes through its sources.
pub fn mixture(source: &Joined, recipe: &Recipe) -> Mixture {
    let weights = recipe.data.train.iter().map(crate::recipe::Source::weight);
    let parts = source.sources().iter().zip(weights);
    let parts = parts.map(|(source, weight)| Part {
        shards: source.shards(),
        weight,
    });
    Mixture::new(recipe.seed, parts.collect(), recipe.data.shuffle_window)
}
