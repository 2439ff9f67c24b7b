"""The workflow that builds the wheels: its copy for GitHub, permissions, matrix, and the verdicts of two checkers."""
import importlib.metadata
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ACTIONLINT = "github.com/rhysd/actionlint/cmd/actionlint@v1.7.12"
yaml = pytest.importorskip("yaml")


@pytest.fixture(scope="module")
def text():
    return (ROOT / "wheels.yml").read_text()


@pytest.fixture(scope="module")
def jobs(text):
    return yaml.safe_load(text)["jobs"]


@pytest.fixture(scope="module")
def policy():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["cibuildwheel"]


def test_the_copy_that_github_reads_is_identical(text):
    assert (ROOT / ".github" / "workflows" / "wheels.yml").read_text() == text


def test_every_action_is_pinned_by_its_hash_and_says_which_release_that_is(text):
    uses = re.findall(r"uses: (.*)", text)
    assert len(uses) >= 6
    assert [line for line in uses if not re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line)] == []


def test_nothing_is_allowed_but_reading_and_in_one_job_publishing(text, jobs):
    assert yaml.safe_load(text)["permissions"] == {}
    assert {name: job["permissions"] for name, job in jobs.items()} == {
        "wheels": {"contents": "read"}, "sdist": {"contents": "read"}, "check": {"contents": "read"},
        "publish": {"id-token": "write"}}
    assert "secrets." not in text and "password" not in text
    step = jobs["publish"]["steps"][-1]
    assert step["uses"].startswith("pypa/gh-action-pypi-publish@") and step["with"] == {"attestations": True}
    assert jobs["publish"]["if"] == "github.event_name == 'push' && startsWith(github.ref, 'refs/tags/v')"


def commands(job):
    return "\n".join(step.get("run", "") for step in job["steps"])


def test_nothing_that_is_not_pinned_by_hash_runs_beside_what_will_be_published(jobs):
    for name in ("wheels", "sdist"):
        installs = re.findall(r"(?:pip install|pipx run).*", commands(jobs[name]))
        assert installs, name
        assert [line for line in installs if "--require-hashes --only-binary :all: -r .ci/release/" not in line
                and not line.startswith("pip install dist/*.tar.gz")] == []     # after it was built
    assert "pip install" in commands(jobs["check"]) and "upload-artifact" not in str(jobs["check"])
    assert jobs["publish"]["needs"] == ["wheels", "sdist", "check"]
    assert [step["uses"].split("@")[0] for step in jobs["publish"]["steps"]] == ["actions/download-artifact",
                                                                                 "pypa/gh-action-pypi-publish"]


def test_the_release_is_built_with_what_is_pinned_by_hash(policy):
    assert policy["build-frontend"] == {"name": "build", "args": ["--no-isolation"]}
    assert policy["before-build"] == "pip install --require-hashes --only-binary :all: -r {project}/.ci/release/build.txt"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    asked = {re.match(r"[\w-]+", name)[0] for name in project["build-system"]["requires"]}
    for name, names in (("build", asked), ("tools", {"cibuildwheel", "build"})):
        text = (ROOT / ".ci" / "release" / f"{name}.txt").read_text()
        pinned = re.findall(r"^([\w-]+)==.*((?:\n    --hash=sha256:[0-9a-f]{64}(?: \\)?)+)$", text, re.MULTILINE)
        assert names <= {pin for pin, _ in pinned}
        assert len(pinned) == len(re.findall(r"^[a-z]", text, re.MULTILINE))    # none without


@pytest.mark.parametrize(("tag", "good"), [("v{}", True), ("{}", False), ("v{}.post1", False), ("v0.0.9", False)])
def test_a_tag_that_is_not_the_version_stops_the_release(jobs, tag, good):
    (step,) = [step for step in jobs["sdist"]["steps"] if step.get("name") == "The tag is the version"]
    assert step["if"] == "startsWith(github.ref, 'refs/tags/')"
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    ran = subprocess.run(["bash", "-euc", step["run"]], cwd=ROOT, check=False, text=True, capture_output=True, env={
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "GITHUB_REF_NAME": tag.format(version)})
    assert (ran.returncode == 0) == good, ran.stderr
    assert good or f"the tag is {tag.format(version)}, the version {version}" in ran.stdout


