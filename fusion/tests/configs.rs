//! Config files: accepted with the original's number of parameters, or refused by a key.

use fusion::{DualConfig, DualKeys, FusionError};
use serde_json::{Value, json};
use text_encoder::TextPooling;
use transformer::{Activation, ConfigError};

fn open_clip(cfg: Value) -> Result<(DualConfig, DualKeys), FusionError> {
    DualConfig::from_open_clip(&json!({ "model_cfg": cfg }))
}

/// A ViT-B/32, of which a case changes something.
fn b32(change: impl Fn(&mut Value)) -> Value {
    let mut cfg = json!({
        "embed_dim": 512,
        "vision_cfg": { "image_size": 224, "layers": 12, "width": 768, "patch_size": 32 },
        "text_cfg": { "context_length": 77, "vocab_size": 49408, "width": 512, "heads": 8, "layers": 12 }
    });
    change(&mut cfg);
    cfg
}

/// SigLIP's So400m, which takes its vision tower from timm.
fn so400m() -> Value {
    json!({
        "embed_dim": 1152, "init_logit_bias": -10, "custom_text": true,
        "vision_cfg": {
            "image_size": 256, "timm_model_name": "vit_so400m_patch16_siglip_256",
            "timm_model_pretrained": false, "timm_pool": "map", "timm_proj": "none"
        },
        "text_cfg": {
            "context_length": 64, "vocab_size": 250000, "hf_tokenizer_name": "timm/ViT-B-16-SigLIP-i18n-256",
            "tokenizer_kwargs": { "clean": "canonicalize" }, "width": 1152, "heads": 16, "layers": 27,
            "mlp_ratio": 3.7362, "no_causal_mask": true, "pool_type": "last", "proj_type": "none",
            "norm_kwargs": { "eps": 1e-6 }
        }
    })
}

/// The numbers are those of open_clip 3.3.0 for configs that it ships: `scripts/check_open_clip_configs.py`.
#[test]
fn configs_of_open_clip_have_its_number_of_parameters() {
    let layer_scale = json!({
        "embed_dim": 384,
        "vision_cfg": { "image_size": 224, "layers": 12, "width": 512, "patch_size": 16, "ls_init_value": 1e-4 },
        "text_cfg": { "context_length": 77, "vocab_size": 49408, "width": 384, "heads": 6, "layers": 12 }
    });
    let clipa = json!({
        "embed_dim": 1024,
        "vision_cfg": {
            "image_size": 224, "layers": 32, "width": 1280, "head_width": 80, "patch_size": 14,
            "no_ln_pre": true, "pool_type": "avg", "final_ln_after_pool": true
        },
        "text_cfg": {
            "context_length": 32, "vocab_size": 32000, "hf_tokenizer_name": "bert-base-uncased",
            "tokenizer_kwargs": { "strip_sep_token": true }, "width": 1024, "heads": 16, "layers": 24,
            "pool_type": "last", "no_causal_mask": true
        }
    });
    for (cfg, parameters) in [
        (b32(|_| ()), 151_277_313),
        (layer_scale, 78_978_177),
        (clipa, 968_235_009),
        (so400m(), 1_127_430_706),
    ] {
        let (config, keys) = open_clip(cfg).unwrap();
        assert_eq!(config.parameters(), parameters);
        let (written, written_keys) = config.to_open_clip().unwrap();
        let (again, _) = open_clip(written).unwrap();
        assert_eq!((again, keys), (config, written_keys));
    }
}

