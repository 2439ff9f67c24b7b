"""Builds the dependencies of a wheel's librdkafka: the libraries of native_table.PARTS, as archives with our flags.

Used by build_librdkafka for KAFKAPP_LIBRDKAFKA=pinned. Needs a C compiler, ar, make and perl (OpenSSL's and curl's own
builds are used). `python build_support/build_parts.py` only fetches, so that a machine without a network can build.
"""
import argparse
import concurrent.futures
import hashlib
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import archives
import build_librdkafka as ours
import hardening
from build_tools import BuildError, Unreachable, have_room, lock, one_line, run, say
from native_table import PARTS

LEVEL = ["-O3", "-fPIC", "-fvisibility=hidden"]
SUITES = ("trixie", "trixie-security", "sid")   # Debian's, in which to look for an archive
OPENSSL_LEFT_OUT = ("shared", "module", "tests", "apps", "docs", "engine", "comp", "ssl3", "srp", "psk", "idea")
# Neither build may use the machine's libraries, and no binary may hold the path that it was built in.
CURL_OPTIONS = ("--disable-shared", "--disable-docs", "--disable-manual", "--disable-ldap", "--disable-ftp",
                "--disable-file", "--disable-rtsp", "--disable-dict", "--disable-telnet", "--disable-tftp",
                "--disable-pop3", "--disable-imap", "--disable-smb", "--disable-smtp", "--disable-gopher",
                "--disable-mqtt", "--disable-ipfs", "--disable-websockets", "--disable-ntlm", "--disable-unix-sockets",
                "--disable-alt-svc", "--disable-verbose", "--without-libpsl", "--without-libidn2", "--without-brotli",
                "--without-zstd", "--without-nghttp2", "--without-libssh2", "--without-ca-bundle", "--without-ca-path",
                "--with-openssl", "--with-zlib")


def make(build, compiler, jobs):
    """Build all parts into a prefix, unless the same build is there already; returns the prefix."""
    if not shutil.which("make") or not shutil.which("perl"):
        raise BuildError("make and perl are needed to build OpenSSL (Debian: apt-get install make perl)")
    prefix = Path(build).absolute() / "native-parts"
    facts = [repr(PARTS), Path(__file__).read_text(), repr(hardening.compile_flags()), run(*compiler, "--version")]
    key = hashlib.sha256("\0".join(facts).encode()).hexdigest()
    stamp = prefix / "build.key"
    if stamp.exists() and stamp.read_text() == key:
        return prefix
    shutil.rmtree(prefix, ignore_errors=True)
    for folder in ("include", "lib", "licences", "no-pkg-config"):
        (prefix / folder).mkdir(parents=True)
    fetched = [(part, *fetch(part, build)) for part in PARTS]   # all of them, before the long work begins
    for part, source, file in fetched:
        tree = Path(build).absolute() / f"{part.name}-{part.version}-source"
        shutil.rmtree(tree, ignore_errors=True)
        unpack(source, file, tree)
        began = time.monotonic()
        BUILDERS[part.name](tree, prefix, compiler, jobs)
        (prefix / "licences" / f"{part.name}.txt").write_text(
            "\n".join((tree / text).read_text(errors="replace") for text in part.texts if (tree / text).exists()))
        say(f"built {part.name} {part.version} in {time.monotonic() - began:.0f} seconds")
        shutil.rmtree(tree)
    (prefix / "sources.json").write_text(json.dumps({part.name: source.name for part, source, _ in fetched}))
    stamp.write_text(key)
    return prefix


# -- fetching ----------------------------------------------------------------------------------------------------------

def fetch(part, build):
    """The first archive that can be fetched, as (Source, file), its checksum verified."""
    folder = Path(build).absolute() / "archives"
    folder.mkdir(parents=True, exist_ok=True)
    refused = []
    for source in part.sources:     # fetched already, from any source
        file = folder / source.sha256
        if archives.matches(file, source):
            return source, file
    for source in part.sources:
        say(f"fetching {part.name} {part.version}: {source.name}")
        to = folder / f"{part.name}.part"
        try:
            {"archive": ours.fetch_archive, "debian": fetch_debian}[source.kind](source, to)
            return source, archives.checked(to, source).rename(folder / source.sha256)
        except Unreachable as error:
            say(str(error))
            refused.append(str(error))
    raise Unreachable(f"{part.name} {part.version} could not be fetched:\n  " + "\n  ".join(refused))


