"""Train for a few steps, export, and load the export with transformers and open_clip: the same embeddings?

    pip install torch transformers open_clip_torch pyarrow
    cargo build --release -p trainer --features flex
    python scripts/check_export.py --table TABLE [--program target/release/shoestring] [--rows 40]

Same picture files, same captions, preprocessing and tokenising included; fails beyond 1e-5.
"""
import argparse, csv, os, subprocess, sys, tempfile

import numpy as np
import pyarrow.parquet as parquet
import torch
from PIL import Image

RECIPE = """
name = "export"
[tokens]
kind = "bpe"
vocab = 700
[model]
family = "clip"
embed_dim = 48
[model.vision]
image_size = 64
patch_size = 16
d_model = 64
n_layers = 2
n_heads = 2
[model.text]
context = 32
d_model = 64
n_layers = 2
n_heads = 2
[train]
steps = 6
batch = 16
warmup = 2
lr = 1e-3
"""


def unit(x):
    return torch.nn.functional.normalize(x, dim=-1).numpy()


def with_transformers(folder, paths, captions):
    from transformers import AutoImageProcessor, AutoProcessor, CLIPModel

    model = CLIPModel.from_pretrained(folder).eval()
    processor = AutoProcessor.from_pretrained(folder)
    # Pillow's resizing: torchvision's differs from it by a grey level here and there.
    images = AutoImageProcessor.from_pretrained(folder, backend="pil")
    pixels = images([Image.open(p) for p in paths], return_tensors="pt")["pixel_values"]
    text = processor(text=captions, return_tensors="pt", padding=True, truncation=True)
    with torch.no_grad():
        image = model.visual_projection(model.vision_model(pixels).pooler_output)
        ids, mask = text["input_ids"], text["attention_mask"]
        texts = model.text_projection(model.text_model(ids, attention_mask=mask).pooler_output)
    return unit(image), unit(texts)


def with_open_clip(folder, paths, captions):
    import open_clip

    model, _, preprocess = open_clip.create_model_and_transforms("local-dir:" + folder)
    tokenizer = open_clip.get_tokenizer("local-dir:" + folder)
    pixels = torch.stack([preprocess(Image.open(p)) for p in paths])
    with torch.no_grad():
        return unit(model.eval().encode_image(pixels)), unit(model.encode_text(tokenizer(captions)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", required=True)
    parser.add_argument("--program", default="target/release/shoestring")
    parser.add_argument("--rows", type=int, default=40)
    args = parser.parse_args()
    program, table = os.path.abspath(args.program), os.path.abspath(args.table)
    with open(table, newline="", encoding="utf-8") as f:
        rows = list(csv.DictReader(f, delimiter="\t"))[: args.rows]
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        part = os.path.join(folder, "part.csv")
        with open(part, "w", newline="", encoding="utf-8") as f:
            out = csv.writer(f, delimiter="\t", lineterminator="\n")
            out.writerow(["filepath", "title"])
            out.writerows([os.path.join(os.path.dirname(table), r["filepath"]), r["title"]] for r in rows)
        with open(os.path.join(folder, "recipe.toml"), "w", encoding="utf-8") as f:
            f.write(RECIPE)

        def run(*words):
            subprocess.run([program, *words], cwd=folder, check=True, stdout=subprocess.DEVNULL)

        run("train", "recipe.toml", "--train", "part.csv", "--val", "part.csv")
        run("embed", "--run", "runs/export-1", "--data", "part.csv", "--out", "ours")
        table = parquet.read_table(os.path.join(folder, "ours.parquet")).to_pydict()
        ours = [np.load(os.path.join(folder, f"ours.{side}.npy")) for side in ("images", "texts")]
        for side, name in enumerate(("image_embedding", "text_embedding")):
            assert np.array_equal(np.array(table[name], dtype=np.float32), ours[side]), "Parquet and .npy differ"
        paths, captions = table["image"], table["caption"]
        for name, load in (("hf", with_transformers), ("open_clip", with_open_clip)):
            run("export", "--run", "runs/export-1", "--out", name, "--format", name)
            theirs = load(os.path.join(folder, name), paths, captions)
            for side, what in enumerate(("images", "texts")):
                worst = float(np.abs(ours[side] - theirs[side]).max())
                print(f"{name} {what}: {ours[side].shape}, largest difference {worst:.2e}")
                failed |= not worst <= 1e-5
    sys.exit("the embeddings differ by more than 1e-5" if failed else 0)


if __name__ == "__main__":
    main()
