//! `adapter_config.json` of HF PEFT.

use std::collections::BTreeMap;

use kernels::Activation;
use serde_json::{Map, Value, json};

use crate::{BottleneckConfig, Kind, LoraConfig, LoraStart, Names, PeftError, Plan, Targets};

/// Which biases train beside the adapters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BiasTraining {
    /// None.
    #[default]
    None,
    /// Those of the adapted maps.
    Adapted,
    /// All, those of norms too.
    All,
}

/// What an `adapter_config.json` says.
#[derive(Clone, Debug, PartialEq)]
pub struct HfConfig {
    /// What is attached, and where.
    pub plan: Plan,
    /// Which biases train.
    pub bias: BiasTraining,
    /// Modules that train as a whole.
    pub modules_to_save: Vec<String>,
    /// What the model is that was adapted.
    pub base: Option<String>,
    /// Keys that nobody here knows, kept for writing.
    pub unknown: Map<String, Value>,
}

/// Keys that change no number.
const BOOKKEEPING: [&str; 13] = [
    "auto_mapping",
    "base_model_name_or_path",
    "ensure_weight_tying",
    "inference_mode",
    "init_ia3_weights",
    "megatron_core",
    "peft_type",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "task_type",
    "layers_pattern",
];

/// Keys that change the numbers when they say more than nothing, and that there is no model for here.
const REFUSED: [&str; 17] = [
    "alora_invocation_tokens",
    "arrow_config",
    "corda_config",
    "eva_config",
    "fan_in_fan_out",
    "kasa_config",
    "layer_replication",
    "loftq_config",
    "lora_bias",
    "lora_ga_config",
    "megatron_config",
    "monteclora_config",
    "target_parameters",
    "trainable_token_indices",
    "use_bdlora",
    "use_qalora",
    "velora_config",
];

/// Starts that take something off the base: an adapter of one means nothing beside the base it is said to be of.
const CHANGES_BASE: [&str; 5] = ["pissa", "olora", "corda", "loftq", "lora_ga"];

fn unsupported(key: &str, found: &Value, supported: &str) -> PeftError {
    PeftError::Config {
        key: key.into(),
        found: found.to_string(),
        supported: supported.into(),
    }
}

/// The keys of a config, each taken once.
struct Keys(Map<String, Value>);

impl Keys {
    fn take(&mut self, key: &str) -> Option<Value> {
        self.0.remove(key).filter(|value| !value.is_null())
    }

    fn number(&mut self, key: &str, default: f64) -> Result<f64, PeftError> {
        let Some(value) = self.take(key) else {
            return Ok(default);
        };
        let number = value.as_f64().filter(|number| number.is_finite());
        number.ok_or_else(|| unsupported(key, &value, "a number"))
    }

    fn rank(&mut self, key: &str, default: usize) -> Result<usize, PeftError> {
        let Some(value) = self.take(key) else {
            return Ok(default);
        };
        rank(&value).ok_or_else(|| unsupported(key, &value, "a number from 1 to 65536"))
    }

    fn flag(&mut self, key: &str) -> Result<bool, PeftError> {
        let Some(value) = self.take(key) else {
            return Ok(false);
        };
        value
            .as_bool()
            .ok_or_else(|| unsupported(key, &value, "true or false"))
    }

    fn text(&mut self, key: &str) -> Result<Option<String>, PeftError> {
        let Some(value) = self.take(key) else {
            return Ok(None);
        };
        match value {
            Value::String(text) => Ok(Some(text)),
            other => Err(unsupported(key, &other, "text")),
        }
    }

    fn names(&mut self, key: &str) -> Result<Names, PeftError> {
        let Some(value) = self.take(key) else {
            return Ok(Names::default());
        };
        serde_json::from_value(value.clone())
            .map_err(|_| unsupported(key, &value, "a list of names, or a regular expression"))
    }

    fn list(&mut self, key: &str) -> Result<Vec<String>, PeftError> {
        let Some(value) = self.take(key) else {
            return Ok(Vec::new());
        };
        serde_json::from_value(value.clone())
            .map_err(|_| unsupported(key, &value, "a list of names"))
    }

    fn layers(&mut self, key: &str) -> Result<Vec<usize>, PeftError> {
        let Some(value) = self.take(key) else {
            return Ok(Vec::new());
        };
        let one = value.as_u64().map(|layer| vec![layer as usize]);
        let many = || serde_json::from_value(value.clone()).ok();
        one.or_else(many)
            .ok_or_else(|| unsupported(key, &value, "a block's number, or a list of them"))
    }

