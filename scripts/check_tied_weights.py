"""A tied weight through ten steps of AdamW: the same as torch's?

    pip install torch numpy
    python scripts/check_tied_weights.py [--json FILE]

The Rust side is `optimizer/examples/tied_weights.rs`, which prints its start, its data and its parameters after each step;
FILE is its output, made before. Torch makes the same steps in float64; fails beyond 2e-6, or if the two places differ.
"""
import argparse, json, os, subprocess, sys

import numpy as np
import torch

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def rust():
    command = ["cargo", "run", "--quiet", "-p", "optimizer", "--example", "tied_weights"]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def torch_trace(run):
    """Weight and bias at the start and after each step."""
    tensor = lambda values, *shape: torch.tensor(values, dtype=torch.float64).reshape(shape)
    words, width, rows = run["words"], run["width"], run["rows"]
    start = run["trace"][0]
    weight = torch.nn.Parameter(tensor(start["embedding"], words, width))
    bias = torch.nn.Parameter(tensor(start["bias"], words))
    x, y = (tensor(run[name], rows, words) for name in "xy")
    optimizer = torch.optim.AdamW(
        [{"params": [weight], "weight_decay": run["weight_decay"]}, {"params": [bias], "weight_decay": 0.0}],
        lr=run["lr"], betas=tuple(run["betas"]), eps=run["eps"])
    trace = [(weight.detach().clone(), bias.detach().clone())]
    for _ in run["trace"][1:]:
        optimizer.zero_grad()
        out = torch.tanh(x @ weight) @ weight.T + bias
        ((out - y) ** 2).mean().backward()
        torch.nn.utils.clip_grad_norm_([weight, bias], run["max_norm"])
        optimizer.step()
        trace.append((weight.detach().clone(), bias.detach().clone()))
    return trace


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", help="the output of the example")
    args = parser.parse_args()
    run = json.loads(open(args.json, encoding="utf-8").read() if args.json else rust())
    failed = len(run["trace"]) != 11
    for step, (ours, (weight, bias)) in enumerate(zip(run["trace"], torch_trace(run))):
        if ours["embedding"] != ours["head"]:
            print(f"step {step}: the two places differ")
            failed = True
        worst = max(float(np.abs(np.array(ours[name]) - theirs.numpy().ravel()).max())
                    for name, theirs in (("embedding", weight), ("bias", bias)))
        print(f"step {step:2}: largest difference {worst:.2e}")
        failed |= not worst <= 2e-6
    sys.exit("not as torch" if failed else 0)


if __name__ == "__main__":
    main()
