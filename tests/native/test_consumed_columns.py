"""The columns of consumed records where memory ends or 32 bits do: tests/native/consumed_columns.c, under a sanitizer."""
import shutil
import subprocess

import pytest
import sanitize

SOURCE = sanitize.ROOT / "tests" / "native" / "consumed_columns.c"


def build(folder, source=SOURCE, kind="asan"):
    if lacks := sanitize.missing(kind):
        pytest.skip(lacks)
    flags = [flag for flag in sanitize.installed().cflags if flag.startswith("-I")]
    program = folder / "consumed_columns"
    subprocess.run(["gcc", *sanitize.FLAGS[kind].split(), "-Wall", "-Wextra", "-Wl,--wrap=realloc", f"-I{sanitize.ROOT / 'csrc'}", *flags,
                    source, "-o", program], check=True, timeout=100)
    return program


def test_no_record_is_lost_or_leaked_where_memory_ends(tmp_path):
    done = subprocess.run([build(tmp_path)], timeout=100, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "good\n"), done.stdout + done.stderr


@pytest.mark.parametrize(("right", "wrong"), [
    ("            if (failure)\n                refuse(block, messages[i]);\n", ""),
    ("        block->keys.nulls = key_nulls;\n", ""),
    ("            rd_kafka_message_destroy(messages[i]);\n", "            if (!failure)\n                rd_kafka_message_destroy(messages[i]);\n"),
    ("    if (!wanted)\n        return EFBIG;\n", ""),
    ("    *nulls = 0;\n", ""),
    ("        return;\n    if (block->spare)\n", "        ;\n    if (block->spare)\n"),
    ("        trim_all(block);\n", "        ;\n"),
    ("    drop(spare);\n}\n\nkp_consumed *kp_spare_take", "}\n\nkp_consumed *kp_spare_take")],
    ids=["forgotten", "nulls", "leaked", "too large", "old nulls", "recycled while it is held", "room is kept", "spare is leaked"])
def test_a_loss_would_be_found(tmp_path, right, wrong):
    folder = tmp_path / "tests" / "native"
    folder.mkdir(parents=True)
    csrc = shutil.copytree(sanitize.ROOT / "csrc", tmp_path / "csrc")
    file, = (file for file in csrc.glob("consumed_*.c") if right in file.read_text())
    assert file.read_text().count(right) == 1
    file.write_text(file.read_text().replace(right, wrong))
    program = build(folder, shutil.copy(SOURCE, folder))
    assert subprocess.run([program], timeout=100, capture_output=True, check=False).returncode != 0
