"""A plan and its rendered radiograph turn into the bytes of one DICOM file."""

import io

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filewriter import dcmwrite
from pydicom.uid import UID, RLELossless, generate_uid

from radmae_jax.data.phantom.plan import SYNTAXES, ImagePlan
from radmae_jax.data.phantom.render import Phantom

DX_FOR_PRESENTATION = "1.2.840.10008.5.1.4.1.1.1.1"
CR_STORAGE = "1.2.840.10008.5.1.4.1.1.1"
UNKNOWN_SYNTAX = "1.2.826.0.1.3680043.8.498.99999"
ABSURD_SIDE = 60_000

# Body Part Examined terms (PS3.16 annex L).
BODY_PARTS = {
    "skull": "SKULL",
    "cervical_spine": "CSPINE",
    "chest": "CHEST",
    "abdomen": "ABDOMEN",
    "lumbar_spine": "LSPINE",
    "pelvis": "PELVIS",
    "hip": "HIP",
    "shoulder": "SHOULDER",
    "elbow": "ELBOW",
    "hand": "HAND",
    "knee": "KNEE",
    "lower_leg": "LEG",
    "ankle": "ANKLE",
    "foot": "FOOT",
}


def bits_stored(plan: ImagePlan) -> int:
    """The scanner's depth, but 16 under JPEG-LS and HTJ2K, whose encoders write the container's precision."""
    return 16 if plan.syntax in ("jpeg_ls", "htj2k") else plan.scanner.bits


