"""The layers of a model: which file goes into which, and the tar that each of them is.

The same files give the same layers on every machine: members are sorted, belong to root, have one mode and one time,
and are not compressed, for a compressor's next version makes other bytes. Weights would hardly get smaller anyway.
"""

from __future__ import annotations

import hashlib
import struct
import tarfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath

import attrs

from modelreg.exceptions import InvalidInput
from modelreg.storage.model import LocalFile, UploadedFile
from modelreg.storage.oci.blobs import Blob, Piece, blob_of, hashed

#: Where a modelcar has its files, without the slash that a name in a layer does not have.
MODELS = "models"
TAR = "application/vnd.oci.image.layer.v1.tar"
TAR_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"

# A file from this size on is a layer of its own: when another file changes, it is neither sent nor fetched again.
_LARGE_BYTES = 16 << 20
# Small files share layers of about this size.
_GROUP_BYTES = 256 << 20
_MOST_GROUPS = 8
_LARGEST_CARD_BYTES = 16 << 20
_BLOCK = tarfile.BLOCKSIZE
_FILE_MODE, _FOLDER_MODE = 0o644, 0o755


@attrs.frozen
class Layer:
    """A layer that is ready to be sent.

    Attributes:
        blob: Its bytes.
        media_type: What they are.
        diff_id: ``sha256:<hex>`` of the tar, uncompressed.
        annotations: What its descriptor says besides.
    """

    blob: Blob
    media_type: str
    diff_id: str
    annotations: dict[str, str]


def grouped(files: Iterable[LocalFile], *, most_layers: int) -> list[tuple[LocalFile, ...]]:
    """Return which files share a layer: a large one has its own, as long as there are layers enough.

    Which layer a file shares is told from its name alone, so that other files' coming and going changes little. Large
    ones come first: layers above one that has changed are unpacked again by container runtimes, and small files, which
    are configurations mostly, change more often than weights.

    Args:
        files: What is pushed.
        most_layers: How many layers there may be.

    Example:
        >>> names = [("a.json", 2), ("b.bin", 99 << 20), ("c.bin", 99 << 20)]
        >>> files = [LocalFile(Path(name), name, size, 0) for name, size in names]
        >>> [[file.name for file in group] for group in grouped(files, most_layers=100)]
        [['b.bin'], ['c.bin'], ['a.json']]
    """
    in_order = sorted(files, key=lambda one: one.name)
    large = [file for file in in_order if file.size >= _LARGE_BYTES]
    small = [file for file in in_order if file.size < _LARGE_BYTES]
    small_groups = _by_name(small, min(_groups_of(small), max(1, most_layers - 1)))
    room = max(1, most_layers - len(small_groups))
    large_groups = [(file,) for file in large] if len(large) <= room else _by_name(large, room)
    return [*large_groups, *small_groups]


def _groups_of(files: Sequence[LocalFile]) -> int:
    """Return how many layers ``files`` share: a power of two, so that growing rarely moves them."""
    wanted = sum(file.size for file in files) // _GROUP_BYTES
    return min(_MOST_GROUPS, 1 << wanted.bit_length())


def _by_name(files: Iterable[LocalFile], count: int) -> list[tuple[LocalFile, ...]]:
    groups: dict[int, list[LocalFile]] = {}
    for file in files:
        number = int.from_bytes(hashlib.sha256(file.name.encode()).digest()[:8], "big")
        groups.setdefault(number % count, []).append(file)
    return [tuple(groups[number]) for number in sorted(groups)]


def layer_of(files: Sequence[LocalFile], *, alive: Callable[[], object]) -> Layer:
    """Return the layer that has ``files`` below ``/models``, hashed.

    Args:
        files: What is in it.
        alive: Called for every MiB that is read; what it raises ends the reading.

    Raises:
        InvalidInput: A file cannot be read, or is not what it was when the push began.
    """
    blob = hashed(_tar(files), alive=alive)
    annotations = {}
    if len(files) == 1:
        annotations = _content_annotations(files[0].name, f"sha256:{blob.files[0].sha256}")
    return Layer(blob, TAR, blob.digest, annotations)


