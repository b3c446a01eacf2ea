//! Parameters of two-tower models in closed form: reads a config file to a line from standard input, open_clip's or
//! transformers', and prints a line for each: `accepted N`, or `refused KEY: why`.
//! `scripts/check_open_clip_configs.py` compares them with the originals.

use std::io::{BufRead, stdin};

use fusion::{DualConfig, FusionError};
use serde_json::Value;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for line in stdin().lock().lines() {
        let json: Value = serde_json::from_str(&line?)?;
        match parameters(&json) {
            Ok(count) => println!("accepted {count}"),
            Err(error) => println!("refused {}: {error}", error.key().unwrap_or("the widths")),
        }
    }
    Ok(())
}

fn parameters(json: &Value) -> Result<u64, FusionError> {
    let parsed = if json.get("model_cfg").is_some() {
        DualConfig::from_open_clip(json)
    } else {
        DualConfig::from_hf(json)
    };
    Ok(parsed?.0.parameters())
}
