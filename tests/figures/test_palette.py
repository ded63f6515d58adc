"""Models are told apart: in colour, in grey, and by colour-blind eyes."""

from itertools import combinations, pairwise

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from synthetic import MIXED, make_result

from mimprobe.figures import KIND_STYLES, kind_style, model_styles
from mimprobe.figures.palette import kinds_of
from mimprobe.tables import KINDS

TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
WHITE = np.array([0.9505, 1, 1.089])

# Machado, Oliveira and Fernandes 2009, complete loss of one kind of cone; on linear RGB.
EYES = {
    "all cones": np.eye(3),
    "protanopia": np.array(
        [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]]
    ),
    "deuteranopia": np.array(
        [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]]
    ),
    "tritanopia": np.array(
        [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]]
    ),
}


def linear(color):
    channels = np.array(to_rgb(color))
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)


def lab(light):
    """CIE L*a*b*: steps of 1 are just seen."""
    share = TO_XYZ @ light / WHITE
    x, y, z = np.where(share > 0.008856, np.cbrt(share), 7.787 * share + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def lightness(color):
    return lab(linear(color))[0]


def test_there_is_a_style_for_each_kind_in_the_order_of_legends():
    assert tuple(KIND_STYLES) == KINDS


@pytest.mark.parametrize("eye", EYES)
def test_kinds_differ_in_colour_to_all_eyes(eye):
    seen = [lab(np.clip(EYES[eye] @ linear(style.color), 0, 1)) for style in KIND_STYLES.values()]
    assert min(np.linalg.norm(one - other) for one, other in combinations(seen, 2)) > 12


def test_kinds_form_a_ladder_in_grey():
    ladder = sorted(lightness(style.color) for style in KIND_STYLES.values())
    np.testing.assert_allclose(ladder, [25, 33, 42, 50, 56, 62], atol=1)
    assert min(np.diff(ladder)) > 4.5


def test_kinds_differ_in_markers_and_dashes_too():
    styles = KIND_STYLES.values()
    assert len({style.markers[0] for style in styles}) == len(styles)
    assert len({style.linestyle for style in styles}) == len(styles)
    assert len({style.label for style in styles}) == len(styles)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [2, 3, 5])
def test_models_of_one_kind_share_the_hue_and_differ_in_shade(kind, count):
    styles = list(model_styles({str(number): kind for number in range(count)}).values())
    assert styles[0].color.lower() == KIND_STYLES[kind].color.lower()
    assert {style.linestyle for style in styles} == {KIND_STYLES[kind].linestyle}
    assert all(one.marker != next_one.marker for one, next_one in pairwise(styles))
    steps = np.diff([lightness(style.color) for style in styles])
    assert (steps > 4).all() or (steps < -4).all()
    assert all(15 < lightness(style.color) < 75 for style in styles)  # seen on white, not black


def test_one_model_looks_the_same_whatever_table_gave_the_kinds():
    result = make_result(MIXED, images=4)
    looks = model_styles(result["cka"])
    assert looks == model_styles({spec.name: spec.kind for spec in MIXED})
    assert len(set(looks.values())) == len(MIXED)
    assert kinds_of(result["cka"]) == {spec.name: spec.kind for spec in MIXED}


def test_an_unknown_kind_is_drawn_as_other_and_shares_its_shades():
    assert kind_style("dreaming") == KIND_STYLES["other"]
    looks = model_styles({"a": "dreaming", "b": "other"})
    assert looks["a"].color.lower() == KIND_STYLES["other"].color.lower()
    assert looks["b"].color != looks["a"].color
