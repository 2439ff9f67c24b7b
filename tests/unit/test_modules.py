"""The one shared object of all compiled modules: what is in it, and that its modules are as modules of files of their own."""
import importlib
import importlib.machinery
import inspect
import pickle
import pkgutil
import shutil
import sys
import sysconfig
import textwrap
from pathlib import Path

import pytest
from helpers import ROOT, run_python

import kafkapp
from kafkapp import KafkaException, _modules
from kafkapp.client.handle import Handle

PACKAGE = Path(kafkapp.__file__).parent
SOURCES = {".".join(file.relative_to(ROOT).with_suffix("").parts) for file in (ROOT / "kafkapp").rglob("*.pyx")}
SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")


def test_the_shared_object_has_every_compiled_module():
    assert len(SOURCES) > 20
    assert _modules.NAMES | {"kafkapp._modules"} == SOURCES
    assert [*PACKAGE.rglob("*" + SUFFIX)] == [Path(_modules.__file__)]


def test_the_last_parts_of_their_names_differ():
    """The shared object has PyInit_handle for kafkapp.client.handle; the linker refuses a second one."""
    last = [name.rpartition(".")[2] for name in SOURCES]
    assert sorted(last) == sorted({*last})


@pytest.mark.parametrize("name", sorted(_modules.NAMES))
def test_a_module_says_what_it_is(name):
    module = importlib.import_module(name)
    assert (module.__name__, module.__package__, module.__file__) == (name, name.rpartition(".")[0], _modules.__file__)
    assert isinstance(module.__loader__, importlib.machinery.ExtensionFileLoader)
    assert (module.__spec__.name, module.__spec__.origin, module.__spec__.has_location) == (name, _modules.__file__, True)
    assert module.__spec__.cached is None and module.__spec__.submodule_search_locations is None
    assert getattr(sys.modules[module.__package__], name.rpartition(".")[2]) is module
    assert importlib.reload(module) is module


def test_inspect_and_pickle_find_them():
    assert inspect.getmodule(Handle) is sys.modules["kafkapp.client.handle"]
    pickled = pickle.dumps(KafkaException(-184)).hex()
    assert run_python("import pickle, sys; print(type(pickle.loads(bytes.fromhex(sys.argv[1]))).__name__)", pickled) == "KafkaBufferError\n"


def test_pkgutil_lists_folders_only():
    """It goes by files: kafkapp._modules.NAMES has the rest."""
    listed = {module.name for module in pkgutil.walk_packages(kafkapp.__path__, "kafkapp.")}
    assert {"kafkapp._modules", "kafkapp.client", "kafkapp.common.threads"} <= listed and not listed & _modules.NAMES


@pytest.mark.parametrize("name, path", [("kafkapp.client.nothing", [str(PACKAGE / "client")]), ("kafkapp.client", [str(PACKAGE)]), ("json", None),
                                        ("kafkapp.client.handle", None), ("kafkapp.client.handle", [])])
def test_the_finder_knows_no_other(name, path):
    assert _modules.Finder.find_spec(name, path) is None


def test_a_module_that_is_not_there():
    with pytest.raises(ModuleNotFoundError, match=r"^No module named 'kafkapp\.client\.nothing'$"):
        importlib.import_module("kafkapp.client.nothing")


# Each runs in a Python of its own, with this before it.
START = """
import importlib.machinery, os, sys

def forget():
    for name in [name for name in sys.modules if name.partition(".")[0] == "kafkapp"]:
        del sys.modules[name]

def imports(name="kafkapp.testing.mock_cluster"):
    importlib.import_module("kafkapp")
    return importlib.import_module(name)

def finders():
    return [finder for finder in sys.meta_path if finder.__module__ == "kafkapp._modules"]
"""


def run(code, *arguments):
    return run_python(START + textwrap.dedent(code), *arguments, timeout=200)      # some start a process for each module


def test_a_second_import_is_as_the_first():
    run("""
    before = [*sys.meta_path]
    first = imports("kafkapp.client.handle")
    forget()
    assert imports("kafkapp.client.handle") is first and len(finders()) == 1
    forget()
    sys.meta_path[:] = before       # as a test does that puts all back
    assert imports("kafkapp.client.handle") is first and len(finders()) == 1
    import kafkapp
    kept = kafkapp.KafkaSyncProducer
    importlib.reload(kafkapp)
    assert len(finders()) == 1 and kafkapp.KafkaSyncProducer is kept
    """)


