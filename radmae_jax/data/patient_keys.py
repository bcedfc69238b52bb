"""Tells by the fingerprints of two manifests which of their patients can be compared."""

from collections.abc import Iterable
from dataclasses import dataclass

from radmae_jax.data.identity import NO_NUMBER, fingerprint


@dataclass(frozen=True)
class Compared:
    """How far patients that were seen can be compared with those of a manifest."""

    salt: bool  # whether all are keyed by one salt, as far as that is known
    kinds: frozenset[str]  # what stands for patients, of identity.PATIENT_SOURCES, in both
    unseen: frozenset[str]  # in the manifest alone
    extra: frozenset[str]  # in what was seen alone

    @property
    def numbers(self) -> bool:
        """Whether patients with a number are compared, and none was seen under a number of another kind."""
        return bool(self.kinds - set(NO_NUMBER)) and not self.extra - set(NO_NUMBER)


def compare_keys(ours: str, seen: Iterable[str]) -> Compared:
    """Compares a manifest's fingerprint with those of what was seen.

    A fingerprint of before, whose digits depend on the root too, or the hash of a manifest, is comparable with itself
    only. Files of two roots are two kinds.
    """
    mine, others = _parts(ours), {_parts(key) for key in seen if key != ours}
    if any(mine is None or other is None or other[0] != mine[0] for other in others):
        return Compared(False, frozenset(), frozenset(), frozenset())
    own = _kinds(ours)
    theirs = frozenset[str]().union(*(_kinds(key) for key in seen))
    return Compared(True, _plain(own & theirs), _plain(own - theirs), _plain(theirs - own))


def salt_differs(key: str, salt: bytes, root: str) -> bool:
    """Whether a manifest, by its fingerprint and its source, is keyed by another salt; False where it is not known."""
    digits, colon, kinds = key.partition(":")
    if not colon:
        return False
    before = fingerprint(salt, kinds.split("+"), root, rooted=True)
    return digits not in (fingerprint(salt, (), "").partition(":")[0], before.partition(":")[0])


def _kinds(key: str) -> frozenset[str]:
    """What stands for patients; of the hash of a manifest nothing is known but that it is the same."""
    _, colon, kinds = key.partition(":")
    return frozenset(kinds.split("+")) if colon else frozenset(["id"])


def _parts(key: str) -> tuple[str, frozenset[str]] | None:
    digits, colon, _ = key.partition(":")
    kinds = _kinds(key)
    return (digits, kinds) if colon and "file" not in kinds else None


def _plain(kinds: frozenset[str]) -> frozenset[str]:
    return frozenset(kind.partition("@")[0] for kind in kinds)
