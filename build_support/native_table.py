"""The table of the native code that a wheel carries: what, which release, from where, under which licence.

Read by the builds of librdkafka and of its dependencies, by the SBOM and by the tests; imports
nothing of ours. To update a part: its version, its addresses and its checksums, here; then SECURITY.md's steps.
"""
import dataclasses


@dataclasses.dataclass(frozen=True)
class Source:
    """Where a release can be fetched. A source without a checksum is never used."""
    kind: str       # who fetches it: "archive" an URL, "npm" the npm client, "debian" apt, as PACKAGE/FILE
    name: str       # what is asked for
    folder: str     # where the part stands within it
    sha256: str


@dataclasses.dataclass(frozen=True)
class Part:
    """A library within the wheel."""
    name: str
    version: str
    licence: str                    # as SPDX has it
    texts: tuple[str, ...]          # the files of the release that say so
    sources: tuple[Source, ...]     # in the order in which they are tried
    cpe: str                        # vendor and product in the databases of vulnerabilities
    within: str = ""                # the part that has it in its own sources, which then have no sources here


def release(owner, name, version, folder, sha256, tag="v"):
    """The archive that the project publishes on its release page."""
    address = f"https://github.com/{owner}/{name}/releases/download/{tag}{version}/{name}-{version}.tar.gz"
    return Source("archive", address, folder, sha256)


LIBRDKAFKA = Part("librdkafka", "2.15.1", "BSD-2-Clause", ("LICENSES.txt",), (
    Source("archive", "https://github.com/confluentinc/librdkafka/archive/refs/tags/v2.15.1.tar.gz",
           "librdkafka-2.15.1", "23c8575c7d1ced07246cb9cf200c11325b72201fd4134a02414ca869fbdd8ed3"),
    Source("npm", "@confluentinc/kafka-javascript@1.10.1",
           "package/deps/librdkafka", "ada7d703bb1d3237e2292bfabf438d663b6160c9f1ac2a2406b5dc4257c81b66"),
), "confluent:librdkafka")

# What librdkafka is linked with in a wheel, in the order of building. Debian's archive is the release itself where
# both have one checksum; Debian leaves some documents out of zlib and zstd.
PARTS = (
    Part("zlib", "1.3.2", "Zlib", ("LICENSE", "README"), (
        release("madler", "zlib", "1.3.2", "zlib-1.3.2",
                "bb329a0a2cd0274d05519d61c667c062e06990d72e125ee2dfa8de64f0119d16"),
        Source("debian", "zlib/zlib_1.3.dfsg+really1.3.2.orig.tar.gz", "zlib-1.3.dfsg+really1.3.2",
               "7b6903eb019983987b7112eccf90f1703f1c6c0e0cede36564bf611d19ca579d"),
    ), "zlib:zlib"),
    Part("zstd", "1.5.7", "BSD-3-Clause", ("LICENSE",), (
        release("facebook", "zstd", "1.5.7", "zstd-1.5.7",
                "eb33e51f49a15e023950cd7825ca74a4a2b43db8354825ac24fc1b7ee09e6fa3"),
        Source("debian", "libzstd/libzstd_1.5.7+dfsg.orig.tar.xz", "zstd-1.5.7",
               "0c092ef267edce57ba7f3f2645c861f72eaf5e76273c6c3632869423464b90a5"),
    ), "facebook:zstandard"),
    Part("lz4", "1.10.0", "BSD-2-Clause", ("lib/LICENSE",), (
        Source("archive", "https://github.com/lz4/lz4/archive/refs/tags/v1.10.0.tar.gz", "lz4-1.10.0",
               "537512904744b35e232912055ccf8ec66d768639ff3abe5788d90d792ec5f48b"),
        Source("debian", "lz4/lz4_1.10.0.orig.tar.gz", "lz4-1.10.0",
               "537512904744b35e232912055ccf8ec66d768639ff3abe5788d90d792ec5f48b"),
    ), "lz4_project:lz4"),
    Part("openssl", "3.5.7", "Apache-2.0", ("LICENSE.txt",), (
        release("openssl", "openssl", "3.5.7", "openssl-3.5.7",
                "a8c0d28a529ca480f9f36cf5792e2cd21984552a3c8e4aa11a24aa31aeac98e8", tag="openssl-"),
        Source("debian", "openssl/openssl_3.5.7.orig.tar.gz", "openssl-3.5.7",
               "a8c0d28a529ca480f9f36cf5792e2cd21984552a3c8e4aa11a24aa31aeac98e8"),
    ), "openssl:openssl"),
    Part("curl", "8.21.0", "curl", ("COPYING",), (
        Source("archive", "https://curl.se/download/curl-8.21.0.tar.gz", "curl-8.21.0",
               "d9b327997999045a24cda50f3983e69e51c516bd8be6ef9842fc7f99135e33bb"),
        Source("debian", "curl/curl_8.21.0.orig.tar.gz", "curl-8.21.0",
               "d9b327997999045a24cda50f3983e69e51c516bd8be6ef9842fc7f99135e33bb"),
    ), "haxx:libcurl"),
)

# What librdkafka's own sources contain of others; librdkafka's LICENSES.txt has the texts of all of them.
WITHIN_LIBRDKAFKA = tuple(Part(name, version, licence, (), (), cpe, "librdkafka") for name, version, licence, cpe in (
    ("cJSON", "1.7.19", "MIT", "davegamble:cjson"),
    ("nanopb", "0.4.8", "Zlib", "nanopb_project:nanopb"),
    ("opentelemetry-proto", "", "Apache-2.0", ""),
    ("snappy-c", "", "BSD-3-Clause", ""),
    ("tinycthread", "1.2", "Zlib", ""),
    ("HdrHistogram", "", "MIT", ""),
    ("xxHash", "0.6.5", "BSD-2-Clause", ""),
    ("crc32c", "", "Zlib", ""),
    ("murmurhash2", "", "MIT", ""),
    ("queue.h", "", "BSD-3-Clause", ""),
    ("pycrc", "", "MIT", ""),
))
