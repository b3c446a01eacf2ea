//! A task's model with its adapters.

use std::{collections::BTreeSet, path::Path};

use anyhow::{Context, bail, ensure};
use burn::{module::Module, tensor::Device};
use checkpointing::{check::with_trainable, trainable_parameters};
use peft::{BiasTraining, HfConfig, ModuleNames, attach};
use serde_json::json;
use transformer::AdapterNames;

use super::{AdapterFiles, Adapters, NAME, identity::identity, plan::not_nothing};
use crate::{
    files::{TEXT, read_text},
    input::model::drawn,
    recipe::Peft,
    task::{Built, From, Plan, Task},
};

/// What the base of an adapter's record is known by.
const BASE: &str = "base.json";

/// Makes the task and model of a plan, with adapters where its recipe asks for them.
///
/// # Errors
///
/// As [`Task::build`]; names the module, the file or the key that is at fault.
pub(crate) fn build<T: Task>(plan: Plan<'_>) -> anyhow::Result<Built<T>> {
    let Some(peft) = plan.recipe.peft.clone() else {
        return T::build(plan);
    };
    let (captions, record) = match plan.from {
        From::Recipe(captions) => (captions, None),
        From::Record(record) => (None, Some(record)),
    };
    let (device, seed) = (plan.device, plan.recipe.seed);
    let base = T::build(Plan {
        from: From::Recipe(captions),
        ..plan
    })?;
    let files = match (record, &peft.adapter) {
        (Some(record), _) => Some(AdapterFiles::read(record)?),
        (None, Some(folder)) => Some(AdapterFiles::read(folder.as_path())?),
        (None, None) => None,
    };
    let sum = identity(&base.model);
    if let Some(record) = record {
        check_base(record, &sum)?;
    }
    let mut built = adapted(base, &peft, files, seed, device)?;
    let base = json!({ "sha256": sum });
    built.texts.push((BASE, base.to_string()));
    Ok(built)
}

/// Makes a model with the adapter of a folder, for use without training.
///
/// # Errors
///
/// As [`build`].
pub(crate) fn with_files<T: Task>(
    base: Built<T>,
    folder: &Path,
    device: &Device,
) -> anyhow::Result<Built<T>> {
    let files = AdapterFiles::read(folder)?;
    let peft = Peft::of_folder(folder);
    adapted(base, &peft, Some(files), 0, device)
}

/// Refuses a base that an adapter is not of.
fn check_base(record: &Path, sum: &str) -> anyhow::Result<()> {
    let path = record.join(BASE);
    let text = read_text(&path, TEXT)?;
    let json: serde_json::Value =
        serde_json::from_str(&text).with_context(|| path.display().to_string())?;
    ensure!(
        json["sha256"] == sum,
        "{}: the adapter was trained on another base than `model` names now: its weights have changed; give it the weights \
         that it was trained on",
        path.display()
    );
    Ok(())
}

fn adapted<T: Task>(
    built: Built<T>,
    peft: &Peft,
    files: Option<AdapterFiles>,
    seed: u64,
    device: &Device,
) -> anyhow::Result<Built<T>> {
    let Built {
        task,
        model,
        config: _,
        texts,
        mut log_lines,
        adapters: _,
    } = built;
    let names = AdapterNames::new(task.transformers_names());
    let config = match &files {
        Some(files) => files.config.clone(),
        None => peft.config(),
    };
    let (model, places) = match files {
        Some(files) => {
            let unknown = files.config.unknown.keys();
            log_lines.extend(unknown.map(|key| {
                let folder = files.folder.display();
                format!("warning: {folder}: `{key}` is not known here, and is kept")
            }));
            names
                .load(model, NAME, &config, &files.weights, device)
                .with_context(|| files.weights_path())?
        }
        None if peft.attaches() => {
            let mut places = Vec::new();
            let mut result = Ok(());
            let model = drawn(seed, device, |device| {
                let mut adapted = model;
                match attach(&mut adapted, NAME, &config.plan, names.modules(), device) {
                    Ok(paths) => places = paths,
                    Err(error) => result = Err(error),
                }
                adapted
            });
            result.context("`peft`")?;
            (model, places)
        }
        None => (model, Vec::new()),
    };
    let rules = Rules::new(peft, &config, &places, names.modules());
    check_full(&model, &rules)?;
    let model = with_trainable(model, |path| rules.trains(path));
    not_nothing(trainable_parameters(&model).len())?;
    let trained = checkpointing::parameters(&model).into_iter();
    let own = trained.filter(|found| found.trains && !is_adapters(&found.path));
    let trained = own.map(|found| found.path).collect();
    let adapters = Adapters {
        config: names.config(config, &model, &trained),
        names,
        trained,
    };
    Ok(Built {
        config: adapters.config_file(),
        task,
        model,
        texts,
        log_lines,
        adapters: Some(adapters),
    })
}

/// Whether a parameter is of an adapter.
pub(crate) fn is_adapters(path: &str) -> bool {
    let parts = [".adapters.", ".parallel.", ".token_adapter."];
    parts.iter().any(|part| path.contains(part))
}

/// Which parameters train.
struct Rules<'a> {
    peft: &'a Peft,
    bias: BiasTraining,
    full: Vec<String>,
    places: &'a [String],
    names: &'a ModuleNames,
}

impl<'a> Rules<'a> {
    fn new(
        peft: &'a Peft,
        config: &HfConfig,
        places: &'a [String],
        names: &'a ModuleNames,
    ) -> Self {
        Self {
            peft,
            bias: config.bias,
            full: config.modules_to_save.clone(),
            places,
            names,
        }
    }

    fn trains(&self, path: &str) -> bool {
        if is_adapters(path) {
            return true;
        }
        let (module, parameter) = path.rsplit_once('.').unwrap_or(("", path));
        let is_bias = parameter == "bias" || parameter == "beta";
        let biases = match self.bias {
            BiasTraining::None => false,
            BiasTraining::Adapted => self.places.iter().any(|place| place == module),
            BiasTraining::All => true,
        };
        let is_norm = parameter == "gamma" || parameter == "beta";
        is_bias && biases
            || is_norm && self.peft.norms
            || self.full.iter().any(|name| self.is_named(path, name))
    }

    /// Whether a parameter, or a module around it, has this name or this end of a name.
    fn is_named(&self, path: &str, wanted: &str) -> bool {
        let is_it = |name: &str| {
            name == wanted
                || name
                    .strip_suffix(wanted)
                    .is_some_and(|rest| rest.ends_with('.'))
        };
        let mut around = Some(path);
        while let Some(module) = around {
            if self.names.of(module).iter().any(|name| is_it(name)) {
                return true;
            }
            around = module.rsplit_once('.').map(|(outer, _)| outer);
        }
        false
    }
}

/// Every name in `modules_to_save` must mean something.
fn check_full<M: Module>(model: &M, rules: &Rules<'_>) -> anyhow::Result<()> {
    let all = checkpointing::parameters(model);
    for wanted in &rules.full {
        let mut paths = all.iter().map(|found| &found.path);
        if !paths.any(|path| rules.is_named(path, wanted)) {
            let modules: BTreeSet<&str> = all
                .iter()
                .filter_map(|found| found.path.rsplit_once('.'))
                .map(|(module, _)| module)
                .filter(|module| !module.contains(".blocks."))
                .collect();
            bail!(
                "`peft.modules_to_save`: `{wanted}` means no parameter of the model; there are: {}",
                modules.into_iter().collect::<Vec<_>>().join(", ")
            );
        }
    }
    Ok(())
}
