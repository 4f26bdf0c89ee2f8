"""Opens pictures that nobody vouches for: no path out of the data's folder, no bomb, no half file, no blank.

    path = locate(Path("data/shop").resolve(), "img/0017.jpg")
    picture = open_picture(path, recipe.prepare.images)
    picture.image   # decoded, upright, RGB
    picture.data    # what the dataset stores

The stored file is the original where that is a plain JPEG, PNG or WebP, else a PNG: training sees the same pixels.
"""

import hashlib
import io
import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from tasks.prepare.records import Rejected
from tasks.recipe import Images

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
"""Decoders that may see a file; Pillow's others have no place in training data."""
STORED_AS_IS = ("JPEG", "PNG", "WEBP")
MAX_BYTES = 256 * 2**20
"""Files larger than this are refused unread."""
BLANK = 8
"""A picture whose channels each span less than this (of 255) shows nothing."""
ORIENTATION = 0x0112


@dataclass(frozen=True)
class Picture:
    """A picture fit for training."""

    image: Image.Image
    """Decoded, upright, RGB."""
    data: bytes
    """The stored file: JPEG, PNG or WebP that decodes to `image`."""

    @property
    def sha(self) -> str:
        """SHA-256 (hex) of the stored file: the picture's key in the dataset."""
        return hashlib.sha256(self.data).hexdigest()


def locate(root: Path, name: str) -> Path:
    """The file that a row's image path means.

    Args:
        root: the JSONL file's folder, resolved; the path is relative to it and may not leave it, by a symlink either.
        name: the path as the row gives it.

    Raises:
        Rejected: `bad_path` or `missing_image`.
    """
    if re.match(r"[a-zA-Z][a-zA-Z0-9+.-]+:", name):
        raise Rejected("bad_path", f"{name[:200]}: an address, not a path below the JSONL file's folder")
    try:
        path = (root / name).resolve()
        inside = path.is_relative_to(root) and not Path(name).is_absolute()
        found = path.is_file()
    except (OSError, ValueError, RuntimeError) as error:  # a NUL in it, too long, a ring of symlinks
        raise Rejected("bad_path", f"{name[:200]!r}: {error}") from None
    if not inside:
        raise Rejected("bad_path", f"{name[:200]}: leads out of the JSONL file's folder")
    if not found:
        raise Rejected("missing_image", f"{name[:200]}: no such file")
    return path


def open_picture(path: Path, limits: Images) -> Picture:
    """Read, decode and judge one picture file.

    Raises:
        Rejected: `too_many_bytes`, `not_an_image`, `too_many_pixels`, `broken_image`, `unknown_scale`, `too_small`,
            `extreme_aspect` or `blank_image`.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise Rejected("too_many_bytes", f"{path.name}: {size:,} bytes, the limit is {MAX_BYTES:,}")
        data = path.read_bytes()
    except OSError as error:
        raise Rejected("missing_image", f"{path.name}: {error.strerror}") from None
    picture = decode(data, path.name, limits.max_pixels)
    _judge(picture.image, path.name, limits)
    return picture


def decode(data: bytes, name: str, max_pixels: int) -> Picture:
    """Decode a picture file's bytes, whole.

    Raises:
        Rejected: `not_an_image`, `too_many_pixels`, `broken_image` or `unknown_scale`.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of damaged metadata, which we do not use
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
                width, height = opened.size
                if width * height > max_pixels:
                    raise Rejected("too_many_pixels", f"{name}: {width}x{height}, the limit is {max_pixels:,} pixels")
                opened.load()  # to the last byte: verify() misses files that end half-way
                return _upright_rgb(opened, data)
        except Rejected:
            raise
        except UnidentifiedImageError:
            raise Rejected("not_an_image", f"{name}: no picture format that is read ({', '.join(FORMATS)})") from None
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise Rejected("too_many_pixels", f"{name}: {error}") from None
        except Exception as error:  # a decoder fed with garbage may raise anything
            raise Rejected("broken_image", f"{name}: {type(error).__name__}: {str(error)[:200]}") from None


def _upright_rgb(opened: Image.Image, data: bytes) -> Picture:
    """The picture as every later stage sees it; the file's own bytes where they say the same."""
    if opened.mode in ("I", "F"):
        raise Rejected("unknown_scale", "32-bit pixels: nothing says which value is white; save it with 8 or 16 bits")
    turned = _orientation(opened) != 1
    plain = opened.mode in ("RGB", "L") and "transparency" not in opened.info
    still = getattr(opened, "n_frames", 1) == 1
    as_is = opened.format in STORED_AS_IS and plain and still and not turned
    upright = ImageOps.exif_transpose(opened) if turned else opened
    if upright.mode.startswith("I;16"):  # which Pillow would cut off at 255: white all over
        upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
    if upright.has_transparency_data:  # on white, as a page or a shop would show it
        paper = Image.new("RGBA", upright.size, "white")
        upright = Image.alpha_composite(paper, upright.convert("RGBA"))
    image = upright.convert("RGB")
    if as_is:
        return Picture(image, data)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return Picture(image, buffer.getvalue())


def _orientation(opened: Image.Image) -> int:
    """EXIF's; 1 is upright. EXIF that cannot be read says nothing against the pixels."""
    try:
        return int(opened.getexif().get(ORIENTATION, 1))
    except Exception:
        return 1


def _judge(image: Image.Image, name: str, limits: Images) -> None:
    short, long = sorted(image.size)
    if short < limits.min_side:
        raise Rejected("too_small", f"{name}: {image.width}x{image.height}, the shorter side needs {limits.min_side}")
    if long > limits.max_aspect * short:
        raise Rejected("extreme_aspect", f"{name}: {image.width}x{image.height}, over {limits.max_aspect:g} to 1")
    spans: list[tuple[int, int]] = image.getextrema()  # type: ignore[assignment]  # one for each of three channels
    if max(high - low for low, high in spans) < BLANK:
        raise Rejected("blank_image", f"{name}: one colour all over")
