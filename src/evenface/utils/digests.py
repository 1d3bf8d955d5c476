"""Damage is noticed: what is read back is what was written, or a sentence says that it is not.

Tables carry checksums of their pages, JSON files a digest of their content, arrays a checksum of every block. They find
damage by disks and copies, not forgery: whoever changes a file on purpose can make them anew.
"""

import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evenface.utils.errors import InputError
from evenface.utils.files import atomic_write, digest, write_json

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

SEAL = "digest"
"""Key of the digest of all the others."""
TENSORS = "evenface"
"""Key of what stands beside tensors in a file of safetensors."""
BLOCK = 4 << 20
"""Bytes of an array that share a checksum."""
FEW = 8
"""Blocks of an array that are looked at when it is opened."""


class Content(dict[str, Any]):
    """What a JSON file holds; a key that is missing is told in a sentence."""

    def __init__(self, values: Mapping[str, Any], path: Path) -> None:
        super().__init__(values)
        self.path = path

    def __missing__(self, key: str) -> Any:
        raise InputError(f"{self.path} lacks {key!r}", "It is not whole, or of another version.")


def write_sealed(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object with a digest of its content, whole or not at all."""
    write_json(path, {**content, SEAL: _seal(content)})


def read_json(path: Path, remedy: str = "") -> Content:
    """Read a JSON object, and see that it is as it was written where it has a digest."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"), object_hook=lambda values: Content(values, path))
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing", remedy) from error
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is damaged: it cannot be read as JSON", remedy) from error
    if not isinstance(content, Content):
        raise InputError(f"{path} is damaged: it holds no JSON object", remedy)
    seal = content.pop(SEAL, None)
    if seal is not None and seal != _seal(content):
        raise InputError(
            f"{path} is damaged: it is not as it was written (its digest is of other content)",
            f"{remedy} If it was changed on purpose, take the key {SEAL} out of it.".strip(),
        )
    return content


def _seal(content: Mapping[str, Any]) -> str:
    plain = json.loads(json.dumps({key: value for key, value in content.items() if key != SEAL}))
    return digest(json.dumps(plain, sort_keys=True))


def digest_file(path: Path) -> str:
    """Digest a file's bytes (BLAKE2b), 32 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def write_parquet(table: Any, path: Path) -> None:
    """Write a table of pandas or Arrow with a checksum of every page, whole or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    stored = table if isinstance(table, pa.Table) else pa.Table.from_pandas(table, preserve_index=False)
    with atomic_write(path) as temporary:
        pq.write_table(stored, temporary, write_page_checksum=True)


def read_parquet(path: Path, remedy: str = "") -> "pa.Table":
    """Read a table, and see that its pages are as they were written where they have checksums."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_table(path, page_checksum_verification=True)
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist", remedy) from error
    except (OSError, ValueError, MemoryError, pa.ArrowException) as error:
        raise InputError(f"{path} is damaged: it cannot be read as Parquet ({type(error).__name__})", remedy) from error


def read_frame(path: Path, columns: Sequence[str], remedy: str = "") -> "pd.DataFrame":
    """Read a table that has these columns; see :func:`read_parquet`."""
    stored = read_parquet(path, remedy)
    if missing := [name for name in columns if name not in stored.column_names]:
        raise InputError(f"{path} is damaged: it has no column {missing[0]!r}", remedy)
    return to_frame(stored, path, remedy)


def to_frame(stored: "pa.Table", path: Path, remedy: str = "") -> "pd.DataFrame":
    """Make a DataFrame of a table that was read; an InputError where what it says of itself is damaged."""
    try:
        frame: pd.DataFrame = stored.to_pandas()
    except Exception as error:  # pandas trusts what the file says of its columns, and fails in many ways
        raise InputError(f"{path} is damaged: {type(error).__name__}", remedy) from error
    return frame


def sealed_metadata(tensors: Mapping[str, Any], facts: Mapping[str, str]) -> dict[str, str]:
    """Make the metadata of a file of safetensors: facts, and a CRC-32 of them and of the tensors, under one key.

    Safetensors writes several keys in an order that differs from process to process.
    """
    return {TENSORS: json.dumps({**facts, "crc32": _tensor_checksum(tensors, facts)}, sort_keys=True)}


def open_metadata(tensors: Mapping[str, Any], metadata: Mapping[str, str]) -> dict[str, str]:
    """Give the facts that :func:`sealed_metadata` took; those of other files as they are."""
    if TENSORS not in metadata:
        return dict(metadata)
    facts: dict[str, str] = json.loads(metadata[TENSORS])
    if facts.pop("crc32", None) != _tensor_checksum(tensors, facts):
        raise ValueError("it is not as it was written: its checksum is another")
    return facts


def _tensor_checksum(tensors: Mapping[str, Any], facts: Mapping[str, str]) -> str:
    import torch

    found = zlib.crc32(json.dumps(dict(facts), sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        found = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), found)
        found = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy(), found)
    return f"{found:08x}"


def checksums(path: Path) -> list[int]:
    """Compute the CRC-32 of every block of a file, of :data:`BLOCK` bytes each."""
    with path.open("rb") as file:
        return [zlib.crc32(block) for block in iter(lambda: file.read(BLOCK), b"")]


def damaged_block(path: Path, known: Sequence[int], *, whole: bool) -> int | None:
    """Find a block of a file that is not as it was written."""
    count = -(-path.stat().st_size // BLOCK)
    if count != len(known):
        return min(count, len(known))
    looked = range(count) if whole or count <= FEW else sorted({i * (count - 1) // (FEW - 1) for i in range(FEW)})
    with path.open("rb") as file:
        for block in looked:
            file.seek(block * BLOCK)
            if zlib.crc32(file.read(BLOCK)) != known[block]:
                return block
    return None
