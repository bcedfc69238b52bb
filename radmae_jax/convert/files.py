"""Files of tensors to arrays by name and back; what is damaged is refused by name, and nothing is ever unpickled."""

import argparse
import hashlib
import json
import os
import pickle
import struct
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from radmae_jax.convert.weights import ConvertError, Tensors

# safetensors' names; the integers are those of goldens' pixels and of what is refused by name later.
_DTYPES = ("F32", "F16", "BF16", "F64", "U8", "U16", "I32", "I64")
_MAX_HEADER = 100 << 20  # safetensors' own limit


@dataclass(frozen=True)
class Stored:
    """What a file holds."""

    tensors: Tensors  # float32
    arguments: dict[str, Any] = field(default_factory=dict)  # plain settings stored beside them
    notes: tuple[str, ...] = ()  # what else it holds and is not read


def read_tensors(path: Path) -> Stored:
    """The tensors of a .safetensors, .npz, .pth, .pt or .bin file, floats as float32.

    Raises ConvertError naming the file and the tensor.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    if path.suffix == ".safetensors":
        return Stored(_floats(path, read_safetensors(path)))
    if path.suffix == ".npz":
        return Stored(_floats(path, _read_npz(path)))
    if path.suffix in (".pth", ".pt", ".bin"):
        return read_torch(path)
    raise ConvertError(f"{path.name}: weights are read from .safetensors, .npz, .pth, .pt and .bin files")


def read_safetensors(path: Path) -> Tensors:
    """Every tensor of the file as it is stored; bfloat16 as float32, which holds it exactly."""
    import ml_dtypes  # noqa: F401  numpy learns of bfloat16
    from safetensors.numpy import load_file

    _check_header(path)
    try:
        tensors = load_file(path)
    except Exception as error:  # the library's own, and numpy's for what it does not know
        raise ConvertError(f"{path.name}: {_line(error)}") from error
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


def read_torch(path: Path) -> Stored:
    """The tensors of a PyTorch file, and the plain settings (`args`) beside them; never by unpickling code.

    Tensors are looked for under `model`, `state_dict`, or at the top. The one class allowed besides tensors and plain
    values is argparse.Namespace, in which the original MAE keeps its arguments.
    """
    torch = import_torch(f"reading {path.name}")
    bad, loaded = None, None
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                bad = archive.testzip()
        if bad is None:
            with torch.serialization.safe_globals([argparse.Namespace]):
                loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error).split("WeightsUnpickler error:")[-1].strip()
        raise ConvertError(
            f"{path.name}: refused, it holds more than tensors and settings: {reason.splitlines()[0] if reason else ''}"
        ) from error
    except Exception as error:  # of a damaged file any: zipfile's, zlib's, the unpickler's, PyTorch's
        raise ConvertError(f"{path.name}: damaged or no PyTorch file: {_line(error)}") from error
    if bad:
        raise ConvertError(f"{path.name}: damaged: record {bad} does not match its checksum")
    if not isinstance(loaded, dict):
        raise ConvertError(f"{path.name}: holds a {type(loaded).__name__}, not tensors by name")
    chosen = next((key for key in ("model", "state_dict") if isinstance(loaded.get(key), dict)), None)
    state = loaded if chosen is None else loaded[chosen]
    tensors: Tensors = {}
    for name, value in state.items():
        if isinstance(value, torch.Tensor) and isinstance(name, str):
            tensors[name] = _from_torch(torch, path, name, value)
        elif state is not loaded:
            raise ConvertError(f"{path.name}: {name!r} is a {type(value).__name__}, not a tensor by name")
    arguments = loaded.get("args", {})
    arguments = dict(vars(arguments)) if isinstance(arguments, argparse.Namespace) else arguments
    known = (chosen, "args", "optimizer")
    left = [str(key) for key, value in loaded.items() if isinstance(value, dict) and key not in known]
    left += [] if tensors else [str(key) for key in loaded if str(key) not in left]
    notes = (f"not read, beside the weights: {', '.join(sorted(left))}",) if left else ()
    return Stored(tensors, arguments if isinstance(arguments, dict) else {}, notes)


def _from_torch(torch: Any, path: Path, name: str, value: Any) -> np.ndarray:
    if value.dtype not in (torch.float32, torch.float16, torch.bfloat16):
        raise ConvertError(f"{path.name}: tensor {name} is {value.dtype}; weights are float32 or shorter")
    try:
        return value.detach().float().numpy()
    except Exception as error:  # sparse, quantized, without storage
        raise ConvertError(f"{path.name}: tensor {name} is no plain array: {_line(error)}") from error


def write_torch(path: Path, tensors: Tensors, arguments: dict[str, Any]) -> None:
    """{"model": tensors, "args": arguments} as the original MAE's code reads it; plain, so that torch.load takes it."""
    torch = import_torch(f"writing {path.name}")
    temporary = path.with_name(f".{path.name}")
    state = {name: torch.from_numpy(np.array(x)) for name, x in tensors.items()}
    torch.save({"model": state, "args": arguments}, temporary)
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


def read_bytes(path: Path) -> np.ndarray:
    """A file as uint8, for its checksum."""
    return np.frombuffer(path.read_bytes(), np.uint8)


def check_sums(tensors: Tensors, sums: dict[str, str], where: str, what: str = "tensor") -> None:
    """Refuses tensors (or files) that are not, bit for bit, those the sums were made of; ConvertError by name."""
    for name in sorted(sums.keys() | tensors.keys()):
        if name not in tensors:
            raise ConvertError(f"{where}: {what} {name} is missing")
        if name not in sums:
            raise ConvertError(f"{where}: {what} {name} is extra: it has no checksum")
        if checksum(tensors[name]) != sums[name]:
            raise ConvertError(f"{where}: {what} {name} does not match its checksum: its bits have changed")


def _read_npz(path: Path) -> Tensors:
    tensors: Tensors = {}
    name = ""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            for name in archive.files:
                if name in tensors:
                    raise ConvertError(f"{path.name}: tensor {name} is given twice")
                tensors[name] = np.asarray(archive[name])
    except ConvertError:
        raise
    except Exception as error:  # of a damaged archive any: zipfile's, zlib's, numpy's
        about = f"tensor {name}: " if name else ""
        raise ConvertError(f"{path.name}: {about}{_line(error)}") from error
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
            strange = [(name, header[name]["dtype"]) for name in ends if header[name]["dtype"] not in _DTYPES]
        except ConvertError as error:
            raise ConvertError(f"{path.name}: {error}") from error
        except (ValueError, KeyError, TypeError, AttributeError, LookupError, ArithmeticError, RecursionError) as error:
            raise ConvertError(f"{path.name}: damaged safetensors header: {error}") from error
    if strange:
        raise ConvertError(f"{path.name}: tensor {strange[0][0]} is {strange[0][1]}; weights are F32, F16 or BF16")
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


def _line(error: Exception) -> str:
    """An error of a library in one line."""
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
