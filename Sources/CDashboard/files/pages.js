// The pages: each asks for what it shows and says how it looks. A page with a `title` is in the navigation.
import { act, ago, ask, go, h, here, link, may, query, state, toast, when } from "/app.js";
import { bars, lines, quantile, seconds, short } from "/charts.js";

// MARK: Parts

const colors = {
  succeeded: "good", completed: "good", certified: "good", active: "good", alive: "good", finished: "good", running: "info", erasing: "info", purging: "info", available: "warn",
  approved: "info", trial: "info", dead: "bad", failed: "bad", late: "bad", suspended: "warn", churned: "warn", paused: "warn", stopping: "warn", final_backup: "info", frozen: "warn",
};
const badge = (text, color) => text ? h("span", { class: `badge ${color ?? colors[text] ?? ""}` }, String(text).replaceAll("_", " ")) : null;
const number = (value) => value === null || value === undefined ? "" : Number(value).toLocaleString("en");
const bytes = (value) => {
  if (value === null || value === undefined) return "";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let size = Number(value);
  let unit = 0;
  while (size >= 1024 && unit < 4) { size /= 1024; unit += 1; }
  return `${+size.toFixed(size < 10 && unit ? 1 : 0)} ${units[unit]}`;
};
const tenantLink = (code) => code ? h("a", { href: link("tenants", code) }, code) : h("span", { class: "sub" }, "–");
const jobLink = (id) => id ? h("a", { href: link("jobs", id) }, `#${id}`) : null;

function head(title, ...tools) { return h("div", { class: "head" }, h("h1", {}, title), h("span", { class: "grow" }), tools); }

/// A table that becomes a list of cards on a phone, with the `lead` columns side by side and the `minor` ones left out.
function table(rows, columns, empty, caption) {
  if (!rows.length) return h("div", { class: "empty" }, empty);
  return h("div", { class: "scroll" }, h("table", { class: "cards", "aria-label": caption },
    h("thead", {}, h("tr", {}, columns.map((column) => h("th", { scope: "col", class: column.number ? "number" : null }, column.label)))),
    h("tbody", {}, rows.map((row) => h("tr", {}, columns.map((column) => {
      const content = column.cell(row);
      const isNothing = content === null || content === undefined || content === "" || content === false;
      return h("td", { class: [column.number ? "number" : "", column.class ?? "", column.lead ? "lead" : "", column.minor ? "minor" : "", isNothing ? "none" : ""].join(" ").trim() || null, "data-label": column.label }, isNothing ? null : content);
    }))))));
}

