"""The zip of torch.save: truncated, damaged, swollen, or claiming what it does not have."""

import collections
import mmap
import struct
import warnings
import zipfile

import pytest
import torch
from zoo.weight_files import (
    ZIP,
    Call,
    Memory,
    program_of,
    refusal,
    same,
    save,
    state_dict,
    tensor,
    zip_around,
)

from mimprobe.zoo.weights import read_weights

FOUR = struct.pack("<4f", 1, 2, 3, 4)


@pytest.fixture
def good(tmp_path):
    return save({"model": state_dict(), "epoch": 1}, tmp_path / "w.pth")


def place_of(path, name):
    """Where the content of an entry begins, and its length."""
    with zipfile.ZipFile(path) as archive:
        entry = next(one for one in archive.infolist() if one.filename.endswith(name))
    data = path.read_bytes()
    lengths = struct.unpack_from("<HH", data, entry.header_offset + 26)
    return entry.header_offset + 30 + sum(lengths), entry.file_size


def test_the_check_is_stated(good):
    assert read_weights(good).checked == "CRC-32 of every tensor in the zip"


@pytest.mark.parametrize("left", [0.02, 0.5, 0.98])
def test_a_truncated_zip(good, left):
    data = good.read_bytes()
    good.write_bytes(data[: int(len(data) * left)])
    line = refusal(good)
    assert line.startswith("is a truncated or damaged zip, not a whole PyTorch file (")
    assert line.endswith("bytes); download it again")


