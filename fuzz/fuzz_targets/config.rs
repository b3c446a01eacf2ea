//! Configs of models: `config.json` of transformers, `open_clip_config.json`, the part of it that holds the sizes, and
//! timm's.

#![no_main]

use fusion::{DualConfig, FusionError, MAX_PARAMETERS};
use fuzz as _; // its allocator
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use text_encoder::TextConfig;
use transformer::{ConfigError, TowerSizes};
use vision_encoder::VisionConfig;

fuzz_target!(|input: &[u8]| {
    let Ok(json) = serde_json::from_slice::<Value>(input) else {
        return;
    };
    let wrapped = json!({ "model_cfg": json });
    dual(DualConfig::from_hf(&json).map(|(config, _)| config));
    dual(DualConfig::from_open_clip(&json).map(|(config, _)| config));
    dual(DualConfig::from_open_clip(&wrapped).map(|(config, _)| config));
    vision(VisionConfig::from_timm(&json));
    vision(VisionConfig::from_hf_vit(&json));
    match TextConfig::from_hf_bert(&json) {
        Ok(config) => check_text(&config),
        Err(error) => check_error(&error),
    }
});

fn dual(parsed: Result<DualConfig, FusionError>) {
    let config = match parsed {
        Ok(config) => config,
        Err(error) => {
            check_message(&error.to_string(), error.key().unwrap_or_default());
            return;
        }
    };
    assert!(config.parameters() <= MAX_PARAMETERS);
    assert!(config.logit_scale.is_finite());
    check_vision(&config.vision);
    check_text(&config.text);
    if let Some((json, keys)) = config.to_hf() {
        let (again, keys_again) = DualConfig::from_hf(&json).expect("what was written is read");
        assert_eq!(
            (keys, again.parameters()),
            (keys_again, config.parameters())
        );
        assert_eq!(again.to_hf().map(|(json, _)| json), Some(json));
    }
    if let Some((cfg, keys)) = config.to_open_clip() {
        let json = json!({ "model_cfg": cfg });
        let parsed = DualConfig::from_open_clip(&json);
        let (again, keys_again) = parsed.expect("what was written is read");
        assert_eq!(
            (keys, again.parameters()),
            (keys_again, config.parameters())
        );
        assert_eq!(again.to_open_clip().map(|(cfg, _)| cfg), Some(cfg));
    }
}

fn vision(parsed: Result<VisionConfig, ConfigError>) {
    match parsed {
        Ok(config) => check_vision(&config),
        Err(error) => check_error(&error),
    }
}

fn check_vision(config: &VisionConfig) {
    assert!(config.grid() >= 1 && config.tokens() <= 65_537);
    assert_eq!(config.channels, 3);
    check_sizes(&config.sizes);
    assert!(config.parameters() > 0 && config.parameters() < 1 << 60);
    assert!((0.0..1.0).contains(&config.patch_dropout));
}

fn check_sizes(sizes: &TowerSizes) {
    assert!(sizes.n_layers >= 1 && sizes.n_layers <= 1000);
    assert_eq!(sizes.d_model % sizes.n_heads, 0);
    assert!(sizes.d_hidden >= 1 && sizes.norm_epsilon > 0.0);
}

fn check_text(config: &TextConfig) {
    check_sizes(&config.sizes);
    assert!(config.context >= 1 && config.context <= 65_536);
    assert!(config.padding_id.is_none_or(|id| id < config.vocab_size));
    assert!(config.parameters() > 0 && config.parameters() < 1 << 60);
}

fn check_error(error: &ConfigError) {
    check_message(&error.to_string(), error.key());
}

/// A message says what it is about, on a line of its own and no longer than a screen.
fn check_message(message: &str, key: &str) {
    assert!(!message.is_empty() && message.contains(key), "{message}");
    assert!(
        message.chars().count() < 400 + 2 * key.chars().count(),
        "{message}"
    );
}
