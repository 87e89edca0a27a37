"""A warm hit as a whole process: what a script that fetches a model pays over bare Python.

Section ``cache-process``.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from harness import Contender, Report, interleave, markdown_table, milliseconds, run_process
from hub_stub import COMMIT, hub
from storage_bench import clean_environment, peer, version_of, workspace

# What is fetched is pinned where the client can pin.
_PROGRAMS = {
    "bare Python": ("modelreg", "pass"),
    "modelreg.fetch": ("modelreg", "import modelreg; modelreg.fetch({uri!r}, digest={digest!r})"),
    "hf_hub_download at a commit": (
        "huggingface_hub",
        "import huggingface_hub as h; h.hf_hub_download('o/m', 'model.bin', revision={commit!r}, cache_dir={cache!r})",
    ),
    "cached_path": ("cached_path", "import cached_path; cached_path.cached_path({uri!r}, cache_dir={cache!r})"),
    "s3fs, one read (no cache)": (
        "s3fs",
        "import s3fs; s3fs.S3FileSystem(config_kwargs=dict(s3=dict(addressing_style='path'))).cat({key!r})",
    ),
}


def main() -> None:
    """Measure and publish."""
    from real_servers.s3 import PUBLIC_BUCKET, seaweedfs
    from real_servers.web import nginx

    report = Report.from_arguments("cache-process", script=__file__, rounds=15, packages=("modelreg",))
    content = bytes(4096)
    with workspace() as folder:
        for name in ("s3", "web"):
            (folder / name).mkdir()
        with seaweedfs(folder / "s3") as s3, nginx(folder / "web") as web, hub(web.root) as endpoint:
            (web.root / "model.bin").write_bytes(content)
            client = s3.client()
            client.put_object(Bucket=PUBLIC_BUCKET, Key="model.bin", Body=content)
            client.close()
            environment = clean_environment(
                **s3.env, HF_ENDPOINT=endpoint, HF_HUB_DISABLE_XET="1", MODELREG_CACHE_DIR=str(folder / "cache")
            )
            values = {
                "uri": f"{web.url}/model.bin",
                "digest": f"sha256:{hashlib.sha256(content).hexdigest()}",
                "commit": COMMIT,
                "key": f"{PUBLIC_BUCKET}/model.bin",
            }
            contenders = [
                _contender(name, who, program, {**values, "cache": str(folder / f"cache-{who}")}, environment)
                for name, (who, program) in _PROGRAMS.items()
            ]
            timings = interleave(contenders, rounds=report.rounds)
    bare = timings[0].median()
    rows = [(timing.name, milliseconds(timing.median()), milliseconds(timing.median() - bare)) for timing in timings]
    table = markdown_table(["python -c ...", "ms", "ms over bare Python"], rows)
    report.publish(
        table, extra_versions={name: version_of(name) for name in ("huggingface_hub", "cached_path", "s3fs")}
    )


def _contender(name: str, who: str, program: str, values: dict[str, str], environment: dict[str, str]) -> Contender:
    command = [peer(who), "-c", program.format(**values)]
    # Byte code of what is imported is written by the first, uncounted round.
    Path(values["cache"]).mkdir(exist_ok=True)
    return Contender(name, lambda: run_process(command, env=environment))


if __name__ == "__main__":
    main()
