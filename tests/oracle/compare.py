#!/usr/bin/python3
"""Compares `hilbertring run` with the oracle over randomly drawn specifications.

  compare.py --program build/release/drivers/hilbertring [--cases 40] [--seed 1]

Case i of seed s is drawn from (s, i) alone; a failing case is printed with the command that repeats it.
Results are asked for in the type that the program computes in (float64 for float64 cases, else float32), so that what is measured is the computation
and not the rounding of its result. Needs python3-numpy, python3-h5py.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import h5py
import numpy as np

import oracle

# Largest error allowed, relative to the largest element of the tensor (lse: relative to 1 + |lse|).
BOUNDS = {"float64": 1e-12, "float32": 1e-5, "float16": 1e-5, "bfloat16": 1e-5}


def flags(options):
    """{"segment_lengths": [4, 8]} -> ["--segment-lengths", "4,8"]"""
    words = []
    for key, value in options.items():
        text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        words += ["--" + key.replace("_", "-"), text]
    return words


def draw_shape(rng):
    kv_heads = int(rng.integers(1, 4))
    return {
        "batch": int(rng.integers(1, 3)),
        "tokens": int(rng.integers(20, 400)),
        "heads": kv_heads * int(rng.integers(1, 4)),
        "kv_heads": kv_heads,
        "head_dim": int(rng.choice([8, 16, 24, 40, 64])),
        "type": str(rng.choice(list(BOUNDS))),
    }


def draw_branches(rng, shape):
    lengths = [int(w) for w in rng.integers(2, 2 * shape["tokens"], rng.integers(1, 4))]
    return {"segment_lengths": lengths, "dilation_rates": [int(rng.integers(1, min(w, 6) + 1)) for w in lengths]}


def draw_curve(rng, tokens):
    curve = {"curve": str(rng.choice(["identity", "hilbert", "hilbert", "snake", "morton", "file"])), "curve_on": str(rng.choice(["qkv", "kv"]))}
    if curve["curve"] == "file":
        return curve
    curve["curve_chunk"] = int(rng.choice([0, 0, rng.integers(3, tokens)]))
    if curve["curve"] != "identity" and rng.random() < 0.5:
        cols = int(rng.integers(1, 30))
        curve["grid"] = [-(-tokens // cols), cols]
    return curve


def draw_specification(rng, shape):
    specification = {
        **draw_branches(rng, shape),
        **draw_curve(rng, shape["tokens"]),
        "branch_heads": str(rng.choice(["all", "split"])),
        "dilate": str(rng.choice(["qkv", "kv"])),
        "offset": str(rng.choice(["zero", "head-mod", "head-block"])),
        "causal": str(rng.choice(["none", "sequence", "position"])),
        "placement": str(rng.choice(["contiguous", "zigzag"])),
        "chunk": int(rng.integers(4, 65)),
    }
    if rng.random() < 0.3:
        specification["scale"] = float(rng.choice([0.05, 0.3]))
    return specification


def draw_ranks(rng, shape, specification):
    chunks = -(-shape["tokens"] // specification["chunk"])
    units = -(-chunks // 2) if specification["placement"] == "zigzag" else chunks
    return int(rng.integers(1, min(units, 8) + 1))


def run(command):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"exit status {done.returncode}: {' '.join(map(str, command))}\n{done.stdout}{done.stderr}")


def expected(case):
    with h5py.File(case, "r") as file:
        specification = json.loads(file.attrs["spec"])
        read = lambda name: file[name][...].astype(np.float64) if name in file else None
        order = file["order"][...] if "order" in file else None
        return oracle.attention(specification, read("q"), read("k"), read("v"), read("do"), order)


def error_over_bound(name, found, wanted, bound, least_scale=1e-30):
    """Largest error in units of the bound; infinite where one is finite and the other is not, or a NaN turns up."""
    found = found.astype(np.float64)
    empty = np.isneginf(wanted)
    if found.shape != wanted.shape or not np.array_equal(empty, np.isneginf(found)) or np.isnan(found).any():
        return np.inf
    if empty.all():
        return 0.0
    scale = 1 + np.abs(wanted[~empty]) if name == "lse" else max(np.abs(wanted).max(), least_scale)
    return float((np.abs(found[~empty] - wanted[~empty]) / scale).max() / bound)


def compare(result, wanted, bound):
    """{tensor: error over bound}; a tensor that is missing counts as infinitely wrong."""
    with h5py.File(result, "r") as file:
        return {name: error_over_bound(name, file[name][...], value, bound) if name in file else np.inf for name, value in wanted.items()}


def run_case(program, directory, seed, index):
    rng = np.random.default_rng([seed, index])
    shape = draw_shape(rng)
    specification = draw_specification(rng, shape)
    ranks = draw_ranks(rng, shape, specification)
    gradient = bool(rng.random() < 0.7)
    case, result = directory / "case.h5", directory / "result.h5"
    run([program, "generate", case, "--force", "--seed", index, *flags(shape), *flags(specification), *(["--gradient"] if gradient else [])])
    output_type = "float64" if shape["type"] == "float64" else "float32"
    run([program, "run", case, "-o", result, "--force", "--transport", "loopback", "--ranks", ranks, "--output-type", output_type])
    # lse is float32 in every result file (docs/FORMAT.md), so only its rounding is measured in float64 cases.
    errors = compare(result, expected(case), BOUNDS[shape["type"]])
    if shape["type"] == "float64":
        errors["lse"] *= BOUNDS["float64"] / 1e-6
    return errors, {**shape, **specification, "ranks": ranks, "gradient": gradient}


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True, type=pathlib.Path)
    parser.add_argument("--cases", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, help="run this case alone")
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    indices = range(arguments.cases) if arguments.only is None else [arguments.only]
    worst, failed = 0.0, []
    with tempfile.TemporaryDirectory() as directory:
        for index in indices:
            try:
                errors, drawn = run_case(arguments.program, pathlib.Path(directory), arguments.seed, index)
            except RuntimeError as error:
                errors, drawn = {"program": np.inf}, str(error)
            worst = max(worst, *errors.values())
            if not max(errors.values()) <= 1:
                failed.append(index)
                print(f"case {index}: error over bound {errors}\n  {drawn}\n  again: {sys.argv[0]} --program {arguments.program} --seed {arguments.seed} --only {index}")
    print(f"oracle: {len(indices) - len(failed)} of {len(indices)} cases agree (seed {arguments.seed}), largest error {worst:.3g} of the bound")
    sys.exit(1 if failed or not indices else 0)


if __name__ == "__main__":
    main()
