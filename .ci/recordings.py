"""Records what commands show in a terminal, as SVG below ``docs/recordings``; run by ``tox -e recordings``.

Each recording holds its text as the image's description, for those who do not see it, and for the test that compares it
with what the commands show now.
"""

from __future__ import annotations

import html
import io
import os
import pty
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "recordings"
COLUMNS = 108

# What the commands are shown: two runs, a model with two versions of them, an alias, and a service.
STORY = """
from pathlib import Path

import modelreg

registry = modelreg.ModelRegistry(author="ann")
Path("model").mkdir()
Path("claims/models").mkdir(parents=True)
for version, rate in (("1.0.0", 0.1), ("1.1.0", 0.01)):
    Path("model/weights.json").write_text(f"[{rate}, 0.7]")
    with registry.start_experiment_run("training", run_name=f"rate-{rate}") as run:
        run.log_param("rate", rate)
        for step in range(60):
            run.log_metric("loss", 4 * rate + 1 / (step + 2), step=step)
        run.log_metric("auc", 0.95 - rate)
        run.log_model(
            "model", model_format_name="json", model_format_version="1", uri=f"pvc://models/fraud/{version}",
            register_as="fraud", version=version,
        )
model = registry.get_registered_model("fraud")
model.description = "tells fraud from the rest"
registry.update(model)
registry.set_alias("fraud", "champion", "1.0.0")
registry.set_alias("fraud", "champion", "1.1.0")
registry.create_serving_environment("production")
registry.create_inference_service("answers", model="fraud", version="1.1.0", environment="production")
"""

# What is typed, by the name of the recording.
RECORDINGS: dict[str, Sequence[Sequence[str]]] = {
    "models": [["models", "list"], ["versions", "list", "fraud"]],
    "lineage": [["lineage", "fraud", "1.1.0"], ["alias", "list", "fraud"]],
    "runs": [
        ["runs", "list", "--metric", "auc", "--order-by", "metrics.auc DESC"],
        ["runs", "compare", "training/rate-0.1", "training/rate-0.01"],
    ],
    "plot": [["runs", "plot", "training/rate-0.1", "training/rate-0.01", "--metric", "loss"]],
    "cache": [["cache", "ls"], ["cache", "verify"]],
}

TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ")

# As rich has it, but for the fonts, which a reader's machine has: nothing is fetched from elsewhere.
SVG = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg" role="img">
    <desc>DESCRIPTION</desc>
    <style>
    .{unique_id}-matrix {{
        font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace;
        font-size: {char_height}px;
        line-height: {line_height}px;
    }}
    .{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: sans-serif; }}
    {styles}
    </style>
    <defs>
    <clipPath id="{unique_id}-clip-terminal">
      <rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
    </clipPath>
    {lines}
    </defs>
    {chrome}
    <g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
    {backgrounds}
    <g class="{unique_id}-matrix">
    {matrix}
    </g>
    </g>
</svg>
"""


def main() -> None:
    """Write all recordings."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        tell_story(Path(folder))
        for name in RECORDINGS:
            session = record(name, Path(folder))
            (FOLDER / f"{name}.svg").write_text(as_svg(session), encoding="utf-8")


def tell_story(folder: Path) -> None:
    """Make what the commands show: a registry and a cache of their own, below ``folder``."""
    subprocess.run([sys.executable, "-c", STORY], cwd=folder, env=environment(folder), check=True)  # noqa: S603 - our own program
    for version in ("1.0.0", "1.1.0"):
        in_terminal(["fetch", f"model-registry://fraud/{version}"], folder)


def environment(folder: Path) -> dict[str, str]:
    """Return the variables of the terminal that is recorded."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MODELREG_", "NO_COLOR"))}
    folders = {"MODELREG_DATA_DIR": "data", "MODELREG_CACHE_DIR": "cache", "MODELREG_PVC_ROOT": "claims"}
    own = {name: str(folder / below) for name, below in folders.items()}
    return {**kept, **own, "TERM": "xterm-256color", "COLUMNS": str(COLUMNS), "LINES": "30"}


def record(name: str, folder: Path) -> Text:
    """Return what a terminal shows of a recording's commands, as typed in ``folder``."""
    session = Text()
    for words in RECORDINGS[name]:
        shown = " ".join(f'"{word}"' if " " in word else word for word in words)
        session.append(f"$ modelreg {shown}\n", style="bold")
        session.append_text(Text.from_ansi(steady(in_terminal(words, folder))))
        session.append("\n")
    session.rstrip()
    return session


def in_terminal(words: Sequence[str], folder: Path) -> str:
    """Return what ``modelreg WORDS`` writes to a terminal.

    Raises:
        subprocess.CalledProcessError: The command failed.
    """
    ours, its = pty.openpty()
    command = [sys.executable, "-m", "modelreg", *words]
    with subprocess.Popen(  # noqa: S603 - our own command
        command, cwd=folder, env=environment(folder), stdin=subprocess.DEVNULL, stdout=its, stderr=its
    ) as process:
        os.close(its)
        written = b"".join(iter(lambda: _read(ours), b""))
    os.close(ours)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, written)
    return written.decode().replace("\r\n", "\n")


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1 << 16)
    except OSError:
        # Linux says so that nobody writes any more.
        return b""


def steady(text: str) -> str:
    """Return ``text`` with the same times whenever it was written."""
    return TIME.sub("2026-01-15 09:30:00Z", text)


def as_svg(session: Text) -> str:
    """Return the image of a session."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(session)
    template = SVG.replace("DESCRIPTION", html.escape(session.plain).replace("{", "{{").replace("}", "}}"))
    return console.export_svg(title="modelreg", code_format=template)


if __name__ == "__main__":
    main()
