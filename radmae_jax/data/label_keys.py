"""Defines by what a row of a labels file finds its images: a path, a name, a stem or an identifier of DICOM."""

import re
from dataclasses import dataclass

from radmae_jax.data.tables import find_column

# Keys, and the usual names of their columns; case, spaces, "_" and "-" make no difference.
KEYS: dict[str, tuple[str, ...]] = {
    "path": ("path", "file", "filename", "filepath", "image_path"),  # relative to the source
    "name": ("name", "file", "filename", "Image Index"),  # the last part of the path
    "stem": ("stem", "image_id", "dicom_id"),  # the name without its extension
    "sop_uid": ("sop_uid", "SOPInstanceUID"),  # compared as a keyed hash
    "study": ("study", "study_uid", "StudyInstanceUID"),  # likewise; one row labels all images of the study
}
HASHED = ("sop_uid", "study")
IMAGE_ENDS = (".dcm", ".dicom", ".dic", ".ima", ".png", ".jpg", ".jpeg", ".jpe", ".jfif")
_END = re.compile(r"\.[A-Za-z][A-Za-z0-9]{0,7}$")  # a UID ends with digits, which are no extension


@dataclass(frozen=True)
class LabelKey:
    """A kind of key and the column that holds it; without a name, the one column that has a usual name."""

    kind: str = "path"
    column: str = ""


PATH = LabelKey()


def parse_key(text: str, kinds: tuple[str, ...] = tuple(KEYS)) -> LabelKey:
    """The value of --label-key, KIND or KIND=COLUMN.

    Raises:
      ValueError: for another kind or an empty column.
    """
    kind, equals, column = text.partition("=")
    if kind not in kinds:
        raise ValueError(f"--label-key {text}: expected one of {', '.join(kinds)}, or one of them with =COLUMN")
    if equals and not column.strip():
        raise ValueError(f"--label-key {text}: no column is named after the =")
    return LabelKey(kind, column.strip())


def key_column(columns: tuple[str, ...], key: LabelKey, where: str, names: tuple[str, ...] = ()) -> str:
    """The column that holds the keys.

    Args:
      columns: of the file.
      where: the file and the line of its header, for messages.
      names: usual names instead of those of KEYS.

    Raises:
      ValueError: where no column or more than one can be meant; the message lists the columns.
    """
    listed = ", ".join(columns)
    if key.column:
        if key.column in columns:
            return key.column
        found = find_column(columns, (key.column,))
        if len(found) == 1:
            return found[0]
        raise ValueError(f"{where}: no column named {key.column}; the columns are {listed}")
    usual = names or KEYS.get(key.kind, (key.kind,))
    found = find_column(columns, usual)
    if not found:
        others = [(kind, find_column(columns, usual_of)) for kind, usual_of in KEYS.items() if kind != key.kind]
        hints = "".join(f", --label-key {kind} uses {', '.join(names)}" for kind, names in others if names)
        raise ValueError(
            f"{where}: no column named {usual[0]} (or {', '.join(usual[1:])}) among {len(columns)} columns: {listed}; "
            f"--label-key {key.kind}=COLUMN names it{hints}"
        )
    if len(found) > 1:
        raise ValueError(
            f"{where}: {len(found)} columns may hold the {key.kind}: {', '.join(found)}, of {listed}; "
            f"--label-key {key.kind}=COLUMN names one"
        )
    return found[0]


def normal_path(cell: str) -> str:
    """A path with forward slashes and without a leading "./"."""
    return cell.replace("\\", "/").removeprefix("./")


def key_of_cell(kind: str, cell: str) -> str:
    """What a cell is compared by, for keys that are texts: path, name and stem."""
    path = normal_path(cell)
    if kind == "path":
        return path
    name = path.rstrip("/").rpartition("/")[2]
    if kind == "name":
        return name
    end = next((end for end in IMAGE_ENDS if name.casefold().endswith(end) and len(name) > len(end)), "")
    return name[: len(name) - len(end)]


def key_of_image(kind: str, path: str) -> str:
    """What an image, by its path below the source, is compared by."""
    if kind == "path":
        return path
    name = path.rpartition("/")[2]
    return name if kind == "name" else without_end(name)


def without_end(name: str) -> str:
    """A name or path without its extension, if it has one."""
    return _END.sub("", name)
