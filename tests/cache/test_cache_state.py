"""The cache compared with a dict: whatever is done to both, the cache never shows what the dict does not."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

NAMES = st.sampled_from(["one", "two", "three"])
PATHS = st.sampled_from(["a.bin", "b.bin", "deep/a.bin", "deep/er/c.bin"])
CONTENTS = st.sampled_from([b"", b"first", b"second", b"third" * 100])
TREES = st.dictionaries(PATHS, CONTENTS, min_size=1, max_size=4)
LATER_S = st.sampled_from([0, 4000, 90_000])


class CacheMachine(RuleBasedStateMachine):
    """Puts, reads, changes, removes and verifies; ``expected`` is what a cache that nobody touched would hold."""

    def __init__(
        self,
        make_shelf: Callable[..., Any],
        overwrite: Callable[[Path, bytes], None],
        damage: Callable[[Path, bytes], None],
    ) -> None:
        super().__init__()
        self._overwrite = overwrite
        self._damage = damage
        self._folder = tempfile.TemporaryDirectory(prefix="modelreg-test-")
        self.shelf = make_shelf(Path(self._folder.name) / "cache")
        self.expected: dict[str, dict[str, bytes]] = {}
        self.pinned: set[str] = set()
        # Answers that may have lost bytes that only their source can bring again.
        self.doubtful: set[str] = set()
        self.shelf.cache.layout.create()

    def teardown(self) -> None:
        self._folder.cleanup()

    @rule(name=NAMES, files=TREES)
    def put(self, name: str, files: dict[str, bytes]) -> None:
        self.shelf.put(name, files)
        self.expected[name] = files
        self.doubtful.discard(name)

    @rule(name=NAMES)
    def get(self, name: str) -> None:
        found = self.shelf.get(name)
        if found is None:
            assert name not in self.expected or name in self.doubtful
        else:
            assert found == self.expected[name]
            self.doubtful.discard(name)

    @rule(name=NAMES)
    def pin(self, name: str) -> None:
        if name in self.expected:
            self.shelf.cache.refs.pin(self.shelf.key(name))
            self.pinned.add(name)

    @rule(name=NAMES)
    def unpin(self, name: str) -> None:
        self.shelf.cache.refs.unpin(self.shelf.key(name))
        self.pinned.discard(name)

    @rule(name=NAMES)
    def remove(self, name: str) -> None:
        self.shelf.cache.pruner.remove([self.shelf.key(name)])
        self.expected.pop(name, None)
        self.pinned.discard(name)

    @rule(max_size=st.sampled_from([None, 0, 100, 1000]), later_s=LATER_S)
    def prune(self, max_size: int | None, later_s: float) -> None:
        self.shelf.clock.ahead_s += later_s
        # What has no bytes, or has lost them, takes none of the quota.
        heavy = {name for name, files in self.expected.items() if any(map(self._has_bytes, files.values()))}
        pruned = self.shelf.cache.pruner.prune(max_size=max_size)
        gone = {uri.removeprefix("test://") for uri in pruned.refs}
        assert not gone & self.pinned
        assert max_size != 0 or heavy <= gone | self.pinned
        for name in gone:
            del self.expected[name]

    @rule(name=NAMES, path=PATHS, in_place=st.booleans(), data=st.sampled_from([b"wrong", b"FIRST"]))
    def corrupt_a_file(self, name: str, path: str, in_place: bool, data: bytes) -> None:
        tree = self._tree(name)
        target = tree / path if tree is not None else None
        if target is None or not target.exists():
            return
        if in_place:
            self._doubt()
            self._damage(target, data)
        else:
            self._overwrite(target, data)

    @rule(data=CONTENTS, is_removed=st.booleans())
    def corrupt_a_blob(self, data: bytes, is_removed: bool) -> None:
        blob = self.shelf.blob(data)
        if not blob.exists():
            return
        self._doubt()
        if is_removed:
            blob.unlink()
        else:
            self._damage(blob, b"rotten")

    @rule(name=NAMES)
    def lose_the_stamp(self, name: str) -> None:
        ref = self.shelf.cache.lookup(self.shelf.key(name))
        if ref is not None:
            Path(self.shelf.cache.layout.stamp(ref.tree)).unlink(missing_ok=True)

    @rule()
    def verify(self) -> None:
        found = self.shelf.cache.pruner.verify()
        assert self.shelf.wrong_blobs() == []
        for name in set(self.expected) - self.doubtful:
            assert self._ref(name).tree not in found.damaged
        for name, files in self.expected.items():
            ref = self._ref(name)
            if ref.tree not in found.damaged:
                assert self.shelf.cache.is_intact(ref)
                assert self.shelf.seen(ref) == files

    @invariant()
    def every_answer_is_listed(self) -> None:
        assert {ref.uri.removeprefix("test://") for _, ref in self.shelf.cache.refs} == set(self.expected)
        assert self.shelf.cache.pruner.usage().pinned == len(self.pinned)

    @invariant()
    def no_lease_is_left_over(self) -> None:
        assert list((self.shelf.root / "leases").iterdir()) == []

    def _ref(self, name: str) -> Any:
        return self.shelf.cache.lookup(self.shelf.key(name))

    def _tree(self, name: str) -> Path | None:
        ref = self._ref(name)
        return None if ref is None else Path(self.shelf.cache.layout.tree(ref.tree))

    def _has_bytes(self, data: bytes) -> bool:
        blob = self.shelf.blob(data)
        return blob.exists() and blob.stat().st_size > 0

    def _doubt(self) -> None:
        """Doubt every answer: which trees a changed file was linked into depends on all that happened before."""
        self.doubtful |= set(self.expected)


def test_the_cache_shows_what_a_dict_does_or_says_that_it_cannot(
    make_shelf: Callable[..., Any],
    overwrite: Callable[[Path, bytes], None],
    damage: Callable[[Path, bytes], None],
):
    run_state_machine_as_test(
        lambda: CacheMachine(make_shelf, overwrite, damage), settings=hypothesis.settings(stateful_step_count=25)
    )
