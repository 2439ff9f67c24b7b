"""The columns of consumed records where memory ends or 32 bits do, and among threads: tests/native/consumed_columns.c, under sanitizers."""
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
    subprocess.run(["gcc", *sanitize.FLAGS[kind].split(), "-Wall", "-Wextra", "-Wl,--wrap=realloc", "-lpthread", f"-I{sanitize.ROOT / 'csrc'}", *flags,
                    source, "-o", program], check=True, timeout=100)
    return program


def broken(folder, right, wrong, kind="asan"):
    """The program with a fault in a source."""
    native = folder / "tests" / "native"
    native.mkdir(parents=True)
    csrc = shutil.copytree(sanitize.ROOT / "csrc", folder / "csrc")
    file, = (file for file in csrc.glob("consumed_*.c") if right in file.read_text())
    assert file.read_text().count(right) == 1
    file.write_text(file.read_text().replace(right, wrong))
    return build(native, shutil.copy(SOURCE, native), kind)


def test_no_record_is_lost_or_leaked_where_memory_ends(tmp_path):
    done = subprocess.run([build(tmp_path)], timeout=100, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "good\n"), done.stdout + done.stderr


@pytest.mark.parametrize(("right", "wrong"), [
    ("        refuse(block, &cache, *message);\n", ""),
    ("    block->keys.nulls = count_nulls(block->keys.validity, block->count);\n", ""),
    ("        rd_kafka_message_destroy(*message);\n    }\n    return", "    }\n    return"),
    ("    if (__builtin_expect(copied < message->len, 0))\n        kp_consumed_keep(block, message);\n    else\n", ""),
    ("    end_run(block, &cache);\n    if", "    if"),
    ("    end_run(block, cache);\n    failure", "    failure"),
    ("        count(kept, 0); /* after they are gone */\n", ""),
    ("            free_whole(whole);\n        return NULL;\n", "            free(whole);\n        return NULL;\n"),
    ("    if (!wanted)\n        return EFBIG;\n", ""),
    ("    *nulls = 0;\n", ""),
    ("(int8_t)type;", "1;"),
    ("        return;\n    kp_free_kept_messages(&block->kept);\n", "        ;\n    kp_free_kept_messages(&block->kept);\n"),
    ("    kp_free_kept_messages(&block->kept);\n    if (block->spare)\n", "    if (block->spare)\n"),
    ("        trim_all(block);\n", "        ;\n"),
    ("    drop(spare);\n}\n\nkp_consumed *kp_spare_take", "}\n\nkp_consumed *kp_spare_take")],
    ids=["forgotten", "nulls", "leaked", "empty", "no last run", "no run", "counted", "whole", "too large", "old nulls", "timestamp types", "recycled while it is held", "kept for the next",
         "room is kept", "spare is leaked"])
def test_a_loss_would_be_found(tmp_path, right, wrong):
    program = broken(tmp_path, right, wrong)
    assert subprocess.run([program], timeout=100, capture_output=True, check=False).returncode != 0


@pytest.mark.parametrize("kind", ["tsan", "asan"])
def test_threads_hold_and_release_blocks(tmp_path, kind):
    done = subprocess.run([build(tmp_path, kind=kind), "threads"], timeout=100, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "good\n", "")


@pytest.mark.parametrize(("right", "wrong"), [
    ("__atomic_sub_fetch(&block->owners, 1, __ATOMIC_ACQ_REL)", "__atomic_sub_fetch(&block->owners, 1, __ATOMIC_RELAXED)"),
    ("        __atomic_fetch_add(&kept->pins->bytes, bytes - kept->counted, __ATOMIC_SEQ_CST)", "        kept->pins->bytes += bytes - kept->counted"),
    ("!__atomic_compare_exchange_n(&block->kept.whole, &none, whole, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)", "(block->kept.whole = whole, none)"),
    ("__atomic_compare_exchange_n(&spare->kept, &none, block, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)", "(none = spare->kept, spare->kept = block, !none)"),
    ("__atomic_sub_fetch(&spare->owners, 1, __ATOMIC_ACQ_REL)", "(spare->owners -= 1)"),
], ids=["owners", "pins", "whole", "kept", "spare"])
def test_a_race_would_be_found(tmp_path, right, wrong):
    program = broken(tmp_path, right, wrong, "tsan")
    for _ in range(5):      # a race has to happen to be seen
        done = subprocess.run([program, "threads"], timeout=100, capture_output=True, check=False, env={"TSAN_OPTIONS": "halt_on_error=1:exitcode=66"})
        if done.returncode == 66:
            return
    pytest.fail("no race was reported")
