"""What an accumulator remembers, as plain data: for a file, or for another process.

What belongs here: the type. What does not: files and processes (`loop`).
"""

from typing import Any

State = dict[str, Any]
"""Nested dicts by name, lists, tuples, str, int, float and tensors on the CPU: what `torch.save`
writes and `torch.load(weights_only=True)` reads. Tensors may share memory with the accumulator, so
a state is to be used before more is added."""