def test_a_zip_whose_first_half_is_missing(good):
    data = good.read_bytes()
    good.write_bytes(b"PK\x03\x04" + data[len(data) // 2 :])
    assert "download it again" in refusal(good)


@pytest.mark.parametrize("record", ["data/0", "data/2", "data.pkl", "byteorder", "version"])
def test_a_flipped_byte_is_caught_in_every_record(good, record):
    """Torch itself reads such a file without a word, mapped or not."""
    place, size = place_of(good, record)
    data = bytearray(good.read_bytes())
    data[place + size // 2] ^= 1
    good.write_bytes(data)
    line = refusal(good)
    assert line.startswith("is damaged: ")
    assert record in line
    assert line.endswith("fails its checksum; download it again")
    if record.startswith("data/"):
        assert torch.load(good, weights_only=True)["model"].keys() == state_dict().keys()


def test_a_zip_that_was_saved_without_checksums(tmp_path):
    torch.serialization.set_crc32_options(False)
    try:
        path = save(state_dict(), tmp_path / "w.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    file = read_weights(path)
    assert file.checked == "content not verifiable: this zip was saved without its checksums"
    assert same(file.tensors, state_dict())


def test_a_record_that_is_not_where_the_directory_says(good):
    data = bytearray(good.read_bytes())
    with zipfile.ZipFile(good) as archive:
        entry = archive.infolist()[4]
        data[entry.header_offset : entry.header_offset + 4] = b"PK\x05\x05"
    good.write_bytes(data)
    assert (
        refusal(good)
        == f"is damaged: {entry.filename} is not where its zip says; download it again"
    )


# --- zip bombs


def test_a_compressed_bomb(tmp_path):
    """Ten megabytes of zeros in ten kilobytes; it is never unpacked."""
    program = program_of({"w": tensor(Memory(ZIP, count=2_500_000), shape=(2_500_000,))})
    zeros = bytes(10_000_000)
    path = zip_around(program, tmp_path / "w.pth", [zeros], compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 20_000
    line = refusal(path)
    assert line.startswith("claims 10,000,")
    assert "a zip bomb, or compressed as torch.save never does" in line


def test_a_bomb_whose_directory_claims_exabytes(good):
    data = bytearray(good.read_bytes())
    directory = data.index(b"PK\x01\x02")
    while directory >= 0:
        data[directory + 20 : directory + 28] = struct.pack("<II", 0xFFFFFFFE, 0xFFFFFFFE)
        directory = data.find(b"PK\x01\x02", directory + 1)
    good.write_bytes(data)
    assert "a zip bomb" in refusal(good)


def test_a_bomb_of_entries_that_share_their_bytes(tmp_path):
    """Not compressed, and yet larger than its file: many names for one place."""
    program = program_of({"w": tensor(Memory(ZIP, count=4), shape=(4,))})
    path = zip_around(program, tmp_path / "w.pth", [FOUR * 1000])
    data = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        start, count = archive.start_dir, len(archive.infolist())
    end = data.rindex(b"PK\x05\x06")
    entries = data[start:end]
    first = entries.index(b"archive/data/0") - 46
    one = entries[first : first + 46 + len("archive/data/0")]
    copies = [
        one.replace(b"archive/data/0", f"archive/copy{number:02}".encode()) for number in range(50)
    ]
    directory = entries + b"".join(copies)
    tail = struct.pack(
        "<4s4HIIH", b"PK\x05\x06", 0, 0, count + 50, count + 50, len(directory), start, 0
    )
    path.write_bytes(data[:start] + directory + tail)
    assert "a zip bomb" in refusal(path)


def test_a_compressed_zip_of_honest_size(tmp_path):
    noise = torch.randint(0, 256, (4096,), dtype=torch.uint8).numpy().tobytes()
    program = program_of({"w": tensor(Memory(ZIP, count=1024), shape=(1024,))})
    path = zip_around(program, tmp_path / "w.pth", [noise], compression=zipfile.ZIP_DEFLATED)
    assert refusal(path) == (
        "is a compressed or encrypted zip, which torch.save never writes; unpack it, and zip it "
        "again without compression"
    )


# --- tensors that claim what is not there


@pytest.mark.parametrize(
    ("memory", "options", "told"),
    [
        ({"count": 4}, {"shape": (4,)}, None),
        ({"count": 4}, {"shape": (2, 2), "stride": (1, 2)}, None),
        ({"count": 4}, {"shape": (0, 9), "stride": (9, 1)}, None),
        ({"count": 5}, {"shape": (4,)}, "claims 20 bytes for the tensor memory '0' and has 16"),
        ({"count": 10**12}, {"shape": (4,)}, "claims 4,000,000,000,000 bytes for the tensor memo"),
        ({"count": 10**12}, {"shape": (10**12,)}, "claims 4,000,000,000,000 bytes"),
        ({"count": 10**300}, {"shape": (4,)}, "bytes for the tensor memory"),
        ({"count": 4, "kind": "DoubleStorage"}, {"shape": (4,)}, "claims 32 bytes"),
        ({"count": 4, "key": "7"}, {"shape": (4,)}, "claims 16 bytes for the tensor memory '7'"),
        ({"count": 4, "key": "../version"}, {"shape": (4,)}, "for the tensor memory '../version'"),
        ({"count": -4}, {"shape": (4,)}, "asks for a storage with arguments that do not fit"),
        ({"count": 4.0}, {"shape": (4,)}, "asks for a storage with arguments that do not fit"),
        ({"count": 4, "key": 0}, {"shape": (4,)}, "asks for a storage with arguments that do not"),
        ({"count": 4, "what": "module"}, {"shape": (4,)}, "asks for a storage with arguments"),
        ({"count": 4}, {"shape": (5,)}, "claims a tensor of shape (5,) that reaches beyond"),
        ({"count": 4}, {"shape": (4,), "offset": 1}, "that reaches beyond the memory the file has"),
        ({"count": 4}, {"shape": (2, 2), "stride": (3, 1)}, "that reaches beyond"),
        ({"count": 4}, {"shape": (10**9, 10**9), "stride": (10**9, 1)}, "that reaches beyond"),
        ({"count": 4}, {"shape": (4,), "offset": -1}, "asks for a tensor with arguments"),
        ({"count": 4}, {"shape": (-4,)}, "asks for a tensor with arguments"),
        ({"count": 4}, {"shape": (4,), "stride": (-1,)}, "asks for a tensor with arguments"),
        ({"count": 4}, {"shape": (4,), "stride": (1, 1)}, "asks for a tensor with arguments"),
        ({"count": 4}, {"shape": 4}, "asks for a tuple with arguments"),
        # one number repeated a billion times: no memory, until somebody copies it
        ({"count": 4}, {"shape": (10**9,), "stride": (0,)}, "claims 4,000,000,000 bytes of ten"),
    ],
)  # fmt: skip
def test_claims(tmp_path, memory, options, told):
    program = program_of({"w": tensor(Memory(ZIP, **memory), **options)})
    path = zip_around(program, tmp_path / "w.pth", [FOUR])
    if told is None:
        assert tuple(read_weights(path).tensors["w"].shape) == options["shape"]
    else:
        assert told in refusal(path)


def test_one_memory_with_two_sizes(tmp_path):
    pair = [tensor(Memory(ZIP, count=4), shape=(4,)), tensor(Memory(ZIP, count=10**9), shape=(4,))]
    for name, order in (("a", pair), ("b", pair[::-1])):
        program = program_of(dict(zip("vw", order, strict=True)))
        path = zip_around(program, tmp_path / f"{name}.pth", [FOUR])
        assert "claims two sizes for the tensor memory '0'" in refusal(path)


def test_a_tensor_whose_memory_is_something_else(tmp_path):
    for wrong in (None, "0", 7, [1], {}, Call(collections.OrderedDict)):
        path = zip_around(program_of({"w": tensor(wrong)}), tmp_path / "w.pth", [FOUR])
        assert "asks for a storage with arguments that do not fit" in refusal(path)


def test_two_entries_of_one_name(tmp_path):
    """Which of them a reader takes is up to the reader: what was checked is not what is run."""
    program = program_of({"w": tensor(Memory(ZIP, count=4), shape=(4,))})
    for name in ("data.pkl", "DATA.PKL"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # zipfile's, about the duplicate
            path = zip_around(program, tmp_path / "w.pth", [FOUR], others=[(name, b"other")])
        assert (
            refusal(path) == "is a zip with two entries of one name, which torch.save never makes"
        )


def test_a_pickle_of_absurd_size(good, monkeypatch):
    monkeypatch.setattr("mimprobe.zoo.zipped.PICKLED", 100)
    assert "has a pickle of" in refusal(good)


def test_it_is_mapped_privately_whatever_the_user_set(good):
    """Shared, a change of a tensor would be written into the file."""
    before = good.read_bytes()
    with torch.serialization.set_default_mmap_options(mmap.MAP_SHARED):
        file = read_weights(good)
    file.tensors["0.weight"].zero_()
    assert good.read_bytes() == before
    read_weights(good).tensors["0.weight"].zero_()
    assert good.read_bytes() == before