    fn patterns<T>(
        &mut self,
        key: &str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<BTreeMap<String, T>, PeftError> {
        let Some(value) = self.take(key) else {
            return Ok(BTreeMap::new());
        };
        let wrong = || unsupported(key, &value, "an object of patterns and numbers");
        let map = value.as_object().ok_or_else(wrong)?;
        let entry = |(pattern, value): (&String, &Value)| Some((pattern.clone(), read(value)?));
        map.iter()
            .map(entry)
            .collect::<Option<_>>()
            .ok_or_else(wrong)
    }
}

fn rank(value: &Value) -> Option<usize> {
    let rank = value.as_u64().filter(|rank| (1..=65_536).contains(rank))?;
    usize::try_from(rank).ok()
}

impl HfConfig {
    /// Reads an `adapter_config.json`.
    ///
    /// # Errors
    ///
    /// Names a key that cannot be, or that would change the numbers in a way that there is no model for.
    pub fn read(json: &Value) -> Result<Self, PeftError> {
        let object = json.as_object();
        let object = object.ok_or_else(|| unsupported("the file", json, "a JSON object"))?;
        let mut keys = Keys(object.clone());
        let kind = keys.take("peft_type").unwrap_or(Value::Null);
        for key in REFUSED {
            let value = keys.take(key).unwrap_or(Value::Null);
            let is_nothing = match &value {
                Value::Null | Value::Bool(false) => true,
                Value::Array(list) => list.is_empty(),
                Value::Object(map) => map.is_empty(),
                _ => false,
            };
            if !is_nothing {
                return Err(unsupported(key, &value, "nothing: leave it out"));
            }
        }
        let kind = match kind.as_str() {
            Some("LORA") => Self::read_lora(&mut keys)?,
            Some("IA3") => Kind::Ia3 {
                feedforward: keys.names("feedforward_modules")?,
            },
            Some("SHOESTRING_BOTTLENECK") => Self::read_bottleneck(&mut keys)?,
            _ => return Err(unsupported("peft_type", &kind, "LORA, IA3")),
        };
        let bias = match keys.text("bias")?.as_deref() {
            None | Some("none") => BiasTraining::None,
            Some("lora_only") => BiasTraining::Adapted,
            Some("all") => BiasTraining::All,
            Some(other) => {
                return Err(unsupported("bias", &json!(other), "none, lora_only, all"));
            }
        };
        let targets = Targets {
            names: keys.names("target_modules")?,
            exclude: keys.names("exclude_modules")?,
            layers: keys.layers("layers_to_transform")?,
        };
        let modules_to_save = keys.list("modules_to_save")?;
        let base = keys.text("base_model_name_or_path")?;
        for key in BOOKKEEPING {
            keys.0.remove(key);
        }
        Ok(Self {
            plan: Plan { kind, targets },
            bias,
            modules_to_save,
            base,
            unknown: keys.0,
        })
    }

    fn read_lora(keys: &mut Keys) -> Result<Kind, PeftError> {
        let start = match keys.take("init_lora_weights") {
            None | Some(Value::Bool(_)) => LoraStart::Kaiming,
            Some(Value::String(start)) if start == "gaussian" => LoraStart::Gaussian,
            Some(start) => {
                let name = start.as_str().unwrap_or_default();
                if start.is_string() && !CHANGES_BASE.iter().any(|other| name.starts_with(other)) {
                    LoraStart::Kaiming
                } else {
                    let supported = "true, gaussian: a start that changes the base is not";
                    return Err(unsupported("init_lora_weights", &start, supported));
                }
            }
        };
        Ok(Kind::Lora {
            config: LoraConfig {
                rank: keys.rank("r", 8)?,
                alpha: keys.number("lora_alpha", 8.0)?,
                rank_stabilised: keys.flag("use_rslora")?,
                dropout: keys.number("lora_dropout", 0.0)?,
                start,
            },
            is_dora: keys.flag("use_dora")?,
            ranks: keys.patterns("rank_pattern", rank)?,
            alphas: keys.patterns("alpha_pattern", Value::as_f64)?,
        })
    }

    fn read_bottleneck(keys: &mut Keys) -> Result<Kind, PeftError> {
        let activation = keys.take("activation").unwrap_or_else(|| json!("gelu"));
        let read = serde_json::from_value::<Activation>(activation.clone());
        Ok(Kind::Bottleneck {
            config: BottleneckConfig {
                width: keys.rank("width", 64)?,
                scale: keys.number("scale", 1.0)?,
                activation: read
                    .map_err(|_| unsupported("activation", &activation, "an activation"))?,
                norm: match keys.take("norm_epsilon") {
                    None => None,
                    Some(epsilon) => epsilon.as_f64(),
                },
            },
            is_parallel: keys.flag("parallel")?,
        })
    }

