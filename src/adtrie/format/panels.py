"""A linear in the byte order of the kernels: panels of 16 rows in one stream, each of its own pattern.

Packing only permutes: `unpack(pack(linear))` is `linear`. Byte by byte in docs/design/format.md, section
"linear stream". Knows no file and no kernel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from adtrie.config import QuantizedMatrix
from adtrie.errors import FormatError, InputError
from adtrie.format.codes import (
    BLOCK,
    DENSE,
    PANEL_ROWS,
    CompressedLinear,
    check_grid,
    check_pattern,
    num_panels,
    pattern_name,
)

Scalar = TypeVar("Scalar", bound=np.generic)
ALIGNMENT = 64  # bytes; every panel is a multiple of it
PACKED_PATTERNS = (1, 2, DENSE)  # survivors of four that have a stream
_SLOTS = 4  # bytes of one row in a 64-byte vector
_STEPS = 4  # vectors of survivors that share one sparse unit
_VECTORS = 3  # 64-byte vectors of a sparse unit: 24 bits for the four survivors of a slot


@dataclass(frozen=True, eq=False)
class PackedLinear:
    """A linear [N, K] as the kernels read it; arrays may be views of a memory-mapped file.

    kept: uint8[P], survivors per block of four of each of the P panels of 16 rows: 4 (dense), 2 or 1.
    stream: uint8[bytes], all panels in order. scales: float16[P, K/group, 16], zero for the rows past N.
    Raises InputError where these disagree; what the stream says is checked by `unpack`.
    """

    num_outputs: int
    num_inputs: int
    bits: int
    group: int
    kept: NDArray[np.uint8]
    stream: NDArray[np.uint8]
    scales: NDArray[np.float16]

    def __post_init__(self) -> None:
        if self.num_outputs < 1:
            raise InputError(f"packed linear: expected at least one output, got {self.num_outputs}")
        check_grid(self.num_inputs, self.bits, self.group)
        panels = num_panels(self.num_outputs)
        _check_array("kept", self.kept, np.uint8, (panels,))
        for kept in sorted(set(self.kept.tobytes())):
            _check_packed_pattern(kept)
            check_pattern(self.num_inputs, kept, self.bits)
        _check_array("scales", self.scales, np.float16, (panels, self.num_inputs // self.group, PANEL_ROWS))
        _check_array("stream", self.stream, np.uint8, (int(self.offsets[-1]),))
        if not bool(np.isfinite(self.scales).all()):
            raise InputError("packed linear: scales hold NaN or infinity; compress the linear again")

    @property
    def shape(self) -> tuple[int, int]:
        """(N outputs, K inputs)."""
        return self.num_outputs, self.num_inputs

    @property
    def offsets(self) -> NDArray[np.int64]:
        """First byte of each panel in the stream and the end of the last, int64[P + 1]."""
        sizes = {kept: stream_bytes(self.num_inputs, self.bits, kept) for kept in PACKED_PATTERNS}
        per_panel = np.array([sizes[kept] for kept in self.kept.tolist()], np.int64)
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(per_panel)])

    @property
    def num_bytes(self) -> int:
        """Bytes of stream and scales."""
        return int(self.stream.nbytes + self.scales.nbytes)


def step_inputs(bits: int, kept: int) -> int:
    """Inputs that K is padded to a multiple of inside a panel: dense INT4 8, INT8 4; 2:4 32, 1:4 64."""
    return 32 // bits if kept == DENSE else _STEPS * _SLOTS * BLOCK // kept


def stream_bytes(num_inputs: int, bits: int, kept: int) -> int:
    """Bytes of one panel, a multiple of 64."""
    steps = -(-num_inputs // step_inputs(bits, kept))
    return steps * ALIGNMENT * (1 if kept == DENSE else _VECTORS)


def pack(linear: CompressedLinear) -> PackedLinear:
    """`linear` in the kernels' order. Raises InputError for 3:4 panels, which have no stream."""
    num_outputs, num_inputs = linear.shape
    bits, panels = linear.values.bits, len(linear.kept)
    parts: list[NDArray[np.uint8] | None] = [None] * panels
    for kept in np.unique(linear.kept).tolist():
        _check_packed_pattern(kept)
        chosen = np.nonzero(linear.kept == kept)[0]
        width = -(-num_inputs // step_inputs(bits, kept)) * step_inputs(bits, kept)
        codes = _panels_of(linear.values.codes, chosen, width, 1 << (bits - 1))
        if kept == DENSE:
            packed = _dense_bytes(codes, bits)
        else:
            packed = _sparse_bytes(codes, _panels_of(linear.mask, chosen, width, False), kept)
        for panel, content in zip(chosen.tolist(), packed, strict=True):
            parts[panel] = content
    stream = np.concatenate([part for part in parts if part is not None])
    every = np.arange(panels)
    scales = _panels_of(linear.values.scales, every, linear.values.scales.shape[1], 0).transpose(0, 2, 1)
    return PackedLinear(
        num_outputs,
        num_inputs,
        bits,
        linear.values.group,
        linear.kept.astype(np.uint8),
        stream,
        np.ascontiguousarray(scales),
    )


def unpack(packed: PackedLinear) -> CompressedLinear:
    """The linear that `pack` was given. Raises FormatError for positions that are not those of survivors."""
    num_outputs, num_inputs = packed.shape
    panels = len(packed.kept)
    codes = np.full((panels, PANEL_ROWS, num_inputs), 1 << (packed.bits - 1), np.uint8)
    mask = np.ones((panels, PANEL_ROWS, num_inputs), bool)
    offsets = packed.offsets
    for kept in np.unique(packed.kept).tolist():
        chosen = np.nonzero(packed.kept == kept)[0]
        size = stream_bytes(num_inputs, packed.bits, kept)
        content = packed.stream[offsets[chosen][:, None] + np.arange(size)]
        if kept == DENSE:
            codes[chosen] = _dense_codes(content, packed.bits)[:, :, :num_inputs]
        else:
            found, survivors = _sparse_codes(content, kept)
            codes[chosen], mask[chosen] = found[:, :, :num_inputs], survivors[:, :, :num_inputs]
            _check_survivors(packed, chosen, mask[chosen], kept)
    rows = slice(0, num_outputs)
    scales = packed.scales.transpose(0, 2, 1).reshape(panels * PANEL_ROWS, -1)[rows]
    values = QuantizedMatrix(
        codes.reshape(-1, num_inputs)[rows], np.ascontiguousarray(scales), None, packed.bits, packed.group
    )
    return CompressedLinear(values, packed.kept, mask.reshape(-1, num_inputs)[rows])


def _check_survivors(
    packed: PackedLinear, chosen: NDArray[np.int64], mask: NDArray[np.bool_], kept: int
) -> None:
    real = (chosen[:, None] * PANEL_ROWS + np.arange(PANEL_ROWS)) < packed.num_outputs
    blocks = mask.reshape(*mask.shape[:2], -1, BLOCK).sum(axis=3) == kept
    if not bool(blocks[real].all()):
        raise FormatError(
            f"packed linear: a block of a {pattern_name(kept)} panel repeats a position; "
            "the stream is damaged, write the checkpoint again"
        )


def _panels_of(
    matrix: NDArray[Scalar], chosen: NDArray[np.int64], width: int, fill: float
) -> NDArray[Scalar]:
    """Panels `chosen` of a matrix [N, ...] as [panels, 16, width], `fill` past its rows and columns."""
    out = np.full((len(chosen), PANEL_ROWS, width), fill, matrix.dtype)
    for place, panel in enumerate(chosen.tolist()):
        rows = matrix[panel * PANEL_ROWS : (panel + 1) * PANEL_ROWS]
        out[place, : len(rows), : rows.shape[1]] = rows
    return out


def _dense_bytes(codes: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """[panels, 16, K] -> [panels, bytes]: [K/8][16][4], two nibbles a byte, or [K/4][16][4], whole bytes."""
    count = len(codes)
    if bits == 4:
        halves = codes.reshape(count, PANEL_ROWS, -1, 2, _SLOTS)
        codes = (halves[..., 0, :] | halves[..., 1, :] << 4).astype(np.uint8)
    vectors = codes.reshape(count, PANEL_ROWS, -1, _SLOTS)
    return vectors.transpose(0, 2, 1, 3).reshape(count, -1)


def _dense_codes(content: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Inverse of `_dense_bytes`."""
    count = len(content)
    vectors = content.reshape(count, -1, PANEL_ROWS, _SLOTS).transpose(0, 2, 1, 3)
    if bits == 8:
        return vectors.reshape(count, PANEL_ROWS, -1)
    halves = np.empty((*vectors.shape[:3], 2, _SLOTS), np.uint8)
    halves[..., 0, :], halves[..., 1, :] = vectors & 15, vectors >> 4
    return halves.reshape(count, PANEL_ROWS, -1)


def _sparse_bytes(codes: NDArray[np.uint8], mask: NDArray[np.bool_], kept: int) -> NDArray[np.uint8]:
    """[panels, 16, K] -> [panels, bytes]; survivors of padded blocks are codes of zero at position 0.

    Per slot the four survivors of a unit, codes n and positions p, are three bytes:
    n0 p1 p0 | n2 p3 p2 | n1 n3, highest bits first.
    """
    count = len(codes)
    blocks = mask.reshape(count, PANEL_ROWS, -1, BLOCK)
    places = np.argsort(~blocks, axis=3, kind="stable")[..., :kept].astype(np.uint8)
    values = np.take_along_axis(codes.reshape(blocks.shape), places, axis=3)
    places[~blocks.any(axis=3)] = 0
    n = values.reshape(count, PANEL_ROWS, -1, _STEPS, _SLOTS)
    p = places.reshape(n.shape)
    vectors = np.stack(
        [
            n[..., 0, :] << 4 | p[..., 1, :] << 2 | p[..., 0, :],
            n[..., 2, :] << 4 | p[..., 3, :] << 2 | p[..., 2, :],
            n[..., 1, :] << 4 | n[..., 3, :],
        ],
        axis=3,
    )
    return vectors.transpose(0, 2, 3, 1, 4).reshape(count, -1)


def _sparse_codes(content: NDArray[np.uint8], kept: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Inverse of `_sparse_bytes`: codes and survivors [panels, 16, K]."""
    count = len(content)
    units = content.reshape(count, -1, _VECTORS, PANEL_ROWS, _SLOTS).transpose(0, 3, 1, 2, 4)
    first, second, third = units[..., 0, :], units[..., 1, :], units[..., 2, :]
    n = np.stack([first >> 4, third >> 4, second >> 4, third & 15], axis=3)
    p = np.stack([first & 3, first >> 2 & 3, second & 3, second >> 2 & 3], axis=3)
    places = p.reshape(count, PANEL_ROWS, -1, kept).astype(np.int64)
    codes = np.full((*places.shape[:3], BLOCK), 8, np.uint8)
    mask = np.zeros(codes.shape, bool)
    np.put_along_axis(codes, places, n.reshape(places.shape), axis=3)
    np.put_along_axis(mask, places, True, axis=3)
    return codes.reshape(count, PANEL_ROWS, -1), mask.reshape(count, PANEL_ROWS, -1)


def _check_packed_pattern(kept: int) -> None:
    if kept not in PACKED_PATTERNS:
        raise InputError(
            f"packed linear: expected panels that keep 4, 2 or 1 of {BLOCK}, got {kept}; "
            "choose another pattern for this panel"
        )


def _check_array(name: str, array: NDArray[np.generic], dtype: type, shape: tuple[int, ...]) -> None:
    if array.dtype != dtype or array.shape != shape:
        raise InputError(
            f"packed linear: expected {name} {np.dtype(dtype)}{list(shape)}, "
            f"got {array.dtype}{list(array.shape)}"
        )
