"""Adapters exchanged with HF PEFT: the same embeddings whoever trained them?

    pip install torch torchvision transformers peft open_clip_torch
    cargo build --release -p trainer --features flex
    python scripts/check_adapters.py --table TABLE [--program target/release/shoestring] [--rows 24] [--only NAME]

A tiny random CLIP is adapted here and loaded by `PeftModel.from_pretrained`; adapted by peft and folded in here; adapted here
in open_clip's fused weights and, merged, compared with the same adapter on transformers' weights. Fails beyond 1e-5.
"""
import argparse, csv, json, os, subprocess, sys, tempfile

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

from check_export import unit
from check_pretrained import clip, odd_captions

# What is set in the recipe, and the same in peft's words.
KINDS = {
    "lora": (['peft.kind=lora', 'peft.targets=["q_proj", "v_proj"]'],
             dict(kind="lora", r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"])),
    "lora-patterns": (['peft.kind=lora', 'peft.targets=["all-linear"]', 'peft.layers=[1]', 'peft.bias=adapted',
                       'peft.ranks=[{pattern = "q_proj", rank = 2, alpha = 5.0}]',
                       'peft.modules_to_save=["visual_projection"]', 'peft.exclude=["visual_projection", "text_projection"]'],
                      dict(kind="lora", r=4, lora_alpha=8, target_modules=r".*layers\.1.*(q_proj|fc1|out_proj)", bias="lora_only",
                           rank_pattern={"q_proj": 2}, alpha_pattern={"q_proj": 5}, modules_to_save=["visual_projection"])),
    "rslora": (['peft.kind=lora', 'peft.rank_stabilised=true', 'peft.targets=["fc1", "fc2"]'],
               dict(kind="lora", r=4, lora_alpha=8, use_rslora=True, target_modules=["fc1", "fc2"])),
    "dora": (['peft.kind=dora', 'peft.targets=["q_proj", "fc1"]'],
             dict(kind="lora", r=4, lora_alpha=8, use_dora=True, target_modules=["q_proj", "fc1"])),
    "ia3": (['peft.kind=ia3', 'train.lr=0.02'],
            dict(kind="ia3", target_modules=["k_proj", "v_proj", "fc2"], feedforward_modules=["fc2"])),
}


def inputs(folder, paths, captions):
    from transformers import AutoImageProcessor, AutoTokenizer

    images = AutoImageProcessor.from_pretrained(folder, backend="pil")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    pixels = images([Image.open(p).convert("RGB") for p in paths], return_tensors="pt")["pixel_values"]
    return pixels, tokenizer(captions, return_tensors="pt", truncation=True, padding=True)


def embeddings(model, folder, paths, captions):
    pixels, text = inputs(folder, paths, captions)
    with torch.no_grad():
        out = model(pixel_values=pixels, input_ids=text["input_ids"], attention_mask=text["attention_mask"])
    return unit(out.image_embeds), unit(out.text_embeds)


def by_peft(folder, adapter, words):
    """An adapter of peft with weights far from its start, written as peft writes it."""
    from peft import IA3Config, LoraConfig, get_peft_model
    from transformers import CLIPModel

    words = dict(words)
    config = {"lora": LoraConfig, "ia3": IA3Config}[words.pop("kind")](**words)
    model = get_peft_model(CLIPModel.from_pretrained(folder), config)
    torch.manual_seed(1)
    with torch.no_grad():
        for _, p in model.named_parameters():
            if p.requires_grad:
                p.add_(torch.randn_like(p) * 0.1)
    model.eval().save_pretrained(adapter)
    return model


def with_peft(folder, adapter):
    from peft import PeftModel
    from transformers import CLIPModel

    model = PeftModel.from_pretrained(CLIPModel.from_pretrained(folder), adapter).eval()
    found = {k for k in load_file(os.path.join(adapter, "adapter_model.safetensors"))}
    from peft import get_peft_model_state_dict
    known = set(get_peft_model_state_dict(model))
    assert found == known, f"peft has {sorted(known ^ found)[:4]} too many or too few"
    return model


class Check:
    def __init__(self, args):
        self.args, self.failed = args, []
        self.program = os.path.abspath(args.program)

    def run(self, *words):
        done = subprocess.run([self.program, *words], cwd=self.root, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{' '.join(words)}: exit {done.returncode}\n{done.stdout}{done.stderr}")

    def compare(self, name, what, ours, theirs):
        for side, x, y in zip(("images", "texts"), ours, theirs):
            worst = float(np.abs(x - y).max())
            print(f"{name:14} {what:22} {side:7} {x.shape}, largest difference {worst:.2e}")
            if not worst <= 1e-5:
                self.failed.append(f"{name} {what} {side}")

    def embed(self, run):
        self.run("embed", "--run", run, "--data", "part.csv", "--out", "found")
        return [np.load(os.path.join(self.root, f"found.{side}.npy")) for side in ("images", "texts")]

    def train(self, base, name, settings):
        words = [w for s in settings for w in ("--set", s)]
        self.run("train", "recipe.toml", "--set", f"model.pretrained={base}", "--set", f"name={name}", *words)
        return f"runs/{name}-1"

    def kind(self, name, settings, words):
        path = lambda *parts: os.path.join(self.root, *parts)
        run = self.train("base", name, settings)
        self.run("export", "--run", run, "--out", f"{name}.adapter")
        theirs = embeddings(with_peft(path("base"), path(f"{name}.adapter")), path("base"), self.paths, self.captions)
        self.compare(name, "trained here", self.embed(run), theirs)
        plain = self.embed("base")
        moved = max(float(np.abs(x - y).max()) for x, y in zip(plain, theirs))
        assert moved > 1e-3, f"{name}: the adapter has moved nothing"

        model = by_peft(path("base"), path(f"{name}.peft"), words)
        theirs = embeddings(model, path("base"), self.paths, self.captions)
        self.run("merge", "--run", "base", "--adapter", f"{name}.peft", "--out", f"{name}.merged")
        self.compare(name, "trained by peft", self.embed(f"{name}.merged"), theirs)
        self.run("train", "recipe.toml", "--set", "model.pretrained=base", "--set", f"peft.adapter={name}.peft", "--set",
                 f"name={name}-on", "--set", "train.steps=1", "--set", "train.lr=1e-12")
        self.compare(name, "peft's goes on here", self.embed(f"runs/{name}-on-1"), theirs)

        fused = self.train("fused", f"{name}-fused", settings)
        merged = []
        for run, out in ((run, f"{name}.a"), (fused, f"{name}.b")):
            self.run("merge", "--run", run, "--out", out)
            merged.append(load_file(path(out, "model.safetensors")))
        worst = max(float((merged[0][k] - merged[1][k]).abs().max()) for k in merged[0])
        print(f"{name:14} {'fused weights':22} merged, largest difference {worst:.2e}")
        if merged[0].keys() != merged[1].keys() or not worst <= 1e-5:
            self.failed.append(f"{name} fused")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", required=True)
    parser.add_argument("--program", default="target/release/shoestring")
    parser.add_argument("--rows", type=int, default=24)
    parser.add_argument("--only", choices=KINDS)
    args = parser.parse_args()
    check, table = Check(args), os.path.abspath(args.table)
    with open(table, newline="", encoding="utf-8") as f:
        rows = list(csv.DictReader(f, delimiter="\t"))
    rows = rows[:: max(1, len(rows) // args.rows)][: args.rows]
    with tempfile.TemporaryDirectory() as root:
        check.root = root
        check.captions = odd_captions([r["title"] for r in rows[4:]])
        check.paths = [os.path.join(os.path.dirname(table), r["filepath"]) for r in rows]
        with open(os.path.join(root, "part.csv"), "w", newline="", encoding="utf-8") as f:
            out = csv.writer(f, delimiter="\t", lineterminator="\n")
            out.writerow(["filepath", "title"])
            out.writerows(zip(check.paths, check.captions))
        with open(os.path.join(root, "recipe.toml"), "w") as f:
            f.write('name = "x"\n[[data.train]]\nkind = "table"\npath = "part.csv"\n[[data.val]]\nkind = "table"\n'
                    'path = "part.csv"\n[data.table]\nseparator = "tab"\n[model]\n[train]\nsteps = 12\nbatch = 8\nlr = 0.003\n'
                    'weight_decay = 0.0\nwarmup = 1\n')
        os.makedirs(os.path.join(root, "base"))
        clip(os.path.join(root, "base"), check.captions, "quick_gelu", eos=False, crop=32, resize=32)
        check.run("export", "--run", "base", "--out", "fused", "--format", "open_clip")
        for name, (settings, words) in KINDS.items():
            if args.only in (None, name):
                check.kind(name, settings, words)
    sys.exit("failed: " + ", ".join(check.failed) if check.failed else 0)


if __name__ == "__main__":
    main()