def test_the_matrix_has_each_system_on_its_own_machine(jobs):
    built = {row["build"]: row["runner"] for row in jobs["wheels"]["strategy"]["matrix"]["include"]}
    assert set(built) == {f"*-{kind}linux_{machine}" for kind in ("many", "musl") for machine in ("x86_64", "aarch64")
                          } | {"*-macosx_arm64", "*-macosx_x86_64"}
    assert all(runner.endswith("-arm") == build.endswith("aarch64") for build, runner in built.items())


def test_the_policy_is_in_pyproject_and_the_workflow_only_selects(text, policy):
    assert set(re.findall(r"CIBW_\w+", text)) == {"CIBW_BUILD"}
    assert policy["manylinux-x86_64-image"] == policy["manylinux-aarch64-image"] == "manylinux_2_28"
    assert policy["musllinux-x86_64-image"] == policy["musllinux-aarch64-image"] == "musllinux_1_2"
    assert policy["environment"]["KAFKAPP_LIBRDKAFKA"] == "pinned"


def test_the_light_test_asks_for_the_librdkafka_that_is_pinned(policy, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "build_support")
    import native_table
    assert policy["test-command"].split()[-2:] == ["{project}/tests/wheel/smoke.py", native_table.LIBRDKAFKA.version]


def test_cibuildwheel_knows_what_is_asked_for(text, jobs):
    """The identifiers that the pinned release would build."""
    pytest.importorskip("cibuildwheel")
    pinned = re.search(r"cibuildwheel==(\S+)", text)[1]
    assert f"\ncibuildwheel=={pinned} " in (ROOT / ".ci" / "release" / "tools.txt").read_text()
    assert importlib.metadata.version("cibuildwheel") == pinned
    for row in jobs["wheels"]["strategy"]["matrix"]["include"]:
        system, machine = re.fullmatch(r"\*-(many|musl)?\w*_(x86_64|aarch64|arm64)", row["build"]).groups()
        listed = subprocess.run(
            [sys.executable, "-m", "cibuildwheel", "--print-build-identifiers",
             "--platform", "linux" if system else "macos", "--archs", machine, ROOT],
            env={"PATH": "/usr/bin:/bin", "CIBW_BUILD": row["build"]}, check=True, text=True, capture_output=True)
        versions = [line.split("-")[0] for line in listed.stdout.split()]
        assert versions == ["cp311", "cp312", "cp313", "cp314", "cp314t", "cp315", "cp315t"], (pinned, row)


@pytest.mark.timeout(400)
def test_actionlint_has_nothing_to_say():
    if shutil.which("actionlint"):
        command = ["actionlint"]
    elif shutil.which("go"):
        command = ["go", "run", ACTIONLINT]
    else:
        pytest.skip("neither actionlint nor go is installed")
    checked = subprocess.run([*command, "-no-color", "-shellcheck=", ".github/workflows/wheels.yml"], cwd=ROOT,
                             check=False, text=True, capture_output=True, timeout=390)
    if checked.returncode not in (0, 1) or "module" in checked.stderr:
        pytest.skip(f"actionlint cannot be installed here: {checked.stderr[-300:]}")
    assert (checked.returncode, checked.stdout) == (0, "")


def test_zizmor_has_nothing_to_say():
    command = shutil.which("zizmor", path=f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin")
    if command is None:
        pytest.skip("zizmor is not installed")
    checked = subprocess.run([command, "--offline", "--persona=auditor", "--no-progress", "--color=never", "wheels.yml"],
                             cwd=ROOT, check=False, text=True, capture_output=True)
    assert checked.returncode == 0, checked.stdout
    assert "No findings" in checked.stdout + checked.stderr
