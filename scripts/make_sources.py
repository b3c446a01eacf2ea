"""Writes the two Parquet files of fixtures/sources as others lay them out (pip: pyarrow).

datasets.parquet: as `datasets.Dataset.to_parquet` writes a set of pictures: a struct of bytes and path, a list of captions, a
class as a number with its names in the metadata, snappy, dictionaries.
img2dataset.parquet: as img2dataset's `output_format=parquet` writes a shard: `jpg` beside key, url and caption, a failed
download as nulls; here with zstd and pages of the second version.

    python scripts/make_sources.py
"""

import json
import struct
import zlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

into = Path(__file__).parent.parent / "fixtures/sources"


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


# Two pixels, red and blue.
picture = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, 8, 2, 0, 0, 0))
picture += chunk(b"IDAT", zlib.compress(bytes([0, 255, 0, 0, 0, 0, 255]))) + chunk(b"IEND", b"")
(into / "small.png").write_bytes(picture)

image = pa.array(
    [{"bytes": picture, "path": "0.png"}, {"bytes": None, "path": "small.png"}],
    pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
)
features = {
    "image": {"_type": "Image"},
    "captions": {"feature": {"dtype": "string", "_type": "Value"}, "_type": "List"},
    "label": {"names": ["cat", "dog"], "_type": "ClassLabel"},
}
table = pa.table(
    {
        "image": image,
        "captions": pa.array([["a cat", "a tom"], ["a dog"]]),
        "label": pa.array([0, 1], pa.int64()),
    }
).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
pq.write_table(table, into / "datasets.parquet", compression="snappy", row_group_size=100)

rows = 3
table = pa.table(
    {
        "key": [f"{i:09}" for i in range(rows)],
        "url": [f"https://example.org/{i}.jpg" for i in range(rows)],
        "caption": ["a cat", "a dog", "a bird"],
        "status": ["success", "success", "failed_to_download"],
        "jpg": pa.array([picture, picture, None], pa.binary()),
    }
)
pq.write_table(
    table, into / "img2dataset.parquet", compression="zstd", data_page_version="2.0", row_group_size=2
)
