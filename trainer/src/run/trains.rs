//! What trains, said before the first update: by tower and part, with the gradients of the first step.

use std::collections::BTreeMap;

use anyhow::ensure;
use burn::module::{Module, ParamId};
use checkpointing::{Gradients, Parameter, parameters};
use optimizer::{Slot, SlotOptimizer};

use crate::adapters::is_adapters;

/// A part of the model, as the table has it.
#[derive(Default)]
struct Row {
    elements: usize,
    trained: usize,
    adapted: usize,
    rates: Vec<f64>,
    formats: Vec<String>,
    squares: f64,
}

impl Row {
    fn mode(&self) -> &'static str {
        match (self.trained, self.adapted) {
            (0, _) => "frozen",
            (trained, adapted) if trained == adapted => "adapted",
            (trained, _) if trained == self.elements => "full",
            (_, 0) => "in part",
            _ => "adapted, and in part full",
        }
    }
}

/// Tower and part of a parameter: `vision attention`.
fn part(path: &str) -> (String, String) {
    let words: Vec<&str> = path.split('.').collect();
    let towers = ["vision", "text", "bert"];
    let (tower, rest) = match words.split_first() {
        Some((first, rest)) if towers.contains(first) => (*first, rest),
        _ => ("model", &words[..]),
    };
    let part = match rest {
        ["blocks", _, part, ..] => part,
        [part, ..] => part,
        [] => "",
    };
    (tower.to_owned(), part.to_owned())
}

/// The table, a line for each part, under a line of titles. `rate` is the run's learning rate at its highest.
pub(super) fn table<M: Module>(
    model: &M,
    optimizer: &SlotOptimizer,
    gradients: &Gradients,
    rate: f64,
) -> Vec<String> {
    let slots: BTreeMap<&str, &Slot> = optimizer
        .slots()
        .iter()
        .map(|slot| (slot.path.as_str(), slot))
        .collect();
    let mut rows: BTreeMap<(String, String), Row> = BTreeMap::new();
    for parameter in parameters(model) {
        let row = rows.entry(part(&parameter.path)).or_default();
        row.elements += parameter.elements();
        if let Some(slot) = slots.get(parameter.path.as_str()) {
            row.add(&parameter, slot, gradients, rate);
        }
    }
    let mut lines = vec![format!(
        "{:<28} {:<10} {:>12} {:>12}  {:<12} {:<9} {}",
        "what trains", "mode", "parameters", "train", "rate", "state", "gradient"
    )];
    lines.extend(rows.iter().map(|((tower, part), row)| {
        let rates: Vec<String> = row.rates.iter().map(|rate| format!("{rate:.1e}")).collect();
        let gradient = if row.trained == 0 {
            String::new()
        } else {
            format!("{:.2e}", row.squares.sqrt())
        };
        let line = format!(
            "{:<28} {:<10} {:>12} {:>12}  {:<12} {:<9} {gradient}",
            format!("{tower} {part}"),
            row.mode(),
            row.elements,
            row.trained,
            rates.join(", "),
            row.formats.join(", "),
        );
        line.trim_end().to_owned()
    }));
    lines
}

impl Row {
    fn add(&mut self, parameter: &Parameter, slot: &Slot, gradients: &Gradients, rate: f64) {
        self.trained += parameter.elements();
        if is_adapters(&parameter.path) {
            self.adapted += parameter.elements();
        }
        let rate = rate * slot.group.rate;
        if !self.rates.contains(&rate) {
            self.rates.push(rate);
        }
        let format = slot.format.to_string();
        if !self.formats.contains(&format) {
            self.formats.push(format);
        }
        if let Some(gradient) = gradients.get(parameter.id) {
            let square = (gradient.clone() * gradient.clone()).sum();
            self.squares += square.into_scalar::<f64>();
        }
    }
}

/// Steps within which everything that trains must have got a gradient.
const STEPS: u64 = 3;

/// Which parameters have not got a gradient yet.
#[derive(Debug, Default)]
pub(crate) struct Unmoved {
    waiting: Vec<(String, ParamId)>,
}

impl Unmoved {
    /// All that trains.
    pub(crate) fn of(optimizer: &SlotOptimizer) -> Self {
        let slots = optimizer.slots().iter();
        // Attention does not change when every key moves alike: the gradient of its bias is zero but for rounding.
        let slots = slots.filter(|slot| !slot.path.ends_with("key.bias"));
        Self {
            waiting: slots.map(|slot| (slot.path.clone(), slot.id)).collect(),
        }
    }

    /// Looks at the gradients of a step, counted from 1.
    ///
    /// # Errors
    ///
    /// Names a parameter that trains and gets no gradient, or one that was zero in every step so far.
    pub(super) fn look(&mut self, step: u64, gradients: &Gradients) -> anyhow::Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let none = self
            .waiting
            .iter()
            .find(|(_, id)| gradients.get(*id).is_none());
        if let Some((path, _)) = none {
            anyhow::bail!(
                "`{path}` is to train and gets no gradient: nothing that is computed depends on it; freeze it, or leave it \
                 out of `[peft]`"
            );
        }
        self.waiting.retain(|(_, id)| {
            let gradient = gradients.get(*id);
            let is_zero = |gradient: &burn::tensor::Tensor<1>| {
                gradient.clone().abs().max().into_scalar::<f32>() == 0.0
            };
            gradient.is_none_or(is_zero)
        });
        let still = self.waiting.first().filter(|_| step >= STEPS);
        ensure!(
            still.is_none(),
            "`{}` is to train, and its gradient was zero in each of the first {STEPS} steps; freeze it, or look at what \
             stands behind it",
            still.map_or("", |(path, _)| path)
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Tensor;
    use optimizer::{AdamW, Groups, StateMemory};
    use peft::LinearConfig;

    use super::*;

    #[test]
    fn what_gets_no_gradient_or_only_zeros_stops_the_run_by_name() {
        let device = crate::device::open(None).unwrap();
        let model = LinearConfig::new(2, 3).init(&device);
        let slots = Groups::default().slots(&model).unwrap();
        let optimizer = SlotOptimizer::new(Box::new(AdamW::default()), slots, StateMemory::Host);
        let bias = model.bias.clone().unwrap();
        let gradients = |weight: f32, has_bias: bool| {
            let mut gradients = Gradients::default();
            gradients.add(model.weight.id, Tensor::<1>::full([6], weight, &device));
            if has_bias {
                gradients.add(bias.id, Tensor::<1>::ones([3], &device));
            }
            gradients
        };
        let error = Unmoved::of(&optimizer).look(1, &gradients(1.0, false));
        let error = error.unwrap_err().to_string();
        assert!(
            error.starts_with("`bias` is to train and gets no gradient"),
            "{error}"
        );

        let mut unmoved = Unmoved::of(&optimizer);
        unmoved.look(1, &gradients(0.0, true)).unwrap();
        unmoved.look(2, &gradients(0.0, true)).unwrap();
        let error = unmoved.look(3, &gradients(0.0, true)).unwrap_err();
        assert!(
            error.to_string().starts_with("`weight` is to train"),
            "{error}"
        );

        let mut unmoved = Unmoved::of(&optimizer);
        unmoved.look(1, &gradients(0.0, true)).unwrap();
        unmoved.look(2, &gradients(1e-9, true)).unwrap();
        unmoved.look(3, &gradients(0.0, false)).unwrap();

        let lines = table(&model, &optimizer, &gradients(1.0, true), 0.5);
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(
            lines[2].contains("full") && lines[2].contains("5.0e-1"),
            "{lines:?}"
        );
    }
}
