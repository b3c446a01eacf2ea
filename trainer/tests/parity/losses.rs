//! The contrastive losses on one rank.

use fusion::loss::{ContrastiveLoss, LogitMap, Tiling};

use crate::fixture::{data, device, each, tensor};

/// Fixtures of this family that belong to later work: losses over ranks, captions, distillation.
const LATER: [&str; 2] = ["ranks", "caption_distill"];

#[test]
fn parity_losses() {
    each("losses", |fixture| {
        if LATER.contains(&fixture.name()) {
            return;
        }
        let device = device();
        let (inputs, outputs) = (fixture.inputs(), fixture.weights("outputs.safetensors"));
        let number = |name: &str| data(&inputs, name).iter::<f32>().next().unwrap();
        let (scale, bias) = (number("log_scale").exp(), number("bias"));
        let sizes: Vec<&str> = inputs
            .keys()
            .filter_map(|key| key.strip_suffix(".image"))
            .collect();
        assert!(!sizes.is_empty());
        for size in sizes {
            let image = tensor::<2>(&inputs, &format!("{size}.image"), &device);
            let text = tensor::<2>(&inputs, &format!("{size}.text"), &device);
            let n = image.dims()[0];
            for (name, loss, bias) in [
                ("clip", ContrastiveLoss::Softmax, None),
                ("clip_with_bias", ContrastiveLoss::Softmax, Some(bias)),
                ("siglip", ContrastiveLoss::Sigmoid, Some(bias)),
            ] {
                let logits = LogitMap { scale, bias };
                for [rows, columns] in [[1, 1], [3, 5], [7, 64], [n, n], [2 * n, 3 * n]] {
                    let tiling = Tiling {
                        rows,
                        columns,
                        kept_bytes: 4 * n,
                    };
                    let got = loss.evaluate(image.clone(), text.clone(), logits, tiling);
                    let key = |part: &str| format!("{size}.{name}.{part}");
                    let compare = |part: &str, got: f64| {
                        fixture.compare_number(&outputs, &key(part), got);
                    };
                    compare("loss", got.loss);
                    compare("grad_scale", got.grad_scale);
                    compare("grad_log_scale", got.grad_scale * f64::from(scale));
                    if name == "siglip" {
                        compare("grad_bias", got.grad_bias.unwrap());
                    }
                    fixture.compare_tensor(&outputs, &key("grad_image"), got.grad_image);
                    fixture.compare_tensor(&outputs, &key("grad_text"), got.grad_text);
                }
            }
        }
        fixture.finish();
    });
}