#[test]
fn what_open_clip_has_and_this_crate_has_not_is_refused_by_its_key() {
    let cases: [(&str, Value); 12] = [
        (
            "vision_cfg.layers",
            b32(|cfg| cfg["vision_cfg"]["layers"] = json!([3, 4, 6, 3])),
        ),
        (
            "vision_cfg.timm_model_name",
            b32(|cfg| cfg["vision_cfg"]["timm_model_name"] = json!("convnext_base")),
        ),
        (
            "text_cfg.hf_model_name",
            b32(|cfg| cfg["text_cfg"]["hf_model_name"] = json!("roberta-base")),
        ),
        (
            "multimodal_cfg",
            b32(|cfg| cfg["multimodal_cfg"] = json!({ "width": 512 })),
        ),
        (
            "vision_cfg.attentional_pool",
            b32(|cfg| cfg["vision_cfg"]["attentional_pool"] = json!(true)),
        ),
        (
            "text_cfg.embed_cls",
            b32(|cfg| cfg["text_cfg"]["embed_cls"] = json!(true)),
        ),
        (
            "vision_cfg.head_width",
            b32(|cfg| cfg["vision_cfg"]["head_width"] = json!(150)),
        ),
        (
            "vision_cfg.mlp_ratio",
            b32(|cfg| cfg["vision_cfg"]["mlp_ratio"] = json!(1e9)),
        ),
        (
            "vision_cfg.qk_norm",
            b32(|cfg| cfg["vision_cfg"]["qk_norm"] = json!(true)),
        ),
        (
            "text_cfg.no_such_key",
            b32(|cfg| cfg["text_cfg"]["no_such_key"] = json!(1)),
        ),
        (
            "text_cfg.pool_type",
            b32(|cfg| cfg["text_cfg"]["no_causal_mask"] = json!(true)),
        ),
        ("embed_dim", b32(|cfg| cfg["embed_dim"] = json!(null))),
    ];
    for (key, cfg) in cases {
        let error = open_clip(cfg).unwrap_err();
        assert_eq!(
            error.key(),
            Some(format!("model_cfg.{key}").as_str()),
            "{error}"
        );
        assert!(!error.to_string().contains('\n'), "{error}");
    }
    let error = DualConfig::from_open_clip(&b32(|_| ())).unwrap_err();
    assert!(
        matches!(error, FusionError::Model(ConfigError::Missing { key, .. }) if key == "model_cfg")
    );
}

#[test]
fn a_timm_name_says_the_size_of_the_picture() {
    let mut cfg = so400m();
    cfg["vision_cfg"]["image_size"] = json!(384);
    let error = open_clip(cfg).unwrap_err();
    assert_eq!(error.key(), Some("model_cfg.vision_cfg.image_size"));
}

fn clip(change: impl Fn(&mut Value)) -> Result<(DualConfig, DualKeys), FusionError> {
    let mut config = json!({ "model_type": "clip", "vision_config": {}, "text_config": {} });
    change(&mut config);
    DualConfig::from_hf(&config)
}

#[test]
fn a_part_under_its_old_name_wins_with_all_its_defaults() {
    let (config, _) = clip(|config| {
        config["vision_config"] =
            json!({ "hidden_act": "gelu", "patch_size": 16, "layer_norm_eps": 0.1 });
        config["vision_config_dict"] = json!({ "patch_size": 14 });
        config["text_config"] = json!({ "num_hidden_layers": 3 });
        config["text_config_dict"] = json!(null);
    })
    .unwrap();
    assert_eq!(config.vision.patch_size, 14);
    assert_eq!(config.vision.sizes.activation, Activation::QuickGelu);
    assert_eq!(config.vision.sizes.norm_epsilon, 1e-5);
    assert_eq!(config.text.sizes.n_layers, 3);
    let error = clip(|config| config["text_config_dict"] = json!({ "num_hidden_layers": 0 }));
    assert_eq!(
        error.unwrap_err().key(),
        Some("text_config_dict.num_hidden_layers")
    );
}

