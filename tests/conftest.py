"""Strict settings for all tests: eight CPU devices, no silent broadcasting between ranks.

Programs are compiled without LLVM's optimisation, which takes a third of the time of the tests; XLA's own passes, which
decide what is computed, are those of every run. Tests that start `radmae` as a process of its own compile as users do.
"""

import jax
import pytest

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_disable_most_optimizations", True)
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(scope="session", autouse=True)
def compiled_once(tmp_path_factory):
    """Programs that several tests compile alike are compiled once a session."""
    jax.config.update("jax_compilation_cache_dir", str(tmp_path_factory.mktemp("compiled")))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


@pytest.fixture(scope="session")
def small_model():
    """A float32 ViT-MAE of two and one layers, patch 8, position tables of 6 x 6."""
    from radmae_jax.config import Model

    return Model(
        variant="custom", width=32, layers=2, heads=4, decoder_width=16, decoder_layers=1, decoder_heads=2,
        patch=8, table_side=6, dtype="float32",
    )  # fmt: skip


@pytest.fixture(scope="session")
def archive(tmp_path_factory):
    """A manifest of 60 16-bit PNG images of 60 sizes, 2 to 35 tokens of 8 x 8 pixels."""
    import numpy as np
    from PIL import Image

    from radmae_jax.data.index import index

    folder = tmp_path_factory.mktemp("archive")
    rng = np.random.default_rng(0)
    (folder / "images").mkdir()
    for number in range(60):
        height, width = (int(n) for n in rng.integers(33, 49, 2)) if number % 3 else (33 + number // 3, 34)
        y, x = np.mgrid[:height, :width]
        waves = np.sin(y / rng.uniform(2, 9)) + np.cos(x / rng.uniform(2, 9)) + rng.normal(0, 0.05, (height, width))
        pixels = np.clip(32768 + 16000 * waves, 0, 65535).astype(np.uint16)
        Image.fromarray(pixels).save(folder / "images" / f"{number:03d}.png")
    index(folder / "images", folder / "manifest.parquet", workers=1, show_progress=False)
    return folder / "manifest.parquet"


@pytest.fixture(scope="session")
def labelled(archive, tmp_path_factory):
    """The archive's 60 images with a label `texture` of three values, unknown for six, one `half` of two, unknown for
    every seventh, and one `constant`, each of a patient of its own; 12 images are for validation, 6 for testing."""
    from radmae_jax.data.index import index
    from radmae_jax.data.manifest import read_manifest
    from radmae_jax.data.splits import make_split, write_split

    folder = tmp_path_factory.mktemp("labelled")
    rows = ["path,texture,constant,half,patient"]
    for n in range(60):
        texture = "" if n in (4, 11, 18, 25, 32, 39) else ("rough", "fine", "none")[n % 5 % 3]
        half = "" if n % 7 == 0 else ("upper", "lower")[n // 2 % 2]
        rows.append(f"{n:03d}.png,{texture},{'same' if texture else ''},{half},P{n}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    path = folder / "manifest.parquet"
    index(archive.parent / "images", path, labels=folder / "labels.csv", workers=1, show_progress=False)
    split = make_split(read_manifest(path), fractions=(0.7, 0.2, 0.1), stratify=("region", "texture", "constant"))
    write_split(split, folder / "manifest.parquet.split.parquet")
    return path


@pytest.fixture
def run_config(archive, small_model):
    """A run of 3 epochs on the archive: two buckets, groups of 8, steps of 16 images, no evaluation, no panels."""
    from radmae_jax.config import Bins, Config, Data, Optim, Train

    return Config(
        data=Data(manifest=str(archive), workers=0, threads=2),
        bins=Bins(shapes=2, group=8),
        model=small_model,
        optim=Optim(learning_rate=1e-3, warmup_epochs=1.0),
        train=Train(
            epochs=3, images_per_step=16, rows=8, checkpoint_every=1000, evaluate_every=0, panels_every=0,
            keep_checkpoints=2,
        ),
    )  # fmt: skip


@pytest.fixture(scope="session")
def make_weights():
    """make_weights(kind, model, classes=(), norm_pix=False): random weights, none at 0 or 1, of 16-bit pixels."""
    import numpy as np

    from radmae_jax.convert.weights import Pixels, Weights, check, shapes_of

    def make(kind, model, classes=(), norm_pix=False):
        rng = np.random.default_rng(7)

        def tensor(name: str, shape: tuple[int, ...]) -> np.ndarray:
            # Kernels as they are initialised; position tables about as large as sines.
            spread = (2 / sum(shape)) ** 0.5 if name.endswith("kernel") else 0.5 if "positions" in name else 0.05
            return (rng.normal(0, spread, shape) + name.endswith("scale")).astype(np.float32)

        tensors = {name: tensor(name, shape) for name, shape in shapes_of(kind, model, len(classes)).items()}
        return check(Weights(kind, model, tensors, tuple(classes), Pixels("voi", "uint16"), norm_pix))

    return make


@pytest.fixture(scope="session")
def tree_distance():
    """||a - b|| / ||a|| over all leaves of two trees, summed in float64."""
    import numpy as np

    def distance(a, b) -> float:
        pairs = list(zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))
        difference = np.sqrt(sum(np.sum((x - y) ** 2, dtype=np.float64) for x, y in pairs))
        return float(difference / np.sqrt(sum(np.sum(x**2, dtype=np.float64) for x, _ in pairs)))

    return distance
