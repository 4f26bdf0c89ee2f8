"""Pictures are opened as if an enemy had made them."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from prepare_data import paint

from tasks.prepare.images import decode, locate, open_picture
from tasks.prepare.records import Rejected
from tasks.recipe import Images

LIMITS = Images(min_side=28, max_pixels=1_000_000, max_aspect=6)


def refused(path: Path) -> str:
    with pytest.raises(Rejected) as caught:
        open_picture(path, LIMITS)
    return caught.value.reason


def saved(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=form, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "name", ["../secret.png", "/etc/passwd", "a/../../secret.png", "link.png", "linked/secret.png", "file:///etc/passwd",
             "http://127.0.0.1/a.png", "a\0.png", "loop.png", "x" * 5000]
)  # fmt: skip
def test_a_path_out_of_the_folder_is_refused(tmp_path: Path, name: str):
    data = tmp_path / "data"
    data.mkdir()
    (tmp_path / "secret.png").write_bytes(b"secret")
    (data / "link.png").symlink_to(tmp_path / "secret.png")
    (data / "linked").symlink_to(tmp_path)
    (data / "loop.png").symlink_to(data / "loop.png")
    with pytest.raises(Rejected) as caught:
        locate(data, name)
    assert caught.value.reason == "bad_path"


def test_a_path_inside_the_folder_is_found_and_a_missing_one_named(tmp_path: Path):
    (tmp_path / "img").mkdir()
    (tmp_path / "img" / "a.png").write_bytes(b"")
    assert locate(tmp_path, "img/../img/a.png") == (tmp_path / "img" / "a.png").resolve()
    with pytest.raises(Rejected) as caught:
        locate(tmp_path, "img/b.png")
    assert (caught.value.reason, "img/b.png" in caught.value.detail) == ("missing_image", True)


@pytest.mark.parametrize(("form", "mode"), [("JPEG", "RGB"), ("PNG", "RGB"), ("PNG", "L"), ("WEBP", "RGB")])
def test_a_plain_file_is_stored_as_it_is(tmp_path: Path, form: str, mode: str):
    data = saved(paint(1).convert(mode), form)
    (tmp_path / "a").write_bytes(data)
    picture = open_picture(tmp_path / "a", LIMITS)
    assert picture.data == data
    assert picture.image.mode == "RGB"


@pytest.mark.parametrize(
    ("form", "mode"), [("GIF", "P"), ("BMP", "RGB"), ("TIFF", "CMYK"), ("PNG", "RGBA"), ("PNG", "P")]
)
def test_other_files_are_stored_as_a_png_of_the_same_pixels(form: str, mode: str):
    picture = decode(saved(paint(1).convert(mode), form), "a", 10**6)
    with Image.open(io.BytesIO(picture.data)) as stored:
        assert (stored.format, stored.mode) == ("PNG", "RGB")
        assert np.array_equal(np.asarray(stored), np.asarray(picture.image))


def test_exif_orientation_is_applied_and_the_stored_file_is_upright():
    sideways = paint(1).resize((60, 40))
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = decode(saved(sideways, "PNG", exif=exif), "a", 10**6)
    assert np.array_equal(np.asarray(picture.image), np.asarray(sideways.rotate(-90, expand=True)))
    assert Image.open(io.BytesIO(picture.data)).getexif().get(0x0112, 1) == 1


def test_transparent_pixels_become_white():
    image = paint(1).convert("RGBA")
    image.putpixel((0, 0), (0, 0, 0, 0))
    assert decode(saved(image, "PNG"), "a", 10**6).image.getpixel((0, 0)) == (255, 255, 255)


def test_16_bit_grey_keeps_its_shades():
    shades = np.linspace(0, 65_535, 60 * 60).astype(np.uint16).reshape(60, 60)
    seen = np.asarray(decode(saved(Image.fromarray(shades), "PNG"), "", 10**6).image)
    assert np.abs(seen[..., 0].astype(int) - shades / 257).max() <= 1


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_pixels_without_a_scale_are_refused(kind: type):
    with pytest.raises(Rejected) as caught:
        decode(saved(Image.fromarray(np.ones((60, 60), kind)), "TIFF"), "", 10**6)
    assert caught.value.reason == "unknown_scale"


def test_only_the_first_picture_of_an_animation_is_stored():
    data = saved(paint(1), "WEBP", save_all=True, append_images=[paint(2)], lossless=True)
    assert Image.open(io.BytesIO(decode(data, "a", 10**6).data)).format == "PNG"


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_truncated_file_is_found(tmp_path: Path, form: str, share: float):
    data = saved(paint(1, side=256), form)
    (tmp_path / "a").write_bytes(data[: int(share * len(data))])
    assert refused(tmp_path / "a") in ("broken_image", "not_an_image")


def test_what_is_no_picture_is_named_so(tmp_path: Path):
    (tmp_path / "a.png").write_text("<html>404</html>")
    assert refused(tmp_path / "a.png") == "not_an_image"
    (tmp_path / "a.png").write_bytes(b"")
    assert refused(tmp_path / "a.png") == "not_an_image"
    (tmp_path / "a.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n")
    assert refused(tmp_path / "a.eps") == "not_an_image"


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


@pytest.mark.parametrize(("side", "limit"), [(50_000, 1_000_000), (50_000, 10**12), (10_000, 10**12)])
def test_a_bomb_is_refused_before_it_is_decoded_whatever_the_recipe_allows(side: int, limit: int):
    head, body = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0), zlib.compress(bytes(10_000))
    with pytest.raises(Rejected) as caught:
        decode(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body), "bomb", limit)
    assert caught.value.reason == "too_many_pixels"


def test_a_picture_above_the_recipes_limit_is_refused(tmp_path: Path):
    (tmp_path / "big.png").write_bytes(saved(paint(1).resize((1200, 900)), "PNG"))
    assert refused(tmp_path / "big.png") == "too_many_pixels"


def test_tiny_long_and_blank_pictures_are_refused(tmp_path: Path):
    for name, image, reason in (
        ("tiny", paint(1).resize((80, 27)), "too_small"),
        ("long", paint(1).resize((28 * 7, 28)), "extreme_aspect"),
        ("blank", Image.new("RGB", (64, 64), (250, 250, 240)), "blank_image"),
    ):
        image.save(tmp_path / f"{name}.png")
        assert refused(tmp_path / f"{name}.png") == reason


def test_random_damage_never_raises_anything_but_a_verdict():
    rng = np.random.default_rng(0)
    whole = {form: saved(paint(1), form) for form in ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP")}
    reasons = set()
    for number in range(600):
        data = bytearray(list(whole.values())[number % len(whole)])
        for place in rng.integers(0, len(data), 8).tolist():
            data[place] = int(rng.integers(256))
        try:
            decode(bytes(data), "fuzz", 10**6)
        except Rejected as verdict:
            reasons.add(verdict.reason)
    assert reasons <= {"broken_image", "not_an_image", "too_many_pixels"}
