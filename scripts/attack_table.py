"""Write the table of `docs/explanation/threat-model.md` from the reports of the attack tests: `make attack-table`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from attack.attacker import ATTEMPTS  # noqa: E402

PAGE = ROOT / "docs" / "explanation" / "threat-model.md"
START, END = "<!-- attacks -->", "<!-- /attacks -->"
COLUMNS = {
    "unconfined-root": "not confined (root)",
    "user": "user",
    "user-without-namespaces": "user, no user namespaces",
    "root": "root",
    "container": "container",
    "unit": "systemd unit",
    "user-without-landlock": "user, no Landlock",
    "user-without-seccomp": "user, no seccomp",
}


def main(folder: Path) -> None:
    """Replace the table between the marks."""
    # An environment that this machine does not have is left out.
    files = {name: folder / f"{name}.json" for name in COLUMNS}
    reports = {name: set(json.loads(file.read_text())["succeeded"]) for name, file in files.items() if file.exists()}
    header = ["A worker that was taken over tries to", *(COLUMNS[name] for name in reports)]
    lines = ["| " + " | ".join(header) + " |", "|---" * len(header) + "|"]
    for group, attempts in ATTEMPTS.items():
        lines.append(f"| **{group}** |" + " |" * len(reports))
        for attempt in attempts:
            answers = ("yes" if attempt in succeeded else "no" for succeeded in reports.values())
            lines.append(f"| {attempt} | " + " | ".join(answers) + " |")
    before, _, rest = PAGE.read_text().partition(START)
    after = rest.partition(END)[2]
    PAGE.write_text("\n".join([before + START, "", *lines, "", END + after.rstrip("\n"), ""]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
