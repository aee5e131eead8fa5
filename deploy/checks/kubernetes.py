"""Checks deploy/kubernetes: every folder resolves, as kubectl says too where it is there; objects have the fields that Kubernetes
and KEDA know; names, labels, ports, secrets and grace periods fit together."""
import json
import pathlib
import re
import shutil
import subprocess
import sys
import warnings

import jsonschema
import kubernetes_validate
import yaml

import kustomize
from found import Findings

ROOT = pathlib.Path(__file__).resolve().parents[1] / "kubernetes"
VERSION = "1.32"
FOLDERS = ["overlays/shared", "overlays/dedicated-tenant", "overlays/region-us", "examples"]
SECRETS = {
    "reeve-database": {"owner", "worker", "operator", "viewer"},
    "reeve-key": {"key"},
    "reeve-storage": None,
    "reeve-mail": None,
    "reeve-dashboard": {"tokens"},
    "reeve-kafka": {"REEVE_KAFKA_SASL_USERNAME", "REEVE_KAFKA_SASL_PASSWORD"},
    "reeve-purge-hooks": {"hooks.json"},
}
found = Findings("kubernetes")


def compare_with_kubectl(folder, objects):
    printed = subprocess.run(["kubectl", "kustomize", str(ROOT / folder)], capture_output=True, text=True)
    if printed.returncode != 0:
        return found.wrong(f"{folder}: kubectl: {printed.stderr.strip()}")
    text = re.sub(r"\b(reeve-settings|reeve-kafka)-[0-9a-z]{10}\b", r"\1" + kustomize.SUFFIX, printed.stdout)
    theirs = kustomize.as_kubectl_prints([o for o in yaml.safe_load_all(text) if o])
    ours = kustomize.as_kubectl_prints(objects)
    if ours != theirs:
        for mine, other in zip(ours, theirs):
            if mine != other:
                return found.wrong(f"{folder}: kubectl resolves {kustomize.identity(other)} to something else than checks/kustomize.py")
        found.wrong(f"{folder}: kubectl finds {len(theirs)} objects, checks/kustomize.py {len(ours)}")


def check_schema(folder, one):
    name = f"{folder}: {'/'.join(kustomize.identity(one))}"
    if one["apiVersion"].startswith("keda.sh/"):
        schema = json.loads((ROOT.parent / "checks/keda.schema.json").read_text())
        for error in jsonschema.Draft202012Validator(schema).iter_errors(one):
            found.wrong(f"{name}: {error.json_path}: {error.message}")
        return
    if one["apiVersion"].startswith("monitoring.coreos.com/"):
        return found.unseen("PodMonitor (the Prometheus operator's schema is not here)")
    try:
        kubernetes_validate.validate(one, VERSION, strict=True)
    except Exception as error:  # the package has several kinds, one for each version of its schema library
        found.wrong(f"{name}: {getattr(error, 'message', error)}")


def pods(objects):
    """Every pod template: its owner, its labels, its spec."""
    for one in objects:
        spec = one.get("spec", {})
        if one["kind"] == "CronJob":
            spec = spec["jobTemplate"]["spec"]
        if one["kind"] in ("Deployment", "Job", "CronJob"):
            yield one, spec["template"]["metadata"]["labels"], spec["template"]["spec"]


def seconds(text):
    return int(text[:-1]) * {"s": 1, "m": 60, "h": 3600}[text[-1]]