@pytest.mark.parametrize("what_is_left", ["what it imported", "nothing"])
def test_an_import_that_failed_can_be_repeated(what_is_left):
    """As after Ctrl-C, in a notebook, say. Each module of those that `import kafkapp` imports is the one that is missing once."""
    assert int(run("""
    tried = 0
    for name in sys.argv[2:]:
        child = os.fork()
        if child:
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            assert status in (0, 77), (name, status)
            tried += status == 0
            continue
        sys.modules[name] = None
        try:
            import kafkapp
            os._exit(77)            # it is not among them
        except ImportError:
            pass
        del sys.modules[name]
        if sys.argv[1] == "nothing":
            forget()
        import inspect
        import kafkapp
        for cls in (kafkapp.KafkaAsyncProducer, kafkapp.KafkaSyncProducer, importlib.import_module("kafkapp.aio").KafkaProducer):
            inspect.signature(cls.send)
        producer, record = kafkapp.KafkaAsyncProducer({"bootstrap.servers": "127.0.0.1:1", "linger.ms": 60000}), kafkapp.ProducerRecord("t")
        for _ in range(2):
            producer.send(record)
            producer.send(record, callback=lambda metadata, error: None)
        assert len(producer) == 4
        producer.close(0)
        os._exit(0)
    print(tried)
    """, what_is_left, *sorted(_modules.NAMES))) > 20


LATER = ["kafkapp.aio", "kafkapp.testing", "kafkapp.cli.main", "kafkapp.cli.consume", "kafkapp.bench.floor", "kafkapp.bench.consumer_floor"]     # import kafkapp does not import them


@pytest.mark.parametrize("name", LATER)
def test_what_is_imported_later_is_found_where_the_finder_is_gone(name):
    """As in a program whose first import of kafkapp is in a test that puts sys.meta_path back."""
    run("""
    before, name = [*sys.meta_path], sys.argv[1]
    import kafkapp
    assert name not in sys.modules
    sys.meta_path[:] = before
    importlib.import_module(name)
    assert len(finders()) == 1
    """, name)


def test_all_that_is_imported_later_is_known():
    run("""
    import kafkapp
    later = kafkapp._modules.NAMES - {*sys.modules}
    for name in sys.argv[1:]:
        imports(name)
    assert later and later <= {*sys.modules}, later - {*sys.modules}
    """, *LATER)


def test_of_two_kafkapps_each_has_its_own_file(tmp_path):
    for place in ("one", "two"):
        shutil.copytree(PACKAGE, tmp_path / place / "kafkapp", ignore=shutil.ignore_patterns("__pycache__"))
    run("""
    def of(place):
        forget()
        sys.path[0] = place
        for name in ("kafkapp.client.handle", "kafkapp.testing.mock_cluster", "kafkapp.common.errors"):
            module = imports(name)
            assert os.path.dirname(module.__file__) == os.path.join(place, "kafkapp"), module
        return sys.modules["kafkapp"].KafkaException, module

    one, two = of(sys.argv[1]), of(sys.argv[2])
    assert one[0] is not two[0] and one[1] is not two[1]
    assert of(sys.argv[1])[1] is one[1] and of(sys.argv[2])[1] is two[1]
    """, tmp_path / "one", tmp_path / "two")


def test_a_file_of_an_earlier_layout_is_not_taken(tmp_path):
    shutil.copytree(PACKAGE, tmp_path / "kafkapp", ignore=shutil.ignore_patterns("__pycache__"))
    old = tmp_path / "kafkapp" / "client" / f"handle{SUFFIX}"
    old.write_text("not a module")
    run("""
    sys.path[0] = sys.argv[1]
    module = imports("kafkapp.client.handle")
    old = importlib.machinery.PathFinder.find_spec(module.__name__, sys.modules["kafkapp.client"].__path__)
    assert old.origin == sys.argv[2] != module.__file__
    """, tmp_path, old)


def test_threads_that_import_at_the_same_time():
    """Each a module's package first. Else one may have begun with a package, one with its module, and Python itself, also of modules
    in Python, ends one import by a _DeadlockError."""
    run("""
    import threading
    names, barrier, failed = sys.argv[1:], threading.Barrier(8), []

    def all_of_them(first):
        barrier.wait()
        try:
            for name in names[first:] + names[:first]:
                imports(name.rpartition(".")[0])
                imports(name)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=all_of_them, args=(3 * first,)) for first in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed and {*names} <= {*sys.modules}, failed
    """, *sorted(_modules.NAMES))
