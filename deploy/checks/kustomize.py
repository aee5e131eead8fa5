"""Resolves a Kustomize folder as `kubectl kustomize` does, for the part of Kustomize that deploy/kubernetes keeps to: resources,
JSON patches with a target, and configMapGenerator with literals. Anything else is refused, so that nothing is passed over.
Generated names get the suffix "-#" in place of kubectl's hash of the content."""
import copy
import pathlib
import re

import yaml

KNOWN = {"apiVersion", "kind", "resources", "patches", "configMapGenerator"}
SUFFIX = "-#"


class Refused(Exception):
    pass


def resolve(folder):
    """The folder's objects, as they would be applied."""
    return finish(accumulate(pathlib.Path(folder)))


def accumulate(folder):
    path = folder / "kustomization.yaml"
    text = yaml.safe_load(path.read_text())
    if unknown := set(text) - KNOWN:
        raise Refused(f"{path}: {sorted(unknown)} is not among what is used here: {sorted(KNOWN)}")
    objects = []
    for name in text.get("resources", []):
        place = (folder / name).resolve()
        if not place.exists():
            raise Refused(f"{path}: resource {name} is not there")
        found = accumulate(place) if place.is_dir() else [o for o in yaml.safe_load_all(place.read_text()) if o]
        for one in found:
            if identity(one) in map(identity, objects):
                raise Refused(f"{path}: {identity(one)} is there twice")
            objects.append(one)
    for generator in text.get("configMapGenerator", []):
        generate(generator, objects, path)
    for patch in text.get("patches", []):
        apply_patch(patch, objects, path)
    return objects


def identity(one):
    meta = one["metadata"]
    return (one["kind"], meta.get("namespace", ""), meta["name"])


def generate(generator, objects, path):
    data = dict(line.split("=", 1) for line in generator["literals"])
    if generator.get("behavior", "create") == "merge":
        wanted = ("ConfigMap", generator.get("namespace", ""), generator["name"])
        matches = [o for o in objects if identity(o) == wanted and o.get("generated")]
        if len(matches) != 1:
            raise Refused(f"{path}: there is no generated {wanted} to merge into")
        matches[0]["data"].update(data)
        return
    meta = {"name": generator["name"]}
    if "namespace" in generator:
        meta["namespace"] = generator["namespace"]
    if labels := generator.get("options", {}).get("labels"):
        meta["labels"] = dict(labels)
    objects.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data, "generated": True})


def apply_patch(patch, objects, path):
    target = patch["target"]
    if set(target) - {"kind", "name", "labelSelector"}:
        raise Refused(f"{path}: a patch's target may say kind, name and labelSelector")
    hit = False
    operations = yaml.safe_load(patch["patch"])
    for one in objects:
        if selects(target, one):
            hit = True
            for operation in operations:
                apply_operation(operation, one, path)
    if not hit:
        raise Refused(f"{path}: the patch for {target} changes nothing")


def selects(target, one):
    if "kind" in target and not re.fullmatch(target["kind"], one["kind"]):
        return False
    if "name" in target and not re.fullmatch(target["name"], one["metadata"]["name"]):
        return False
    labels = one["metadata"].get("labels", {})
    return all(labels.get(k) == v for k, v in (p.split("=") for p in target.get("labelSelector", "").split(",") if p))


def apply_operation(operation, one, path):
    *way, last = [p.replace("~1", "/").replace("~0", "~") for p in operation["path"].split("/")[1:]]
    here = one
    for word in way:
        if isinstance(here, dict) and word not in here and operation["op"] == "add":
            here[word] = {}
        try:
            here = here[int(word) if isinstance(here, list) else word]
        except (KeyError, IndexError, ValueError):
            raise Refused(f"{path}: {operation['path']} is not in {identity(one)}") from None
    value = copy.deepcopy(operation.get("value"))
    if isinstance(here, list):
        if operation["op"] == "add":
            here.insert(len(here) if last == "-" else int(last), value)
        elif operation["op"] == "replace":
            here[int(last)] = value
        else:
            del here[int(last)]
        return
    if operation["op"] != "add" and last not in here:
        raise Refused(f"{path}: {operation['path']} is not in {identity(one)}")
    if operation["op"] == "remove":
        del here[last]
    else:
        here[last] = value


def finish(objects):
    generated = {(o["metadata"].get("namespace", ""), o["metadata"]["name"]) for o in objects if o.pop("generated", False)}
    for one in objects:
        space = one["metadata"].get("namespace", "")
        if one["kind"] == "ConfigMap" and (space, one["metadata"]["name"]) in generated:
            one["metadata"]["name"] += SUFFIX
        else:
            rename(one, {name for s, name in generated if s == space})
    return objects


def rename(value, names):
    """Points references to generated ConfigMaps at their final names."""
    if isinstance(value, list):
        for item in value:
            rename(item, names)
    elif isinstance(value, dict):
        for key, item in value.items():
            if key in ("configMapRef", "configMapKeyRef", "configMap") and isinstance(item, dict) and item.get("name") in names:
                item["name"] += SUFFIX
            else:
                rename(item, names)


def as_kubectl_prints(objects):
    """What to compare with kubectl's output once the hashes in that are replaced: in no order."""
    return sorted(objects, key=lambda o: (o["apiVersion"], *identity(o)))