def stored_pixels(plan: ImagePlan, image: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Grey values 0..1 (bright where dense) as stored, uint16 (height, width); MONOCHROME1 stores the negative."""
    top = 2 ** bits_stored(plan) - 1
    if plan.broken == "all_zero":
        return np.zeros(image.shape, np.uint16)
    low, high = float(image.min()), float(image.max())
    grey = (image - low) / max(high - low, 1e-6)
    # Ten-bit plates fill their range; deeper detectors leave head room. The mean stays well above an empty picture's.
    if top > 1023:
        rng = np.random.default_rng([plan.seed, plan.index, 3])
        grey = rng.uniform(0.01, 0.06) + grey * rng.uniform(0.45, 0.93)
    pixels = np.round(grey * top).clip(0, top).astype(np.uint16)
    return (top - pixels).astype(np.uint16) if plan.monochrome1 else pixels


def encoded_frame(pixels: NDArray[np.uint16], syntax: str, bits: int) -> bytes:
    """One losslessly compressed frame for the encapsulated syntaxes other than RLE."""
    if syntax == "jpeg_lossless_sv1":
        return bytes(imagecodecs.jpeg8_encode(pixels, lossless=True, predictor=1, bitspersample=bits))
    if syntax == "jpeg_ls":
        return bytes(imagecodecs.jpegls_encode(pixels, 0))
    if syntax == "jpeg2000":
        return bytes(imagecodecs.jpeg2k_encode(pixels, 0, codecformat="j2k", reversible=True, bitspersample=bits))
    if syntax == "htj2k":
        return bytes(imagecodecs.htj2k_encode(pixels, reversible=True))
    raise ValueError(f"syntax {syntax!r} has no frame encoder")


def _uid(plan: ImagePlan, *words: object) -> str:
    return str(generate_uid(entropy_srcs=["radmae phantom", str(plan.seed), *map(str, words)]))


def _identity(ds: Dataset, plan: ImagePlan) -> None:
    patient = plan.patient
    rng = np.random.default_rng([plan.seed, patient.number, 4 + plan.study])
    ds.PatientID = f"PHANTOM{patient.number:06d}"
    ds.PatientName = f"Phantom^{patient.number:04d}"
    ds.PatientSex, ds.PatientAge = patient.sex, f"{patient.age:03d}Y"
    ds.PatientBirthDate = f"{2024 - patient.age}0101"
    ds.StudyDate = f"{2015 + int(rng.integers(9))}{int(rng.integers(1, 13)):02d}{int(rng.integers(1, 29)):02d}"
    ds.StudyTime = f"{int(rng.integers(7, 20)):02d}{int(rng.integers(60)):02d}00"
    ds.AccessionNumber = f"A{patient.number:06d}{plan.study}"
    ds.ReferringPhysicianName, ds.StudyID = "", str(plan.study + 1)
    ds.StudyInstanceUID = _uid(plan, "study", patient.number, plan.study)
    ds.SeriesInstanceUID = _uid(plan, "series", patient.number, plan.study, plan.region)
    ds.SOPInstanceUID = _uid(plan, "image", plan.index)
    ds.SeriesNumber, ds.InstanceNumber = patient.regions.index(plan.region) + 1, plan.index + 1


def _equipment(ds: Dataset, plan: ImagePlan, phantom: Phantom) -> None:
    scanner = plan.scanner
    ds.Modality = scanner.modality
    ds.SOPClassUID = DX_FOR_PRESENTATION if scanner.modality == "DX" else CR_STORAGE
    ds.Manufacturer, ds.ManufacturerModelName = scanner.maker, scanner.model
    ds.ImageType = ["DERIVED" if scanner.modality == "DX" else "ORIGINAL", "PRIMARY"]
    ds.BodyPartExamined = BODY_PARTS[plan.region]
    ds.ViewPosition = plan.view if plan.view in ("AP", "PA") else ("LL" if plan.view == "LAT" else "LLO")
    ds.ImageLaterality = plan.side or "U"
    spacing = round(phantom.mm_per_pixel, 4)
    ds.ImagerPixelSpacing = [spacing, spacing]
    ds.PixelIntensityRelationship = scanner.relationship
    ds.PixelIntensityRelationshipSign = 1 if plan.monochrome1 else -1
    ds.BurnedInAnnotation = "NO"
    if scanner.modality == "DX":
        ds.PresentationIntentType = "FOR PRESENTATION"
        ds.PatientOrientation = ["L", "F"]


def _pixels(ds: Dataset, plan: ImagePlan, pixels: NDArray[np.uint16]) -> None:
    bits = bits_stored(plan)
    ds.SamplesPerPixel, ds.PixelRepresentation = 1, 0
    ds.Rows, ds.Columns = pixels.shape
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, bits, bits - 1
    ds.PhotometricInterpretation = "MONOCHROME1" if plan.monochrome1 else "MONOCHROME2"
    ds.PresentationLUTShape = "INVERSE" if plan.monochrome1 else "IDENTITY"
    slope, intercept = plan.rescale or (1.0, 0.0)
    if plan.rescale is not None:
        ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = f"{slope:g}", f"{intercept:g}", "US"
    if plan.windowed:
        low, high = (float(v) for v in np.quantile(pixels, [0.01, 0.995]))
        low, high = low * slope + intercept, high * slope + intercept
        ds.WindowCenter = f"{(low + high) / 2:.0f}"
        ds.WindowWidth = f"{max(high - low, 2.0) * 1.1:.0f}"


def dicom_bytes(plan: ImagePlan, phantom: Phantom) -> bytes:
    """The file's bytes: the same plan and picture give the same bytes; plan.broken spoils it in its way."""
    if plan.broken == "not_dicom":
        return f"Export of image {plan.index} failed: the archive did not answer.\n".encode() * 40
    pixels = stored_pixels(plan, phantom.image)
    ds = Dataset()
    _identity(ds, plan)
    _equipment(ds, plan, phantom)
    _pixels(ds, plan, pixels)
    syntax = UID(SYNTAXES[plan.syntax][0])
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    meta.TransferSyntaxUID = syntax
    ds.file_meta = meta
    if plan.syntax == "rle":
        ds.compress(RLELossless, pixels, encoding_plugin="pydicom", generate_instance_uid=False)
    elif syntax.is_encapsulated:
        ds.PixelData = encapsulate([encoded_frame(pixels, plan.syntax, bits_stored(plan))])
        ds["PixelData"].VR = "OB"
        ds["PixelData"].is_undefined_length = True
    else:
        ds.PixelData = pixels.astype("<u2").tobytes()
        ds["PixelData"].VR = "OW"
    if plan.broken == "no_pixels":
        del ds.PixelData
    if plan.broken == "absurd_size":
        ds.Rows = ds.Columns = ABSURD_SIDE
    whole = _file_bytes(ds)
    if plan.broken == "truncated":
        rng = np.random.default_rng([plan.seed, plan.index, 3])
        return whole[: int(len(whole) * rng.uniform(0.4, 0.8))]
    if plan.broken == "unknown_syntax":
        # The UIDs differ in length, so the file is written again under the unknown one rather than patched.
        return _renamed_syntax(whole, str(syntax))
    return whole


def _file_bytes(ds: Dataset) -> bytes:
    buffer = io.BytesIO()
    dcmwrite(buffer, ds, enforce_file_format=True)
    return buffer.getvalue()


def _renamed_syntax(whole: bytes, syntax: str) -> bytes:
    """The same file whose meta header names a transfer syntax that nobody knows."""

    def padded(uid: str) -> bytes:
        raw = uid.encode() + (b"\0" if len(uid) % 2 else b"")
        return b"\x02\x00\x10\x00UI" + len(raw).to_bytes(2, "little") + raw

    old, new = padded(syntax), padded(UNKNOWN_SYNTAX)
    length = int.from_bytes(whole[140:144], "little") + len(new) - len(old)
    return whole[:140] + length.to_bytes(4, "little") + whole[144:].replace(old, new, 1)