    /// The `adapter_config.json`. A bottleneck, which HF PEFT does not have, is of a type of its own.
    pub fn write(&self) -> Value {
        let mut json = Map::new();
        json.extend(self.unknown.clone());
        let targets = &self.plan.targets;
        let mut put = |key: &str, value: Value| json.insert(key.into(), value);
        put("base_model_name_or_path", json!(self.base));
        put("target_modules", json!(targets.names));
        if !targets.exclude.is_empty() {
            put("exclude_modules", json!(targets.exclude));
        }
        if !targets.layers.is_empty() {
            put("layers_to_transform", json!(targets.layers));
        }
        let modules = Some(&self.modules_to_save).filter(|modules| !modules.is_empty());
        put("modules_to_save", json!(modules));
        put("inference_mode", json!(true));
        put("fan_in_fan_out", json!(false));
        put("task_type", Value::Null);
        match &self.plan.kind {
            Kind::Lora {
                config,
                is_dora,
                ranks,
                alphas,
            } => {
                put("peft_type", json!("LORA"));
                put("r", json!(config.rank));
                put("lora_alpha", json!(config.alpha));
                put("lora_dropout", json!(config.dropout));
                put("use_rslora", json!(config.rank_stabilised));
                put("use_dora", json!(is_dora));
                put("rank_pattern", json!(ranks));
                put("alpha_pattern", json!(alphas));
                let start = match config.start {
                    LoraStart::Kaiming => json!(true),
                    LoraStart::Gaussian => json!("gaussian"),
                };
                put("init_lora_weights", start);
                let bias = match self.bias {
                    BiasTraining::None => "none",
                    BiasTraining::Adapted => "lora_only",
                    BiasTraining::All => "all",
                };
                put("bias", json!(bias));
            }
            Kind::Ia3 { feedforward } => {
                put("peft_type", json!("IA3"));
                put("feedforward_modules", json!(feedforward));
                put("init_ia3_weights", json!(true));
            }
            Kind::Bottleneck {
                config,
                is_parallel,
            } => {
                put("peft_type", json!("SHOESTRING_BOTTLENECK"));
                put("width", json!(config.width));
                put("scale", json!(config.scale));
                put("activation", json!(config.activation));
                put("norm_epsilon", json!(config.norm));
                put("parallel", json!(is_parallel));
            }
        }
        Value::Object(json)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lora() -> Value {
        json!({"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]})
    }

    fn with(key: &str, value: Value) -> Value {
        let mut json = lora();
        json[key] = value;
        json
    }

    #[test]
    fn what_is_written_reads_back_the_same_with_what_nobody_knows() {
        let mut json = lora();
        json["rank_pattern"] = json!({"fc1": 2});
        json["alpha_pattern"] = json!({"fc1": 5.5});
        json["bias"] = json!("lora_only");
        json["modules_to_save"] = json!(["classifier"]);
        json["layers_to_transform"] = json!(1);
        json["exclude_modules"] = json!(".*text.*");
        json["init_lora_weights"] = json!("gaussian");
        json["use_dora"] = json!(true);
        json["a_key_of_tomorrow"] = json!(3);
        let config = HfConfig::read(&json).unwrap();
        assert_eq!(config.unknown["a_key_of_tomorrow"], 3);
        assert_eq!(config.plan.targets.layers, [1]);
        assert_eq!(HfConfig::read(&config.write()).unwrap(), config);
        let ia3 = json!({"peft_type": "IA3", "target_modules": "all-linear", "feedforward_modules": ["fc2"]});
        let config = HfConfig::read(&ia3).unwrap();
        assert_eq!(HfConfig::read(&config.write()).unwrap(), config);
        assert_eq!(config.write()["feedforward_modules"], json!(["fc2"]));
    }

    #[test]
    fn what_would_change_the_numbers_is_refused_by_its_key() {
        for (key, value) in [
            ("peft_type", json!("PREFIX_TUNING")),
            ("init_lora_weights", json!("pissa_niter_16")),
            ("init_lora_weights", json!("olora")),
            ("fan_in_fan_out", json!(true)),
            ("layer_replication", json!([[0, 1]])),
            ("lora_bias", json!(true)),
            ("loftq_config", json!({"loftq_bits": 4})),
            ("trainable_token_indices", json!([1])),
            ("r", json!(0)),
            ("lora_alpha", json!("8")),
            ("bias", json!("some")),
            ("rank_pattern", json!({"fc1": "2"})),
            ("target_modules", json!(3)),
        ] {
            let error = HfConfig::read(&with(key, value)).unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{key}` is ")), "{error}");
        }
        for (key, value) in [
            ("fan_in_fan_out", json!(false)),
            ("loftq_config", json!({})),
            ("init_lora_weights", json!("orthogonal")),
            ("modules_to_save", Value::Null),
        ] {
            assert!(HfConfig::read(&with(key, value)).is_ok(), "{key}");
        }
    }
}
