#!/usr/bin/env python3
"""HilbertRing's GPU kernels beside cuDNN (PyTorch's scaled_dot_product_attention) on the same GPU, shapes and minute.

  compare_cudnn.py build/release/bench/cuda_bench

Runs cuda_bench, which checks its results in float64 before it times anything, then times cuDNN on random inputs of the same shapes, and prints both rates on allowed
pairs (forward 4 D, backward 10 D operations each) with their ratio (above 1: HilbertRing is faster). cuDNN has neither dilated patterns nor causality by other times
than positions: those rows have no ratio. Exit status: 0; 1 if a check failed; 2 without a GPU or torch (PyPI: pip install torch; HilbertRing itself does not need it).
"""
import argparse
import json
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile

SAMPLES = 5
CALLS_PER_SAMPLE = 4
WARMUPS = 2


def load_torch():
    try:
        import torch
    except ImportError:
        print("compare_cudnn: no module torch: pip install torch in a scratch environment", file=sys.stderr)
        sys.exit(2)
    if not torch.cuda.is_available():
        print("compare_cudnn: no GPU that PyTorch can use", file=sys.stderr)
        sys.exit(2)
    return torch


def run_cuda_bench(program):
    """The records of all rows; ends with status 1 if a check failed."""
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory) / "records.json"
        status = subprocess.run([program, "--repeats", str(SAMPLES), "--json", str(path)], stdout=subprocess.DEVNULL, check=False).returncode
        if status != 0:
            print(f"compare_cudnn: {program} ended with status {status}: a check failed", file=sys.stderr)
            sys.exit(1)
        return [json.loads(line) for line in path.read_text().splitlines()]


def median_ms(torch, call):
    for _ in range(WARMUPS):
        call()
    samples = []
    for _ in range(SAMPLES):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        for _ in range(CALLS_PER_SAMPLE):
            call()
        end.record()
        end.synchronize()
        samples.append(begin.elapsed_time(end) / CALLS_PER_SAMPLE)
    return statistics.median(samples)


def has_counterpart(record):
    """Dense or causal attention in a type and head dimension that cuDNN has."""
    spec = json.loads(record["specification"])
    return record["type"] in ("bfloat16", "float16") and len(spec["segment_lengths"]) == 1 and spec["causal"] != "sequence" and head_dim(record) <= 128


def sizes(record):
    return {name: int(value) for name, value in re.findall(r"(\w)=(\d+)", record["shape"])}


def head_dim(record):
    return sizes(record)["D"]


def cudnn_ms(torch, record):
    from torch.nn.attention import SDPBackend, sdpa_kernel

    size = sizes(record)
    is_causal = json.loads(record["specification"])["causal"] == "position"
    shape = (size["B"], size["H"], size["N"], size["D"])
    q, k, v, gradient = (torch.randn(shape, device="cuda", dtype=getattr(torch, record["type"])) for _ in range(4))
    with sdpa_kernel(SDPBackend.CUDNN_ATTENTION):
        if record["pass"] == "forward":
            return median_ms(torch, lambda: torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=is_causal))
        inputs = [tensor.requires_grad_() for tensor in (q, k, v)]
        output = torch.nn.functional.scaled_dot_product_attention(*inputs, is_causal=is_causal)
        return median_ms(torch, lambda: torch.autograd.grad(output, inputs, gradient, retain_graph=True))


def rate(record, milliseconds):
    operations = (4 if record["pass"] == "forward" else 10) * record["allowed_pairs"] * head_dim(record)
    return operations / milliseconds * 1e-9


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cuda_bench", help="the program build/release/bench/cuda_bench")
    program = parser.parse_args().cuda_bench
    torch = load_torch()
    records = run_cuda_bench(program)
    print(f"{records[0]['device']}; PyTorch {torch.__version__}, cuDNN {torch.backends.cudnn.version()}; TFLOP/s on allowed pairs, medians of {SAMPLES}")
    print(f"{'':24} {'pass':9} {'HilbertRing':>11} {'cuDNN':>8} {'ratio':>6}")
    for record in records:
        ours = rate(record, record["median_ms"])
        theirs = rate(record, cudnn_ms(torch, record)) if has_counterpart(record) else None
        beside = f"{theirs:8.1f} {ours / theirs:6.2f}" if theirs else f"{'-':>8} {'-':>6}"
        print(f"{record['name']:24} {record['pass']:9} {ours:11.1f} {beside}", flush=True)


if __name__ == "__main__":
    main()
