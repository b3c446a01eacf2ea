"""Adapters compared: a CLIP trained on two emoji vendors, adapted to a third in several ways.

    cargo build --release -p trainer --features flex
    python scripts/adapters_on_emoji.py --data EMOJI --vocabulary bpe_simple_vocab_16e6.txt.gz [--out DIR] [--epochs 10]
    python scripts/adapters_on_emoji.py --table DIR

EMOJI is a folder with train.csv (tab-separated: filepath, title, vendor). The pictures of one vendor are split by concept: a
fifth is held out, and retrieval on it is measured before and after. The table is made from the runs' files alone.
"""
import argparse, csv, json, os, struct, subprocess, sys, zlib

VENDOR = "openmoji"
KINDS = {
    "full": ["train.lr=1e-4"],
    "LoRA": ["peft.kind=lora", 'peft.targets=["query", "key", "value", "attention.output"]', "train.lr=2e-3"],
    "DoRA": ["peft.kind=dora", 'peft.targets=["query", "key", "value", "attention.output"]', "train.lr=2e-3"],
    "(IA)3": ["peft.kind=ia3", "train.lr=2e-2"],
    "bottleneck": ["peft.kind=bottleneck", "peft.width=16", "train.lr=2e-3"],
}


def split(data, out):
    with open(os.path.join(data, "train.csv"), newline="", encoding="utf-8") as f:
        rows = list(csv.DictReader(f, delimiter="\t"))
    parts = {"base": [], "adapt": [], "held": []}
    for row in rows:
        held = zlib.crc32(row["codepoints"].encode()) % 5 == 0
        part = "held" if held and row["vendor"] == VENDOR else "adapt" if row["vendor"] == VENDOR else "base"
        # The base does not see the held-out concepts of other vendors either.
        if not (part == "base" and held):
            parts[part].append((os.path.abspath(os.path.join(data, row["filepath"])), row["title"]))
    for part, found in parts.items():
        with open(os.path.join(out, part + ".csv"), "w", newline="", encoding="utf-8") as f:
            table = csv.writer(f, delimiter="\t", lineterminator="\n")
            table.writerow(["filepath", "title"])
            table.writerows(found)


def numbers(run):
    """What a run's files say: numbers that train, seconds, memory, R@1 of both ways."""
    records = os.path.join(run, "records")
    record = os.path.join(records, sorted(n for n in os.listdir(records) if n.startswith("step-"))[-1])
    adapter = os.path.join(record, "adapter_model.safetensors")
    path = adapter if os.path.exists(adapter) else os.path.join(record, "model.safetensors")
    with open(path, "rb") as f:
        header = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
    trained = 0
    for key, tensor in header.items():
        size = 1
        for extent in tensor.get("shape", []):
            size *= extent
        trained += size if key != "__metadata__" else 0
    lines = [json.loads(line) for line in open(os.path.join(run, "metrics.jsonl"), encoding="utf-8")]
    last = [line for line in lines if "retrieval" in line][-1]
    recall = next(r for r in last["retrieval"]["recall"] if r["k"] == 1)
    peak = max(line.get("machine", {}).get("peak_rss_mb", 0) for line in lines)
    return trained, last["machine"]["seconds"], peak, recall["image_to_text"], recall["text_to_image"], os.path.getsize(path)


def table(out):
    print("| | numbers that train | record | seconds | peak memory | R@1, picture to caption | and back |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    before = json.load(open(os.path.join(out, "before.json"), encoding="utf-8"))
    print(f"| before | | | | | {before[0]:.1%} | {before[1]:.1%} |")
    for name in KINDS:
        trained, seconds, peak, there, back, size = numbers(os.path.join(out, "runs", name + "-1"))
        print(f"| {name} | {trained / 1e3:.0f} k | {size / 1e6:.2f} MB | {seconds:.0f} | {peak:.0f} MB | {there:.1%} | {back:.1%} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data")
    parser.add_argument("--vocabulary")
    parser.add_argument("--program", default="target/release/shoestring")
    parser.add_argument("--out", default="runs/adapters-on-emoji")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--table")
    args = parser.parse_args()
    if args.table:
        return table(args.table)
    out, program = os.path.abspath(args.out), os.path.abspath(args.program)
    os.makedirs(out, exist_ok=True)
    split(args.data, out)

    def train(name, train, *settings):
        words = [w for s in (f"name={name}", "run.save_every=end", "train.eval_every=0", *settings) for w in ("--set", s)]
        done = subprocess.run([program, "train", "emoji", "--train", train, "--val", "held.csv", *words], cwd=out)
        if done.returncode:
            sys.exit(done.returncode)

    train("base", "base.csv", f"tokens.path={os.path.abspath(args.vocabulary)}", f"train.epochs={args.epochs}")
    before = numbers(os.path.join(out, "runs", "base-1"))
    with open(os.path.join(out, "before.json"), "w", encoding="utf-8") as f:
        json.dump(before[3:5], f)
    for name, settings in KINDS.items():
        train(name, "adapt.csv", "model.pretrained=runs/base-1", "train.epochs=8", "train.batch=128", "train.warmup=8",
              "train.weight_decay=0.0", *settings)
    table(out)


if __name__ == "__main__":
    main()
