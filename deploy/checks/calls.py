"""The statements that a version of the program sends to the control database, kept when it is released, against another schema: each
still parses, and its result has the same columns (more may follow). So workers of the version before go on while a newer schema is there.
    calls.py check FOLDER CONNINFO      every kept version
    calls.py record FOLDER CONNINFO     this program's, as its schema's version"""
import pathlib
import re
import subprocess
import sys

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
# Statements for tenants' databases, and those that make what they ask for first.
OTHERS = re.compile(r"reeve_fence|pg_temp|CREATE |CopyBoth|FROM STDIN")

# What services and operators of any language were told that they may call: named arguments, and the views' columns.
CONTRACT = """
SELECT reeve.enqueue('acme.backups', 'backup', '{}', run_at => now(), priority => -1, idempotency_key => 'k', max_attempts => 3, traceparent => NULL, tenant => NULL)
SELECT reeve.enqueue_many('[]'::jsonb)
SELECT reeve.job(1)
SELECT reeve.explain(1)
SELECT reeve.cancel(1)
SELECT reeve.retry(1)
SELECT reeve.pause('acme.*', 'reason')
SELECT reeve.resume('acme.*')
SELECT reeve.drain('acme.*', 'reason')
SELECT reeve.start_batch('backup', '{}'::jsonb, '{}'::jsonb, spread => '1 hour')
SELECT id, tenant_code, queue, kind, state, hold_reason, attempt, priority, run_at, started_at, finished_at, lease_id, worker_id, progress, error FROM reeve.job_list
SELECT queue, tenant_code, tier, available, scheduled, running, oldest_available_at, paused, draining FROM reeve.queue_stats
SELECT tenant_code, tier, status, cap, running, available, scheduled, dead FROM reeve.tenant_stats
SELECT id, node, state, version, pools, lease_until, running FROM reeve.worker_list
SELECT tier, ready, running, desired_slots FROM reeve.autoscale
""".strip().splitlines()


def statements():
    """Every literal in the sources that is a whole statement about schema reeve."""
    found = set(CONTRACT)
    for folder in ("Sources", "Jobs", "Queues"):
        for path in sorted((REPOSITORY / folder).rglob("*.swift")):
            if "Benchmarks" in path.parts:
                continue
            text = path.read_text()
            for match in re.finditer(r'"""\n(.*?)\n\s*"""|"((?:[^"\\\n]|\\.)*)"', text, re.S):
                sql = match[1] if match[1] is not None else match[2].replace('\\"', '"')
                sql = re.sub(r"\s+", " ", re.sub(r"\\\n\s*", "", sql)).strip()
                if re.match(r"(SELECT|INSERT|UPDATE|DELETE|WITH)\b", sql) and re.search(r"\breeve\.", sql) and "\\(" not in sql and not OTHERS.search(sql):
                    found.add(sql.rstrip(";"))
    return sorted(found)


def describe(sqls, conninfo):
    """For each statement its columns as psql describes them, or the error."""
    script = "\\pset tuples_only\n\\pset format unaligned\n"
    for number, sql in enumerate(sqls):
        script += f"\\echo @@ {number}\n{sql}\n\\gdesc\n"
    ran = subprocess.run(["psql", "-Xq", "-d", conninfo], input=script, capture_output=True, text=True)
    blocks = {int(b.split("\n", 1)[0]): b.split("\n", 1)[1].split() for b in re.split(r"^@@ ", ran.stdout, flags=re.M)[1:]}
    errors = {}
    for number, sql in enumerate(sqls):
        if not blocks.get(number):
            # Asked again alone: which error is whose.
            one = subprocess.run(["psql", "-Xq", "-d", conninfo], input=f"{sql}\n\\gdesc\n", capture_output=True, text=True)
            if one.stderr:
                errors[number] = one.stderr.strip().splitlines()[0]
    return blocks, errors


def record(folder, conninfo):
    sqls = statements()
    blocks, errors = describe(sqls, conninfo)
    version = subprocess.run(["psql", "-XAtq", "-d", conninfo, "-c", "SELECT max(number) FROM reeve.schema_migration"], capture_output=True, text=True, check=True).stdout.strip()
    lines = [f"# What the program of schema version {version} asks: a statement, then the columns of its answer."]
    for number, sql in enumerate(sqls):
        if number not in errors:
            lines += [sql, "  " + " ".join(blocks.get(number, []))]
    (folder / f"V{int(version):04}.txt").write_text("\n".join(lines).rstrip() + "\n")
    print(f"recorded {len(sqls) - len(errors)} statements of version {version}; {len(errors)} literals are no statements of the control database")


def check(folder, conninfo):
    wrong = []
    for path in sorted(folder.glob("V*.txt")):
        lines = path.read_text().splitlines()[1:]
        sqls, columns = lines[0::2], [line.split() for line in lines[1::2]]
        blocks, errors = describe(sqls, conninfo)
        for number, sql in enumerate(sqls):
            if number in errors:
                wrong.append(f"{path.name}: {errors[number]}: {sql}")
            elif blocks.get(number, [])[: len(columns[number])] != columns[number]:
                wrong.append(f"{path.name}: the columns were {' '.join(columns[number])}, now {' '.join(blocks.get(number, []))}: {sql}")
    for text in wrong:
        print(f"wrong        live: {text}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    task, folder, conninfo = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3]
    sys.exit(record(folder, conninfo) if task == "record" else check(folder, conninfo))
