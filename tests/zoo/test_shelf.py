"""Where cards lie: the user's own folders before the bundled one."""

import os

import pytest

from mimprobe.errors import CardError, UnknownNameError
from mimprobe.zoo.shelf import CARDS_VARIABLE, bundled_directory, card_names, find_card


def copy_of(name, folder, **changes):
    folder.mkdir(exist_ok=True)
    text = (bundled_directory() / f"{name}.toml").read_text(encoding="utf-8")
    for old, new in changes.items():
        text = text.replace(old, new)
    new_name = changes.get(name, name)
    (folder / f"{new_name}.toml").write_text(text, encoding="utf-8")


def test_a_folder_of_ones_own(tmp_path, monkeypatch):
    copy_of("deit_tiny", tmp_path, deit_tiny="mine")
    monkeypatch.setenv(CARDS_VARIABLE, str(tmp_path))
    assert {"mine", "deit_tiny"} <= set(card_names())
    assert find_card("mine").folder == tmp_path
    with pytest.raises(UnknownNameError, match="did you mean 'mine'"):
        find_card("mime")


def test_the_first_folder_goes_first(tmp_path, monkeypatch):
    copy_of("deit_tiny", tmp_path / "a", supervised="other")
    copy_of("deit_tiny", tmp_path / "b")
    monkeypatch.setenv(CARDS_VARIABLE, os.pathsep.join([str(tmp_path / "a"), str(tmp_path / "b")]))
    assert find_card("deit_tiny").kind == "other"
    assert find_card("deit_small").folder == bundled_directory()


def test_a_folder_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setenv(CARDS_VARIABLE, str(tmp_path / "none"))
    with pytest.raises(CardError, match=r"^no folder of cards at .*none \(--cards, or MIMPROBE_C"):
        card_names()


def test_every_bundled_card_is_read():
    names = card_names()
    assert len(names) > 45
    for name in names:
        card = find_card(name)
        assert card.name == name
        assert card.weights.addresses or card.weights.remark or card.bundled_weights
