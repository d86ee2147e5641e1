#!/usr/bin/python3
"""PSNRs of the demo's picture, and the pictures beside each other.

  picture.py CASE.h5 SEQUENCE.h5 HILBERT.h5 DIRECTORY

CASE holds `clean` [rows, cols, 3] uint8 and the noisy colours in v[0, :, 0, 0:3]; the results hold the denoised colours in o.
Needs python3-numpy, python3-h5py, python3-pil.
"""
import pathlib
import sys

import h5py
import numpy as np
from PIL import Image, ImageDraw

LABEL_PIXELS = 24
GAP_PIXELS = 8


def colours(path, dataset, shape):
    """Picture [rows, cols, 3] in 0..1 from the first three channels of a tensor [1, N, 1, D]."""
    with h5py.File(path, "r") as file:
        return np.clip(file[dataset][0, :, 0, :3].astype(np.float64), 0, 1).reshape(shape)


def device_of(path):
    """What computed a result, in its own words."""
    with h5py.File(path, "r") as file:
        return file.attrs["device"]


def psnr_db(picture, truth):
    return 10 * np.log10(1 / np.mean((picture - truth) ** 2))


def to_image(picture):
    return Image.fromarray(np.round(255 * picture).astype(np.uint8))


def beside(pictures):
    """One image with every picture under its label."""
    rows, cols, _ = next(iter(pictures.values())).shape
    sheet = Image.new("RGB", (len(pictures) * (cols + GAP_PIXELS) - GAP_PIXELS, rows + LABEL_PIXELS), "white")
    draw = ImageDraw.Draw(sheet)
    for column, (label, picture) in enumerate(pictures.items()):
        left = column * (cols + GAP_PIXELS)
        draw.text((left + 4, 6), label, fill="black")
        sheet.paste(to_image(picture), (left, LABEL_PIXELS))
    return sheet


def main(case_path, sequence_path, hilbert_path, directory):
    with h5py.File(case_path, "r") as file:
        clean = file["clean"][...].astype(np.float64) / 255
    found = {
        "noisy": colours(case_path, "v", clean.shape),
        "sequence order": colours(sequence_path, "o", clean.shape),
        "Hilbert order": colours(hilbert_path, "o", clean.shape),
    }
    psnrs = {label: psnr_db(picture, clean) for label, picture in found.items()}
    print(f"device: {device_of(hilbert_path)}")
    print("PSNR for the same work: " + ", ".join(f"{label} {value:.2f} dB" for label, value in psnrs.items()))
    directory = pathlib.Path(directory)
    labelled = {f"{label}, {psnrs[label]:.2f} dB": picture for label, picture in found.items()}
    beside({"clean": clean, **labelled}).save(directory / "denoised.png")
    for label, picture in {"clean": clean, **found}.items():
        to_image(picture).save(directory / f"{label.split()[0].lower()}.png")
    if not psnrs["Hilbert order"] > psnrs["sequence order"] > psnrs["noisy"]:
        sys.exit("picture.py: expected Hilbert order above sequence order above noisy")


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    main(*sys.argv[1:])