def check_pod(folder, owner, labels, spec, objects):
    space = owner["metadata"].get("namespace")
    name = f"{folder}: {owner['metadata']['name']}"
    wants = lambda truth, what: truth or found.wrong(f"{name}: {what}")
    there = lambda kind, other: any(kustomize.identity(o) == (kind, space, other) for o in objects)
    wants(there("ServiceAccount", spec["serviceAccountName"]), f"there is no ServiceAccount {spec['serviceAccountName']}")
    wants(spec.get("automountServiceAccountToken") is False, "mounts a token that it has no use for")
    context = spec["securityContext"]
    wants(context.get("runAsNonRoot") and context.get("seccompProfile") == {"type": "RuntimeDefault"}, "is not `restricted`")
    volumes = {v["name"] for v in spec.get("volumes", [])}
    mounts = set()
    for container in spec["containers"]:
        inner = container["securityContext"]
        wants(
            inner.get("readOnlyRootFilesystem") and inner.get("allowPrivilegeEscalation") is False
            and inner["capabilities"] == {"drop": ["ALL"]}, "has more rights than it needs")
        wants("memory" in container["resources"]["limits"] and "cpu" not in container["resources"]["limits"],
              "has to be limited in memory, and not in processor time")
        mounts |= {m["name"] for m in container.get("volumeMounts", [])}
        ports = {p["name"] for p in container.get("ports", [])}
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            if probe in container:
                wants(container[probe]["httpGet"]["port"] in ports, f"{probe} asks a port that is not there")
        listens = listening(container, space, objects)
        for port in container.get("ports", []):
            wants(str(port["containerPort"]) in listens, f"nothing listens on port {port['name']}, but on {listens}")
        for source in container.get("envFrom", []):
            if "configMapRef" in source:
                wants(there("ConfigMap", source["configMapRef"]["name"]), f"there is no {source['configMapRef']['name']}")
            else:
                wants(source["secretRef"]["name"] in SECRETS, f"secret {source['secretRef']['name']} is in no list")
        for variable in container.get("env", []):
            if "value" not in variable:
                key = variable["valueFrom"]["secretKeyRef"]
                wants(key["key"] in (SECRETS.get(key["name"]) or ()), f"secret {key} is in no list")
        arguments = container["args"]
        if "--grace" in arguments:
            grace = seconds(arguments[arguments.index("--grace") + 1])
            wants(grace + 60 == spec["terminationGracePeriodSeconds"], "terminationGracePeriodSeconds is not --grace and a minute")
        if "--max-rss" in arguments:
            rss = arguments[arguments.index("--max-rss") + 1] + "i"
            wants(quantity(rss) <= quantity(container["resources"]["limits"]["memory"]) / 2,
                  "--max-rss leaves no half of the memory limit to the programs that jobs start")
    wants(volumes == mounts, f"mounts {sorted(mounts)}, but its volumes are {sorted(volumes)}")
    for volume in spec.get("volumes", []):
        if "secret" in volume:
            wants(volume["secret"]["secretName"] in SECRETS, f"secret {volume['secret']['secretName']} is in no list")
        if "persistentVolumeClaim" in volume:
            claim = volume["persistentVolumeClaim"]["claimName"]
            wants(there("PersistentVolumeClaim", claim), f"there is no claim {claim}")


def listening(container, space, objects):
    arguments = [str(a) for a in container["args"]]
    named = [arguments[i + 1] for i, word in enumerate(arguments) if word in ("--listen", "--public")]
    return [a.rpartition(":")[2] for a in named or [settings_of(container, space, objects).get("REEVE_LISTEN", "")]]


def settings_of(container, space, objects):
    settings = {}
    for source in container.get("envFrom", []):
        for one in objects:
            if kustomize.identity(one) == ("ConfigMap", space, source.get("configMapRef", {}).get("name")):
                settings |= one["data"]
    return settings | {v["name"]: v["value"] for v in container.get("env", []) if "value" in v}


UNITS = {"": 1000, "m": 1, "k": 10**3, "M": 10**6, "G": 10**9, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40}


def quantity(text):
    """Bytes, or thousandths of a processor or of an object."""
    number, unit = re.fullmatch(r"([\d.]+)(\w*)", text).groups()
    return round(float(number) * UNITS[unit])


def check_together(folder, objects):
    spaces = {o["metadata"]["name"]: o["metadata"]["labels"] for o in objects if o["kind"] == "Namespace"}
    for name, labels in spaces.items():
        if labels.get("pod-security.kubernetes.io/enforce") != "restricted":
            found.wrong(f"{folder}: namespace {name} does not enforce `restricted`")
        kinds = [o["kind"] for o in objects if o["metadata"].get("namespace") == name]
        for kind in ("ResourceQuota", "ServiceAccount", "NetworkPolicy"):
            if kind not in kinds:
                found.wrong(f"{folder}: namespace {name} has no {kind}")
        if not any(o["kind"] == "NetworkPolicy" and o["spec"]["podSelector"] == {} and "ingress" not in o["spec"]
                   and "egress" not in o["spec"] for o in objects if o["metadata"].get("namespace") == name):
            found.wrong(f"{folder}: namespace {name} is not closed by default")
    templates = list(pods(objects))
    for one in objects:
        kind, space, name = kustomize.identity(one)
        spec = one.get("spec", {})
        if kind != "Namespace" and space not in spaces:
            found.wrong(f"{folder}: {kind}/{name} is in namespace '{space}', which is not made here")
        matching = lambda wanted: [o for o, labels, _ in templates
                                   if o["metadata"].get("namespace") == space and wanted.items() <= labels.items()]
        if kind == "Deployment" and not matching(spec["selector"]["matchLabels"]) == [one]:
            found.wrong(f"{folder}: Deployment/{name} selects {len(matching(spec['selector']['matchLabels']))} templates")
        if kind == "PodDisruptionBudget" and len(matching(spec["selector"]["matchLabels"])) != 1:
            found.wrong(f"{folder}: PodDisruptionBudget/{name} does not select one Deployment")
        if kind == "Service" and len(matching(spec["selector"])) != 1:
            found.wrong(f"{folder}: Service/{name} does not select one Deployment")
        if kind == "NetworkPolicy" and (wanted := spec["podSelector"].get("matchLabels")) and not matching(wanted):
            found.wrong(f"{folder}: NetworkPolicy/{name} selects nothing")
        if kind == "ScaledObject":
            check_scaling(folder, one, objects)
        if kind == "Ingress":
            for rule in spec["rules"]:
                for path in rule["http"]["paths"]:
                    service = path["backend"]["service"]
                    if not any(kustomize.identity(o) == ("Service", space, service["name"])
                               and service["port"]["name"] in [p["name"] for p in o["spec"]["ports"]] for o in objects):
                        found.wrong(f"{folder}: Ingress/{name} leads to {service}, which is not there")
    check_quota(folder, objects)
    return templates


