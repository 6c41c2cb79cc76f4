"""A table on disk is the same table, and takes memory only while it is read."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from kinetics_pipeline.storage.mapped_table import LEAST, let_go_of_pages, on_disk


def large_table() -> pa.Table:
    numbers = np.arange(LEAST // 8)
    texts = pa.array(["a", "b", None]).take(pa.array(numbers % 3)).dictionary_encode()
    return pa.table({"number": numbers, "text": texts})


def mapped_bytes() -> int:
    """Bytes of files in this process's memory."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssFile")) * 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux says what of a process is in memory")
def test_a_large_table_takes_memory_only_while_it_is_read(tmp_path):
    table = large_table()
    mapped = on_disk(table, tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == []
    assert pc.sum(mapped["number"]).as_py() == pc.sum(table["number"]).as_py()
    before = mapped_bytes()
    let_go_of_pages()
    assert before - mapped_bytes() > 0.8 * LEAST
    assert mapped.equals(table)


def test_a_table_stays_in_memory_where_it_is_small_or_the_disk_takes_no_file(tmp_path):
    small = pa.table({"number": [1, 2, 3]})
    assert on_disk(small, tmp_path) is small
    (tmp_path / "file").touch()
    large = large_table()
    assert on_disk(large, tmp_path / "file" / "folder") is large
