#!/usr/bin/env python3
"""HilbertRing beside PyTorch's scaled_dot_product_attention on the same CPU, inputs and threads.

  hilbertring generate case.h5 --tokens 8192 --heads 8 --head-dim 64 --gradient --preset dense
  compare_torch.py build/release/drivers/hilbertring case.h5

Checks first that both give the same outputs and gradients, then times them in turn and prints medians and the ratio (above 1: HilbertRing is faster).
The case must be dense, in sequence order, causal or not. Needs torch, numpy and h5py (PyPI: pip install torch numpy h5py in a scratch environment); HilbertRing
itself does not.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import h5py
import numpy as np
import torch

TOLERANCE = 1e-4  # of the largest element: two float32 implementations against each other


def read_case(path):
    with h5py.File(path, "r") as file:
        spec = json.loads(file.attrs["spec"])
        tokens = file["q"].shape[1]
        if min(spec["segment_lengths"]) < tokens or set(spec["dilation_rates"]) != {1} or len(spec["segment_lengths"]) > 1:
            sys.exit(f"compare_torch: {path} is not dense: one segment of at least {tokens} tokens, dilation 1")
        if spec["curve"] != "identity" and spec["causal"] == "position":
            sys.exit(f"compare_torch: {path} is causal by position on a curve, which PyTorch does not have")
        tensors = {name: torch.from_numpy(file[name][...].astype(np.float32)).transpose(1, 2).contiguous() for name in ("q", "k", "v", "do")}
    return tensors, spec["causal"] != "none"


def attend(tensors, is_causal, with_gradient):
    leaves = [tensors[name].detach().requires_grad_(with_gradient) for name in ("q", "k", "v")]
    has_groups = leaves[0].shape[1] != leaves[1].shape[1]
    begin = time.perf_counter()
    o = torch.nn.functional.scaled_dot_product_attention(*leaves, is_causal=is_causal, enable_gqa=has_groups)
    middle = time.perf_counter()
    if with_gradient:
        o.backward(tensors["do"])
    end = time.perf_counter()
    return {"o": o, "dq": leaves[0].grad, "dk": leaves[1].grad, "dv": leaves[2].grad}, middle - begin, end - middle


def run_ours(program, case, folder, threads):
    record = pathlib.Path(folder) / "record.json"
    record.unlink(missing_ok=True)
    result = pathlib.Path(folder) / "result.h5"
    subprocess.run([program, "run", case, "-o", result, "--force", "--threads", str(threads), "--record", record], check=True, stdout=subprocess.DEVNULL)
    times = json.loads(record.read_text().splitlines()[-1])
    return result, times["forward"]["seconds"], times["backward"]["seconds"]


def check(result, expected):
    with h5py.File(result, "r") as file:
        for name, tensor in expected.items():
            theirs = tensor.detach().transpose(1, 2).numpy()
            error = np.abs(file[name][...] - theirs).max() / np.abs(theirs).max()
            if not error <= TOLERANCE:
                sys.exit(f"compare_torch: {name} differs by {error:.1e} of its largest element; at most {TOLERANCE} is allowed")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("case")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    tensors, is_causal = read_case(options.case)
    seconds = {"forward": ([], []), "backward": ([], [])}
    with tempfile.TemporaryDirectory() as folder:
        result, _, _ = run_ours(options.program, options.case, folder, options.threads)
        check(result, attend(tensors, is_causal, True)[0])
        for _ in range(options.repeats):
            _, forward, backward = run_ours(options.program, options.case, folder, options.threads)
            _, their_forward, their_backward = attend(tensors, is_causal, True)
            seconds["forward"][0].append(forward)
            seconds["forward"][1].append(their_forward)
            seconds["backward"][0].append(backward)
            seconds["backward"][1].append(their_backward)
    shape = tuple(tensors["q"].shape)
    print(f"B, H, N, D = {shape}, {'causal' if is_causal else 'dense'}, float32, {options.threads} threads, PyTorch {torch.__version__}")
    print(f"{'pass':<10}{'HilbertRing s':>15}{'PyTorch s':>12}{'ratio':>8}")
    for name, (ours, theirs) in seconds.items():
        print(f"{name:<10}{statistics.median(ours):>15.3f}{statistics.median(theirs):>12.3f}{statistics.median(theirs) / statistics.median(ours):>8.2f}")


if __name__ == "__main__":
    main()
