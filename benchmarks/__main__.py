"""`python -m benchmarks [NAME...] [--quick] [--json FILE]`: run all benchmarks, or those named."""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import platformdirs

from benchmarks import build, call, decode, gate, jail, machine, memory, opening, pickled, relay
from benchmarks.measure import Result, Stage
from syncell import Runner
from syncell.sandbox.private import remove_tree

BENCHMARKS = {
    "decode": decode.run,
    "pickled": pickled.run,
    "relay": relay.run,
    "call": call.run,
    "open": opening.run,
    "jail": jail.run,
    "gate": gate.run,
    "memory": memory.run,
    "build": build.run,
}


def main() -> None:
    """Run them, print what each found as soon as it is known, and write all of it to a file when asked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}; all when none is named")
    parser.add_argument("--quick", action="store_true", help="fewer rows and turns: a look, not a result")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every turn and the machine's facts there")
    arguments = parser.parse_args()
    if unknown := set(arguments.names).difference(BENCHMARKS):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    facts = machine.facts()
    print("\n".join(f"{name:<12}{value}" for name, value in facts.items()))
    results = _run(arguments.names or list(BENCHMARKS), quick=arguments.quick)
    if arguments.json:
        report = {"machine": facts, "quick": arguments.quick, "results": [result.as_json() for result in results]}
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")


def _run(names: list[str], *, quick: bool) -> list[Result]:
    # Where environments are kept by default, so that files are linked out of the installer's cache as they are there.
    caches = platformdirs.user_cache_path(ensure_exists=True)
    folder = Path(tempfile.mkdtemp(prefix="syncell-benchmarks-", dir=caches))
    results = []
    try:
        with Runner(state_dir=folder / "state", cache_dir=folder / "cache") as runner:
            for name in names:
                (own := folder / name).mkdir()
                for result in BENCHMARKS[name](Stage(runner, own, quick=quick)):
                    print(f"\n{result}", flush=True)
                    results.append(result)
    finally:
        remove_tree(folder)
    return results


if __name__ == "__main__":
    main()
