#!/usr/bin/env python3
"""HilbertRing's GPU kernels beside cuDNN (PyTorch's scaled_dot_product_attention), and its ring over all GPUs, on the same machine in the same minutes.

  compare_cudnn.py build/release/bench/cuda_bench [--hilbertring build/release/drivers/hilbertring]

Runs cuda_bench, which checks its results in float64 before it times anything, then times cuDNN on random inputs of the same shapes in the same way (after a rest,
or after --sustain seconds at work: a GPU's clock falls under load), and prints both rates on allowed pairs (forward 4 D, backward 10 D operations each) with their
ratio (above 1: HilbertRing is faster). cuDNN has neither dilated patterns nor causality by other times than positions: those rows have no ratio. With --hilbertring and
several GPUs, `hilbertring bench` follows, which checks likewise: rates per GPU beside cuDNN's on one.
Exit status: 0; 1 if a program did not end well (a check failed); 2 without a GPU or torch (PyPI: pip install torch; HilbertRing itself does not need it).
"""
import argparse
import json
import pathlib
import re
import shlex
import statistics
import subprocess
import sys
import tempfile
import time

SAMPLES = 5
CALLS_PER_SAMPLE = 4
REST_SECONDS = 0.5
LAUNCHER = "mpirun --oversubscribe --bind-to none --mca btl self,vader"
TOKENS_PER_GPU = 32768  # of the experiment in weak scaling


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


def records_of(command, json_option):
    """What the command writes to the file that it is given; ends with status 1 if the command does not end well."""
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory) / "records.json"
        status = subprocess.run([*command, json_option, str(path)], stdout=subprocess.DEVNULL, check=False).returncode
        if status != 0:
            print(f"compare_cudnn: {shlex.join(command)} ended with status {status}", file=sys.stderr)
            sys.exit(1)
        return [json.loads(line) for line in path.read_text().splitlines()]


def run_cuda_bench(program, sustain):
    """The records of all rows."""
    return records_of([program, "--repeats", str(SAMPLES), "--rest", str(REST_SECONDS), "--sustain", str(sustain)], "--json")


def median_ms(torch, call, sustain):
    """As cuda_bench measures: a GPU's clock falls under load, and what ran before counts, too."""
    torch.cuda.synchronize()
    time.sleep(REST_SECONDS)
    sustained = time.monotonic() + sustain
    while True:
        call()
        torch.cuda.synchronize()
        if time.monotonic() >= sustained:
            break
    samples = []
    for _ in range(SAMPLES):
        call()
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


def cudnn_ms(torch, record, sustain):
    from torch.nn.attention import SDPBackend, sdpa_kernel

    size = sizes(record)
    is_causal = json.loads(record["specification"])["causal"] == "position"
    shape = (size["B"], size["H"], size["N"], size["D"])
    q, k, v, gradient = (torch.randn(shape, device="cuda", dtype=getattr(torch, record["type"])) for _ in range(4))
    with sdpa_kernel(SDPBackend.CUDNN_ATTENTION):
        if record["pass"] == "forward":
            return median_ms(torch, lambda: torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=is_causal), sustain)
        inputs = [tensor.requires_grad_() for tensor in (q, k, v)]
        output = torch.nn.functional.scaled_dot_product_attention(*inputs, is_causal=is_causal)
        return median_ms(torch, lambda: torch.autograd.grad(output, inputs, gradient, retain_graph=True), sustain)


def rate(record, milliseconds):
    operations = (4 if record["pass"] == "forward" else 10) * record["allowed_pairs"] * head_dim(record)
    return operations / milliseconds * 1e-9


def print_row(name, direction, ours, theirs=None):
    beside = f"{theirs:8.1f} {ours / theirs:6.2f}" if theirs else f"{'-':>8} {'-':>6}"
    print(f"{name:32} {direction:9} {ours:11.1f} {beside}", flush=True)


