"""Every figure of speed, by one command: `make bench`, or `python -m benchmarks.speed`.

Runs the parts one after another, each a module of its own that writes JSON, and puts them together in
benchmarks/results/speed.json, from which the README's table and the roofline are made. A part that was
finished for this commit and these options is not run again (--again does). What is installed and made before
anything can be timed (--prepare) takes about an hour the first time and is not part of the half hour.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import machine, peer_models, speed_summary
from benchmarks.engines import ENGINES
from benchmarks.paper_parts import Parts
from benchmarks.peers.setup import ensure_peer
from benchmarks.roofline import page

FOLDER = machine.ROOT / "build" / "bench"
SECTION = "result"
PART_LIMIT_S = 1_200.0


@dataclass(frozen=True)
class Part:
    """A module with a main. result: the name it writes in benchmarks/results; by default it takes --out FILE.

    quick: arguments of a quick run, None where there is none. minutes: on two quiet cores of 2.5 GHz.
    """

    name: str
    module: str
    arguments: tuple[str, ...] = ()
    quick: tuple[str, ...] | None = None
    minutes: float = 2.0
    result: str = ""
    takes_engines: bool = False


_QUICK_ROUNDS = ("--rounds", "1")
_QUICK_MANNERS = (*_QUICK_ROUNDS, "--tries", "1")
_QUICK_ENGINES = (*_QUICK_MANNERS, "--starts", "1")
_QUICK_TARGETING = ("--variants", "INT8", "--queries", "3", "--tries", "1")
_COMPANY = ("exact k=1", "verify width 10", "--rounds", "5")
PARTS = (
    Part(
        "engines-135m", "benchmarks.speed_engines", ("--shape", "135m"), _QUICK_ENGINES, 4, takes_engines=True
    ),
    Part(
        "engines-0.5b", "benchmarks.speed_engines", ("--shape", "0.5b"), _QUICK_ENGINES, 6, takes_engines=True
    ),
    Part(
        "engines-1.5b", "benchmarks.speed_engines", ("--shape", "1.5b"), _QUICK_ENGINES, 8, takes_engines=True
    ),
    Part("manners", "benchmarks.speed_manners", (), _QUICK_MANNERS, 2, takes_engines=True),
    Part("targeting", "benchmarks.speed_targeting", (), (*_QUICK_TARGETING, "--peers", "2", "--no-check"), 3),
    Part("scale", "benchmarks.speed_targeting", ("--catalogue", "scale"), _QUICK_TARGETING, 2),
    Part("engine", "benchmarks.engine", minutes=2, result="engine"),
    Part("concurrent", "benchmarks.concurrent", _COMPANY, minutes=3, result="concurrent"),
)


def needs(parts: Sequence[Part], engines: Sequence[str], quick: bool) -> dict[str, Callable[[], object]]:
    """What must be there before these parts can be timed, by name: environments, models, a catalogue."""
    kinds = [kind for kind in ENGINES if not engines or kind.name in engines]
    names = {part.name for part in parts}
    shapes = [
        shape
        for shape in peer_models.SHAPES
        if f"engines-{shape}" in names or (shape == peer_models.REAL and "manners" in names)
    ]
    peers = {kind.peer for kind in kinds if kind.peer and shapes} | {"transformers"}
    found: dict[str, Callable[[], object]] = {
        f"engine {peer}": partial(ensure_peer, peer) for peer in sorted(peers)
    }
    for shape in shapes:
        for form in dict.fromkeys(kind.model_form for kind in kinds):
            found[f"{form} of {shape}"] = partial(peer_models.model_in, form, shape)
        for form in (kind.model_form for kind in kinds if kind.ours and not quick):
            found[f"plan of {form} of {shape}"] = partial(peer_models.plan_of, form, shape)
    if names & {"targeting", "scale"} and not quick:
        for form in ("tuned-int4", "tuned-mixed"):
            found[form] = partial(peer_models.plan_of, form, peer_models.REAL)
    if "scale" in names:
        found["the catalogue of 1.7 million strings"] = peer_models.scale_catalogue
    return found


def prepare(wanted: Mapping[str, Callable[[], object]], note: Callable[[str], None]) -> list[str]:
    """Installs and makes what is missing; what could not be had and why. Nothing here is timed."""
    missing = []
    for name, make in wanted.items():
        try:
            make()
        except RuntimeError as error:
            missing.append(f"{name}: {error}")
            note(missing[-1])
    return missing


def command(part: Part, quick: bool, engines: Sequence[str], out: Path | None) -> list[str]:
    """What runs the part."""
    arguments = [*part.arguments, *((part.quick or ()) if quick else ())]
    if part.takes_engines and engines:
        arguments += ["--engines", *engines]
    if out is not None:
        arguments += ["--out", str(out)]
    return [sys.executable, "-m", part.module, *arguments]


def run_part(part: Part, quick: bool, engines: Sequence[str]) -> dict[str, Any]:
    """What the part wrote, or {"failed": why}."""
    if importlib.util.find_spec(part.module) is None:
        return {"failed": f"{part.module} is not in this checkout"}
    with tempfile.TemporaryDirectory() as folder:
        out = None if part.result else Path(folder) / "part.json"
        written = out or machine.RESULTS / f"{part.result}.json"
        started = time.time()
        try:
            code = subprocess.run(
                command(part, quick, engines, out), cwd=machine.ROOT, check=False, timeout=PART_LIMIT_S
            ).returncode
        except subprocess.TimeoutExpired:
            return {"failed": f"not done after {PART_LIMIT_S:.0f} s"}
        if code != 0 or not written.exists() or written.stat().st_mtime < started - 1:
            return {"failed": f"{part.module} ended with exit code {code} and no result"}
        found: dict[str, Any] = json.loads(written.read_text(encoding="utf-8"))
        return {"machine": machine.describe(), **found, "seconds": round(time.time() - started, 1)}


def run_all(
    parts: Sequence[Part],
    store: Parts,
    run: Callable[[Part], dict[str, Any]],
    identity: Callable[[Part], str],
    again: bool = False,
) -> dict[str, dict[str, Any]]:
    """Results by part: those kept for the same question, the others run now; failures are not kept."""
    found = {}
    for part in parts:
        kept = None if again else store.load(part.name, SECTION, identity(part))
        if kept is None:
            print(f"--- {part.name}: about {part.minutes:g} min", file=sys.stderr)
            kept = run(part)
            if "failed" in kept:
                print(f"--- {part.name}: {kept['failed']}", file=sys.stderr)
            else:
                store.save(part.name, SECTION, identity(part), kept)
        found[part.name] = kept
    return found


def chosen_parts(names: Sequence[str], quick: bool) -> list[Part]:
    """The parts of these names, all for none; a quick run leaves out those that have no quick form."""
    known = [part.name for part in PARTS]
    for name in names:
        if name not in known:
            raise SystemExit(f"unknown part {name!r}; choose from {', '.join(known)}")
    return [part for part in PARTS if part.name in (names or known) and not (quick and part.quick is None)]


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = ", ".join(part.name for part in PARTS)
    parser.add_argument("--parts", nargs="*", default=[], help=f"{names}; the others stay as they were")
    parser.add_argument("--engines", nargs="*", default=[], help="names; by default all")
    parser.add_argument("--quick", action="store_true", help="one round of each, kept out of the results")
    parser.add_argument("--again", action="store_true", help="run finished parts again")
    parser.add_argument("--prepare", action="store_true", help="only install and make what the parts need")
    return parser.parse_args()


def main() -> int:
    """Prepares, runs, puts together; exit code 1 if a part failed."""
    options = parse_options()

    def say(text: str) -> None:
        print(text, file=sys.stderr)

    parts = chosen_parts(options.parts, options.quick)
    missing = prepare(needs(parts, options.engines, options.quick), say)
    if options.prepare:
        return 1 if missing else 0
    folder = FOLDER / ("quick" if options.quick else "parts")
    started = time.monotonic()
    found = run_all(
        parts,
        Parts(folder),
        lambda part: run_part(part, options.quick, options.engines),
        lambda part: json.dumps([machine.commit(), command(part, options.quick, options.engines, None)[2:]]),
        options.again,
    )
    if options.parts and not options.quick:
        found = with_earlier(found, machine.RESULTS / "speed.json")
    result = speed_summary.assemble(found) | {
        "missing": missing,
        "minutes": round((time.monotonic() - started) / 60, 1),
        "parts": found,
    }
    print(speed_summary.text(result))
    write(result, folder if options.quick else None)
    return 1 if any("failed" in part for part in found.values()) else 0


def with_earlier(found: dict[str, dict[str, Any]], path: Path) -> dict[str, dict[str, Any]]:
    """The parts found, and those of an earlier result that were not asked for; each tells its machine."""
    earlier = json.loads(path.read_text(encoding="utf-8"))["parts"] if path.is_file() else {}
    both = earlier | found
    return {part.name: both[part.name] for part in PARTS if part.name in both}


def write(result: Mapping[str, Any], quick_folder: Path | None) -> None:
    """speed.json and the roofline page, among the results or, of a quick run, beside its parts."""
    if quick_folder is None:
        path = machine.write("speed", dict(result))
    else:
        path = quick_folder.parent / "quick-speed.json"
        path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    plot = path.with_name(path.stem.replace("speed", "roofline") + ".html")
    plot.write_text(page(result), encoding="utf-8")
    print(f"written to {path} and {plot}")


if __name__ == "__main__":
    sys.exit(main())
