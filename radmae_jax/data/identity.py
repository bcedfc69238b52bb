"""Turns patient and study identifiers into keyed hashes: equal for equal identifiers, meaningless without the salt."""

import contextlib
import hashlib
import hmac
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

SALT_BYTES = 32
# What stands for the patient: its PatientID and who issued it, the PatientID alone, a labels file's `patient`, or,
# where there is no number of the patient, the study or the file.
PATIENT_SOURCES = ("issuer", "id", "labels", "study", "file")
PLACEHOLDERS = (
    "anon", "anonymous", "anonymized", "anonymised", "deidentified", "unknown", "none", "patient", "removed", "0",
)  # fmt: skip
NO_NUMBER = ("study", "file")  # of them, those under which one person may look like several


@dataclass(frozen=True)
class Identity:
    """The identifiers as the file has them. They never leave the process that reads the file; repr hides them."""

    issuer: str = field(default="", repr=False)
    patient_id: str = field(default="", repr=False)
    study_uid: str = field(default="", repr=False)
    sop_uid: str = field(default="", repr=False)  # of the SOP instance, that is of this one image


@dataclass(frozen=True)
class Keys:
    """32 hexadecimal digits each; `source` is one of PATIENT_SOURCES."""

    patient: str
    study: str
    source: str


def keys(identity: Identity, path: str, salt: bytes) -> Keys:
    """Keys of one file; `path`, relative to the source, stands in where the header has no identifiers.

    Without a PatientID the study is the patient, without a study the file is: images of one person may then look
    like those of several, so the index counts them.
    """
    study = _keyed(salt, "study", identity.study_uid) if identity.study_uid else _keyed(salt, "file", path)
    if identity.patient_id:
        of_patient = patient_key(identity.issuer, identity.patient_id, salt)
        return Keys(of_patient, study, "issuer" if identity.issuer else "id")
    return Keys(study, study, "study" if identity.study_uid else "file")


def patient_key(issuer: str, patient_id: str, salt: bytes) -> str:
    """The key of (issuer, PatientID): the same number from two hospitals is two people."""
    return _keyed(salt, "patient", issuer, patient_id)


def placeholder_keys(salt: bytes) -> frozenset[str]:
    """The keys of PatientIDs that anonymization puts for many people, without an issuer."""
    spelled = (text for word in PLACEHOLDERS for text in (word, word.upper(), word.capitalize()))
    return frozenset(patient_key("", text, salt) for text in spelled)


def study_key(study_uid: str, salt: bytes) -> str:
    return _keyed(salt, "study", study_uid)


def instance_key(sop_uid: str, salt: bytes) -> str:
    """The key of a SOPInstanceUID, by which a labels file may name an image."""
    return _keyed(salt, "instance", sop_uid)


def fingerprint(salt: bytes, sources: Iterable[str], root: str, *, rooted: bool = False) -> str:
    """How the patients of a manifest are keyed, such as "0123456789abcdef:id+study"; see patient_keys.compare_keys.

    It tells one salt, or root, from another and nothing else of it.

    Args:
      sources: what stands for patients, of PATIENT_SOURCES: one person has another key by each of them.
      root: the source. Keys of files depend on it: their kind is "file@" and digits of it.
      rooted: as fingerprints were before: their digits are of salt and root, where there are files.
    """
    kinds = sorted(set(sources))
    if rooted and "file" in kinds:
        return f"{_keyed(salt, 'fingerprint', root)[:16]}:{'+'.join(kinds)}"
    digits = _keyed(salt, "fingerprint", root)[:16]
    named = [f"{kind}@{digits}" if kind == "file" else kind for kind in kinds]
    return f"{_keyed(salt, 'fingerprint')[:16]}:{'+'.join(named)}"


def _keyed(salt: bytes, *parts: str) -> str:
    """HMAC-SHA256 cut to 128 bits. Each part carries its length, so that ("a", "bc") is not ("ab", "c")."""
    encoded = [part.encode("utf-8", "surrogateescape") for part in parts]
    message = b"".join(len(part).to_bytes(4, "big") + part for part in encoded)
    return hmac.new(salt, message, hashlib.sha256).hexdigest()[:32]


def load_salt(manifest: Path, salt_file: Path | None = None) -> bytes:
    """The bytes of `salt_file`, else of MANIFEST.salt, which is made (32 random bytes, mode 0600) if missing.

    Errors: FileNotFoundError for a salt file that is not there; ValueError for one under 16 bytes.
    """
    if salt_file is None:
        with contextlib.suppress(FileExistsError):
            handle = os.open(salt_of(manifest), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(os.urandom(SALT_BYTES))
    return read_salt(manifest, salt_file)


def read_salt(manifest: Path, salt_file: Path | None = None) -> bytes:
    """As `load_salt`, but never made.

    Errors: FileNotFoundError where it is missing; ValueError for one under 16 bytes.
    """
    path = salt_of(manifest) if salt_file is None else salt_file
    if not path.exists():
        named = "; --salt-file names it" if salt_file is None else ""
        raise FileNotFoundError(
            f"{'' if salt_file is None else '--salt-file: '}no salt {path}, by which patients are keyed{named}"
        )
    salt = path.read_bytes()
    if len(salt) < 16:
        raise ValueError(f"salt file {path.name}: {len(salt)} bytes, at least 16")
    return salt


def salt_of(manifest: Path) -> Path:
    """Where the salt of a manifest is, unless another file is named."""
    return manifest.with_name(manifest.name + ".salt")
