"""Every Python block of README and docs runs, page by page, top to bottom; every ``modelreg`` command shown exists, and
manifests of Kubernetes are YAML that starts such commands.

A page's blocks share one namespace, in a folder of the page's own, on an embedded registry of its own. A block that
cannot run here (it needs a cluster, say) stands below ``<!-- not run: the reason -->``.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
import yaml

from modelreg.cli.main import main
from modelreg.testing import serve_hub
from modelreg.testing.oci_registry import oci_registry

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

FENCE = re.compile(
    r"^(?P<reason><!-- not run: .+ -->\n+)?^(?P<indent> *)```(?P<language>\w+).*?\n(?P<code>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, the line of the page it starts on, and whether it is to be run."""

    language: str
    code: str
    line: int
    runs: bool


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for match in FENCE.finditer(text):
        indent = len(match["indent"])
        code = "".join(line[indent:] or "\n" for line in match["code"].splitlines(keepends=True))
        yield Block(match["language"], code, text.count("\n", 0, match.start("code")) + 1, match["reason"] is None)


def shown_commands(page: Path) -> Iterator[list[str]]:
    for block in blocks(page):
        if block.language == "yaml":
            for document in yaml.safe_load_all(block.code):
                yield from arguments_of_containers(document)
        if block.language not in {"console", "bash", "sh"}:
            continue
        for line in block.code.replace("\\\n", " ").splitlines():
            for command in re.split(r"&&|\|\|?|;", line.removeprefix("$ ")):
                words = shlex.split(command, comments=True)
                if words and words[0] == "modelreg":
                    yield words[1:]


def arguments_of_containers(manifest: object) -> Iterator[list[str]]:
    """What containers of the image are started with; those that only add flags do not say to what."""
    if isinstance(manifest, dict):
        arguments = manifest.get("args", [])
        if "image" in manifest and arguments and "modelreg" in manifest["image"]:
            yield [*arguments]
        manifest = [*manifest.values()]
    if isinstance(manifest, list):
        for below in manifest:
            yield from arguments_of_containers(below)


def pages_with(language: str) -> list[Path]:
    return [page for page in PAGES if any(block.language == language and block.runs for block in blocks(page))]


# What the examples of a page use besides modelreg: extras, which not every environment has.
NEEDED = {
    "from-training-to-serving.md": ["skops", "prometheus_client"],
    "move-from-kserve-runtime.md": ["numpy"],
    "serve-a-model.md": ["skops", "prometheus_client"],
}


@contextmanager
def model_hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A hub with the model that the page takes from it."""
    repo = "sentence-transformers/all-MiniLM-L6-v2"
    names = ("config.json", "model.safetensors", "onnx/model.onnx")
    with serve_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        hub.commit(repo, {name: name.encode() * 100 for name in names})
        hub.repos[f"models/{repo}"].card = {"license": "apache-2.0"}
        yield


@contextmanager
def image_registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A registry of images that may be pushed to."""
    with oci_registry() as registry:
        monkeypatch.setenv("REGISTRY", f"{registry.host}/acme")
        yield


# What pages find where they run, besides an embedded registry.
AROUND = {"hugging-face.md": model_hub, "oci-registries.md": image_registry}


@pytest.mark.parametrize("page", pages_with("python"), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_examples_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for package in NEEDED.get(page.name, ()):
        pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "__main__"}
    with AROUND[page.name](monkeypatch) if page.name in AROUND else nullcontext():
        for block in blocks(page):
            if block.language == "python" and block.runs:
                # Empty lines first, so that a traceback names the line of the page.
                exec(compile("\n" * (block.line - 1) + block.code, page, "exec"), namespace)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_commands_shown_exist_with_the_options_shown(page: Path):
    for words in shown_commands(page):
        command: click.Command = main
        context = click.Context(main, info_name="modelreg")
        names = []
        while isinstance(command, click.Group) and words and not words[0].startswith("-"):
            names.append(words.pop(0))
            found = command.get_command(context, names[-1])
            assert found is not None, f"no command 'modelreg {' '.join(names)}'"
            command = found
        known = {
            option for parameter in command.get_params(context) for option in parameter.opts + parameter.secondary_opts
        }
        # Some commands take an option by another spelling, too.
        spelled = command.context_settings.get("token_normalize_func", str)
        shown = {spelled(word.partition("=")[0]) for word in words if word.startswith("-") and word != "-"}
        assert shown <= known | {"--version"}, f"'modelreg {' '.join(names)}' has no {sorted(shown - known)}"
