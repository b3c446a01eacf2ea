"""Towers that are trained apart, then joined: does transformers load them, and does it give the same?

    pip install torch transformers pyarrow pillow
    cargo build --release -p trainer --features flex --example logits --bin shoestring
    python scripts/check_towers.py [--program target/release/shoestring] [--example target/release/examples/logits]

A ViT (classify) and a BERT (mlm) are trained for some steps on generated pictures and exported: `ViTForImageClassification`
and `BertForMaskedLM` give the same logits. Joined by the recipe `join` and exported, `VisionTextDualEncoderModel` gives the
same embeddings of the pictures and captions of a table, preprocessing and tokenising included. Fails beyond 1e-5.
"""
import argparse, os, subprocess, sys, tempfile

import numpy as np
import torch
from safetensors.numpy import load_file, save_file

SMALL = ["--set", "data.shapes.train=512", "--set", "data.shapes.val=64"]


def run(program, *arguments, cwd):
    done = subprocess.run([program, *arguments], cwd=cwd, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(arguments)}: {done.stdout}{done.stderr}")


def logits(example, folder, inputs, cwd):
    save_file(inputs, os.path.join(cwd, "inputs.safetensors"))
    run(example, folder, "inputs.safetensors", "out.safetensors", cwd=cwd)
    return load_file(os.path.join(cwd, "out.safetensors"))["logits"]


def compare(what, got, want):
    got, want = np.asarray(got), np.asarray(want)
    difference = np.abs(got - want).max() / max(1.0, np.abs(want).max())
    print(f"{what}: {want.shape}, largest difference {difference:.1e}")
    if got.shape != want.shape or not difference < 1e-5:
        sys.exit(f"{what}: beyond 1e-5")


def pictures(cwd, count=24):
    """A table of pictures of two colours, with captions."""
    from PIL import Image

    rng = np.random.default_rng(0)
    lines = ["filepath\ttitle"]
    names = ["red", "green", "blue", "black"]
    for number in range(count):
        pixels = np.full((48, 48, 3), 255, np.uint8)
        top, left = rng.integers(0, 24, 2)
        pixels[top:top + 20, left:left + 20] = rng.integers(0, 255, 3)
        Image.fromarray(pixels).save(os.path.join(cwd, f"{number}.png"))
        lines.append(f"{number}.png\ta small {names[number % 4]} square, above number {number}")
    with open(os.path.join(cwd, "t.csv"), "w", encoding="utf-8") as f:
        f.write("\n".join(lines) + "\n")
    return [line.split("\t") for line in lines[1:]]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default="target/release/shoestring")
    parser.add_argument("--example", default="target/release/examples/logits")
    args = parser.parse_args()
    program, example = os.path.abspath(args.program), os.path.abspath(args.example)
    from transformers import AutoImageProcessor, AutoTokenizer, BertForMaskedLM, ViTForImageClassification, VisionTextDualEncoderModel
    from PIL import Image

    with tempfile.TemporaryDirectory() as cwd:
        rows = pictures(cwd)
        for recipe in ("towers/vision", "towers/text"):
            run(program, "train", recipe, *SMALL, "--set", "train.epochs=3", cwd=cwd)
        for name in ("vision", "text"):
            run(program, "export", "--run", f"runs/{name}-1", "--out", name, cwd=cwd)

        vit = ViTForImageClassification.from_pretrained(os.path.join(cwd, "vision")).eval()
        images = AutoImageProcessor.from_pretrained(os.path.join(cwd, "vision"), backend="pil")
        pixels = images([Image.open(os.path.join(cwd, row[0])) for row in rows], return_tensors="pt")["pixel_values"]
        with torch.no_grad():
            want = vit(pixels).logits.numpy()
        compare("ViT", logits(example, "vision", {"pixel_values": pixels.numpy()}, cwd), want)

        bert = BertForMaskedLM.from_pretrained(os.path.join(cwd, "text")).eval()
        tokenizer = AutoTokenizer.from_pretrained(os.path.join(cwd, "text"))
        texts = [row[1].replace("square", tokenizer.mask_token) for row in rows]
        tokens = tokenizer(texts, return_tensors="pt", padding=True)
        with torch.no_grad():
            want = bert(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]).logits.numpy()
        inputs = {key: tokens[key].numpy() for key in ("input_ids", "attention_mask")}
        compare("BERT", logits(example, "text", inputs, cwd), want.reshape(-1, want.shape[-1]))

        run(program, "train", "join", *SMALL, "--set", "data.shapes.held_out=64", "--set", "train.epochs=2", "--set", "model.lock=[]",
            cwd=cwd)
        run(program, "export", "--run", "runs/join-1", "--out", "joined", cwd=cwd)
        run(program, "embed", "--run", "runs/join-1", "--data", "t.csv", "--out", "own", cwd=cwd)
        run(program, "embed", "--run", "joined", "--data", "t.csv", "--out", "again", cwd=cwd)
        joined = VisionTextDualEncoderModel.from_pretrained(os.path.join(cwd, "joined")).eval()
        images = AutoImageProcessor.from_pretrained(os.path.join(cwd, "joined"), backend="pil")
        tokenizer = AutoTokenizer.from_pretrained(os.path.join(cwd, "joined"))
        pixels = images([Image.open(os.path.join(cwd, row[0])) for row in rows], return_tensors="pt")["pixel_values"]
        tokens = tokenizer([row[1] for row in rows], return_tensors="pt", padding=True)
        with torch.no_grad():
            out = joined(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"], pixel_values=pixels)
        for side, want in (("images", out.image_embeds), ("texts", out.text_embeds)):
            compare(f"joined, {side}", np.load(os.path.join(cwd, f"own.{side}.npy")), want.numpy())
            compare(f"read again, {side}", np.load(os.path.join(cwd, f"again.{side}.npy")), want.numpy())


if __name__ == "__main__":
    main()
