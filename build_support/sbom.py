"""The bill of materials of a wheel (CycloneDX 1.6), from the same table that the build is made from.

Used by kafkapp_build. Deterministic: no date, no random number, so that two builds are the same bytes.
"""
import json

import patches
from native_table import LIBRDKAFKA, PARTS, WITHIN_LIBRDKAFKA


def component(part, used):
    """One library, with the source that it was built from and its checksum; if that is not known, its archive."""
    version = {"version": part.version} if part.version else {}
    cpe = {"cpe": f"cpe:2.3:a:{part.cpe}:{part.version or '*'}:*:*:*:*:*:*:*"} if part.cpe else {}
    licence = {"name": "curl"} if part.licence == "curl" else {"id": part.licence}
    pedigree = {"pedigree": {"notes": f"a copy within the sources of {part.within}"}} if part.within else {}
    if part is LIBRDKAFKA and (ours := patches.load()):
        pedigree = {"pedigree": {"patches": [patched(patch) for patch in ours]}}
    sources = [source for source in part.sources if source.name == used.get(part.name)] or part.sources[:1]
    references = [{"type": "source-distribution", "url": address(source), "comment": f"{source.kind}: {source.name}",
                   "hashes": [{"alg": "SHA-256", "content": source.sha256}]} for source in sources]
    return {
        "type": "library", "bom-ref": part.name, "name": part.name, **version, **cpe,
        "licenses": [{"license": licence}],
        "purl": f"pkg:generic/{part.name}" + (f"@{part.version}" if part.version else ""),
        **({"externalReferences": references} if references else {}), **pedigree,
    }


def address(source):
    """The address of a source."""
    name = source.name.replace("@", "%40", 1) if source.name.startswith("@") else source.name.split("/")[0]
    return {"archive": source.name, "npm": f"pkg:npm/{name}",
            "debian": f"pkg:deb/debian/{name}?arch=source"}[source.kind]


def patched(patch):
    return {"type": "unofficial", "diff": {"text": {"contentType": "text/x-diff", "content": patch.text.decode()}},
            "resolves": [{"type": "defect", "id": patch.name, "name": patch.title, "description": patch.header}]}


def document(version, used=None):
    """The bill of kafkapp's release of this version, as text; used: {part: the name of its source}."""
    linked = [part.name for part in PARTS]
    return json.dumps({
        "bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1,
        "metadata": {"component": {"type": "library", "bom-ref": "kafkapp", "name": "kafkapp", "version": version,
                                   "purl": f"pkg:pypi/kafkapp@{version}"}},
        "components": [component(part, used or {}) for part in (LIBRDKAFKA, *PARTS, *WITHIN_LIBRDKAFKA)],
        "dependencies": [
            {"ref": "kafkapp", "dependsOn": ["librdkafka"]},
            {"ref": "librdkafka", "dependsOn": linked + [part.name for part in WITHIN_LIBRDKAFKA]},
            {"ref": "curl", "dependsOn": ["openssl", "zlib"]},
        ],
    }, indent=1) + "\n"