def fetch_debian(source, to):
    """Ask apt for the archive of a source package, with lists of our own for the suites that may have it."""
    package, name = source.name.split("/")
    root = to.parent / "apt"
    apt = ["-q", "-o", f"Dir::Etc::sourcelist={root / 'sources.list'}", "-o", "Dir::Etc::sourceparts=/dev/null",
           "-o", f"Dir::State={root}", "-o", f"Dir::State::Lists={root / 'lists'}",
           "-o", f"Dir::Cache={root / 'cache'}",
           "-o", "Dir::State::Status=/var/lib/dpkg/status", "-o", "APT::Sandbox::User=root"]
    try:
        if not (root / "sources.list").exists():
            for folder in ("lists/partial", "cache/archives/partial"):
                (root / folder).mkdir(parents=True, exist_ok=True)
            (root / "sources.new").write_text(debian_lines())
            (root / "sources.new").rename(root / "sources.list")
            run("apt-get", *apt, "update")
        for version in debian_versions(run("apt-cache", *apt, "showsrc", package), name, source.sha256):
            got = subprocess.run(["apt-get", *apt, "source", "--download-only", "--tar-only", f"{package}={version}"],
                                 cwd=root, check=False, capture_output=True)
            if got.returncode == 0 and (root / name).exists():
                (root / name).rename(to)
                return
    except (OSError, BuildError) as error:
        raise Unreachable(f"Debian's source package {package}: {error}") from error
    raise Unreachable(f"Debian's source package {package}: no suite has {name} any more")


def debian_lines():
    """Source lists for SUITES, from the Debian that this machine installs its own packages from."""
    files = [Path("/etc/apt/sources.list"), *Path("/etc/apt/sources.list.d").glob("*")]
    text = "\n".join(file.read_text() for file in files if file.is_file())
    hosts = dict.fromkeys(re.findall(r"https?://\S+/debian(?:-security)?(?=/?\s)", text))
    keys = "/usr/share/keyrings/debian-archive-keyring.gpg"
    return "".join(f"deb-src [signed-by={keys}] {host} {suite} main\n" for host in hosts for suite in SUITES
                   if suite.endswith("-security") == host.endswith("-security"))


def debian_versions(showsrc, name, sha256):
    """The versions of a source package that hold exactly this archive."""
    return [re.search(r"^Version: (\S+)", paragraph, re.MULTILINE)[1] for paragraph in showsrc.split("\n\n")
            if re.search(rf"^ {sha256} \d+ {re.escape(name)}$", paragraph, re.MULTILINE)]


def unpack(source, file, to):
    part = to.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    archives.extract(source, file, part)
    part.rename(to)


# -- building ----------------------------------------------------------------------------------------------------------

def archive(tree, folder, files, name, headers, prefix, compiler, jobs, defines=()):
    """Compile the files of a folder into an archive; paths are relative, so that none of this machine's is kept."""
    def compile_one(file):
        target = file.replace("/", "_") + ".o"
        run(*compiler, *LEVEL, *hardening.compile_flags(), *defines, "-I.", "-c", file, "-o", target, cwd=folder)
        return target

    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        objects = list(pool.map(compile_one, files))
    run("ar", "rcs", str(prefix / "lib" / name), *objects, cwd=folder)
    for header in headers:
        shutil.copy(folder / header, prefix / "include")


def relative(folder, *patterns):
    return sorted(str(file.relative_to(folder)) for pattern in patterns for file in folder.glob(pattern))


def build_zlib(tree, prefix, compiler, jobs):
    files = [file for file in relative(tree, "*.c") if not file.startswith("gz")]
    archive(tree, tree, files, "libz.a", ("zlib.h", "zconf.h"), prefix, compiler, jobs, ["-DHAVE_UNISTD_H"])


