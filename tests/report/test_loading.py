"""A load report of hundreds of tensors, in a few lines."""

from mimprobe.report.loading import loading_lines


def test_tensors_that_were_treated_alike_stand_together():
    renamed = {f"encoder.blocks.{n}.w": f"blocks.{n}.w" for n in range(5)}
    found = loading_lines(
        {
            "matched": 7,
            "renamed": renamed,
            "resized": {"pos_embed": "197 to 577 positions"},
            "dropped": {"decoder.0": "decoder", "mask_token": "mask token", "decoder.1": "decoder"},
            "missing": {},
            "unexpected": [],
            "converter": "simmim",
            "checked": "sha256 as published",
            "assumed": ["12 heads", "224 px"],
        }
    )
    assert found == {
        "matched": "7 tensors",
        "renamed": "encoder.blocks.0.w → blocks.0.w, encoder.blocks.1.w → blocks.1.w, "
        "encoder.blocks.2.w → blocks.2.w and 2 more",
        "resized": {"197 to 577 positions": "pos_embed"},
        "dropped on purpose": {"decoder": "decoder.0, decoder.1", "mask token": "mask_token"},
        "missing, as the card allows": {},
        "unexpected": "none",
        "renaming": "simmim",
        "content": "sha256 as published",
        "assumed": "12 heads; 224 px",
    }


def test_networks_that_come_from_no_file_say_nothing():
    assert loading_lines({}) == {}
