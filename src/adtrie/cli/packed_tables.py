"""What `adtrie inspect` prints of a packed checkpoint. Knows no other command."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from adtrie.format.manifest import Manifest
from adtrie.format.reader import PackedFolder
from adtrie.format.sizes import Size, all_sizes


def packed_facts(path: Path) -> dict[str, object]:
    """Sizes of all linears and patterns, counted in the file, and what the manifest tells of their making."""
    folder = PackedFolder(path)
    try:
        by_linear, by_pattern = all_sizes(folder)
        manifest = folder.manifest
        whole = sum(by_linear.values(), Size(0, 0, 0, 0))
        on_disk = sum(entry.num_bytes for entry in manifest.files.values())
        return {
            "tool": manifest.tool,
            "origin": asdict(manifest.origin),
            "template": manifest.template,
            "summary": manifest.summary,
            "patterns": {name: _size(size) for name, size in by_pattern.items()},
            "all linears": _size(whole),
            "vector_bytes": sum(folder.extents[name].num_bytes for name in folder.vectors()),
            "file_bytes": on_disk,
            "linears": [
                {"name": name, **_described(manifest, name), **_size(size)}
                for name, size in by_linear.items()
            ],
        }
    finally:
        folder.close()


def linear_table(linears: list[dict[str, object]]) -> list[str]:
    """Lines of a table of the facts' linears, header first."""
    head = ("linear", "shape", "stored as", "panels", "bytes", "stream", "scales")
    rows = [head]
    for each in linears:
        panels, shape = each["panels_by_pattern"], each["shape"]
        assert isinstance(panels, dict) and isinstance(shape, tuple)
        rows.append(
            (
                str(each["name"]),
                " x ".join(map(str, shape)),
                f"int{each['bits']} g{each['group']}",
                " + ".join(f"{count} {pattern}" for pattern, count in panels.items()),
                f"{each['bytes']:,}",
                f"{each['stream_bits']:.3f}",
                f"{each['scale_bits']:.3f}",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]


def _size(size: Size) -> dict[str, object]:
    return {
        "panels": size.panels,
        "weights": size.weights,
        "bytes": size.stream_bytes + size.scale_bytes,
        "stream_bits": round(size.stream_bits, 6),
        "scale_bits": round(size.scale_bits, 6),
    }


def _described(manifest: Manifest, name: str) -> dict[str, object]:
    entry = manifest.linears[name]
    return {
        "shape": entry.shape,
        "bits": entry.bits,
        "group": entry.group,
        "panels_by_pattern": entry.panels,
    }
