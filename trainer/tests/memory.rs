//! Recomputing saves memory: the same step with one cut for each block peaks lower.

use std::process::Command;

fn peak_mb(case: &str) -> u64 {
    let output = Command::new(env!("CARGO_BIN_EXE_shoestring"))
        .args(["bench", case, "--batch", "48", "--steps", "1"])
        .output()
        .expect("the program starts");
    let line = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{line}");
    let json: serde_json::Value = serde_json::from_str(&line).expect("one JSON line");
    assert_eq!(json["case"], case);
    json["peak_rss_mb"].as_u64().expect("a peak")
}

#[test]
fn a_cut_for_each_block_lowers_the_peak() {
    let (full, checkpointed) = (peak_mb("full"), peak_mb("checkpointed"));
    println!("store-all {full} MB, every-cut {checkpointed} MB");
    // Weights, moments and gradients of 63 M parameters (1010 MB) are in both.
    assert!(
        checkpointed + 250 < full,
        "store-all {full} MB, every-cut {checkpointed} MB"
    );
}