def card_layer(path: Path) -> Layer:
    """Return the layer that has the model's card below ``/models``, marked as what tools read without the model.

    It is in the form of gzip, by which those tools know it.

    Raises:
        InvalidInput: The card cannot be read, or is too large for one.
    """
    try:
        content = path.read_bytes() if path.stat().st_size <= _LARGEST_CARD_BYTES else None
    except OSError as error:
        raise InvalidInput(f"the model card {path} cannot be read: {error.strerror or error}") from error
    if content is None:
        raise InvalidInput(f"the model card {path} has more than {_LARGEST_CARD_BYTES >> 20} MiB")
    tar = b"".join([_header(MODELS), _header(f"{MODELS}/{path.name}", len(content)), content, _padding(len(content))])
    tar += bytes(2 * _BLOCK)
    card = UploadedFile(path.name, hashlib.sha256(content).hexdigest(), len(content))
    annotations = {
        **_content_annotations(card.path, f"sha256:{card.sha256}"),
        "io.opendatahub.modelcar.layer.type": "modelcard",
    }
    blob = attrs.evolve(blob_of(stored_gzip(tar)), files=(card,))
    return Layer(blob, TAR_GZIP, blob_of(tar).digest, annotations)


def _content_annotations(name: str, digest: str) -> dict[str, str]:
    """Return what tells of a layer's one file without unpacking it, under the names that olot gave these facts."""
    base = name.rpartition("/")[2]
    return {
        "org.opencontainers.image.title": base,
        "olot.layer.content.digest": digest,
        "olot.layer.content.inlayerpath": f"/{MODELS}/{name}",
        "olot.layer.content.name": base,
        "olot.layer.content.type": "file",
    }


def _tar(files: Sequence[LocalFile]) -> list[Piece]:
    """Return the pieces of a tar that holds ``files`` and the folders they are in."""
    pieces: list[Piece] = []
    folders: set[str] = set()
    for file in sorted(files, key=lambda one: one.name):
        name = f"{MODELS}/{file.name}"
        above = [str(folder) for folder in reversed(PurePosixPath(name).parents) if folder.name]
        made_up = [_header(folder) for folder in above if folder not in folders]
        folders.update(above)
        pieces += [b"".join([*made_up, _header(name, file.size)]), file, _padding(file.size)]
    return [*pieces, bytes(2 * _BLOCK)]


def _header(name: str, size: int | None = None) -> bytes:
    """Return the header of a file of ``size`` bytes, or of a folder if it has none."""
    member = tarfile.TarInfo(name)
    member.mode, member.mtime = _FILE_MODE, 0
    if size is None:
        member.type, member.mode = tarfile.DIRTYPE, _FOLDER_MODE
    else:
        member.size = size
    # GNU's form has sizes and names without limit, and is what every reader of layers understands.
    return member.tobuf(tarfile.GNU_FORMAT, "utf-8", "strict")


def _padding(size: int) -> bytes:
    return bytes(-size % _BLOCK)


def stored_gzip(content: bytes) -> bytes:
    """Return ``content`` in the form of gzip, uncompressed: the one form that every version of every zlib agrees on.

    Example:
        >>> import gzip
        >>> gzip.decompress(stored_gzip(b"a card"))
        b'a card'
    """
    most = 0xFFFF
    parts = [content[start : start + most] for start in range(0, len(content), most)] or [b""]
    blocks = [
        struct.pack("<BHH", index == len(parts) - 1, len(part), len(part) ^ most) + part
        for index, part in enumerate(parts)
    ]
    head = struct.pack("<BBBBIBB", 0x1F, 0x8B, 8, 0, 0, 0, 0xFF)
    return b"".join([head, *blocks, struct.pack("<II", zlib.crc32(content), len(content) & 0xFFFFFFFF)])
