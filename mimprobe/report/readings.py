"""Titles of the sections, and how to read their figures.

What belongs here: words that are the same for every result. What does not: what depends on one
(`sections`, `numbers`, `remarks`).
"""

TITLES = {
    "attention_distance": "Attention distance",
    "attention_offset": "What heads look at around the query",
    "attention_profile": "Attention by distance",
    "attention_entropy": "Attention entropy",
    "attention_nmi": "Dependence of attention on the query",
    "head_kl": "KL between heads",
    "head_pairs": "Pairs of heads",
    "prefix_mass": "Attention on prefix tokens",
    "cka": "Similarity of layers (CKA)",
    "cka_to_final": "Similarity to the trained network (CKA)",
    "mutual_neighbours": "Shared nearest neighbours",
    "effective_rank": "Effective rank",
    "token_similarity": "Similarity of patch tokens",
    "high_frequency": "High spatial frequencies",
    "feature_norm": "Norms and massive activations",
    "kernels": "Kernels of large convolutions",
    "receptive_field": "Effective receptive field",
    "layer_swap": "Layers exchanged",
    "layer_drop": "Layers dropped",
    "layer_reset": "Layers with fresh weights",
    "layer_heads": "Heads masked",
    "readout": "Where classes are read out best",
}

READINGS = {
    "attention_distance": (
        "Each dot is a head: the distance, in pixels of the network's input, from a patch to the "
        "patches that it attends to, weighted by attention.",
        "Low dots are heads that look nearby; a tall column of dots is a layer whose heads look "
        "near and far at once, and a short one high up a layer whose heads all look far.",
    ),
    "attention_offset": (
        "Each little map is a head: the query is in the middle, and a patch glows where it is "
        "given more attention than an even spread would give it, and is blue where it is given "
        "less.",
        "A bright spot around the ring is a head that looks nearby, a bright line one that follows "
        "rows or columns, a spot beside the ring one that looks one way; black all over is a head "
        "for which position plays no part.",
    ),
    "attention_profile": (
        "Each curve is a head: the share of its attention that falls at so many pixels from the "
        "query; the grey area is what an even spread over the image would give.",
        "A curve above the grey at small distances is a local head, and one on the grey pays no "
        "heed to distance; two heads of equal mean distance may have very different curves.",
    ),
    "attention_entropy": (
        "Each dot is a head: high where it spreads its attention evenly over the image, low where "
        "it picks few patches.",
        "The largest possible value is the logarithm of the number of keys, so models with "
        "different grids or windows compare by the normalised entropy.",
    ),
    "attention_nmi": (
        "Each dot is a head: the mutual information of the query's and the key's position, over "
        "the geometric mean of their entropies.",
        "At 0 the head looks at the same patches whatever the query, at 1 every query has a patch "
        "of its own; heads that all fall to 0 have collapsed into one global pattern.",
        "Where attention is confined to windows, even attention that is uniform within them is "
        "above 0, as the window itself tells where the query is: compare only models with the same "
        "grid and windows.",
    ),
    "head_kl": (
        "Each dot is a head: its mean Kullback-Leibler divergence from the other heads of its "
        "layer.",
        "Near zero all heads of a layer look at the same places; high values mean that the heads "
        "look at different ones.",
    ),
    "head_pairs": (
        "Each cell compares two heads of a layer: dark where they look at the same patches of the "
        "same image, light where they look at different ones.",
        "Dark blocks are groups of heads that repeat each other, and a light row or column is a "
        "head of its own; the curve is the mean over the pairs of a layer.",
    ),
    "prefix_mass": (
        "Each dot is a head: the share of the patches' attention that goes to class, distillation "
        "or register tokens instead of to patches.",
        "Where it is high, distance and entropy of that head describe only the little attention "
        "that is left for patches.",
    ),
    "cka": (
        "Each cell compares two layers on the same images: 1 where they hold the same information "
        "up to rotation and scale, 0 where they share none.",
        "A bright block is a run of layers that change the representation little; between two "
        "models, a bright diagonal means that they agree depth by depth.",
    ),
    "mutual_neighbours": (
        "Each cell compares two layers: the share of an image's nearest neighbours that both "
        "layers have in common, averaged over images.",
        "It looks only at which images lie close together, so two layers can agree here and differ "
        "in CKA, which far images dominate.",
    ),
    "effective_rank": (
        "How many directions the features of the images fill: about 1 where all images differ "
        "along one line, and at most the number of images or of features.",
        "The curves show the singular values behind it: a steep fall is a representation with few "
        "directions that count.",
    ),
    "token_similarity": (
        "The mean cosine similarity of two patches of one image: 1 where a layer gives every patch "
        "the same features, 0 where they point in unrelated directions.",
        "A line that climbs towards 1 is over-smoothing: the place of things in the image is lost.",
    ),
    "high_frequency": (
        "The amplitude of the highest spatial frequency over the patch grid, beside that of "
        "frequency zero, on a logarithmic scale: low where features vary slowly over the image.",
        "A falling line is a network whose layers blur, a rising one a network whose layers pick "
        "out detail; the curves show all frequencies between.",
    ),
    "feature_norm": (
        "The length of the patch tokens after each layer, and how far the largest activation of an "
        "image exceeds its median one.",
        "A ratio in the hundreds or thousands tells of massive activations: single values that act "
        "as constants and dominate any similarity that is not centred.",
    ),
    "kernels": (
        "Each shape is the spread over a layer's channels, with a bar between the quartiles and a "
        "dot at the median: how far, in pixels of the network's input, a channel's kernel has its "
        "weight from its centre.",
        "It is attention distance for convolutions, and may be read beside it: low shapes are "
        "channels that look nearby, a tall shape is a layer whose channels look near and far.",
    ),
    "receptive_field": (
        "Each map shows how much every pixel of the input contributes to the middle of the feature "
        "map; the squares hold the shares of the whole contribution written at them.",
        "Brightness is logarithmic and its scale is shared: a small bright middle is a network "
        "that looks nearby, and wide squares one that gathers its features from far away.",
    ),
    "layer_swap": (
        "The curves show what is left when so many blocks, drawn at random, change places: a curve "
        "that stays high is a network whose layers stand in for each other.",
        "Each cell of the maps is one exchange of two blocks, and the diagonal is the intact "
        "network: a broad band of the diagonal's colour tells of neighbours that do much the same, "
        "a row or column that stands out of a block that is needed in its own place. In maps of "
        "losses, orange is lost and purple gained.",
    ),
    "layer_drop": (
        "The curves show what is left without the last blocks: as long as a curve is level, what "
        "is read out is there already before the blocks that were left out.",
        "The dots are single blocks that were left out, and hang from the line of the intact "
        "network: the longer a block hangs, the more it is missed.",
    ),
    "layer_reset": (
        "The curves show what is left with fresh weights in the last blocks, one more at each "
        "point. The dots are single blocks that were given fresh weights, and hang from the line "
        "of the intact network: the longer a block hangs, the more lies in its weights.",
        "A block that is dropped at no cost and reset at a high one does little, but does not bear "
        "noise.",
    ),
    "layer_heads": (
        "Each cell is a head whose output was left out, and its colour the loss that follows: "
        "white where the head is not missed, orange where it is, purple where all is better "
        "without it.",
        "Loss falls short of importance where heads repeat each other: each alone can be spared, "
        "and together they cannot.",
    ),
    "readout": (
        "Each line is a model: how many images are classified rightly from the features of one of "
        "its layers, which stay as they are; only the read-out learns, from other images.",
        "A line that falls at the end is a network whose last layers serve its own training task "
        "and not the classes: probe it at the top of its line, and with the pooling that is higher "
        "there.",
    ),
}  # fmt: skip
"""Two or three sentences on how to read the figures of a table."""


def title_of(name: str) -> str:
    """Give a table's title; one without a title is called by its name."""
    return TITLES.get(name, name.replace("_", " ").capitalize())
