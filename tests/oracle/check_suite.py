#!/usr/bin/python3
"""Checks a regression set with h5py and numpy alone: sums, types, shapes, orders, and the expected values against the oracle.

  check_suite.py DIR                                         a set that is there
  check_suite.py --program build/release/drivers/hilbertring makes one first

It shares no code with the program that made the set, and shows how to read one (docs/FORMAT.md, "Regression sets").
Needs python3-numpy, python3-h5py.
"""
import argparse
import hashlib
import json
import pathlib
import subprocess
import sys
import tempfile

import h5py
import numpy as np

import compare
import oracle

# Largest error allowed, relative to the largest element of the tensor or to 1 (the size of the inputs: where a query has one key, dq is 0 but for
# rounding); lse: relative to 1 + |lse|. Both sides are float64.
BOUND = 1e-12
INPUTS, FORWARD, BACKWARD = ["q", "k", "v"], ["o", "lse"], ["dq", "dk", "dv"]


def require(condition, what):
    if not condition:
        raise ValueError(what)


def dataset_bytes(path, dataset):
    """As they lie in the file: h5py would turn bfloat16 into float32."""
    size = dataset.id.get_type().get_size() * dataset.size
    with open(path, "rb") as file:
        file.seek(dataset.id.get_offset())
        return file.read(size)


def type_name(dataset):
    datatype = dataset.id.get_type()
    if datatype.get_class() == h5py.h5t.INTEGER:
        return f"int{8 * datatype.get_size()}"
    is_bfloat16 = datatype.get_size() == 2 and datatype.get_fields()[2] == 8  # exponent bits
    return "bfloat16" if is_bfloat16 else f"float{8 * datatype.get_size()}"


def check_datasets(path, file, case):
    names = INPUTS + (["do"] if case["gradient"] else []) + FORWARD + (BACKWARD if case["gradient"] else []) + ["order"]
    require(sorted(file) == sorted(names) == sorted(case["datasets"]), f"datasets are {sorted(file)}")
    for name, said in case["datasets"].items():
        dataset = file[name]
        require(hashlib.sha256(dataset_bytes(path, dataset)).hexdigest() == said["sha256"], f"sha256 of /{name}")
        require(type_name(dataset) == said["type"] and list(dataset.shape) == said["shape"], f"type or shape of /{name}")
        require(said["type"] == ("int64" if name == "order" else case["type"] if name in INPUTS + ["do"] else "float64"), f"type of /{name}")


def check_order(spec, n, stored):
    """/order must be the oracle's own, where it knows the curve: not in boxes."""
    if spec["curve"] != "file" and len(spec.get("grid", [])) != 3:
        require(np.array_equal(stored, oracle.positions(spec, n)[1]), "/order is not the curve's")


def check_case(directory, case):
    """Largest error of the expected values over the bound."""
    path = directory / case["file"]
    data = path.read_bytes()
    require(len(data) == case["bytes"] and hashlib.sha256(data).hexdigest() == case["sha256"], "sha256 of the file")
    with h5py.File(path, "r") as file:
        check_datasets(path, file, case)
        spec = json.loads(file.attrs["spec"])
        require(spec == case["specification"], "specification")
        shape = case["shape"]
        require(list(file["q"].shape) == [shape[key] for key in ("batch", "tokens", "heads", "head_dim")], "shape of /q")
        require(file["k"].shape[2] == shape["kv_heads"], "shape of /k")
        order = file["order"][...]
        check_order(spec, shape["tokens"], order)
        read = lambda name: file[name][...].astype(np.float64) if name in file else None
        # Every case can be computed without a curve: its order is in the file.
        wanted = oracle.attention({**spec, "curve": "file"}, read("q"), read("k"), read("v"), read("do"), order)
        require(sorted(wanted) == sorted(FORWARD + (BACKWARD if case["gradient"] else [])), "results")
        return max(compare.error_over_bound(name, file[name][...], value, BOUND, least_scale=1) for name, value in wanted.items())


def check_set(directory):
    manifest = json.loads((directory / "manifest.json").read_text())
    require({case["file"] for case in manifest["cases"]} == {path.name for path in directory.glob("*.h5")}, "files and manifest differ")
    lines = "".join(f"{said['sha256']}  {case['name']}/{name}\n" for case in manifest["cases"] for name, said in case["datasets"].items())
    require(hashlib.sha256(lines.encode()).hexdigest() == manifest["data_sha256"], "data_sha256")
    worst, failed = 0.0, 0
    for case in manifest["cases"]:
        try:
            error = check_case(directory, case)
            problem = None if error <= 1 else f"expected values are {error:.3g} of the bound off"
            worst = max(worst, error)
        except (ValueError, OSError, KeyError) as exception:
            problem = str(exception)
        if problem:
            failed += 1
            print(f"{case['name']}: {problem}")
    count = len(manifest["cases"])
    print(f"oracle: {count - failed} of {count} cases of {manifest['set']} {manifest['version']} agree, largest error {worst:.3g} of the bound")
    return count > 0 and failed == 0


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", nargs="?", type=pathlib.Path, metavar="DIR")
    parser.add_argument("--program", type=pathlib.Path)
    arguments = parser.parse_args()
    if (arguments.directory is None) == (arguments.program is None):
        parser.error("either DIR or --program must be given")
    return arguments


def main():
    arguments = parse_arguments()
    if arguments.directory:
        sys.exit(0 if check_set(arguments.directory) else 1)
    with tempfile.TemporaryDirectory() as parent:
        directory = pathlib.Path(parent) / "set"
        subprocess.run([arguments.program, "suite", directory], check=True)
        sys.exit(0 if check_set(directory) else 1)


if __name__ == "__main__":
    main()