def check_scaling(folder, one, objects):
    space, name, spec = one["metadata"]["namespace"], one["metadata"]["name"], one["spec"]
    target = next((o for o in objects if kustomize.identity(o) == ("Deployment", space, spec["scaleTargetRef"]["name"])), None)
    if target is None:
        return found.wrong(f"{folder}: ScaledObject/{name} scales {spec['scaleTargetRef']['name']}, which is not there")
    arguments = target["spec"]["template"]["spec"]["containers"][0]["args"]
    for trigger in spec["triggers"]:
        asks = trigger["authenticationRef"]["name"]
        if not any(kustomize.identity(o) == ("TriggerAuthentication", space, asks) for o in objects):
            found.wrong(f"{folder}: ScaledObject/{name} asks as {asks}, which is not there")
        if trigger["type"] != "postgresql":
            continue
        pool, slots = arguments[arguments.index("--pools") + 1].split("=")
        if f"'{pool}'" not in trigger["metadata"]["query"]:
            found.wrong(f"{folder}: ScaledObject/{name} asks for another pool than {pool}, which it scales")
        if "desired_slots" in trigger["metadata"]["query"] and int(trigger["metadata"]["targetQueryValue"]) > int(slots):
            found.wrong(f"{folder}: ScaledObject/{name} expects more of a worker than its {slots} slots")


def check_quota(folder, objects):
    """The quota holds the fleet at its largest and a quarter more while it is rolled, and every container says what the quota counts:
    without that Kubernetes makes no pod."""
    largest = {o["metadata"]["namespace"] + "/" + o["spec"]["scaleTargetRef"]["name"]: o["spec"]["maxReplicaCount"]
               for o in objects if o["kind"] == "ScaledObject"}
    for quota in (o for o in objects if o["kind"] == "ResourceQuota"):
        space, hard = quota["metadata"]["namespace"], quota["spec"]["hard"]
        needs = {key: 0 for key in hard if key == "pods" or key.startswith(("requests.", "limits."))}
        for one, _, spec in pods(objects):
            if one["metadata"].get("namespace") != space:
                continue
            replicas = largest.get(f"{space}/{one['metadata']['name']}", one.get("spec", {}).get("replicas", 1))
            for key in needs:
                part, _, resource = key.partition(".")
                for container in [None] if key == "pods" else spec["containers"] + spec.get("initContainers", []):
                    amount = container and container.get("resources", {}).get(part, {}).get(resource)
                    if container and amount is None:
                        found.wrong(f"{folder}: {one['metadata']['name']} does not say its {key}, which the quota of {space} counts")
                    needs[key] += replicas * (quantity(amount) if amount else 1000)
        for key, need in needs.items():
            if quantity(hard[key]) < 1.25 * need:
                found.wrong(f"{folder}: the quota of {space} is too small: {key} is {hard[key]}, {need / quantity(hard[key]):.0%} of it are needed at most, and a quarter more")


def main():
    if shutil.which("kubectl") is None:
        found.unseen("kubectl is not here: only checks/kustomize.py resolved deploy/kubernetes")
    for folder in FOLDERS:
        try:
            objects = kustomize.resolve(ROOT / folder)
        except kustomize.Refused as refused:
            found.wrong(str(refused))
            continue
        if shutil.which("kubectl"):
            compare_with_kubectl(folder, objects)
        for one in objects:
            check_schema(folder, one)
        try:
            for owner, labels, spec in check_together(folder, objects):
                check_pod(folder, owner, labels, spec, objects)
        except KeyError as missing:
            found.wrong(f"{folder}: something has no {missing}, which all of them need")
        found.note(f"{folder}: {len(objects)} objects")
    return found.end()


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    sys.exit(main())