def compare_kernels(torch, records, sustain):
    """Prints a row for each; returns cuDNN's rates by name and pass."""
    rates = {}
    for record in records:
        ours = rate(record, record["median_ms"])
        theirs = rate(record, cudnn_ms(torch, record, sustain)) if has_counterpart(record) else None
        rates[record["name"], record["pass"]] = theirs
        print_row(record["name"], record["pass"], ours, theirs)
    torch.cuda.empty_cache()
    return rates


def cost_of_steps(records):
    """What loading and storing the state in each step of a ring with 32768 tokens a GPU takes, as a share of the step; by pass."""
    milliseconds = {(record["name"], record["pass"]): record["median_ms"] for record in records}
    return {direction: 1 - milliseconds["dense N=65536", direction] / milliseconds["dense N=65536, 2 steps", direction] for direction in ("forward", "backward")}


def ring_record(options, gpus, tokens, arguments):
    """Of `hilbertring bench` at D = 128, H = 16 over so many GPUs."""
    command = [*shlex.split(options.launcher), "-np", str(gpus), options.hilbertring, "bench", "--sizes", str(tokens), "--heads", "16", "--head-dim", "128"]
    return records_of([*command, "--type", "bfloat16", "--backend", "cuda", "--verify-rows", "8", *arguments], "--record")[0]


def compare_rings(options, gpus, cudnn_rates):
    causal = ["--presets", "dense", "--causal", "position", "--placement", "zigzag"]
    longnet = ["--presets", "longnet"]
    print(f"\nover {gpus} GPUs, TFLOP/s of each; cuDNN's on one GPU, N = 16384")
    for name, tokens, arguments, beside in (
        ("causal, 131072 tokens", 131072, causal, "causal D=128"),
        ("causal, 32768 tokens", 32768, causal, "causal D=128"),
        ("longnet, 131072 tokens", 131072, longnet, None),
    ):
        record = ring_record(options, gpus, tokens, arguments)
        for direction in ("forward", "backward"):
            print_row(name, direction, record[direction]["teraflop_per_second"] / gpus, cudnn_rates.get((beside, direction)))
    rates = [ring_record(options, ranks, TOKENS_PER_GPU * ranks, ["--presets", "dense"]) for ranks in (1, gpus)]
    for direction in ("forward", "backward"):
        alone, together = (record[direction]["teraflop_per_second"] for record in rates)
        print(f"weak scaling, dense, {TOKENS_PER_GPU} tokens per GPU, {direction}: {100 * together / gpus / alone:.1f} % on {gpus} GPUs")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cuda_bench", help="the program build/release/bench/cuda_bench")
    parser.add_argument("--hilbertring", help="the program build/release/drivers/hilbertring: rings over all GPUs, too")
    parser.add_argument("--sustain", type=float, default=0.0, help="seconds for which either runs before it is timed (default 0: a burst after a rest)")
    parser.add_argument("--launcher", default=LAUNCHER, help="what starts ranks, given -np and a command behind it")
    options = parser.parse_args()
    torch = load_torch()
    records = run_cuda_bench(options.cuda_bench, options.sustain)
    print(f"{records[0]['device']}; PyTorch {torch.__version__}, cuDNN {torch.backends.cudnn.version()}; TFLOP/s on allowed pairs, medians of {SAMPLES}")
    print(f"{'':32} {'pass':9} {'HilbertRing':>11} {'cuDNN':>8} {'ratio':>6}")
    cudnn_rates = compare_kernels(torch, records, options.sustain)
    for direction, cost in cost_of_steps(records).items():
        print(f"state loaded and stored in each step of 32768 keys, {direction}: {100 * cost:.1f} % of it")
    gpus = torch.cuda.device_count()
    torch.cuda.empty_cache()
    if options.hilbertring and gpus > 1:
        compare_rings(options, gpus, cudnn_rates)


if __name__ == "__main__":
    main()
