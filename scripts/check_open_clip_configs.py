"""Holds every config that open_clip ships against it: each is accepted with the original's number of parameters, or
refused by a key.

    pip install open_clip_torch
    cargo build -p fusion --example count_parameters
    python scripts/check_open_clip_configs.py target/debug/examples/count_parameters

The originals are built on torch's meta device, without memory and without weights. Prints a line for each config and
the totals; the exit status is 1 where a number differs.
"""

import argparse
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import open_clip
import torch


def original(name: str) -> int:
    """The number of parameters of open_clip's model."""
    with torch.device("meta"):
        model = open_clip.create_model(name, load_weights=False, pretrained_text=False, device="meta")
    return sum(parameter.numel() for parameter in model.parameters())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=Path, help="the example count_parameters of the crate fusion")
    program = parser.parse_args().program

    folder = Path(open_clip.__file__).parent / "model_configs"
    names = sorted(path.stem for path in folder.glob("*.json"))
    configs = [json.loads((folder / f"{name}.json").read_text()) for name in names]
    lines = "".join(json.dumps({"model_cfg": config}) + "\n" for config in configs)
    run = subprocess.run([program.resolve()], input=lines, capture_output=True, text=True, check=True)
    answers = run.stdout.splitlines()
    if len(answers) != len(names):
        sys.exit(f"{len(names)} configs, {len(answers)} answers")

    wrong, keys = [], Counter()
    for name, answer in zip(names, answers):
        kind, rest = answer.split(" ", 1)
        if kind == "refused":
            key = rest.split(": ", 1)[0]
            keys[key] += 1
            print(f"{name}: {answer}")
            continue
        want = original(name)
        if int(rest) != want:
            wrong.append(name)
        print(f"{name}: {answer}{'' if int(rest) == want else f', open_clip has {want}'}")

    refused = sum(keys.values())
    print(f"\n{len(names)} configs of open_clip {open_clip.__version__}: {len(names) - refused} accepted, {refused} refused")
    for key, count in keys.most_common():
        print(f"  {count:3} by {key}")
    print(f"{len(wrong)} accepted with another number of parameters: {', '.join(wrong) or 'none'}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
