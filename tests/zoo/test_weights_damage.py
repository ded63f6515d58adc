"""Damaged files: each reads the same or is refused in one line, as far as its format can tell."""

import resource
import zipfile

import pytest
import safetensors.torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from zoo.weight_files import OLD, ZIP, importable, same, save, state_dict, zip_around

from mimprobe.errors import CheckpointError
from mimprobe.zoo.weights import read_weights


def good_file(form, folder):
    """A small file of each form, with a configuration as SimMIM's beside its tensors."""
    path = folder / f"good.{form}"
    if form == "safetensors":
        safetensors.torch.save_file(state_dict(), path, {"mimprobe": '{"arch": "x"}'})
        return path
    with importable("yacs.config.CfgNode", base=dict) as (Node,):
        config = Node(MODEL=Node(TYPE="vit", DEPTHS=[2, 2]), AMP=False)
        return save({"model": state_dict(), "config": config, "epoch": 1}, path, form)


@st.composite
def damages(draw):
    """How to damage a file: where, as a fraction of its length, and what to do there."""
    kinds = st.sampled_from(["flip", "flips", "cut", "insert", "zero", "copy", "drop", "value"])
    fraction = st.floats(0, 1, exclude_max=True)
    return (
        draw(kinds),
        draw(fraction),
        draw(fraction),
        draw(st.integers(1, 64)),
        draw(st.integers(0, 7)),
        draw(
            st.sampled_from(
                [b"\xff" * 8, b"\0" * 8, b"\x7f" + b"\xff" * 7, b"((((((((", b"........"]
            )
        ),
    )


def damaged(data, damage):
    kind, first, second, count, bit, value = damage
    here, there = int(first * len(data)), int(second * len(data))
    out = bytearray(data)
    if kind in ("flip", "flips"):
        for place in (here, there) if kind == "flips" else (here,):
            out[place] ^= 1 << bit
    elif kind == "cut":
        del out[here:]
    elif kind == "insert":
        out[here:here] = bytes((bit * 37 + step * 11) % 256 for step in range(count))
    elif kind == "zero":
        out[here : here + count] = bytes(len(out[here : here + count]))
    elif kind == "copy":
        out[here : here + count] = data[there : there + count]
    elif kind == "drop":
        del out[here : here + count]
    else:
        out[here : here + len(value)] = value[: len(out[here : here + len(value)])]
    return bytes(out)


def require_line(text):
    assert text.isprintable()
    assert len(text) < 700
    assert "weights_only" not in text  # torch's advice, to switch safety off


@pytest.mark.parametrize("form", [ZIP, OLD, "safetensors"])
def test_a_damaged_file_reads_the_same_or_is_refused(tmp_path, form):
    """Never another exception, never much memory; where no checksum tells, the record says so."""
    good = good_file(form, tmp_path)
    data, path = good.read_bytes(), tmp_path / "bad.pth"
    whole = read_weights(good)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    @settings(max_examples=120, deadline=5000, suppress_health_check=list(HealthCheck))
    @given(damages())
    def check(damage):
        path.write_bytes(damaged(data, damage))
        try:
            file = read_weights(path)
        except CheckpointError as error:
            require_line(str(error))
            return
        if form == ZIP:
            assert file.checked == "CRC-32 of every tensor in the zip"
            assert same(file.tensors, whole.tensors)
            assert file.beside == whole.beside
        elif path.read_bytes() != data:
            assert file.checked.startswith("content not verifiable")
            assert file.sha256 != whole.sha256

    check()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 20  # kilobytes


def test_a_damaged_pickle_whose_checksum_fits(tmp_path):
    """Damage that no checksum shows, because it was there before the checksum."""
    good, path = good_file(ZIP, tmp_path), tmp_path / "bad.pth"
    with zipfile.ZipFile(good) as archive:
        names = [name for name in archive.namelist() if "/data/" in name]
        storages = [archive.read(name) for name in sorted(names)]
        program = archive.read("good/data.pkl")
    assert same(read_weights(zip_around(program, path, storages)).tensors, state_dict())

    @settings(max_examples=150, deadline=5000, suppress_health_check=list(HealthCheck))
    @given(st.lists(damages(), min_size=1, max_size=3))
    def check(several):
        changed = program
        for damage in several:
            changed = damaged(changed or b".", damage)
        try:
            file = read_weights(zip_around(changed, path, storages))
        except CheckpointError as error:
            require_line(str(error))
            return
        for tensor in file.tensors.values():
            assert tensor.numel() <= 16 * path.stat().st_size
            tensor.clone()  # whatever it is called, it lies in the memory that it says

    check()


def test_a_flipped_bit_of_any_byte_of_a_tensor_in_a_zip_is_caught(tmp_path):
    good = good_file(ZIP, tmp_path)
    data, path = good.read_bytes(), tmp_path / "bad.pth"
    wanted = state_dict()["0.weight"].numpy().tobytes()
    place = data.index(wanted)
    for offset in range(len(wanted)):
        out = bytearray(data)
        out[place + offset] ^= 1 << offset % 8
        path.write_bytes(out)
        with pytest.raises(CheckpointError, match="fails its checksum; download it again"):
            read_weights(path)
