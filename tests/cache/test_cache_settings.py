from __future__ import annotations

from pathlib import Path

import pytest

from modelreg.cacheconfig import CacheSettings, cache_root, locating_values, parse_size
from modelreg.exceptions import InvalidInput


def test_an_empty_environment_means_the_defaults():
    assert CacheSettings.from_env({}) == CacheSettings(None, None, False, 0.0, True)


def test_a_variable_that_is_set_to_nothing_is_not_set():
    names = ["CACHE_DIR", "CACHE_MAX_SIZE", "OFFLINE", "CACHE_REVALIDATE", "CACHE_LOCKS"]

    assert CacheSettings.from_env({f"MODELREG_{name}": "" for name in names}) == CacheSettings()


def test_each_setting_has_its_variable():
    env = {
        "MODELREG_CACHE_DIR": "/data/cache",
        "MODELREG_CACHE_MAX_SIZE": "50GB",
        "MODELREG_OFFLINE": "1",
        "MODELREG_CACHE_REVALIDATE": "2.5",
        "MODELREG_CACHE_LOCKS": "off",
    }

    assert CacheSettings.from_env(env) == CacheSettings("/data/cache", 50 * 10**9, True, 2.5, False)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("4096", 4096),
        ("500MB", 500 * 10**6),
        ("50 GB", 50 * 10**9),
        ("1.5GiB", 3 << 29),
        ("2k", 2000),
        ("2 KiB", 2048),
        (" 3 T ", 3 * 10**12),
        ("1TiB", 1 << 40),
        ("12B", 12),
    ],
)
def test_a_size_is_a_number_and_a_unit(text: str, size: int):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1", "1PB", "1 2", "ten", "1e9", "0x10", "9" * 400, f"{'9' * 400}GB"])
def test_what_is_no_size_is_refused_by_the_name_of_what_was_set(text: str):
    with pytest.raises(InvalidInput, match="quota cannot be"):
        parse_size(text, name="quota")


@pytest.mark.parametrize("text", ["1", "true", "YES", " on "])
def test_a_flag_can_be_set_in_these_words(text: str):
    assert CacheSettings.from_env({"MODELREG_OFFLINE": text}).offline


@pytest.mark.parametrize("text", ["0", "False", "no", " OFF "])
def test_a_flag_can_be_cleared_in_these_words(text: str):
    assert not CacheSettings.from_env({"MODELREG_OFFLINE": text}).offline


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("MODELREG_OFFLINE", "maybe"),
        ("MODELREG_CACHE_LOCKS", "2"),
        ("MODELREG_CACHE_MAX_SIZE", "much"),
        ("MODELREG_CACHE_REVALIDATE", "soon"),
        ("MODELREG_CACHE_REVALIDATE", "-1"),
        ("MODELREG_CACHE_REVALIDATE", "inf"),
        ("MODELREG_CACHE_REVALIDATE", "nan"),
    ],
)
def test_a_variable_that_makes_no_sense_is_named(name: str, text: str):
    with pytest.raises(InvalidInput, match=name):
        CacheSettings.from_env({name: text})


def test_the_folder_is_made_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, home: Path):
    monkeypatch.chdir(tmp_path)

    assert cache_root(CacheSettings(root="here/../cache")) == str(tmp_path / "cache")
    assert cache_root(CacheSettings(root="~/cache")) == str(home / "cache")


def test_the_folder_is_the_platforms_own_for_caches_unless_one_is_named(home: Path):
    root = Path(cache_root(CacheSettings()))

    assert root.is_absolute()
    assert root.is_relative_to(home)
    assert "modelreg" in root.parts


def test_endpoints_tell_one_s3_object_from_another():
    env = {"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9000", "AWS_ENDPOINT_URL": ""}

    assert locating_values("s3", env) != locating_values("s3", {"AWS_ENDPOINT_URL": "http://127.0.0.1:9000"})
    assert "" not in locating_values("s3", env)
    assert locating_values("s3", env) != locating_values("s3", {})


def test_what_a_uri_says_all_of_depends_on_no_variable():
    assert locating_values("https", {"AWS_ENDPOINT_URL": "http://127.0.0.1:9000"}) == ()
