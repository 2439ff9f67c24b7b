"""Sanitizer runs over csrc/: clean, and each sees the bugs that are planted, in a program of its own and in csrc/.

The quick part of tests/support/sanitize.py, which says what the machine lacks.
"""
import re
import shutil
import subprocess

import pytest
import sanitize

# csrc/ with one word of care taken away, and the function that ThreadSanitizer then has to name.
CARELESS = [
    ("dispatcher.c", "KP_SET(d->service_ready, 1)", "d->service_ready = 1", "kp_service_ready"),
    ("report_drain.c", "__atomic_store_n(&batch->errors[index], message->err, __ATOMIC_RELAXED)",
     "batch->errors[index] = message->err", "read_messages"),
    ("delivery.h", "__atomic_fetch_add(&batch->epoch->batched, count, __ATOMIC_SEQ_CST)", "batch->epoch->batched += count",
     "kp_items_begin"),
    ("batch.c", "return __atomic_sub_fetch(&batch->remaining, refused + 1, __ATOMIC_SEQ_CST) == 0",
     "return (batch->remaining -= refused + 1) == 0", "kp_batch_sent"),
    ("delivery.h", "__atomic_store_n(&epoch->done, epoch->done + count, __ATOMIC_RELEASE)", "epoch->done += count",
     "kp_reported"),
    ("kept.c", "__atomic_store_n(&d->kept, d->kept - 1, __ATOMIC_SEQ_CST)", "d->kept -= 1", "kp_kept_next"),
    ("destroy.c", "    pthread_mutex_lock(&end->lock);\n    *flag = 1;\n    pthread_cond_broadcast(&end->changed);\n"
     "    pthread_mutex_unlock(&end->lock);\n", "    *flag = 1;\n", "set"),
]


def needs(kind):
    if lacks := sanitize.missing(kind):
        pytest.skip(lacks)


@pytest.mark.parametrize("kind", ["asan", "leaks", "tsan"])
def test_planted_bugs_are_reported(kind, tmp_path):
    needs(kind)
    sanitize.control(kind, tmp_path)


def test_a_control_that_sees_nothing_ends_the_run(tmp_path, monkeypatch):
    needs("asan")
    monkeypatch.setitem(sanitize.PLANTED, "asan", {"heap-use-after-free": "return 0;"})
    with pytest.raises(SystemExit, match="did not report what was planted"):
        sanitize.control("asan", tmp_path)


@pytest.mark.parametrize("kind, nogil", [("asan", False), ("tsan", False), ("tsan", True)])
def test_the_c_stress_is_clean(kind, nogil, tmp_path, faults):
    needs(kind)
    program = sanitize.build_stress(kind, tmp_path, nogil=nogil)
    code, text = sanitize.run_stress(kind, tmp_path, program, faults.seed % 2**31, faults.rounds(300, 30_000))
    assert code == 0, text
    completed, early, kept = (int(re.search(rf"(\d+) {words}", text)[1]) for words in ("records completed", "of them reported", "kept"))
    assert completed > 100 and early > 0 and kept > 0, text       # it has done what it is to be watched at


@pytest.mark.parametrize("file, careful, careless, function", CARELESS, ids=[f"{row[3]}-{number}" for number, row in
                                                                            enumerate(CARELESS)])
def test_thread_sanitizer_names_a_race_in_csrc(file, careful, careless, function, tmp_path, faults):
    needs("tsan")
    csrc = shutil.copytree(sanitize.ROOT / "csrc", tmp_path / "csrc", ignore=shutil.ignore_patterns("__pycache__"))
    text = (csrc / file).read_text()
    assert text.count(careful) == 1
    (csrc / file).write_text(text.replace(careful, careless))
    program = sanitize.build_stress("tsan", tmp_path, csrc=csrc)
    for attempt in range(5):        # a race has to happen to be seen
        code, text = sanitize.run_stress("tsan", tmp_path, program, faults.seed % 2**31 + attempt, 300, halt=True)
        if code == 66 and "data race" in text and f"#0 {function} " in text:
            return
    pytest.fail(text)


def test_csrc_refuses_to_compile_for_32_bits(tmp_path):
    needs("asan")
    source = tmp_path / "small.c"
    for more, words in [("", None), ("#undef UINTPTR_MAX\n#define UINTPTR_MAX 0xffffffffu\n", "needs 64-bit pointers")]:
        source.write_text(f'#include <stdint.h>\n{more}#include "delivery.h"\n')
        result = subprocess.run(["gcc", "-fsyntax-only", "-I", sanitize.ROOT / "csrc", *sanitize.installed().cflags,
                                          *(f"-I{folder}" for folder in sanitize.python_headers()), source],
                                         capture_output=True, text=True, check=False)
        assert (result.returncode == 0) == (words is None) and (words or "") in result.stderr, result.stderr
