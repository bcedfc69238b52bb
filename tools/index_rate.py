"""Times how fast one process indexes native radiographs, beside another checkout of this project if one is named.

    python tools/index_rate.py
    git worktree add ../before COMMIT
    python tools/index_rate.py --against ../before --json rate.json

Both read the same files, in turn, each in a process of its own; the ratio is of the medians.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

HERE = Path(__file__).resolve().parents[1]
# One round: every file once, in milliseconds a file; the first pass warms the page cache and the imports.
ROUND = """
import sys, time
from pathlib import Path
from radmae_jax.data.images import inspect
files = sorted(Path(sys.argv[1]).glob("*.dcm"))
for warm in (True, False):
    began = time.perf_counter()
    for file in files:
        inspect(file)
print((time.perf_counter() - began) / len(files) * 1e3)
"""


def write_files(folder: Path, count: int, height: int, width: int) -> None:
    """Native 16-bit DX radiographs of smooth noise."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:height, :width]
    for number in range(count):
        smooth = (np.sin(rows / 300 + number) + np.cos(columns / 200) + 2) / 4
        pixels = (smooth * 60_000 + rng.normal(0, 300, (height, width))).clip(0, 65_535).astype("<u2")
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.SOPClassUID = DigitalXRayImageStorageForPresentation
        dataset.SOPInstanceUID = UID(f"1.2.3.{number}")
        dataset.PatientID, dataset.StudyInstanceUID, dataset.Modality = f"P{number}", f"1.2.4.{number}", "DX"
        dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = height, width, 1
        dataset.PhotometricInterpretation = "MONOCHROME2"
        dataset.BitsAllocated = dataset.BitsStored = 16
        dataset.HighBit, dataset.PixelRepresentation = 15, 0
        dataset.WindowCenter, dataset.WindowWidth = 30_000, 50_000
        dataset.PixelData = pixels.tobytes()
        dataset["PixelData"].VR = "OW"
        dataset.save_as(folder / f"{number}.dcm", enforce_file_format=True)


def one_round(checkout: Path, folder: Path) -> float:
    """Milliseconds a file."""
    environment = os.environ | {"PYTHONPATH": str(checkout)}
    done = subprocess.run(
        [sys.executable, "-c", ROUND, folder], env=environment, cwd=folder, capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path, help="another checkout")
    parser.add_argument("--files", type=int, default=12)
    parser.add_argument("--height", type=int, default=3000)
    parser.add_argument("--width", type=int, default=2500)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    checkouts = {"here": HERE} | ({"against": options.against.resolve()} if options.against else {})
    times: dict[str, list[float]] = {name: [] for name in checkouts}
    with tempfile.TemporaryDirectory() as folder:
        write_files(Path(folder), options.files, options.height, options.width)
        for _ in range(options.rounds):
            for name, checkout in checkouts.items():
                times[name].append(one_round(checkout, Path(folder)))
    pixels = options.height * options.width / 1e6
    median = {name: statistics.median(values) for name, values in times.items()}
    for name, value in median.items():
        spread = f"{min(times[name]):.1f} to {max(times[name]):.1f}"
        print(f"{name}: {value:.1f} ms a file ({spread}), {pixels / value * 1e3:.0f} MP/s")
    figures = {f"{name}_ms": value for name, value in median.items()}
    if options.against:
        figures["times_as_fast"] = median["against"] / median["here"]
        print(f"{figures['times_as_fast']:.2f} times as fast")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