#[test]
fn every_number_is_held_to_its_bounds_by_its_full_name() {
    let huge = json!(1_u64 << 40);
    let vision = [
        ("num_channels", json!(1)),
        ("num_hidden_layers", json!(0)),
        ("num_hidden_layers", json!(1001)),
        ("num_attention_heads", json!(0)),
        ("num_attention_heads", json!(5)),
        ("hidden_size", json!(0)),
        ("hidden_size", huge.clone()),
        ("intermediate_size", huge.clone()),
        ("image_size", json!([32, 32])),
        ("image_size", huge.clone()),
        ("image_size", json!(16)),
        ("patch_size", json!(0)),
        ("patch_size", json!(true)),
        ("layer_norm_eps", json!(0)),
        ("layer_norm_eps", json!(-1e-5)),
        ("layer_norm_eps", json!("1e-5")),
        ("attention_dropout", json!(1)),
        ("hidden_act", json!("silu")),
        ("attention_bias", json!(false)),
        ("model_type", json!("chinese_clip_vision_model")),
    ];
    for (key, value) in vision {
        let error = clip(|config| config["vision_config"][key] = value.clone()).unwrap_err();
        // A picture that is smaller than a patch is a matter of both.
        let at = if value == json!(16) {
            "patch_size"
        } else {
            key
        };
        assert_eq!(
            error.key(),
            Some(format!("vision_config.{at}").as_str()),
            "{error}"
        );
        assert!(matches!(error, FusionError::Vision(_)));
    }
    let text = [
        ("vocab_size", huge.clone()),
        ("max_position_embeddings", huge.clone()),
        ("num_hidden_layers", json!(0)),
        ("num_hidden_layers", json!(2.5)),
        ("eos_token_id", json!(49408)),
        ("eos_token_id", json!([49407])),
        ("eos_token_id", json!(-1)),
        ("hidden_size", json!(null)),
    ];
    for (key, value) in text {
        let error = clip(|config| config["text_config"][key] = value.clone()).unwrap_err();
        assert_eq!(
            error.key(),
            Some(format!("text_config.{key}").as_str()),
            "{error}"
        );
    }
    let model = [
        ("projection_dim", json!(0)),
        ("logit_scale_init_value", json!("2.6")),
        ("model_type", json!("siglip2")),
        ("quantization_config", json!({ "bits": 4 })),
    ];
    for (key, value) in model {
        let error = clip(|config| config[key] = value.clone()).unwrap_err();
        assert_eq!(error.key(), Some(key), "{error}");
    }
    // Of towers that were trained apart each says what it is.
    let apart = clip(|config| config["model_type"] = json!("vision-text-dual-encoder"));
    let error = apart.unwrap_err();
    assert_eq!(error.key(), Some("vision_config.model_type"), "{error}");
}

#[test]
fn sizes_within_bounds_that_nothing_can_hold_together_are_refused() {
    let error = clip(|config| {
        config["text_config"] =
            json!({ "hidden_size": 65536, "num_hidden_layers": 1000, "num_attention_heads": 64 });
    });
    let error = error.unwrap_err();
    assert!(
        matches!(&error, FusionError::TooLarge { key, found: 1000, .. } if key == "text_config.num_hidden_layers")
    );
    assert!(error.to_string().contains("GB"));
}

#[test]
fn the_end_token_2_means_the_highest_id() {
    let pooling = |end: i64| {
        let (config, _) =
            clip(|config| config["text_config"]["eos_token_id"] = json!(end)).unwrap();
        config.text.pooling
    };
    assert_eq!(pooling(2), TextPooling::HighestId);
    assert_eq!(pooling(7), TextPooling::FirstOf(7));
}

#[test]
fn siglips_towers_must_meet_and_have_a_head() {
    let siglip = |vision: Value, text: Value| {
        DualConfig::from_hf(
            &json!({ "model_type": "siglip", "vision_config": vision, "text_config": text }),
        )
    };
    assert_eq!(siglip(json!({}), json!({})).unwrap().1, DualKeys::HfSiglip);
    // SigLIP 2 of a fixed size: Gemma's vocabulary, and the same towers.
    let second = siglip(
        json!({}),
        json!({ "vocab_size": 256_000, "model_type": "siglip_text_model" }),
    );
    assert_eq!(second.unwrap().0.text.vocab_size, 256_000);
    let error = siglip(json!({ "vision_use_head": false }), json!({})).unwrap_err();
    assert_eq!(error.key(), Some("vision_config.vision_use_head"));
    let error = siglip(json!({ "hidden_size": 384 }), json!({})).unwrap_err();
    assert_eq!(error.key(), Some("text_config.projection_size"));
}
