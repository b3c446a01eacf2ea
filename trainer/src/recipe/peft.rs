//! `[peft]`: adapters on a model whose own weights stand still.

use std::path::Path;

use kernels::Activation;
use peft::{BiasTraining, LoraStart};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::path::RecipePath;

/// What is trained beside a model whose own weights stand still, and which of these train all the same. Modules are named
/// by their path in the model (`vision.blocks.0.attention.query`) or as transformers names them (`q_proj`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Peft {
    /// What is attached. `none` trains what `bias`, `norms` and `modules_to_save` name, and nothing else.
    pub kind: Option<PeftKind>,
    /// A folder with `adapter_config.json` and `adapter_model.safetensors`, of HF PEFT or of a run, in place of `kind`: the
    /// training goes on with this adapter.
    pub adapter: Option<RecipePath>,
    /// The modules: names, ends of names behind a dot, or `all-linear`. When empty, the kind's usual ones: query and value
    /// of LoRA and DoRA; key, value and fc2 of (IA)3; attention.output and fc2 of bottlenecks.
    #[serde(default)]
    pub targets: Vec<String>,
    /// A regular expression for whole names, in place of `targets`.
    pub pattern: Option<String>,
    /// Modules that are left out: names, or ends of names.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Only these blocks of each tower, counted from 0; all when empty.
    #[serde(default)]
    pub layers: Vec<usize>,
    /// LoRA's rank.
    #[serde(default = "rank")]
    pub rank: usize,
    /// LoRA's update is multiplied by `alpha / rank`.
    #[serde(default = "alpha")]
    pub alpha: f64,
    /// By `alpha / sqrt(rank)` in place of that (rsLoRA).
    #[serde(default)]
    pub rank_stabilised: bool,
    /// Dropout on what LoRA reads.
    #[serde(default)]
    pub dropout: f64,
    /// How LoRA's first matrix is drawn.
    #[serde(default)]
    #[schemars(with = "String")]
    pub start: LoraStart,
    /// Other ranks and alphas by module.
    #[serde(default)]
    pub ranks: Vec<RankRule>,
    /// A factor on the learning rate of LoRA's second matrix (LoRA+).
    #[serde(default = "one")]
    pub b_rate: f64,
    /// The modules whose input (IA)3 multiplies, and not their output; fc2 when empty.
    #[serde(default)]
    pub feedforward: Vec<String>,
    /// Width inside a bottleneck.
    #[serde(default = "width")]
    pub width: usize,
    /// What a bottleneck's update is multiplied by.
    #[serde(default = "one")]
    pub scale: f64,
    /// A bottleneck's activation.
    #[serde(default)]
    #[schemars(with = "String")]
    pub act: Activation,
    /// Whether a norm stands before a bottleneck.
    #[serde(default)]
    pub norm: bool,
    /// Bottlenecks beside whole MLPs, and not behind their maps.
    #[serde(default)]
    pub parallel: bool,
    /// Which biases train, too: `none`, `adapted` those of adapted modules, `all`.
    #[serde(default)]
    #[schemars(with = "String")]
    pub bias: BiasTraining,
    /// Whether all norms train, too.
    #[serde(default)]
    pub norms: bool,
    /// Modules and parameters that train as a whole, such as a new projection: names, or ends of names.
    #[serde(default)]
    pub modules_to_save: Vec<String>,
}

impl Peft {
    /// The adapter of a folder, and nothing else said.
    pub(crate) fn of_folder(folder: &Path) -> Self {
        Self {
            kind: None,
            adapter: Some(RecipePath::from(folder.to_path_buf())),
            targets: Vec::new(),
            pattern: None,
            exclude: Vec::new(),
            layers: Vec::new(),
            rank: rank(),
            alpha: alpha(),
            rank_stabilised: false,
            dropout: 0.0,
            start: LoraStart::default(),
            ranks: Vec::new(),
            b_rate: one(),
            feedforward: Vec::new(),
            width: width(),
            scale: one(),
            act: Activation::default(),
            norm: false,
            parallel: false,
            bias: BiasTraining::default(),
            norms: false,
            modules_to_save: Vec::new(),
        }
    }
}

/// What is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PeftKind {
    /// Nothing.
    None,
    /// Low-rank updates.
    Lora,
    /// Low-rank updates, and the lengths of the weight's columns.
    Dora,
    /// Factors.
    Ia3,
    /// Small MLPs.
    Bottleneck,
}

/// Another rank or alpha for some modules.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RankRule {
    /// A regular expression for the end of a module's name, behind a dot or whole.
    pub pattern: String,
    /// The rank there.
    pub rank: Option<usize>,
    /// The alpha there.
    pub alpha: Option<f64>,
}

fn rank() -> usize {
    8
}

fn alpha() -> f64 {
    16.0
}

fn width() -> usize {
    64
}

fn one() -> f64 {
    1.0
}
