"""Files of tensors to arrays by name and back; what is damaged is refused by name, and nothing is ever unpickled."""

import argparse
import hashlib
import json
import os
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from radmae_jax.convert.weights import ConvertError, Tensors

_MAX_HEADER = 100 << 20  # safetensors' own limit


def read_tensors(path: Path) -> tuple[Tensors, dict[str, Any]]:
    """The tensors of a .safetensors, .npz, .pth, .pt or .bin file, floats as float32, and settings stored beside them.

    Raises ConvertError naming the file and the tensor.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    if path.suffix == ".safetensors":
        return _floats(path, read_safetensors(path)), {}
    if path.suffix == ".npz":
        return _floats(path, _read_npz(path)), {}
    if path.suffix in (".pth", ".pt", ".bin"):
        tensors, arguments = read_torch(path)
        return _floats(path, tensors), arguments
    raise ConvertError(f"{path.name}: weights are read from .safetensors, .npz, .pth, .pt and .bin files")


def read_safetensors(path: Path) -> Tensors:
    """Every tensor of the file as it is stored; bfloat16 as float32, which holds it exactly."""
    import ml_dtypes  # noqa: F401  numpy learns of bfloat16
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    _check_header(path)
    try:
        tensors = load_file(path)
    except (SafetensorError, TypeError, ValueError) as error:
        raise ConvertError(f"{path.name}: {error}") from error
    return {name: x.astype(np.float32) if x.dtype.name == "bfloat16" else x for name, x in tensors.items()}


def write_safetensors(path: Path, tensors: Tensors) -> None:
    """Contiguous arrays by name, with the metadata that PyTorch's readers ask for; whole or not at all."""
    from safetensors.numpy import save_file

    temporary = path.with_name(f".{path.name}")
    save_file({name: np.asarray(x, order="C") for name, x in tensors.items()}, temporary, metadata={"format": "pt"})
    mask = os.umask(0)
    os.umask(mask)
    temporary.chmod(0o666 & ~mask)  # the library writes files that nobody else may read
    temporary.replace(path)


def read_torch(path: Path) -> tuple[Tensors, dict[str, Any]]:
    """The tensors of a PyTorch file, and the plain settings (`args`) beside them; never by unpickling code.

    Tensors are looked for under `model`, `state_dict`, or at the top. The one class allowed besides tensors and plain
    values is argparse.Namespace, in which the original MAE keeps its arguments.
    """
    torch = import_torch(f"reading {path.name}")
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            try:
                bad = archive.testzip()
            except (zipfile.BadZipFile, OSError) as error:
                raise ConvertError(f"{path.name}: damaged: {error}") from error
        if bad:
            raise ConvertError(f"{path.name}: damaged: record {bad} does not match its checksum")
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error).split("WeightsUnpickler error:")[-1].strip().splitlines()[0]
        raise ConvertError(f"{path.name}: refused, it holds more than tensors and settings: {reason}") from error
    except (RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        raise ConvertError(f"{path.name}: damaged or no PyTorch file: {str(error).splitlines()[0]}") from error
    if not isinstance(loaded, dict):
        raise ConvertError(f"{path.name}: holds a {type(loaded).__name__}, not tensors by name")
    state = next((loaded[key] for key in ("model", "state_dict") if isinstance(loaded.get(key), dict)), loaded)
    tensors: Tensors = {}
    for name, value in state.items():
        if isinstance(value, torch.Tensor):
            value = value.detach()
            tensors[str(name)] = (value.float() if value.is_floating_point() else value).numpy()
        elif state is not loaded:
            raise ConvertError(f"{path.name}: {name} is a {type(value).__name__}, not a tensor")
    args = loaded.get("args")
    return tensors, dict(vars(args)) if isinstance(args, argparse.Namespace) else {}


def write_torch(path: Path, tensors: Tensors) -> None:
    """{"model": tensors} as the original MAE's code reads it."""
    torch = import_torch(f"writing {path.name}")
    temporary = path.with_name(f".{path.name}")
    torch.save({"model": {name: torch.from_numpy(np.array(x)) for name, x in tensors.items()}}, temporary)
    temporary.replace(path)


def import_torch(purpose: str) -> Any:
    """PyTorch, or an error that says how to get it."""
    try:
        import torch
    except ImportError as error:
        raise ConvertError(f"{purpose} needs PyTorch: pip install 'radmae-jax[convert]'") from error
    return torch


def checksum(tensor: np.ndarray) -> str:
    """sha256 over dtype, shape and bytes."""
    digest = hashlib.sha256(f"{tensor.dtype.str}{list(tensor.shape)}".encode())
    digest.update(np.ascontiguousarray(tensor).tobytes())
    return digest.hexdigest()


def check_sums(tensors: Tensors, sums: dict[str, str], where: str) -> None:
    """Refuses tensors that are not, bit for bit, those the sums were made of; ConvertError by name."""
    for name in sorted(sums.keys() | tensors.keys()):
        if name not in tensors:
            raise ConvertError(f"{where}: tensor {name} is missing")
        if name not in sums:
            raise ConvertError(f"{where}: tensor {name} is extra: it has no checksum")
        if checksum(tensors[name]) != sums[name]:
            raise ConvertError(f"{where}: tensor {name} does not match its checksum: its bits have changed")


def _read_npz(path: Path) -> Tensors:
    tensors: Tensors = {}
    name = ""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            for name in archive.files:
                if name in tensors:
                    raise ConvertError(f"{path.name}: tensor {name} is given twice")
                tensors[name] = archive[name]
    except ConvertError:
        raise
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile) as error:
        about = f"tensor {name}: " if name else ""
        raise ConvertError(f"{path.name}: {about}{str(error).splitlines()[0]}") from error
    return tensors


def _floats(path: Path, tensors: Tensors) -> Tensors:
    """float16 to float32, which holds it exactly; anything but floats is no weight."""
    for name, tensor in tensors.items():
        if tensor.dtype.kind != "f" or tensor.dtype.itemsize > 4:
            raise ConvertError(f"{path.name}: tensor {name} is {tensor.dtype}; weights are float32 or shorter")
    return {name: np.asarray(tensor, np.float32) for name, tensor in tensors.items()}


def _check_header(path: Path) -> None:
    """What the library leaves unnamed or unnoticed: which tensor is cut off, and names given twice."""
    size = path.stat().st_size
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8).ljust(8, b"\0"))
        if not 2 <= length <= min(_MAX_HEADER, max(size - 8, 0)):
            raise ConvertError(f"{path.name}: no safetensors file, or cut off in its header ({size} bytes)")
        try:
            header = json.loads(file.read(length), object_pairs_hook=_once)
            ends = {name: int(f["data_offsets"][1]) for name, f in header.items() if name != "__metadata__"}
        except ConvertError as error:
            raise ConvertError(f"{path.name}: {error}") from error
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise ConvertError(f"{path.name}: damaged safetensors header: {error}") from error
    for name in sorted(ends, key=lambda name: ends[name]):
        if 8 + length + ends[name] > size:
            raise ConvertError(f"{path.name}: tensor {name} is cut off: the file ends before it does")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object in which every name stands once."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(name for name, _ in pairs if sum(name == other for other, _ in pairs) > 1)
        raise ConvertError(f"tensor {twice} is given twice")
    return found
