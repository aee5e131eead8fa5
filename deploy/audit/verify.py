#!/usr/bin/python3
"""Verifies what `reeve audit export` wrote, without Reeve and its database: verify.py EXPORT [ANCHOR ...]
The export holds the anchors that Reeve found; anchors fetched by other hands from where they are kept can be added.
Prints each fault on a line and ends with 1 when there is one."""
import datetime, hashlib, json, sys

NIL, faults = "00000000-0000-0000-0000-000000000000", []

def field(value):
    data = str(value).encode()
    return b"-," if value is None else b"%d:%s," % (len(data), data)


def link(previous, line):
    fields = ["reeve-audit-1", line["tenant"] or NIL, line["seq"], line["id"]]
    fields += [line[k] for k in "at actor login action object reason started_at ended_at detail".split()]
    return hashlib.sha256(bytes.fromhex(previous) + b"".join(map(field, fields))).hexdigest()

def day(time):
    return datetime.date.fromisoformat(time[:10]).toordinal()


def verify(lines, anchors):
    at, hashes, heads = {}, {}, {}  # of each chain: the last place, its hash, where it says that it ends
    for line in lines:
        chain = line.get("chain")
        if line["type"] == "audit":
            today = day(line["at"])
        elif line["type"] == "anchor":
            anchors.append(line)
        elif line["type"] == "head":
            heads[chain] = (line["seq"], line["hash"])
        elif line["type"] in ("entry", "checkpoint"):
            first, last = line.get("seq") or line["first"], line.get("seq") or line["last"]
            if first != at.get(chain, 0) + 1:
                faults.append(f"{chain}: place {first} comes after place {at.get(chain, 0)}")
            elif line["type"] == "entry" and "action" not in line:
                faults.append(f"{chain}: the entry of place {first} is gone")
            elif line["type"] == "entry" and (line["tenant"] or NIL) != chain:
                faults.append(f"{chain}: the entry of place {first} says that it is of {line['tenant'] or NIL}")
            elif line["type"] == "entry" and link(hashes.get((chain, first - 1), "00" * 32), line) != line["hash"]:
                faults.append(f"{chain}: place {first} is not what was sealed")
            elif line["type"] == "checkpoint":
                days = [day(a["at"]) for a in anchors for h in a["heads"] if h["chain"] == chain and h["seq"] < last]
                if days and max(days) + 364 > min(today, day(line["at"])):
                    faults.append(f"{chain}: places {first} to {last} were too young to expire")
            at[chain] = max(last, at.get(chain, 0))
            hashes[chain, last] = line["hash"]
    ends = [(c, s, h, "its head") for c, (s, h) in heads.items()]
    ends += [(h["chain"], h["seq"], h["hash"], f"an anchor of {a['at']}") for a in anchors for h in a["heads"]]
    for chain, seq, digest, who in ends:
        if seq > at.get(chain, 0):
            faults.append(f"{chain}: ends at place {at.get(chain, 0)}, and {who} tells of place {seq}")
        elif hashes.get((chain, seq), digest) != digest:
            faults.append(f"{chain}: place {seq} has another hash than {who}")


verify(map(json.loads, open(sys.argv[1])), [json.load(open(name)) for name in sys.argv[2:]])
print("\n".join(faults) or "ok")
sys.exit(bool(faults))
