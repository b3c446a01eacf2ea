"""Folders of weights as transformers and open_clip write them: the same embeddings with nothing said but the folder?

    pip install torch torchvision transformers open_clip_torch sentencepiece protobuf pyarrow
    cargo build --release -p trainer --features flex
    python scripts/check_pretrained.py --table TABLE [--program target/release/shoestring] [--rows 24] [--only NAME]

Models are tiny and random; means, sizes, padding and resize modes are odd. Each folder is embedded by the library that
wrote it and by the program, then exported by the program and embedded by the library again; fails beyond 1e-5.
"""
import argparse, csv, json, os, subprocess, sys, tempfile

import numpy as np
import torch
from PIL import Image

from check_export import unit, with_open_clip

WORDS = "a photo of the red_green cat, dog! (on) two small wooden tables & it's 3.14 o'clock; snow-white HOUSE"


def odd_captions(captions):
    """Captions of the table among others that cleaning and padding are for."""
    return ["A Red_Cat, on 2 tables!", "  it's   WHITE; o'clock  ", "Dog.", WORDS] + captions


# ---- what transformers writes

def byte_bpe(captions, size=600):
    """vocab.json and merges.txt of CLIP's kind."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(" ", behavior="removed"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, end_of_word_suffix="</w>",
                                  special_tokens=[c + "</w>" for c in alphabet])
    tokenizer.train_from_iterator([WORDS] + captions, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    vocab = model["vocab"]
    for token in ("<|startoftext|>", "<|endoftext|>"):
        vocab[token] = len(vocab)
    return vocab, [tuple(m) if isinstance(m, list) else tuple(m.split(" ")) for m in model["merges"]]


def clip(folder, captions, act, eos, shards=None, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6), crop=32, resize=40, slow=False):
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, CLIPTokenizer

    vocab, merges = byte_bpe(captions)
    tokenizer = CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=24, pad_token="<|endoftext|>")
    end = vocab["<|endoftext|>"]
    config = CLIPConfig(
        projection_dim=24,
        vision_config=dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2, image_size=crop,
                           patch_size=8, hidden_act=act, layer_norm_eps=1e-5),
        text_config=dict(hidden_size=40, intermediate_size=56, num_hidden_layers=2, num_attention_heads=4, hidden_act=act,
                         vocab_size=len(vocab), max_position_embeddings=24, eos_token_id=end if eos else 2,
                         bos_token_id=end - 1, pad_token_id=end))
    model = CLIPModel(config)
    shake(model)
    images = CLIPImageProcessor(size={"shortest_edge": resize}, crop_size={"height": crop, "width": crop},
                                image_mean=list(mean), image_std=list(std))
    CLIPProcessor(image_processor=images, tokenizer=tokenizer).save_pretrained(folder)
    if slow:  # as files before transformers 5 are
        images.save_pretrained(folder)
        os.remove(os.path.join(folder, "processor_config.json"))
    model.save_pretrained(folder, **({"max_shard_size": shards} if shards else {}))


def siglip(folder, captions, side=32, pad_side=None):
    from transformers import SiglipConfig, SiglipImageProcessor, SiglipModel, SiglipProcessor, SiglipTokenizer
    import sentencepiece

    with tempfile.TemporaryDirectory() as corner:
        text = os.path.join(corner, "text.txt")
        with open(text, "w", encoding="utf-8") as f:
            f.write("\n".join([WORDS.lower()] * 3 + [c.lower() for c in captions]))
        sentencepiece.SentencePieceTrainer.train(
            input=text, model_prefix=os.path.join(corner, "m"), vocab_size=120, hard_vocab_limit=False,
            pad_id=0, eos_id=1, unk_id=2, bos_id=-1, pad_piece="<pad>", minloglevel=2)
        tokenizer = SiglipTokenizer(os.path.join(corner, "m.model"), model_max_length=16)
        size = len(tokenizer)
        config = siglip_config(SiglipConfig, side, max(size, 128), 16)
        finish_siglip(folder, config, SiglipModel, SiglipImageProcessor, SiglipProcessor, tokenizer, side)


def siglip2(folder, captions, side=32):
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import SiglipConfig, SiglipImageProcessor, SiglipModel, SiglipProcessor
    from transformers.models.siglip2.tokenization_siglip2 import Siglip2Tokenizer

    bpe = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    bpe.pre_tokenizer = pre_tokenizers.Split(" ", behavior="merged_with_previous")
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"] + [f"<0x{i:02X}>" for i in range(256)]
    bpe.train_from_iterator([c.lower().replace(" ", "▁") for c in [WORDS] + captions],
                            trainers.BpeTrainer(vocab_size=420, special_tokens=special))
    model = json.loads(bpe.to_str())["model"]
    merges = [tuple(m) if isinstance(m, list) else tuple(m.split(" ")) for m in model["merges"]]
    tokenizer = Siglip2Tokenizer(vocab=model["vocab"], merges=merges, padding_side="right", model_max_length=16,
                                 add_bos_token=False, add_eos_token=True)
    config = siglip_config(SiglipConfig, side, len(model["vocab"]), 16)
    finish_siglip(folder, config, SiglipModel, SiglipImageProcessor, SiglipProcessor, tokenizer, side)


def siglip_config(kind, side, vocab, context):
    return kind(
        vision_config=dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2, image_size=side,
                           patch_size=8),
        text_config=dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2, vocab_size=vocab,
                         max_position_embeddings=context, projection_size=32))


def finish_siglip(folder, config, Model, Images, Processor, tokenizer, side):
    model = Model(config)
    shake(model)
    images = Images(size={"height": side, "width": side}, image_mean=[0.45, 0.5, 0.55], image_std=[0.5, 0.4, 0.3])
    Processor(image_processor=images, tokenizer=tokenizer).save_pretrained(folder)
    model.save_pretrained(folder)


def shake(model):
    """Weights far from their start, so that a mistake moves the features."""
    torch.manual_seed(0)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "logit" not in name:
                p.add_(torch.randn_like(p) * 0.05)


def with_transformers(folder, paths, captions):
    from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoTokenizer

    model = AutoModel.from_pretrained(folder).eval()
    # Pillow's resizing: torchvision's differs from it by a grey level here and there.
    images = AutoImageProcessor.from_pretrained(folder, backend="pil")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    pixels = images([Image.open(p).convert("RGB") for p in paths], return_tensors="pt")["pixel_values"]
    is_siglip = AutoConfig.from_pretrained(folder).model_type == "siglip"
    text = tokenizer(captions, return_tensors="pt", truncation=True, padding="max_length" if is_siglip else True)
    with torch.no_grad():
        if is_siglip:
            image = model.vision_model(pixels).pooler_output
            texts = model.text_model(text["input_ids"]).pooler_output
        else:
            image = model.visual_projection(model.vision_model(pixels).pooler_output)
            texts = model.text_projection(
                model.text_model(text["input_ids"], attention_mask=text["attention_mask"]).pooler_output)
    return unit(image), unit(texts)


# ---- what open_clip writes

def open_clip_folder(folder, captions, resize_mode, interpolation="bicubic", clean=None, both=True):
    import open_clip
    from open_clip.push_to_hf_hub import save_for_hf
    from transformers import CLIPTokenizer

    vocab, merges = byte_bpe(captions)
    CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=24, pad_token="<|endoftext|>").save_pretrained(folder)
    text = dict(context_length=24, vocab_size=len(vocab), width=40, heads=4, layers=2, hf_tokenizer_name=folder)
    if clean:
        text["tokenizer_kwargs"] = {"clean": clean}
    model_cfg = dict(embed_dim=24, vision_cfg=dict(image_size=32, patch_size=8, width=32, head_width=16, layers=2), text_cfg=text)
    with tempfile.TemporaryDirectory() as corner:
        with open(os.path.join(corner, "tiny-test.json"), "w") as f:
            json.dump(model_cfg, f)
        open_clip.add_model_config(corner)
        preprocess = dict(mean=(0.3, 0.4, 0.5), std=(0.2, 0.3, 0.4), resize_mode=resize_mode, interpolation=interpolation)
        model = open_clip.create_model("tiny-test", force_preprocess_cfg=preprocess).eval()
        shake(model)
        tokenizer = open_clip.get_tokenizer("tiny-test")
        model_cfg["text_cfg"]["hf_tokenizer_name"] = "."
        save_for_hf(model, tokenizer, model_cfg, folder, safe_serialization="both" if both else False)


KINDS = {
    "clip": (lambda f, c: clip(f, c, "gelu", eos=True), with_transformers, "hf"),
    "clip-openai-eos": (lambda f, c: clip(f, c, "quick_gelu", eos=False), with_transformers, "hf"),
    "clip-sharded": (lambda f, c: clip(f, c, "gelu", eos=True, shards="40KB"), with_transformers, "hf"),
    "clip-v4-files": (lambda f, c: clip(f, c, "quick_gelu", eos=True, slow=True, crop=24, resize=24), with_transformers, "hf"),
    "siglip": (siglip, with_transformers, "hf"),
    "siglip2-fixed": (siglip2, with_transformers, "hf"),
    "open_clip-shortest": (lambda f, c: open_clip_folder(f, c, "shortest"), with_open_clip, "open_clip"),
    "open_clip-longest": (lambda f, c: open_clip_folder(f, c, "longest", clean="canonicalize"), with_open_clip, "open_clip"),
    "open_clip-squash": (lambda f, c: open_clip_folder(f, c, "squash", "bilinear", both=False), with_open_clip, "open_clip"),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", required=True)
    parser.add_argument("--program", default="target/release/shoestring")
    parser.add_argument("--rows", type=int, default=24)
    parser.add_argument("--only", choices=KINDS)
    parser.add_argument("--keep", help="write the folders here and keep them")
    args = parser.parse_args()
    program, table = os.path.abspath(args.program), os.path.abspath(args.table)
    with open(table, newline="", encoding="utf-8") as f:
        rows = list(csv.DictReader(f, delimiter="\t"))
    # Few pictures have one shape only.
    rows = rows[:: max(1, len(rows) // args.rows)][: args.rows]
    failed = []
    with tempfile.TemporaryDirectory() as corner:
        root = os.path.abspath(args.keep or corner)
        os.makedirs(root, exist_ok=True)
        captions = odd_captions([r["title"] for r in rows[4:]])
        paths = [os.path.join(os.path.dirname(table), r["filepath"]) for r in rows]
        part = os.path.join(root, "part.csv")
        with open(part, "w", newline="", encoding="utf-8") as f:
            out = csv.writer(f, delimiter="\t", lineterminator="\n")
            out.writerow(["filepath", "title"])
            out.writerows(zip(paths, captions))
        for name, (write, load, kind) in KINDS.items():
            if args.only in (None, name):
                failed += check(name, write, load, kind, program, root, part, paths, captions)
    sys.exit("beyond 1e-5: " + ", ".join(failed) if failed else 0)


def check(name, write, load, kind, program, root, part, paths, captions):
    folder, failed = os.path.join(root, name), []
    os.makedirs(folder, exist_ok=True)
    write(folder, captions)
    theirs = load(folder, paths, captions)

    def run(*words):
        done = subprocess.run([program, *words], cwd=root, capture_output=True, text=True)
        if done.returncode:
            print(f"{name}: {' '.join(words)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done.returncode == 0

    def compare(what, ours):
        for side, x, y in zip(("images", "texts"), ours, theirs):
            worst = float(np.abs(x - y).max())
            print(f"{name:20} {what:8} {side:7} {x.shape}, largest difference {worst:.2e}")
            if not worst <= 1e-5:
                failed.append(f"{name} {what} {side}")

    if not run("embed", "--run", name, "--data", part, "--out", name + ".ours"):
        return [name + " embed"]
    compare("folder", [np.load(os.path.join(root, f"{name}.ours.{side}.npy")) for side in ("images", "texts")])
    if not run("export", "--run", name, "--out", name + ".export", "--format", kind):
        return failed + [name + " export"]
    compare("export", load(os.path.join(root, name + ".export"), paths, captions))
    return failed


if __name__ == "__main__":
    main()