def build_zstd(tree, prefix, compiler, jobs):
    folder = tree / "lib"
    files = relative(folder, "common/*.c", "compress/*.c", "decompress/*.c", "decompress/*.S")
    archive(tree, folder, files, "libzstd.a", ("zstd.h", "zstd_errors.h"), prefix, compiler, jobs,
            ["-DZSTD_LEGACY_SUPPORT=0", "-DZSTDLIB_VISIBLE=", "-DXXH_NAMESPACE=ZSTD_"])


def build_lz4(tree, prefix, compiler, jobs):
    folder = tree / "lib"
    files = ["lz4.c", "lz4hc.c", "lz4frame.c", "xxhash.c"]
    archive(tree, folder, files, "liblz4.a", ("lz4.h", "lz4hc.h", "lz4frame.h", "lz4frame_static.h"), prefix, compiler,
            jobs, ["-DXXH_NAMESPACE=LZ4_"])


def build_openssl(tree, prefix, compiler, jobs):
    """Its own folder for certificates is Debian's and Red Hat's common one; librdkafka probes the others itself."""
    run("perl", "./Configure", openssl_target(), "--prefix=/usr", "--libdir=lib", "--openssldir=/etc/ssl",
             *(f"no-{feature}" for feature in OPENSSL_LEFT_OUT), *LEVEL, *hardening.compile_flags(), cwd=tree,
             env={**os.environ, "CC": shlex.join(compiler)})
    run("make", f"-j{jobs}", "-s", "build_libs", cwd=tree)
    for library in ("libcrypto.a", "libssl.a"):
        shutil.copy(tree / library, prefix / "lib")
    shutil.copytree(tree / "include" / "openssl", prefix / "include" / "openssl",
                    ignore=shutil.ignore_patterns("*.in"))


def openssl_target():
    machine = platform.machine()
    if sys.platform == "darwin":
        return f"darwin64-{machine}-cc"
    return {"x86_64": "linux-x86_64", "aarch64": "linux-aarch64"}.get(machine, "linux-generic64")


def build_curl(tree, prefix, compiler, jobs):
    flags = " ".join([*LEVEL, *hardening.compile_flags()])
    run("sh", "./configure", "-q", "--prefix=/usr", *CURL_OPTIONS, cwd=tree, env={
        **os.environ, "CC": shlex.join(compiler), "CFLAGS": flags, "CPPFLAGS": f"-I{prefix / 'include'}",
        "LDFLAGS": f"-L{prefix / 'lib'}", "LIBS": "-lssl -lcrypto -lz -lpthread -ldl",
        "PKG_CONFIG_LIBDIR": str(prefix / "no-pkg-config")})
    run("make", f"-j{jobs}", "-s", "-C", "lib", cwd=tree)
    built = tree / "lib" / ".libs" / "libcurl.a"
    shutil.copytree(tree / "include" / "curl", prefix / "include" / "curl", ignore=shutil.ignore_patterns("Makefile*"))
    if sys.platform == "darwin":
        shutil.copy(built, prefix / "lib")
        return
    # A linker script, so that -lcurl brings what curl itself needs: librdkafka's configure asks for -lcurl alone.
    shutil.copy(built, prefix / "lib" / "libcurl-itself.a")
    (prefix / "lib" / "libcurl.a").write_text("INPUT(-l:libcurl-itself.a -lssl -lcrypto -lz -lpthread -ldl)\n")


BUILDERS = {"zlib": build_zlib, "zstd": build_zstd, "lz4": build_lz4, "openssl": build_openssl, "curl": build_curl}


def main():
    parser = argparse.ArgumentParser(description="Fetch and check what a wheel carries, for a build without a network.")
    parser.add_argument("--build", default="build", help="where to put it (default: %(default)s)")
    build = parser.parse_args().build
    with one_line(), lock(build):
        have_room(build)
        try:
            for part in PARTS:
                fetch(part, build)
            ours.fetch(build)
        except Unreachable as error:
            say(str(error))
            sys.exit(3)     # no source was reachable; any other error is 1


if __name__ == "__main__":
    main()