function facts(pairs) {
  return h("dl", { class: "facts" }, pairs.filter(([, value]) => value !== null && value !== undefined && value !== "").map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}

function progressOf(job) {
  const progress = job.progress;
  if (!progress || typeof progress !== "object") return null;
  const { done, total, unit, message } = progress;
  if (typeof done === "number" && typeof total === "number" && total > 0) {
    const share = Math.min(1, done / total);
    return h("span", { class: "meter" }, h("progress", { max: 1, value: share, "aria-label": "progress" }), `${Math.floor(share * 100)} %`, message ? h("span", { class: "sub" }, String(message)) : null);
  }
  if (typeof done === "number") return `${number(done)} ${unit ?? ""}`;
  return message ? String(message) : null;
}

/// A field that searches as one types, and choices that act at once; the address keeps them all.
function filters(page, fields, items) {
  let timer = null;
  const change = (name, value) => go(page, { ...here().fields, [name]: value, before: null, after: null });
  return h("div", { class: "filters", role: "search" }, items.map((item) => {
    if (item.options) {
      return h("label", {}, item.label, h("select", { name: item.name, onchange: (event) => change(item.name, event.target.value) },
        h("option", { value: "" }, "all"), item.options.map((option) => h("option", { value: option, selected: fields[item.name] === option }, option))));
    }
    if (item.check) return h("label", { class: "row" }, h("input", { type: "checkbox", name: item.name, checked: Boolean(fields[item.name]), onchange: (event) => change(item.name, event.target.checked) }), item.label);
    return h("label", {}, item.label, h("input", {
      type: "search", name: item.name, value: fields[item.name] ?? "", placeholder: item.placeholder, size: item.size ?? 18,
      oninput: (event) => {
        clearTimeout(timer);
        const value = event.target.value.trim();
        timer = setTimeout(() => change(item.name, value), 350);
      },
    }));
  }));
}

/// Rows that go on at the end: each page is asked for by the last key of the one before.
function pager(first, load, draw, empty) {
  const holder = h("div", { class: "card flush" });
  const rows = [...first.rows];
  let next = first.next;
  const footer = h("div", { class: "more" });
  const render = () => {
    holder.replaceChildren(rows.length || !next ? draw(rows) : h("div", { class: "empty" }, empty ?? "nothing so far"), ...(next ? [footer] : []));
    footer.replaceChildren(h("button", { onclick: () => more() }, "Show older"));
  };
  // Asks on until something is found: a search looks at so many rows at a time.
  const more = async () => {
    let isStopped = false;
    for (let round = 0; next && !isStopped; round += 1) {
      footer.replaceChildren(`looking at what is older than ${next} … `, h("button", { class: "small", onclick: () => { isStopped = true; } }, "Stop"));
      const page = await load(next).catch((error) => { toast(error.message, true); return null; });
      if (!page) break;
      rows.push(...page.rows);
      next = page.next;
      if (page.rows.length || !page.more) break;
    }
    render();
  };
  render();
  if (first.more && rows.length < 10 && next) more();
  return holder;
}

// MARK: Acting

const pausing = (pattern, done) => act({
  title: `Pause ${pattern || "queues"}`, text: "No more jobs of these queues are claimed; what runs goes on. It lasts until somebody resumes it.", action: "pause", button: "Pause",
  fields: pattern ? [] : [{ name: "pattern", label: "What: acme.reports, acme.*, *.backups, tier:starter, kind:report, node:host-1", required: true }], body: pattern ? { pattern } : {}, done,
});
const draining = (pattern) => act({
  title: `Drain ${pattern || "queues"}`, text: "No more jobs are claimed, and it is done once nothing runs. New jobs wait, or are refused. Nothing is deleted.", action: "drain", button: "Drain",
  fields: [...(pattern ? [] : [{ name: "pattern", label: "What: acme.reports, acme.*, *.backups, tier:starter, kind:report, node:host-1", required: true }]),
    { name: "expires", label: "Ends by itself after (empty: never)", placeholder: "2 hours" }, { name: "refuse", label: "Refuse new jobs", type: "checkbox" }],
  body: pattern ? { pattern } : {}, done: () => `${pattern || "the queues"} drain`,
});
const resuming = (pattern) => act({ title: `Resume ${pattern}`, action: "resume", button: "Resume", body: { pattern }, done: () => `${pattern} runs again` });
const releasing = (tenant) => act({ title: `Release ${tenant}`, text: "It runs again, and what its isolation cancelled runs again as new jobs. Logins that were revoked come back with: reeve tenant rejoin", action: "release", button: "Release", body: { tenant }, done: () => `${tenant} runs again` });
const cancelling = (id) => act({ title: `Cancel job ${id}`, text: "A waiting job ends at once, a running one as soon as it can stop.", action: "cancel", button: "Cancel job", isDangerous: true, body: { job: id }, done: () => `job ${id} is told to stop` });
const retrying = (id, label = "Retry") => act({ title: `${label} job ${id}`, text: "It runs again as a new job with the same arguments.", action: label === "Redrive" ? "redrive" : "retry", button: label, body: { job: id }, done: (result) => `it runs again as job ${result.job}` });

function jobActions(job) {
  if (!may("operator")) return null;
  if (["available", "scheduled", "running"].includes(job.state)) return h("button", { class: "small", onclick: () => cancelling(job.id) }, "Cancel");
  if (job.state === "dead" && !job.redriven_as) return h("button", { class: "small", onclick: () => retrying(job.id, "Redrive") }, "Redrive");
  return null;
}

const jobColumns = [
  { label: "Job", class: "tight", lead: true, cell: (job) => jobLink(job.id) },
  { label: "State", lead: true, cell: (job) => [badge(job.state), job.hold_reason ? [" ", badge(job.hold_reason, "warn")] : null] },
  { label: "Queue", class: "tight", cell: (job) => h("a", { href: link("jobs", null, { queue: job.queue, state: here().fields.state }) }, job.queue) },
  { label: "Kind", cell: (job) => job.kind },
  { label: "Attempt", number: true, minor: true, cell: (job) => job.attempt ? `${job.attempt}${job.max_attempts ? ` of ${job.max_attempts}` : ""}` : "" },
  { label: "When", class: "tight", cell: (job) => when(job.finished_at ?? job.started_at ?? job.run_at) },
  { label: "Took", number: true, minor: true, cell: (job) => job.started_at && job.finished_at ? seconds((new Date(job.finished_at) - new Date(job.started_at)) / 1000) : "" },
  { label: "What", class: "error", cell: (job) => job.state === "running" ? progressOf(job) : job.error },
  { label: "", class: "acts", cell: jobActions },
];

function runningTable(rows) {
  return table(rows, [
    { label: "Job", class: "tight", lead: true, cell: (job) => jobLink(job.id) },
    { label: "Tenant", lead: true, cell: (job) => tenantLink(job.tenant_code) },
    { label: "Queue", class: "tight", cell: (job) => job.queue },
    { label: "Kind", cell: (job) => job.kind },
    { label: "Attempt", number: true, minor: true, cell: (job) => `${job.attempt} of ${job.max_attempts}` },
    { label: "For", number: true, cell: (job) => job.started_at ? seconds(Math.max(0, (Date.now() - new Date(job.started_at)) / 1000)) : "" },
    { label: "Progress", cell: progressOf },
    { label: "", class: "acts", cell: jobActions },
  ], "Nothing runs at the moment.", "Running jobs");
}

// MARK: Overview

const ranges = { "1 h": ["minute", 60], "6 h": ["minute", 360], "24 h": ["hour", 24], "7 d": ["hour", 168] };

function stat(label, value, target, level) {
  return h("a", { class: `card stat ${level ?? ""}`, href: target }, h("b", {}, value), h("span", {}, label));
}

function healthCards(overview) {
  const { live = {}, slow = {}, proof = {} } = overview.parts ?? {};
  const tiers = Object.values(live.tiers ?? {});
  const sum = (name) => tiers.reduce((total, tier) => total + Number(tier[name] ?? 0), 0);
  const oldest = Math.min(...Object.values(slow.oldest ?? {}).map(Number));
  const wait = Number.isFinite(oldest) ? Math.max(0, Date.parse(overview.now) / 1000 - oldest) : null;
  const alive = live.workers?.alive ?? 0;
  return h("section", { class: "grid", "aria-label": "Health" },
    stat("running", short(sum("running")), link("running")), stat("waiting", short(sum("waiting")), link("jobs", null, { state: "available,scheduled" })),
    stat("oldest due job", wait === null ? "none" : seconds(wait), link("queues"), wait > 900 ? "bad" : wait > 120 ? "warn" : ""),
    stat("dead letters", slow.dead_letters >= 10000 ? "10k+" : number(slow.dead_letters ?? 0), link("dead"), slow.dead_letters ? "warn" : ""),
    stat(live.workers?.late ? `workers, ${live.workers.late} late` : "workers", number(alive), link("workers"), !alive ? "bad" : live.workers?.late ? "warn" : ""),
    live.blocks ? stat("pauses and drains", number(live.blocks), link("queues"), "warn") : null,
    live.circuits ? stat("databases that do not answer", number(live.circuits), link("jobs", null, { state: "scheduled" }), "bad") : null,
    sum("capped") ? stat("tenants at their cap", number(sum("capped")), link("tenants", null, { busiest: true })) : null,
    proof.overdue ? stat("tenants without a fresh backup", number(proof.overdue), link("backups"), "warn") : null,
    slow.erasures?.overdue ? stat("erasures overdue", number(slow.erasures.overdue), link("erasures"), "bad") : slow.erasures?.open ? stat("erasures open", number(slow.erasures.open), link("erasures"), slow.erasures.near ? "warn" : "") : null,
    slow.purges?.open ? stat("purges open", number(slow.purges.open), link("purges")) : null);
}

/// Every slot of the range, also those in which nothing ended.
function fill(overview, width, count) {
  const step = width === "hour" ? 3600e3 : 60e3;
  const end = Math.floor(Date.parse(overview.now) / step) * step;
  const known = new Map(overview.slots.map((slot) => [Date.parse(slot.slot), slot]));
  return Array.from({ length: count }, (_, index) => {
    const at = end - (count - 1 - index) * step;
    const slot = known.get(at) ?? {};
    return { at, ...slot, p50: quantile(0.5, slot.wait, overview.bounds), p95: quantile(0.95, slot.wait, overview.bounds) };
  });
}

function charts(overview, width, count) {
  const slots = fill(overview, width, count);
  const times = slots.map((slot) => new Date(slot.at).toLocaleString([], width === "hour" && count > 24 ? { weekday: "short", hour: "2-digit", minute: "2-digit" } : { hour: "2-digit", minute: "2-digit" }));
  const ended = slots.reduce((sum, slot) => sum + Number(slot.succeeded ?? 0) + Number(slot.dead ?? 0), 0);
  const dead = slots.reduce((sum, slot) => sum + Number(slot.dead ?? 0), 0);
  const series = [{ key: "succeeded", label: "succeeded", color: "good" }, { key: "cancelled", label: "cancelled", color: "grey" }, { key: "dead", label: "dead", color: "bad" }];
  return [
    h("div", { class: "card" }, h("h2", {}, `Ended per ${width}`), bars(slots, series, times, `Jobs that ended: ${number(ended)}, of which ${number(dead)} dead`),
      h("div", { class: "legend" }, h("span", { class: "good" }, "succeeded"), h("span", {}, "cancelled"), h("span", { class: "bad" }, "dead"))),
    h("div", { class: "card" }, h("h2", {}, "Wait for a slot"), lines(slots, [{ key: "p50", label: "half within", color: "p50" }, { key: "p95", label: "95 % within", color: "p95" }], times, "How long jobs waited from due to start"),
      h("div", { class: "legend" }, h("span", { class: "p50" }, "half within"), h("span", { class: "p95" }, "95 % within"))),
  ];
}

function tierTable(overview) {
  const { live = {}, slow = {} } = overview.parts ?? {};
  const names = [...new Set([...Object.keys(live.tiers ?? {}), ...Object.keys(live.slots ?? {})])].sort();
  return table(names.map((name) => ({ name, slots: Number(live.slots?.[name] ?? 0), oldest: slow.oldest?.[name], ...live.tiers?.[name] })), [
    { label: "Tier", cell: (tier) => h("a", { href: link("tenants", null, { tier: tier.name }) }, tier.name) },
    { label: "Tenants", number: true, cell: (tier) => number(tier.tenants) },
    { label: "Slots", cell: (tier) => h("span", { class: "meter" }, h("progress", { max: Math.max(tier.slots, 1), value: Math.min(tier.running ?? 0, tier.slots), class: tier.slots && tier.running >= tier.slots ? "full" : null, "aria-label": `${tier.name}: running of slots` }), `${number(tier.running ?? 0)} of ${number(tier.slots)}`) },
    { label: "Waiting", number: true, cell: (tier) => number(tier.waiting) },
    { label: "Oldest due", number: true, cell: (tier) => tier.oldest ? seconds(Math.max(0, Date.parse(overview.now) / 1000 - tier.oldest)) : "" },
  ], "There are no tenants yet.", "Tiers");
}

function kindTable(overview) {
  return table(overview.kinds ?? [], [
    { label: "Kind", cell: (kind) => h("a", { href: link("jobs", null, { kind: kind.kind }) }, kind.kind) },
    { label: "Ended", number: true, cell: (kind) => number(kind.jobs) },
    { label: "Dead", number: true, cell: (kind) => Number(kind.dead) ? h("span", { class: "error-text" }, number(kind.dead)) : "0" },
    { label: "Mean wait", number: true, cell: (kind) => seconds(kind.mean_wait) },
    { label: "Mean run", number: true, cell: (kind) => seconds(kind.mean_run) },
  ], "Nothing ended in this time.", "Kinds");
}

async function overviewPage({ fields }) {
  const range = ranges[fields.range] ? fields.range : "1 h";
  const [width, count] = ranges[range];
  const isLive = range === "1 h";
  const overview = isLive && state.overview ? state.overview : await ask(`/api/overview${query({ width, slots: count })}`);
  const cards = h("div", {});
  const parts = h("div", { class: "two" });
  const tables = h("div", { class: "two" });
  const draw = (now) => {
    cards.replaceChildren(healthCards(now));
    if (parts.matches(":hover")) return;
    parts.replaceChildren(...charts(now, width, count));
    tables.replaceChildren(h("div", { class: "card flush" }, h("h2", {}, "Tiers"), tierTable(now)), h("div", { class: "card flush" }, h("h2", {}, "Kinds"), kindTable(now)));
  };
  draw(overview);
  return {
    title: "Overview",
    content: [head("Overview", h("div", { class: "chips", role: "group", "aria-label": "Range" }, Object.keys(ranges).map((name) => h("button", { "aria-pressed": String(name === range), onclick: () => go("overview", { range: name === "1 h" ? null : name }) }, name)))), cards, parts, tables],
    live: (name) => { if (name === "overview" && isLive) draw(state.overview); },
  };
}

// MARK: Jobs

const stateChoices = [["", "all"], ["running", "running"], ["available,scheduled", "waiting"], ["succeeded", "succeeded"], ["cancelled", "cancelled"], ["dead", "dead"]];

async function jobsPage({ fields }) {
  const load = (before) => ask(`/api/jobs${query({ ...fields, before })}`);
  const first = await load(null);
  return {
    title: "Jobs",
    content: [
      head("Jobs", h("div", { class: "chips", role: "group", "aria-label": "State" }, stateChoices.map(([value, label]) => h("button", { "aria-pressed": String((fields.state ?? "") === value), onclick: () => go("jobs", { ...fields, state: value }) }, label)))),
      filters("jobs", fields, [
        { name: "search", label: "Search", placeholder: "id or error", size: 20 }, { name: "tenant", label: "Tenant", placeholder: "acme", size: 12 }, { name: "queue", label: "Queue", placeholder: "*.reports", size: 14 },
        { name: "kind", label: "Kind", options: state.names.kinds },
      ]),
      pager(first, load, (rows) => table(rows, jobColumns, "No job matches.", "Jobs"), "Nothing among the newest; looking further …"),
    ],
  };
}

function attemptList(attempts) {
  return table(attempts, [
    { label: "Attempt", number: true, cell: (attempt) => attempt.attempt },
    { label: "Ended as", cell: (attempt) => badge(attempt.outcome) },
    { label: "Started", class: "tight", cell: (attempt) => when(attempt.started_at) },
    { label: "Took", number: true, cell: (attempt) => attempt.started_at && attempt.ended_at ? seconds((new Date(attempt.ended_at) - new Date(attempt.started_at)) / 1000) : "" },
    { label: "On", cell: (attempt) => attempt.node },
    { label: "Error", class: "error", cell: (attempt) => [attempt.error, attempt.log ? h("pre", {}, attempt.log) : null] },
  ], "", "Attempts");
}

async function jobPage({ subject }) {
  const job = await ask(`/api/jobs/${subject}`);
  const again = ["succeeded", "cancelled"].includes(job.state) || (job.state === "dead" && !job.redriven_as);
  return {
    title: `Job ${job.id}`,
    content: [
      head(`Job ${job.id}`, badge(job.state), may("operator") ? [
        ["available", "scheduled", "running"].includes(job.state) ? h("button", { class: "danger", onclick: () => cancelling(job.id) }, "Cancel") : null,
        again ? h("button", { class: "main", onclick: () => retrying(job.id, job.state === "dead" ? "Redrive" : "Retry") }, job.state === "dead" ? "Redrive" : "Run again") : null,
      ] : null),
      job.explain ? h("div", { class: `notice ${job.state === "dead" ? "bad" : ""}` }, job.explain, job.likely_at ? h("div", {}, "likely ", when(job.likely_at)) : null) : null,
      h("div", { class: "two" },
        h("section", { class: "card" }, h("h2", {}, "Facts"), facts([
          ["Tenant", tenantLink(job.tenant_code)], ["Queue", h("a", { href: link("jobs", null, { queue: job.queue }) }, job.queue)], ["Kind", job.kind], ["Attempt", `${job.attempt} of ${job.max_attempts ?? "?"}`],
          ["Priority", job.priority], ["Held for", job.hold_reason], ["Created", when(job.created_at)], ["By", job.created_by], ["Due", when(job.run_at)], ["Started", when(job.started_at)], ["Ended", when(job.finished_at)],
          ["Worker", job.worker ? `${job.worker.node}, pid ${job.worker.pid} (${job.worker.state})` : null], ["Lease", job.lease_id ? h("code", {}, job.lease_id) : null], ["Retry of", jobLink(job.retried_from)], ["Redriven as", jobLink(job.redriven_as)],
          ["Batch", job.batch_id ? h("a", { href: link("batches") }, job.batch_id) : null], ["Trace", job.traceparent ? h("code", {}, job.traceparent) : null], ["Cause", job.cause], ["Being cancelled", job.cancelling ? "yes" : null],
        ])),
        h("section", { class: "card" }, job.state === "running" ? [h("h2", {}, "Progress"), progressOf(job) ?? "It has not reported any.", h("p", {})] : null,
          job.error ? [h("h2", {}, "Error"), h("pre", { class: "error-text" }, job.error), h("p", {})] : null,
          h("h2", {}, "Arguments"), job.args_hidden ? h("p", { class: "sub" }, "Only operators see arguments.") : h("pre", {}, JSON.stringify(job.args, null, 2)),
          job.result ? [h("p", {}), h("h2", {}, "Result"), h("pre", {}, JSON.stringify(job.result, null, 2))] : null)),
      job.attempts?.length ? h("section", { class: "card flush" }, h("h2", {}, "Attempts"), attemptList(job.attempts)) : null,
      job.steps?.length ? h("section", { class: "card flush" }, h("h2", {}, "Finished steps"), table(job.steps, [{ label: "Step", cell: (step) => step.name }, { label: "When", cell: (step) => when(step.finished_at ?? step.at ?? step.created_at) }], "", "Steps")) : null,
      job.artifacts?.length ? h("section", { class: "card flush" }, h("h2", {}, "Artifacts"), table(job.artifacts, [
        { label: "Artifact", cell: (artifact) => h("code", {}, artifact.id) }, { label: "What", cell: (artifact) => artifact.entity }, { label: "Size", number: true, cell: (artifact) => bytes(artifact.bytes) },
        { label: "Expires", cell: (artifact) => when(artifact.expires_at) }], "", "Artifacts")) : null,
    ],
  };
}

async function runningPage() {
  const first = state.running ?? await ask("/api/jobs?state=running");
  const holder = h("div", { class: "card flush" }, runningTable(first.rows));
  const count = h("span", { class: "sub" });
  const say = (rows) => { count.textContent = rows.length >= 50 ? "the newest 50" : `${rows.length} jobs`; };
  say(first.rows);
  return {
    title: "Running", content: [head("Running", count), holder],
    live: (name) => {
      if (name !== "running" || holder.contains(document.activeElement)) return;
      holder.replaceChildren(runningTable(state.running.rows));
      say(state.running.rows);
    },
  };
}

async function deadPage({ fields }) {
  const load = (before) => ask(`/api/jobs${query({ ...fields, state: "dead", before })}`);
  const [first, groups] = await Promise.all([load(null), ask(`/api/dead${query({ tenant: fields.tenant, kind: fields.kind })}`).catch(() => ({ rows: [] }))]);
  const redriveMany = (group) => act({
    title: `Redrive ${number(group.count)} ${group.kind} jobs`, text: `Cause: ${group.cause}. They run again as new jobs, so many a second that nothing is overrun.`, action: "redrive-many", button: "Redrive all",
    fields: [{ name: "rate", label: "Jobs a second", value: "10", type: "number", required: true }],
    body: { filter: { kind: group.kind, cause: group.cause, ...(fields.tenant ? { tenant: fields.tenant } : {}) } }, done: (result) => `${number(result.count)} redriven${result.refused ? `, ${number(result.refused)} refused` : ""}${result.next_after ? "; more are left" : ""}`,
  });
  return {
    title: "Dead letters",
    content: [
      head("Dead letters"),
      groups.rows.length ? h("section", { class: "card flush" }, h("h2", {}, "By cause"), table(groups.rows, [
        { label: "Jobs", number: true, cell: (group) => number(group.count) }, { label: "Kind", cell: (group) => h("a", { href: link("dead", null, { ...fields, kind: group.kind }) }, group.kind) },
        { label: "Cause", class: "error", cell: (group) => group.cause }, { label: "Tenants", number: true, cell: (group) => number(group.tenants) }, { label: "Last", class: "tight", cell: (group) => when(group.last_at) },
        { label: "", class: "acts", cell: (group) => may("operator") ? h("button", { class: "small", onclick: () => redriveMany(group) }, "Redrive all") : null },
      ], "", "Dead letters by cause")) : null,
      h("p", {}),
      filters("dead", fields, [{ name: "search", label: "Search", placeholder: "id, reason or error", size: 22 }, { name: "tenant", label: "Tenant", size: 12 }, { name: "kind", label: "Kind", options: state.names.kinds }]),
      pager(first, load, (rows) => table(rows, [
        { label: "Job", class: "tight", lead: true, cell: (job) => jobLink(job.id) }, { label: "Queue", class: "tight", lead: true, cell: (job) => job.queue }, { label: "Kind", minor: true, cell: (job) => job.kind },
        { label: "Reason", cell: (job) => [badge(job.reason, "bad"), job.redriven_as ? [" redriven as ", jobLink(job.redriven_as)] : null] }, { label: "Died", class: "tight", cell: (job) => when(job.finished_at) },
        { label: "Error", class: "error", cell: (job) => job.error }, { label: "", class: "acts", cell: jobActions },
      ], "No dead letters. Everything that was accepted ran.", "Dead letters")),
    ],
  };
}

// MARK: Tenants and queues

const load = (tenant) => h("span", { class: "meter" }, h("progress", { max: Math.max(tenant.cap ?? 1, 1), value: Math.min(tenant.running ?? 0, tenant.cap ?? 1), class: tenant.running >= tenant.cap ? "full" : null, "aria-label": "running of cap" }), `${number(tenant.running ?? 0)} of ${number(tenant.cap ?? 0)}`);

async function tenantsPage({ fields }) {
  const ask50 = (after) => ask(`/api/tenants${query({ ...fields, after })}`);
  const first = await ask50(null);
  return {
    title: "Tenants",
    content: [
      head("Tenants"),
      filters("tenants", fields, [
        { name: "search", label: "Search", placeholder: "code or name" }, { name: "tier", label: "Tier", options: state.names.tiers },
        { name: "status", label: "Status", options: ["trial", "active", "suspended", "churned", "archived"] }, { name: "busiest", label: "Busiest first", check: true },
      ]),
      pager(first, ask50, (rows) => table(rows, [
        { label: "Tenant", lead: true, cell: (tenant) => [tenantLink(tenant.code), h("div", { class: "sub" }, tenant.name)] }, { label: "Tier", cell: (tenant) => tenant.tier },
        { label: "Status", cell: (tenant) => [badge(tenant.status), tenant.isolated ? [" ", badge("isolated", "bad")] : tenant.blocked ? [" ", badge("blocked", "warn")] : null] }, { label: "Running", cell: load },
        { label: "Waiting", number: true, cell: (tenant) => [number(tenant.waiting), tenant.is_full ? [" ", badge("full", "bad")] : null] },
        { label: "Dead", number: true, cell: (tenant) => tenant.dead ? h("a", { href: link("dead", null, { tenant: tenant.code }) }, tenant.dead >= 1000 ? "1000+" : number(tenant.dead)) : "" },
        { label: "Data", minor: true, cell: (tenant) => h("span", { class: "sub" }, `${tenant.isolation}, ${tenant.region}`) },
      ], "No tenant matches.", "Tenants")),
    ],
  };
}

const blockName = (block) => block.mode === "isolate" ? "isolated" : block.mode === "pause" ? "paused" : block.done_at ? "drained" : "draining";

function blockTable(blocks) {
  return table(blocks, [
    { label: "What", cell: (block) => h("code", {}, block.target) }, { label: "Is", cell: (block) => badge(blockName(block), block.mode === "isolate" ? "bad" : block.done_at ? "good" : "warn") },
    { label: "Still runs", cell: (block) => block.progress && !block.done_at ? [number(block.progress.running ?? 0), block.progress.eta_at ? [", done ", when(block.progress.eta_at)] : Number(block.progress.running) ? ", no telling how long" : ""] : "" },
    { label: "Why", cell: (block) => block.reason }, { label: "By", cell: (block) => block.actor }, { label: "Since", class: "tight", cell: (block) => when(block.since) },
    { label: "Ends", class: "tight", cell: (block) => block.expires_at ? when(block.expires_at) : "" }, { label: "New jobs", cell: (block) => block.refuse ? badge("refused", "bad") : "wait" },
    { label: "", class: "acts", cell: (block) => block.mode === "isolate"
      ? may("admin") ? h("button", { class: "small", onclick: () => releasing(block.target.replace("tenant:", "")) }, "Release") : null
      : may("operator") ? h("button", { class: "small", onclick: () => resuming(block.target) }, "Resume") : null },
  ], "", "Pauses and drains");
}

async function tenantPage({ subject }) {
  const [found, running, waiting, dead] = await Promise.all([
    ask(`/api/tenants/${encodeURIComponent(subject)}`), ask(`/api/jobs${query({ tenant: subject, state: "running" })}`), ask(`/api/queues${query({ tenant: subject })}`), ask(`/api/jobs${query({ tenant: subject, state: "dead" })}`)]);
  const { tenant, figures = {}, backup } = found;
  const ended = (figures.jobs ?? []).reduce((sum, row) => sum + Number(row.jobs), 0);
  const late = (figures.jobs ?? []).reduce((sum, row) => sum + Number(row.late), 0);
  return {
    title: tenant.code,
    content: [
      head(tenant.code, badge(tenant.status), tenant.tier, may("operator") ? [
        h("button", { onclick: () => pausing(`${tenant.code}.*`) }, "Pause"), h("button", { onclick: () => draining(`${tenant.code}.*`) }, "Drain")] : null,
      may("admin") ? h("button", { class: "danger", onclick: () => act({
        title: `Isolate ${tenant.code}`, text: "Nothing of this tenant is claimed any more and what runs is cancelled. Its logins stay until somebody runs: reeve tenant isolate", action: "isolate", button: "Isolate", isDangerous: true, body: { tenant: tenant.code }, done: () => `${tenant.code} is isolated` }) }, "Isolate") : null),
      found.blocks?.length ? h("section", { class: "card flush" }, h("h2", {}, "Pauses and drains"), blockTable(found.blocks)) : null,
      h("p", {}),
      h("div", { class: "two" },
        h("section", { class: "card" }, h("h2", {}, "Facts"), facts([["Name", tenant.name], ["Known as", tenant.external_code], ["Tier", tenant.tier], ["Status", [badge(tenant.status), " ", when(tenant.status_changed_at)]], ["Data", `${tenant.isolation} in ${tenant.region}`],
          ["Time zone", tenant.timezone], ["Trial ends", when(tenant.trial_ends_at)], ["Created", when(tenant.created_at)], ["Holds", found.holds?.map((hold) => hold.reason).join("; ")]])),
        h("section", { class: "card" }, h("h2", {}, "Work"), facts([["Running", load({ running: figures.running, cap: figures.cap })], ["Waiting", number(figures.waiting)], ["Ended", number(ended)],
          ["Late starts", figures.promised_start ? `${number(late)} (promised: ${seconds(figures.promised_start)})` : null], ["Last backup", when(backup?.last_backup_at) || "none"], ["Last proven", when(backup?.last_proven_at) || "never"],
          ["Restore took", backup?.last_rto_seconds ? seconds(backup.last_rto_seconds) : null], ["Erasure due", figures.erasure_due ? when(new Date(figures.erasure_due * 1000).toISOString()) : null]]))),
      h("section", { class: "card flush" }, h("h2", {}, "Running"), runningTable(running.rows)), h("p", {}),
      h("section", { class: "card flush" }, h("h2", {}, "Queues"), queueTable(waiting.rows)), h("p", {}),
      dead.rows.length ? h("section", { class: "card flush" }, h("h2", {}, "Dead letters"), table(dead.rows.slice(0, 10), jobColumns, "", "Dead letters")) : null,
      h("p", {}, h("a", { href: link("jobs", null, { tenant: tenant.code }) }, "All jobs"), " · ", h("a", { href: link("audit", null, { tenant: tenant.code }) }, "Audit"), " · ", h("a", { href: link("backups", null, { tenant: tenant.code }) }, "Backups"), " · ", h("a", { href: link("schedules", null, { tenant: tenant.code }) }, "Schedules")),
    ],
  };
}

const some = (count) => Number(count) >= 1000 ? "1000+" : number(count);

function queueTable(rows) {
  return table(rows, [
    { label: "Queue", cell: (queue) => h("a", { href: link("jobs", null, { queue: queue.queue, state: "available,scheduled" }) }, queue.queue) }, { label: "Tier", minor: true, cell: (queue) => queue.tier },
    { label: "Available", number: true, cell: (queue) => some(queue.available) }, { label: "Running", number: true, cell: (queue) => some(queue.running) }, { label: "Scheduled", number: true, cell: (queue) => some(queue.scheduled) },
    { label: "Held", number: true, cell: (queue) => Number(queue.held) ? some(queue.held) : "" }, { label: "Oldest due", class: "tight", cell: (queue) => queue.oldest_available_at ? when(queue.oldest_available_at) : "" },
    { label: "", cell: (queue) => queue.blocks?.map((block) => [badge(block.mode === "pause" ? "paused" : "draining", "warn"), " "]) },
    { label: "", class: "acts", cell: (queue) => may("operator") ? [h("button", { class: "small", onclick: () => pausing(queue.queue) }, "Pause"), " ", h("button", { class: "small", onclick: () => draining(queue.queue) }, "Drain")] : null },
  ], "No queue has unfinished jobs.", "Queues");
}

async function queuesPage({ fields }) {
  const ask50 = (after) => ask(`/api/queues${query({ ...fields, after })}`);
  const first = await ask50(null);
  return {
    title: "Queues",
    content: [
      head("Queues", may("operator") ? [h("button", { onclick: () => pausing("") }, "Pause …"), h("button", { onclick: () => draining("") }, "Drain …")] : null),
      first.blocks?.length ? [h("section", { class: "card flush" }, h("h2", {}, "Pauses and drains"), blockTable(first.blocks)), h("p", {})] : null,
      filters("queues", fields, [{ name: "tenant", label: "Tenant", placeholder: "acme" }]), pager(first, ask50, queueTable),
    ],
  };
}

// MARK: Records

function listPage(title, name, columns, empty, { filter = true, key = "before" } = {}) {
  return {
    title,
    show: async ({ fields }) => {
      const ask50 = (last) => ask(`/api/${name}${query({ ...fields, [key]: last })}`);
      const first = await ask50(null);
      return { title, content: [head(title), filter ? filters(name, fields, [{ name: "tenant", label: "Tenant", placeholder: "acme" }]) : null, pager(first, ask50, (rows) => table(rows, columns, empty, title))] };
    },
  };
}

const scheduleColumns = [
  { label: "Schedule", lead: true, cell: (schedule) => h("div", {}, schedule.name, schedule.paused_at ? [" ", badge("paused", "warn")] : null, h("div", { class: "sub" }, schedule.tenant_code ? tenantLink(schedule.tenant_code) : "many tenants")) },
  { label: "Runs", cell: (schedule) => h("div", {}, schedule.kind, h("div", { class: "sub" }, h("code", {}, schedule.cron), " ", schedule.timezone ?? "each tenant's time zone")) },
  { label: "Next", class: "tight", cell: (schedule) => schedule.paused_at ? `paused: ${schedule.pause_reason ?? ""}` : when(schedule.next_at) },
  { label: "Last", class: "tight", cell: (schedule) => schedule.last_tick ? [when(schedule.last_tick), " ", badge(schedule.last_outcome)] : "" },
  { label: "Did", cell: (schedule) => schedule.last_job ? jobLink(schedule.last_job) : schedule.last_batch ? h("a", { href: link("batches") }, `batch ${schedule.last_batch}`) : "" },
  { label: "", class: "acts", cell: (schedule) => !may("operator") ? null : schedule.paused_at
    ? h("button", { class: "small", onclick: () => act({ title: `Resume ${schedule.name}`, action: "resume-schedule", button: "Resume", body: { name: schedule.name } }) }, "Resume")
    : h("button", { class: "small", onclick: () => act({ title: `Pause ${schedule.name}`, text: "It does not fire until somebody resumes it.", action: "pause-schedule", button: "Pause", body: { name: schedule.name } }) }, "Pause") },
];

const batchColumns = [
  { label: "Batch", number: true, cell: (batch) => batch.id }, { label: "State", cell: (batch) => badge(batch.state) }, { label: "Kind", cell: (batch) => batch.kind },
  { label: "Progress", cell: (batch) => {
    const ended = batch.total - batch.waiting - batch.enqueued;
    return h("span", { class: "meter" }, h("progress", { class: "wide", max: Math.max(batch.total, 1), value: ended, "aria-label": "ended of all" }), `${number(ended)} of ${number(batch.total)}`);
  } },
  { label: "Succeeded", number: true, cell: (batch) => number(batch.succeeded) },
  { label: "Dead", number: true, cell: (batch) => Number(batch.dead) + Number(batch.refused) ? h("span", { class: "error-text" }, number(Number(batch.dead) + Number(batch.refused))) : "" },
  { label: "Skipped", number: true, cell: (batch) => Number(batch.skipped) + Number(batch.cancelled) || "" }, { label: "Started", class: "tight", cell: (batch) => when(batch.created_at) },
  { label: "Ends", class: "tight", cell: (batch) => batch.finished_at ? when(batch.finished_at) : batch.eta ? ["about ", when(batch.eta)] : "" }, { label: "By", cell: (batch) => batch.created_by },
];

const backupColumns = [
  { label: "Tenant", cell: (row) => tenantLink(row.code) }, { label: "Tier", cell: (row) => row.tier },
  { label: "Last backup", class: "tight", cell: (row) => row.last_backup_at ? when(row.last_backup_at) : badge("none", "bad") },
  { label: "Verified", class: "tight", cell: (row) => when(row.last_verified_at) || "never" }, { label: "Proven by a restore", class: "tight", cell: (row) => row.last_proven_at ? when(row.last_proven_at) : "never" },
  { label: "Restore took", number: true, cell: (row) => row.last_rto_seconds ? seconds(row.last_rto_seconds) : "" }, { label: "", cell: (row) => row.unproven ? badge("unproven", "warn") : badge("proven", "good") },
];

const due = (row, moment) => {
  const left = (new Date(moment) - Date.now()) / 86400e3;
  return row.ended_at ? when(moment) : h("span", { class: left < 0 ? "badge bad" : left < 7 ? "badge warn" : "" }, ago(moment));
};
const purgeColumns = [
  { label: "Tenant", cell: (row) => tenantLink(row.tenant_code) }, { label: "State", cell: (row) => badge(row.state) }, { label: "Why", cell: (row) => [row.kind, h("div", { class: "sub" }, row.reason)] },
  { label: "Approvals", number: true, cell: (row) => `${row.approvals} of ${row.approvals_needed}` }, { label: "Not before", class: "tight", cell: (row) => due(row, row.not_before) }, { label: "Waits for", cell: (row) => row.waits_for },
  { label: "Job", cell: (row) => jobLink(row.job_id) }, { label: "Asked", class: "tight", cell: (row) => [when(row.requested_at), h("div", { class: "sub" }, row.requested_by)] }, { label: "Ended", class: "tight", cell: (row) => when(row.ended_at) },
];
const erasureColumns = [
  { label: "Tenant", cell: (row) => tenantLink(row.tenant_code) }, { label: "For", cell: (row) => row.purpose }, { label: "State", cell: (row) => badge(row.state) },
  { label: "Due by law", class: "tight", cell: (row) => due(row, row.due_at) }, { label: "Received", class: "tight", cell: (row) => when(row.received_at) }, { label: "Approved", cell: (row) => row.approved_by ?? "" },
  { label: "Job", cell: (row) => jobLink(row.job_id) }, { label: "Request", cell: (row) => h("code", {}, row.id) }, { label: "Ended", class: "tight", cell: (row) => when(row.ended_at) },
];
const auditColumns = [
  { label: "When", class: "tight", cell: (entry) => when(entry.at) }, { label: "Who", cell: (entry) => [entry.actor, entry.login !== entry.actor ? h("div", { class: "sub" }, entry.login) : null] }, { label: "Did", cell: (entry) => h("code", {}, entry.action) },
  { label: "To", cell: (entry) => entry.object }, { label: "Tenant", cell: (entry) => entry.tenant_code ? tenantLink(entry.tenant_code) : "" }, { label: "Why", cell: (entry) => entry.reason },
  { label: "More", cell: (entry) => entry.detail && Object.keys(entry.detail).length ? h("details", {}, h("summary", {}, "detail"), h("pre", {}, JSON.stringify(entry.detail, null, 2))) : "" },
];
const workerColumns = [
  { label: "Node", cell: (worker) => [worker.node, h("div", { class: "sub" }, `pid ${worker.pid}, ${worker.version}`)] }, { label: "State", cell: (worker) => [badge(worker.late ? "late" : worker.state), worker.quiet ? [" ", badge("quiet", "warn")] : null] }, { label: "Running", number: true, cell: (worker) => number(worker.running) },
  { label: "Slots", cell: (worker) => Object.entries(worker.pools ?? {}).map(([tier, slots]) => `${tier} ${slots}`).join(", ") }, { label: "Queues", cell: (worker) => worker.queues?.join(", ") ?? "all" }, { label: "Region", cell: (worker) => worker.region },
  { label: "Since", class: "tight", cell: (worker) => when(worker.started_at) }, { label: "Lease", class: "tight", cell: (worker) => worker.ended_at ? ["ended ", when(worker.ended_at)] : ["until ", when(worker.lease_until)] },
];

export const pages = {
  overview: { title: "Overview", section: "Now", show: overviewPage },
  running: { title: "Running", show: runningPage },
  jobs: { title: "Jobs", show: jobsPage },
  "jobs/": { show: jobPage },
  dead: { title: "Dead letters", show: deadPage },
  queues: { title: "Queues", section: "Who and when", show: queuesPage },
  tenants: { title: "Tenants", show: tenantsPage },
  "tenants/": { show: tenantPage },
  schedules: listPage("Schedules", "schedules", scheduleColumns, "There are no schedules.", { key: "after" }),
  batches: listPage("Batches", "batches", batchColumns, "There were no batches.", { filter: false }),
  backups: { section: "Records", ...listPage("Backups", "backups", backupColumns, "There are no tenants.", { key: "after" }) },
  purges: listPage("Purges", "purges", purgeColumns, "No tenant was or is to be purged.", { filter: false }),
  erasures: listPage("Erasures", "erasures", erasureColumns, "Nobody has asked for erasure or a copy.", { filter: false }),
  workers: listPage("Workers", "workers", workerColumns, "No worker runs. Start one with: reeve worker", { filter: false }),
  audit: listPage("Audit", "audit", auditColumns, "The audit is empty."),
};
