//! Configurations of published sizes: sparse files mean the same as resolved ones.

use burn::{
    module::{Module, ModuleVisitor, Param},
    tensor::Tensor,
};
use fusion::DualConfig;
use serde_json::Value;
use text_encoder::TextConfig;
use vision_encoder::VisionConfig;

use crate::fixture::{device, each, json_file};

/// Architectures that belong to later work.
const LATER: [&str; 6] = [
    "GPT2LMHeadModel",
    "OPTForCausalLM",
    "LlamaForCausalLM",
    "Blip2ForConditionalGeneration",
    "LlavaForConditionalGeneration",
    "IdeficsForVisionText2Text",
];

/// The number of elements of all parameters, without allocating any.
fn parameters<M: Module>(module: &M) -> u64 {
    struct Count(u64);
    impl ModuleVisitor for Count {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0 += param.lazy_shape().num_elements() as u64;
        }
    }
    let mut count = Count(0);
    module.visit(&mut count);
    count.0
}

/// The parsed configuration, for comparison, and its number of parameters.
fn parse(architecture: &str, json: &Value) -> (String, u64) {
    let device = device();
    match architecture {
        "CLIPModel" | "SiglipModel" => {
            let (config, _) = DualConfig::from_hf(json).unwrap();
            let count = parameters(&config.init(&device));
            assert_eq!(config.parameters(), count, "the closed form");
            (format!("{config:?}"), count)
        }
        "ViTForImageClassification" => {
            let config = VisionConfig::from_hf_vit(json).unwrap();
            let count = parameters(&config.init(&device));
            assert_eq!(config.parameters(), count, "the closed form");
            (format!("{config:?}"), count)
        }
        "BertModel" => {
            let config = TextConfig::from_hf_bert(json).unwrap();
            let count = parameters(&config.init(&device));
            assert_eq!(config.parameters(), count, "the closed form");
            (format!("{config:?}"), count)
        }
        other => panic!("no check for {other}"),
    }
}

#[test]
fn parity_configs() {
    each("configs", |fixture| {
        let cases = json_file(&fixture.folder.join("cases.json"));
        let mut checked = 0;
        for case in cases.as_array().unwrap() {
            let architecture = case["architecture"].as_str().unwrap();
            if LATER.contains(&architecture) {
                continue;
            }
            let name = &case["name"];
            println!("{name}");
            let (sparse, count) = parse(architecture, &case["sparse"]);
            assert_eq!(count, case["parameters"].as_u64().unwrap(), "{name}");
            let mut resolved = case["resolved"].clone();
            if let Some(labels) = case["sparse"].get("num_labels") {
                resolved["num_labels"] = labels.clone();
            }
            assert_eq!(sparse, parse(architecture, &resolved).0, "{name}");
            checked += 1;
        }
        assert!(checked > 0);
    });
}
