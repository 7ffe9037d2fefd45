"""Files of an option that hold one text a line: past texts, ids. Knows no command."""

from __future__ import annotations

from pathlib import Path

from adtrie.errors import InputError

MAX_BYTES = 64_000_000


def read_lines(option: str, path: Path) -> list[str]:
    """Lines of a UTF-8 file that are not blank; InputError naming `option` if it is too large or no text."""
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise InputError(f"{option}: {path} is above {MAX_BYTES} bytes; give fewer lines")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{option}: {path} is not UTF-8 at byte {error.start}; re-save it as UTF-8"
        ) from None
    return [line for line in text.splitlines() if line.strip()]
