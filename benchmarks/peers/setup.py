"""Creates the virtual environments of the peers under .peers/ of the repository, once per requirements file.

`python benchmarks/peers/setup.py` does it by hand; benchmarks call `ensure_peer`. Knows no benchmark.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
PEERS = HERE.parents[1] / ".peers"


def ensure_peer(name: str) -> Path:
    """The Python of peer `name`, installed from requirements-{name}.txt if it is missing or the file changed.

    Raises RuntimeError with pip's last lines if the installation fails; nothing half-made is left behind.
    """
    requirements = HERE / f"requirements-{name}.txt"
    folder = PEERS / name
    python, stamp = folder / "bin" / "python", folder / "installed.txt"
    wanted = requirements.read_text(encoding="utf-8")
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted and python.exists():
        return python
    print(f"installing peer {name!r} into {folder} (about 1 GB, minutes)", file=sys.stderr)
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, with_pip=True)
    command = [str(python), "-m", "pip", "install", "--quiet", "-r", str(requirements)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        shutil.rmtree(folder, ignore_errors=True)
        raise RuntimeError(
            f"peer {name!r} could not be installed:\n" + "\n".join(done.stderr.splitlines()[-8:])
        )
    stamp.write_text(wanted, encoding="utf-8")
    return python


if __name__ == "__main__":
    for file in sorted(HERE.glob("requirements-*.txt")):
        print(ensure_peer(file.stem.removeprefix("requirements-")))
