"""Says beforehand that an alias will be downloaded, so that nobody waits without knowing why."""

from __future__ import annotations

from adtrie.cli.terminal import note


def announce(source: str) -> None:
    """One line on stderr if `source` is an alias whose file is not in the cache yet."""
    from adtrie.models.alias import ALIASES, cached_path

    if source in ALIASES and not cached_path(source).exists():
        note(f"downloading {source} ({ALIASES[source].num_bytes / 1e6:.0f} MB, once) ...")
