"""Attentive probe: which patches to look at is learnt with the classifier.

What belongs here: that probe on the tokens of one layer. What does not: the tokens (`features`).

One query u attends to the tokens x_t of an image, and the average that it takes is classified:

    a = softmax_t( (u / s) . x_t / sqrt(d) ),    logits = W ((sum_t a_t x_t - m) / s) + b

with mean m and standard deviation s of the images' mean tokens. The matrices of keys, values and
outputs of one head fold into u and W, so nothing is lost by leaving them out.

At u = 0 this is a linear probe of the mean token, and there it begins, from that probe's W and b.
AdamW then lowers the same objective, with the same penalty, over u, W and b. After how many steps
it does best is chosen on a share of each class held out, as the penalty is; it may be none.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from mimprobe.readout.linear import LinearProbe, chosen_penalty, fitted_probe, held_out

BATCH, RATE = 256, 1e-3

EACH, MOST = 50, 1000
"""After so many steps it is judged on what is held out, and at most so many are taken."""

PATIENCE = 5
"""After so many judgements in a row that are no better, it stops."""

Layer = Float[Tensor, "image token channel"]


class AttentiveProbe(nn.Module):
    """Attention of one query, and a linear classifier."""

    def __init__(self, start: LinearProbe) -> None:
        """Begin where the linear probe of the mean tokens is."""
        super().__init__()
        self.centre, self.scale, self.penalty = start.centre, start.scale, start.penalty
        self.query = nn.Parameter(torch.zeros_like(start.centre))
        self.weights = nn.Parameter(start.weights.clone())
        self.intercepts = nn.Parameter(start.intercepts.clone())

    def forward(self, tokens: Layer) -> Float[Tensor, "image label"]:
        """Give the logits of each image."""
        query = self.query / self.scale / len(self.query) ** 0.5
        attention = (tokens @ query).softmax(1)
        average = torch.bmm(attention[:, None], tokens)[:, 0]
        return (average - self.centre) / self.scale @ self.weights.T + self.intercepts

    @torch.no_grad()
    def classes(self, tokens: Layer) -> Int[Tensor, " image"]:
        """Give the likeliest class of each image."""
        return torch.cat([self(part).argmax(1) for part in torch.split(tokens, BATCH)])


class Trained(NamedTuple):
    """A probe and the steps that it took."""

    probe: AttentiveProbe
    steps: int


def attentive_probe(tokens: Layer, labels: Int[Tensor, " image"], *, seed: int) -> Trained:
    """Train a probe on all images; the seed draws their order, and what is held out at first.

    Raises:
        OptionError: fewer than two classes, or no class with two images.
    """
    held = held_out(labels, seed)
    means = torch.cat([part.mean(1) for part in torch.split(tokens, BATCH)])
    penalty = chosen_penalty(means, labels, held)
    known = (~held).nonzero()[:, 0]
    first = fitted_probe(means[known], labels[known], penalty)
    steps = _best_steps(_Training(tokens, labels, known, first, seed), held)
    every = torch.arange(len(labels))
    training = _Training(tokens, labels, every, fitted_probe(means, labels, penalty), seed)
    training.step(steps)
    return Trained(training.probe, steps)


class _Training:
    """A probe on its way, on some of the images."""

    def __init__(
        self, tokens: Layer, labels: Int[Tensor, " image"], chosen: Int[Tensor, " chosen"],
        start: LinearProbe, seed: int,
    ) -> None:  # fmt: skip
        self.tokens, self.labels, self.chosen = tokens, labels, chosen
        self.draw = torch.Generator().manual_seed(seed)
        self.probe = AttentiveProbe(start)
        self.optimiser = torch.optim.AdamW(self.probe.parameters(), RATE, weight_decay=0.0)

    def step(self, count: int) -> None:
        """Take steps, each on a batch drawn without replacement."""
        for _ in range(count):
            batch = self.chosen[torch.randperm(len(self.chosen), generator=self.draw)[:BATCH]]
            loss = cross_entropy(self.probe(self.tokens[batch]), self.labels[batch])
            loss = loss + self.probe.penalty / 2 * self.probe.weights.square().sum()
            self.optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimiser.step()

    def accuracy(self, judged: Int[Tensor, " judged"]) -> float:
        """Give the share of other images that are classified rightly."""
        right = [
            self.probe.classes(self.tokens[part]) == self.labels[part]
            for part in torch.split(judged, BATCH)
        ]
        return torch.cat(right).double().mean().item()


def _best_steps(training: _Training, held: Bool[Tensor, " image"]) -> int:
    """Give after how many steps the images held out are classified best; the fewest of equals."""
    judged = held.nonzero()[:, 0]
    best, accuracy = 0, training.accuracy(judged)
    for steps in range(EACH, MOST + 1, EACH):
        training.step(EACH)
        found = training.accuracy(judged)
        if found > accuracy:
            best, accuracy = steps, found
        if steps - best >= PATIENCE * EACH:
            break
    return best
