"""Every metric of one layer's attention by its definition: loops, float64, no shared code.

Maps come as the network made them; what is measured is told image by image. Nothing of mimprobe's
measures, geometry or windows is used: positions are found again from grid, window and shift, by
writing the number of each patch into a picture and rolling, padding and cutting that as timm does.

    rows_of(raw, ...)   maps of patches: {(query place): {(key place): probability}} by head
"""

import math
from dataclasses import dataclass

import numpy as np

TINY = 2.0**-126
OUTSIDE = -1


@dataclass(frozen=True)
class Site:
    """What is known of a site: grid, stride, prefix, and how timm cuts windows."""

    grid: tuple
    stride: tuple
    prefix: int = 0
    window: tuple | None = None
    shift: tuple = (0, 0)


def rows_of(raw, site):
    """Renormalised rows of one image: a list by head of {query: {key: probability}}.

    `raw` is (head, token, token), or with windows (window, head, place, place).
    """
    raw = np.asarray(raw, dtype=np.float64)
    columns = site.grid[1]
    if site.window is None:
        places = [divmod(number, columns) for number in range(site.grid[0] * columns)]
        shown = [[(site.prefix + at, place) for at, place in enumerate(places)]]
        maps, hidden = [raw], [lambda q, k: False]
    else:
        maps, shown, hidden = list(raw), *_windows(site)
    heads = [{} for _ in range(maps[0].shape[0])]
    for window, members, hide in zip(maps, shown, hidden, strict=True):
        for head, rows in enumerate(heads):
            for at, query in members:
                row = {key: window[head, at, to] for to, key in members if not hide(at, to)}
                mass = sum(row.values())
                if mass >= 1e-6:
                    rows[query] = {key: value / mass for key, value in row.items()}
    return heads


def _windows(site):
    """Members of each window (place in it, patch), and which pairs the shift mask hides."""
    (height, width), (tall, wide), (down, right) = site.grid, site.window, site.shift
    picture = np.arange(height * width).reshape(height, width)
    picture = np.roll(picture, (-down, -right), (0, 1))
    rows, columns = -(-height // tall) * tall, -(-width // wide) * wide
    padded = np.full((rows, columns), OUTSIDE)
    padded[:height, :width] = picture
    region = np.zeros((rows, columns), dtype=int)
    if down or right:
        count = 0
        for y in (slice(0, -tall), slice(-tall, -down or None), slice(-down or rows, None)):
            for x in (
                slice(0, -wide),
                slice(-wide, -right or None),
                slice(-right or columns, None),
            ):
                region[y, x] = count
                count += 1
    shown, hidden = [], []
    for top in range(0, rows, tall):
        for left in range(0, columns, wide):
            cut = slice(top, top + tall), slice(left, left + wide)
            numbers, regions = padded[cut].ravel(), region[cut].ravel()
            shown.append(
                [(at, divmod(int(n), width)) for at, n in enumerate(numbers) if n != OUTSIDE]
            )
            hidden.append(lambda q, k, regions=regions: regions[q] != regions[k])
    return shown, hidden


def log(p):
    return math.log(max(p, TINY))


def mean(values):
    return math.fsum(values) / len(values) if values else math.nan


def attention_distance(rows, site):
    away = [
        [value * _distance(query, key, site) for key, value in row.items()]
        for query, row in rows.items()
    ]
    return mean([math.fsum(row) for row in away])


def attention_entropy(rows):
    return mean([-math.fsum(p * log(p) for p in row.values()) for row in rows.values()])


def head_kl(rows, other):
    both = [query for query in rows if query in other]
    return mean(
        [
            math.fsum(p * (log(p) - log(other[query][key])) for key, p in rows[query].items())
            for query in both
        ]
    )


def head_distance(rows, other):
    both = [query for query in rows if query in other]
    pairs = [(rows[q][k], other[q][k]) for q in both for k in rows[q]]
    dot, one, two = (
        math.fsum(a * b for a, b in picked)
        for picked in (pairs, [(a, a) for a, _ in pairs], [(b, b) for _, b in pairs])
    )
    return 1 - dot / math.sqrt(one * two) if pairs else math.nan


def mean_rows(images):
    """Average the rows of one head over images, each over those that kept it."""
    totals, counts = {}, {}
    for rows in images:
        for query, row in rows.items():
            counts[query] = counts.get(query, 0) + 1
            into = totals.setdefault(query, dict.fromkeys(row, 0.0))
            for key, value in row.items():
                into[key] += value
    return {q: {k: v / counts[q] for k, v in row.items()} for q, row in totals.items()}


def attention_nmi(rows):
    """From the joint distribution p(q, k) = A[q, k] / Q, as mutual information is defined."""
    joint = {(q, k): p / len(rows) for q, row in rows.items() for k, p in row.items()}
    received = {}
    for (_, key), p in joint.items():
        received[key] = received.get(key, 0.0) + p
    information = math.fsum(
        p * math.log(p * len(rows) / received[key]) for (_, key), p in joint.items() if p > 0
    )
    of_keys = -math.fsum(p * math.log(p) for p in received.values() if p > 0)
    of_queries = math.log(len(rows)) if rows else 0.0
    if of_queries == 0:
        return math.nan
    return information / math.sqrt(of_queries * of_keys) if of_keys > 0 else 0.0


def attention_profile(rows, site):
    """Share of each ring, {ring: share}; ring k holds (k - 1/2) to (k + 1/2) shorter sides."""
    shares = {}
    for query, row in rows.items():
        for key, value in row.items():
            ring = math.floor(_distance(query, key, site) / min(site.stride) + 0.5)
            shares[ring] = shares.get(ring, 0.0) + value
    total = math.fsum(shares.values())
    return {ring: share / total for ring, share in shares.items()} if total else {}


def attention_offset(rows):
    """Mean attention by offset, {(rows, columns): value}, over queries that have such a key."""
    given = {}
    for query, row in rows.items():
        for key, value in row.items():
            given.setdefault((key[0] - query[0], key[1] - query[1]), []).append(value)
    return {offset: mean(values) for offset, values in given.items()}


def uniform(rows):
    """The same rows with all of each row's keys alike."""
    return {q: dict.fromkeys(row, 1 / len(row)) for q, row in rows.items()}


def _distance(query, key, site):
    return math.hypot((key[0] - query[0]) * site.stride[0], (key[1] - query[1]) * site.stride[1])
