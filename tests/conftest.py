"""Shapes are checked while the tests run: before any import of mimprobe, so this stands first."""

from jaxtyping import install_import_hook

install_import_hook("mimprobe", "beartype.beartype")
