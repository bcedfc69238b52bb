"""Synthetic radiographs of 14 regions turn a seed into labelled DICOM files for trials and tests."""

from radmae_jax.data.phantom.generate import PhantomSummary, make_phantoms
from radmae_jax.data.phantom.render import REGIONS, Phantom, render_phantom

__all__ = ["REGIONS", "Phantom", "PhantomSummary", "make_phantoms", "render_phantom"]
