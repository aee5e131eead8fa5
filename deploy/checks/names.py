"""Every command, option and variable of Reeve that deploy/ and the README name is one that the program has; files they name are there."""
import re
import sys

import yaml

import kustomize
from found import Findings
from program import REPOSITORY, Program, calls_in_text

DEPLOY = REPOSITORY / "deploy"
found = Findings("names")
program = Program(found)


def check_manifests():
    for folder in ("overlays/shared", "overlays/dedicated-tenant", "overlays/region-us", "examples"):
        for one in kustomize.resolve(DEPLOY / "kubernetes" / folder):
            place = f"kubernetes/{folder}: {one['metadata']['name']}"
            for name, value in one.get("data", {}).items() if one["kind"] == "ConfigMap" else ():
                program.check_variable(name, place, value)
            spec = one.get("spec", {})
            spec = spec.get("jobTemplate", {}).get("spec", spec)
            for container in spec.get("template", {}).get("spec", {}).get("containers", []):
                program.check_call([str(a) for a in container["args"]], place)
                for variable in container.get("env", []):
                    program.check_variable(variable["name"], place, variable.get("value"))


def check_compose():
    text = yaml.safe_load((DEPLOY / "compose/compose.yaml").read_text())
    for name, service in text["services"].items():
        place = f"compose: {name}"
        if service.get("image") != "reeve:local":
            continue
        if service["command"]:
            program.check_call([str(w) for w in service["command"]], place)
        for variable, value in service.get("environment", {}).items():
            program.check_variable(variable, place, str(value))
        test = service.get("healthcheck", {}).get("test", [])
        if test[1:2] == ["reeve"]:
            program.check_call(test[2:], place)


def check_units():
    for path in sorted((DEPLOY / "systemd").iterdir()):
        text = path.read_text()
        for match in re.finditer(r"^ExecStart=/usr/bin/reeve (.*)$", text, re.M):
            program.check_call(match[1].split(), f"systemd/{path.name}")
        for match in re.finditer(r"(?:^|[= ])(REEVE_[A-Z_]+)=(\S*)", text, re.M):
            program.check_variable(match[1], f"systemd/{path.name}", match[2])
        for match in re.finditer(r"^ExecStart=/usr/share/reeve/(\S+)", text, re.M):
            if not (DEPLOY / match[1]).exists():
                found.wrong(f"systemd/{path.name}: there is no deploy/{match[1]}")


def check_texts():
    """Shell blocks of documents, and scripts."""
    count = 0
    for path in [REPOSITORY / "README.md", *sorted(DEPLOY.rglob("*.md"))]:
        text = path.read_text()
        place = str(path.relative_to(REPOSITORY))
        for block in re.findall(r"```sh\n(.*?)```", text, re.S):
            for words in calls_in_text(block):
                count += 1
                program.check_call(words, place)
            for match in re.finditer(r"\b(REEVE_[A-Z_]+)=", block):
                program.check_variable(match[1], place)
        for words in (w for inline in re.findall(r"`(reeve [^`]+)`", text) for w in calls_in_text(inline)):
            count += 1
            program.check_call(words, place)
        for match in re.finditer(r"`(deploy/[\w./*-]+)`", text):
            if not list(REPOSITORY.glob(match[1].rstrip("/"))):
                found.wrong(f"{place}: there is no {match[1]}")
    for path in sorted(p for p in DEPLOY.rglob("*") if p.is_file() and not p.suffix):
        text = path.read_text(errors="replace")
        if re.match(r"#!.*sh\b", text):
            for words in calls_in_text(text):
                count += 1
                program.check_call(words, str(path.relative_to(REPOSITORY)))
    found.note(f"{count} calls in documents and scripts")


check_manifests()
check_compose()
check_units()
check_texts()
sys.exit(found.end())
