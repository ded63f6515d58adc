"""Pictures that all whole layer tests are shown."""

import pytest
from networks import class_folder


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("images")
    return class_folder(root / "train", 8, 0), class_folder(root / "val", 4, 1)
