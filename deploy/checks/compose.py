"""Checks deploy/compose against the Compose schema and itself: files, services, conditions, volumes, ports and scrape targets fit."""
import pathlib
import re
import subprocess
import sys

import yaml

from found import Findings

FOLDER = pathlib.Path(__file__).resolve().parents[1] / "compose"
FILE = FOLDER / "compose.yaml"
found = Findings("compose")


def check_schema():
    tool = pathlib.Path(sys.executable).with_name("check-jsonschema")
    ran = subprocess.run([tool, "--builtin-schema", "vendor.compose-spec", str(FILE)], capture_output=True, text=True)
    if ran.returncode != 0:
        found.wrong(ran.stdout.strip() or ran.stderr.strip())


def check_services(text):
    services, volumes = text["services"], set(text["volumes"])
    used = set()
    for name, service in services.items():
        wants = lambda truth, what: truth or found.wrong(f"{name}: {what}")
        for other, how in service.get("depends_on", {}).items():
            wants(other in services, f"depends on {other}, which is not there")
            condition = how["condition"]
            wants(condition != "service_healthy" or "healthcheck" in services.get(other, {}), f"waits for {other} to be healthy, which never says so")
            wants(condition != "service_completed_successfully" or services[other].get("restart") == "no", f"waits for {other} to end, which is restarted")
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            if source.startswith("."):
                wants((FOLDER / source).exists(), f"mounts {source}, which is not there")
                wants(mount.endswith(":ro"), f"may write {source}")
            else:
                used.add(source)
                wants(source in volumes, f"mounts volume {source}, which is not declared")
        for port in service.get("ports", []):
            wants(port.startswith("127.0.0.1:"), f"port {port} is open to other machines")
        program = (service.get("entrypoint") or [""])[-1]
        if program.startswith("/usr/share/reeve/compose/"):
            wants((FOLDER / pathlib.Path(program).name).exists(), f"runs {program}, which is not there")
        if service["image"] == "reeve:local":
            check_reeve(name, service, wants)
    for volume in volumes - used:
        found.wrong(f"volume {volume} is used by nobody")
    for other in {urls for s in services.values() for urls in hosts(s.get("environment", {}))} - set(services):
        found.wrong(f"an address names '{other}', which is no service")
    found.note(f"{len(services)} services")


def hosts(environment):
    for value in environment.values():
        yield from re.findall(r"(?:://(?:[^@/\s]*@)?|^)([a-z]+)(?::\d+|/)", str(value)) if not str(value).startswith("store:") else ()


def check_reeve(name, service, wants):
    wants(service.get("read_only") and service.get("cap_drop") == ["ALL"], "has more rights than it needs")
    wants((FOLDER / service["build"]["context"] / service["build"]["dockerfile"]).exists(), "is built from a file that is not there")
    command = [str(word) for word in service.get("command") or []]
    if "--grace" in command:
        grace = seconds(command[command.index("--grace") + 1])
        wants(seconds(service["stop_grace_period"]) >= grace + 30, "is killed before its --grace is over")


def seconds(text):
    return int(text[:-1]) * {"s": 1, "m": 60, "h": 3600}[text[-1]]


def check_scraping(text):
    services = text["services"]
    config = yaml.safe_load((FOLDER / "prometheus.yaml").read_text())
    for job in config["scrape_configs"]:
        targets = [(n, d["port"]) for d in job.get("dns_sd_configs", []) for n in d["names"]]
        targets += [(t.split(":")[0], int(t.split(":")[1])) for s in job.get("static_configs", []) for t in s["targets"]]
        for name, port in targets:
            if name not in services:
                found.wrong(f"prometheus.yaml scrapes {name}, which is no service")
            elif not any(str(w).endswith(f":{port}") for w in [*services[name]["command"], services[name]["environment"].get("REEVE_LISTEN", "")]):
                found.wrong(f"prometheus.yaml scrapes {name} on port {port}, where it does not listen")
    mounted = {m.split(":")[1] for m in services["prometheus"]["volumes"]}
    for rules in config["rule_files"]:
        if f"/etc/prometheus/{rules}" not in mounted:
            found.wrong(f"prometheus.yaml reads {rules}, which is not mounted")
    provider = yaml.safe_load((FOLDER / "grafana-dashboards.yaml").read_text())["providers"][0]["options"]["path"]
    if provider not in {m.split(":")[1] for m in services["grafana"]["volumes"]}:
        found.wrong("Grafana looks for dashboards where none are mounted")


def main():
    text = yaml.safe_load(FILE.read_text())
    check_schema()
    check_services(text)
    check_scraping(text)
    found.unseen("no container was run: deploy/compose/try does")
    return found.end()


sys.exit(main())
