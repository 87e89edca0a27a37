#!/usr/bin/env python3
"""Replay recorded Model Registry REST exchanges against a server and report every difference.

A recording (`*.json`) is a list of steps: the request, and the answer that is right. It is what Kubeflow's own server
answered (PostgreSQL behind it), except on the steps with an `instead`: there that server departs from its own
specification or loses data, and `instead.why` says how.

Ids differ from server to server, so a step's `save` names what it keeps (`{"rm": "id"}`), and `{rm}` stands for it in
later paths, queries, bodies and answers. In an answer, `<time>` is any time in milliseconds, `<id>` any id, `<name>`
any
generated name, `<token>` any page token, `<text>` any message, and `<any>` anything.

    replay.py --server 'modelreg registry serve --db {db} --port {port}' [RECORDING ...]
    replay.py --base-url http://127.0.0.1:8080 RECORDING      # a server that is up, and empty

With --server, each recording gets a server of its own on an empty database. Exit status: the number of recordings
that differ (at most 100).
"""

from __future__ import annotations

import argparse
import json
import pathlib
import re
import shlex
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

API = "/api/model_registry/v1alpha3"
VAR = re.compile(r"\{([A-Za-z0-9_]+)\}")


def fill(value, names):
    if isinstance(value, str):
        return VAR.sub(lambda m: names.get(m.group(1), m.group(0)), value)
    if isinstance(value, list):
        return [fill(v, names) for v in value]
    if isinstance(value, dict):
        return {k: fill(v, names) for k, v in value.items()}
    return value


def is_text(value):
    return isinstance(value, str) and value != ""


PLACEHOLDERS = {
    "<time>": lambda value: is_text(value) and value.isdigit(),
    "<id>": is_text,
    "<name>": is_text,
    "<token>": is_text,
    "<text>": is_text,
    "<any>": lambda value: True,
}


def seen(expected, got, names):
    """`got` as the recording would have it: each part that a placeholder or a saved id stands for, replaced by that."""
    if isinstance(expected, dict) and isinstance(got, dict):
        return {key: seen(expected.get(key), value, names) for key, value in got.items()}
    if isinstance(expected, list) and isinstance(got, list):
        return [seen(one, other, names) for one, other in zip(expected, got, strict=False)] + got[len(expected) :]
    if isinstance(expected, str):
        if expected in PLACEHOLDERS:
            return expected if PLACEHOLDERS[expected](got) else got
        if isinstance(got, str) and fill(expected, names) == got:
            return expected
    return got


class Client:
    def __init__(self, base_url):
        self.base_url = base_url.rstrip("/") + API

    def send(self, step, names):
        path = fill(step["path"], names)
        query = urllib.parse.urlencode(fill(step.get("query", {}), names))
        url = self.base_url + urllib.parse.quote(path) + ("?" + query if query else "")
        data = None
        headers = {"Content-Type": "application/json"} | step.get("headers", {})
        if "raw" in step:
            data = step["raw"].encode()
        elif "body" in step:
            data = json.dumps(fill(step["body"], names)).encode()
        request = urllib.request.Request(url, data=data, method=step["method"], headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                status, text = response.status, response.read()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read()
        try:
            body = json.loads(text) if text else None
        except ValueError:
            body = "<not JSON>"
        return status, body

    def run(self, step, names):
        """One step: (status, body), or for a walk the item names of each page."""
        if not step.get("walk"):
            return self.send(step, names)
        pages, token = [], ""
        for _ in range(50):
            query = dict(step.get("query", {}))
            if token:
                query["nextPageToken"] = token
            status, body = self.send({**step, "query": query}, names)
            if status != 200:
                return status, body
            pages.append([item.get("name") for item in body["items"]])
            token = body.get("nextPageToken") or ""
            if not token:
                break
        return 200, {"pages": pages}


def save(step, body, names):
    for name, field in step.get("save", {}).items():
        if isinstance(body, dict) and body.get(field):
            names[name] = str(body[field])


def play(client, steps):
    """Every step's differences: a list of (index, step, expected, got)."""
    names, differences = {}, []
    for index, step in enumerate(steps):
        status, body = client.run(step, names)
        save(step, body, names)
        expected = step["answer"]
        got = {"status": status, "body": seen(expected["body"], body, names)}
        if got != expected:
            differences.append((index, step, expected, got))
    return differences


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def with_server(command, action):
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        argv = shlex.split(command.format(db=folder + "/registry.db", port=port))
        process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            base_url = f"http://127.0.0.1:{port}"
            for _ in range(300):
                try:
                    urllib.request.urlopen(base_url + API + "/registered_models", timeout=1).read()
                    break
                except (urllib.error.URLError, OSError):
                    if process.poll() is not None:
                        sys.exit(f"the server ended with {process.returncode}: {shlex.join(argv)}")
                    time.sleep(0.1)
            else:
                sys.exit("the server did not come up in 30 s")
            return action(Client(base_url))
        finally:
            process.terminate()
            process.wait(20)


def brief(step):
    body = step.get("raw", step.get("body"))
    text = f"{step['method']} {step['path']}"
    if step.get("query"):
        text += " ?" + json.dumps(step["query"], ensure_ascii=False)
    if body is not None:
        text += " " + json.dumps(body, ensure_ascii=False)[:160]
    notes = [note for note in (step.get("note"), step.get("instead", {}).get("why")) if note]
    return text + ("   # " + "; ".join(notes) if notes else "")


def show(expected, got, path=""):
    """The smallest differing parts of two answers."""
    if isinstance(expected, dict) and isinstance(got, dict):
        for key in sorted(expected.keys() | got.keys()):
            if expected.get(key, "<absent>") != got.get(key, "<absent>"):
                yield from show(expected.get(key, "<absent>"), got.get(key, "<absent>"), f"{path}.{key}")
    elif isinstance(expected, list) and isinstance(got, list) and len(expected) == len(got):
        for i, (one, other) in enumerate(zip(expected, got, strict=False)):
            if one != other:
                yield from show(one, other, f"{path}[{i}]")
    else:
        one, other = (json.dumps(value, ensure_ascii=False)[:300] for value in (expected, got))
        yield f"      {path or '.'}: expected {one}, got {other}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", nargs="*", type=pathlib.Path)
    parser.add_argument("--server", help="command that starts a server; {db} and {port} are filled in")
    parser.add_argument("--base-url", help="a running, empty server")
    parser.add_argument("--quiet", action="store_true", help="counts only")
    args = parser.parse_args()
    if bool(args.server) == bool(args.base_url):
        parser.error("one of --server and --base-url")
    recordings = args.recordings or sorted(pathlib.Path(__file__).parent.glob("*.json"))
    total = wrong = failed = 0
    for recording in recordings:
        steps = json.loads(recording.read_text())["steps"]
        action = lambda client, steps=steps: play(client, steps)  # noqa: E731
        differences = with_server(args.server, action) if args.server else action(Client(args.base_url))
        total, wrong, failed = total + len(steps), wrong + len(differences), failed + bool(differences)
        print(f"{recording.stem}: {len(steps) - len(differences)} of {len(steps)} as recorded")
        if not args.quiet:
            for index, step, expected, got in differences:
                print(f"   {index}: {brief(step)}")
                print("\n".join(show(expected, got)))
    print(f"{total - wrong} of {total} steps as recorded, {failed} of {len(recordings)} recordings differ")
    return min(failed, 100)


if __name__ == "__main__":
    sys.exit(main())
