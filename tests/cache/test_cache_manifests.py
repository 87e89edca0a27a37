from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelreg.cache.manifests import (
    Entry,
    Manifest,
    is_plain_path,
    is_sha256,
    parse_manifest,
    pushed_digest,
    tree_digest,
)
from modelreg.exceptions import CacheError

A, B = "a" * 64, "b" * 64

digests = st.binary(min_size=32, max_size=32).map(bytes.hex)
paths = st.lists(st.text("abcé ._-日", min_size=1).filter(lambda name: name not in {".", ".."}), min_size=1, max_size=3)
entries = st.builds(Entry, paths.map("/".join), digests, st.integers(min_value=0, max_value=1 << 60), st.booleans())


def text_of(records: object) -> tuple[bytes, str]:
    """Return a manifest's text as someone else may write it, and its digest."""
    text = json.dumps(records).encode()
    return text, hashlib.sha256(text).hexdigest()


def record(**changes: object) -> dict[str, object]:
    return {"path": "a.bin", "sha256": A, "size": 3, "executable": False, **changes}


def test_the_canonical_text_is_the_one_that_the_format_describes():
    manifest = Manifest.of([Entry("é", B, 1, executable=True), Entry("a", A, 3)])

    assert manifest.canonical().decode() == (
        f'[{{"executable":false,"path":"a","sha256":"{A}","size":3}},'
        f'{{"executable":true,"path":"é","sha256":"{B}","size":1}}]'
    )
    assert manifest.digest == hashlib.sha256(manifest.canonical()).hexdigest()


@given(st.lists(entries, max_size=5, unique_by=lambda entry: entry.path), st.randoms())
def test_the_digest_does_not_depend_on_the_order_in_which_files_came(some: list[Entry], random):
    shuffled = list(some)
    random.shuffle(shuffled)

    assert Manifest.of(shuffled) == Manifest.of(some)
    assert tree_digest(shuffled) == f"sha256:{Manifest.of(some).digest}"


@given(st.lists(entries, max_size=5, unique_by=lambda entry: entry.path))
def test_a_manifest_reads_back_as_it_was_written(some: list[Entry]):
    manifest = Manifest.of(some)

    assert parse_manifest(manifest.canonical(), digest=manifest.digest) == manifest
    assert manifest.size == sum(entry.size for entry in some)


@pytest.mark.parametrize("change", [{"path": "b"}, {"sha256": B}, {"size": 4}, {"executable": True}])
def test_whatever_changes_in_a_file_changes_the_digest(change: dict[str, object]):
    entry = Entry("a", A, 3)

    assert tree_digest([entry._replace(**change)]) != tree_digest([entry])


def test_a_text_with_another_digest_is_no_manifest():
    assert parse_manifest(b"[]", digest=A) is None


@pytest.mark.parametrize(
    "path", ["../a", "a/../../b", "/etc/passwd", "", "a//b", "./a", "a/.", "C:/a", "C:a", "..\\a", "a\0b"]
)
def test_a_manifest_that_leads_out_of_its_tree_is_refused(path: str):
    text, digest = text_of([record(path=path)])

    with pytest.raises(CacheError, match="leads out of its tree"):
        parse_manifest(text, digest=digest)


@pytest.mark.parametrize("sha256", ["../../../../etc/passwd", A.upper(), "", A + "0"])
def test_a_manifest_whose_content_has_no_digest_is_refused(sha256: str):
    text, digest = text_of([record(sha256=sha256)])

    with pytest.raises(CacheError, match="no sha256"):
        parse_manifest(text, digest=digest)


@pytest.mark.parametrize("records", [1, None, [1], ["a"], [{}], [record(sha256=7)], [record(path=None)]])
def test_a_manifest_of_junk_is_the_caches_own_error(records: object):
    text, digest = text_of(records)

    with pytest.raises(CacheError):
        parse_manifest(text, digest=digest)


@given(paths.map("/".join))
def test_plain_names_stay_inside(path: str):
    assert is_plain_path(path)


def test_the_digest_of_a_pushed_file_is_that_of_its_bytes():
    assert pushed_digest([Entry("a", A, 3)], is_file=True) == f"sha256:{A}"


def test_the_digest_of_a_pushed_folder_does_not_tell_who_may_execute_its_files():
    plain, executable = Entry("a", A, 3), Entry("a", A, 3, executable=True)

    assert pushed_digest([executable], is_file=False) == pushed_digest([plain], is_file=False) == tree_digest([plain])


def test_a_digest_is_64_hex_digits_in_lower_case():
    assert is_sha256(A)
    assert not any(map(is_sha256, ["", A[1:], A + "a", A.upper(), "g" * 64, f"{A}\n"]))
