"""A release's bill of materials, CycloneDX 1.6: what it requires, down to the last distribution, in exact versions.

It is made from what is installed where the release is built, with nothing in it of the time, the machine or chance,
so that the same release built twice has the same bytes. Making one needs `ark-runtime[releases]`; reading one does
not.
"""

from __future__ import annotations

import uuid
from importlib import metadata

import msgspec
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deployment.content import ReleaseError
from deployment.manifest import Manifest

__all__ = ["bill", "check", "components"]

_NAMESPACE = uuid.UUID("6b0d8c4e-6a51-5d0b-9d8e-0f6f1f0c7a52")
_FORMAT = "CycloneDX"


def bill(manifest: Manifest) -> bytes:
    """The bill for a release, from the environment of this process.

    Raises:
        ReleaseError: A distribution is missing, or the library that writes bills is.
    """
    try:
        from cyclonedx.model.bom import Bom, BomMetaData
        from cyclonedx.model.component import Component, ComponentType
        from cyclonedx.model.license import LicenseExpression
        from cyclonedx.output.json import JsonV1Dot6
        from packageurl import PackageURL
    except ImportError as error:
        raise ReleaseError(
            f"a release needs its bill of materials, and what writes it is not installed: {error}",
            hint="python -m pip install 'ark-runtime[releases]'",
        ) from error

    needs = resolve(manifest.requires)
    root = Component(
        name=manifest.name, version=manifest.version, type=ComponentType.APPLICATION, bom_ref="release"
    )
    known = {}
    for name in sorted(needs):
        facts = metadata.metadata(name)
        url = PackageURL("pypi", None, name, facts["Version"])
        terms = facts.json.get("license_expression")
        known[name] = Component(
            name=name,
            version=facts["Version"],
            type=ComponentType.LIBRARY,
            bom_ref=url.to_string(),
            purl=url,
            licenses=[LicenseExpression(str(terms))] if terms else [],
        )
    made = Bom(metadata=BomMetaData(component=root), components=known.values())
    made.serial_number = uuid.uuid5(
        _NAMESPACE, "\n".join([f"{manifest.name} {manifest.version}", *(str(each.purl) for each in known.values())])
    )
    direct = {canonicalize_name(Requirement(each).name) for each in manifest.requires}
    made.register_dependency(root, [known[name] for name in sorted(direct & known.keys())])
    for name, component in known.items():
        made.register_dependency(component, [known[each] for each in sorted(needs[name])])
    tree = msgspec.json.decode(JsonV1Dot6(made).output_as_string())
    del tree["metadata"]["timestamp"]
    return msgspec.json.format(msgspec.json.encode(tree, order="sorted")) + b"\n"


def resolve(requires: tuple[str, ...]) -> dict[str, set[str]]:
    """Every distribution that is needed, with those that it needs itself, by canonical names.

    Raises:
        ReleaseError: One is not installed.
    """
    found: dict[str, set[str]] = {}
    seen: set[tuple[str, str]] = set()
    todo = [(Requirement(text), "") for text in requires]
    while todo:
        requirement, wanted_by = todo.pop()
        if not _applies(requirement, ""):
            continue
        name = canonicalize_name(requirement.name)
        if wanted_by:
            found[wanted_by].add(name)
        found.setdefault(name, set())
        for extra in ("", *sorted(requirement.extras)):
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            try:
                below = metadata.requires(name) or ()
            except metadata.PackageNotFoundError:
                by = f", required by {wanted_by}," if wanted_by else ""
                raise ReleaseError(
                    f"{requirement.name}{by} is not installed", hint=f"python -m pip install '{requirement}'"
                ) from None
            for text in below:
                next_one = Requirement(text)
                if _applies(next_one, extra) and (not extra or not _applies(next_one, "")):
                    next_one.marker = None
                    todo.append((next_one, name))
    return found


def components(text: bytes) -> dict[str, str]:
    """The versions that a bill lists, by distribution.

    Raises:
        ReleaseError: It is no bill of materials.
    """
    return dict(_read(text)[1])


def check(text: bytes, manifest: Manifest) -> None:
    """Look whether a bill is that of a release: its name, its version, and everything that it requires.

    Raises:
        ReleaseError: It is not.
    """
    (name, version), listed = _read(text)
    if (name, version) != (manifest.name, manifest.version):
        raise ReleaseError(
            f"the bill of materials is that of {name} {version}, not of {manifest.name} {manifest.version}",
            field="sbom.cdx.json",
        )
    versions = dict(listed)
    for each in map(Requirement, manifest.requires):
        found = versions.get(canonicalize_name(each.name))
        if found is None and each.marker is None:
            raise ReleaseError(f"the bill of materials lacks {each.name}", field="sbom.cdx.json")
        if found is not None and not each.specifier.contains(found, prereleases=True):
            raise ReleaseError(
                f"the bill of materials lists {each.name} {found}, and the release requires {each}",
                field="sbom.cdx.json",
            )


def _read(text: bytes) -> tuple[tuple[str, str], list[tuple[str, str]]]:
    try:
        bill = msgspec.json.decode(text, type=_Bill)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ReleaseError(f"sbom.cdx.json is no bill of materials: {error}", field="sbom.cdx.json") from error
    if bill.bomFormat != _FORMAT:
        raise ReleaseError(f"sbom.cdx.json is {bill.bomFormat}, not {_FORMAT}", field="sbom.cdx.json")
    root = bill.metadata.component
    return (root.name, root.version), [(each.name, each.version) for each in bill.components]


class _Component(msgspec.Struct, frozen=True):
    name: str
    version: str


class _Metadata(msgspec.Struct, frozen=True):
    component: _Component


class _Bill(msgspec.Struct, frozen=True):
    bomFormat: str
    metadata: _Metadata
    components: tuple[_Component, ...] = ()


def _applies(requirement: Requirement, extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})
