// The frame: who is here, which page is open, what is live, and how something is asked for or done. Pages are in pages.js.
import { pages } from "/pages.js";

export const state = { me: null, overview: null, running: null, names: { kinds: [], tiers: [] } };
const main = document.getElementById("main");

// MARK: Elements. Text is only ever set as text, so nothing that a job or a tenant wrote can become part of the page.

export function h(name, attributes, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "value") element.value = value;
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat(9).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto", style: "short" });

export function ago(text) {
  if (!text) return "";
  const gone = (new Date(text) - Date.now()) / 1000;
  const size = Math.abs(gone);
  if (!Number.isFinite(gone)) return text === "infinity" ? "never" : text;
  if (size < 60) return relative.format(Math.round(gone), "second");
  if (size < 3600) return relative.format(Math.round(gone / 60), "minute");
  if (size < 86400) return relative.format(Math.round(gone / 3600), "hour");
  return relative.format(Math.round(gone / 86400), "day");
}

/// A moment: how long ago, and the exact time for who points at it or listens.
export function when(text) {
  if (!text) return "";
  const date = new Date(text);
  if (Number.isNaN(date.getTime())) return text === "infinity" ? "never" : text;
  return h("time", { datetime: text, title: date.toLocaleString() }, ago(text));
}

// MARK: Asking and doing

export class Refusal extends Error {
  constructor(status, message, hint) {
    super(message);
    this.status = status;
    this.hint = hint;
  }
}

export async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, { credentials: "same-origin", cache: "no-store", ...options });
  } catch {
    throw new Refusal(0, "the dashboard does not answer");
  }
  const body = await answer.json().catch(() => ({}));
  if (answer.status === 401) logIn();
  if (!answer.ok) throw new Refusal(answer.status, body.error ?? `the answer was ${answer.status}`, body.hint);
  return body;
}

export const post = (path, body) => ask(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });

export function query(parameters) {
  const fields = new URLSearchParams();
  for (const [key, value] of Object.entries(parameters)) if (value !== undefined && value !== null && value !== "" && value !== false) fields.set(key, value === true ? "1" : value);
  const text = fields.toString();
  return text ? `?${text}` : "";
}

const roles = ["viewer", "operator", "admin"];
export const may = (role) => roles.indexOf(state.me?.role) >= roles.indexOf(role);

export function toast(text, isBad = false) {
  const element = document.getElementById("toast");
  element.textContent = text;
  element.className = `toast on${isBad ? " bad" : ""}`;
  clearTimeout(toast.timer);
  toast.timer = setTimeout(() => { element.className = "toast"; }, isBad ? 8000 : 4000);
}

/// Asks for a reason (and whatever else `fields` holds), does it, and says how it went. Nothing is done without a reason.
export function act({ title, text, action, body, fields = [], button, isDangerous = false, done }) {
  const dialog = document.getElementById("dialog");
  const problem = h("p", { class: "error-text", role: "alert" });
  const inputs = fields.map((field) => field.type === "checkbox"
    ? h("label", { class: "check" }, h("input", { type: "checkbox", name: field.name }), field.label)
    : h("label", {}, field.label, h("input", { name: field.name, value: field.value ?? "", required: field.required, placeholder: field.placeholder })));
  const confirm = h("button", { type: "submit", class: isDangerous ? "danger" : "main" }, button);
  const form = h("form", {
    method: "dialog",
    onsubmit: async (event) => {
      event.preventDefault();
      confirm.disabled = true;
      problem.textContent = "";
      const data = { ...body };
      for (const field of fields) {
        const input = form.elements[field.name];
        const value = field.type === "checkbox" ? input.checked : input.value.trim();
        if (value !== "") data[field.name] = field.type === "number" ? Number(value) : value;
      }
      data.reason = form.elements.reason.value.trim();
      try {
        const result = await post(`/api/actions/${action}`, data);
        dialog.close();
        toast(done ? done(result) : `${title}: done`);
        open();
      } catch (error) {
        problem.textContent = error.message + (error.hint ? ` – ${error.hint}` : "");
      } finally {
        confirm.disabled = false;
      }
    },
  },
  h("h2", { id: "dialog-title" }, title), text ? h("p", {}, text) : null, inputs,
  h("label", {}, "Reason, for the audit and for who finds it", h("textarea", { name: "reason", required: true, maxlength: 1000 })),
  problem,
  h("div", { class: "row" }, h("button", { type: "button", onclick: () => dialog.close() }, "Back"), confirm));
  dialog.replaceChildren(form);
  dialog.showModal();
  (form.querySelector("input:not([type=checkbox])") ?? form.elements.reason).focus();
}

// MARK: Coming in

function logIn(problem) {
  document.getElementById("top").hidden = true;
  state.me = null;
  stopLive();
  const said = h("p", { class: "error-text", role: "alert" }, problem ?? "");
  const form = h("form", {
    onsubmit: async (event) => {
      event.preventDefault();
      await enter(form.elements.token.value.trim(), said);
    },
  },
  h("h1", {}, "Reeve"), h("p", {}, "Your access token:"),
  h("input", { name: "token", type: "password", autocomplete: "current-password", required: true, "aria-label": "Access token" }),
  said, h("button", { class: "main" }, "Come in"));
  main.replaceChildren(h("div", { class: "login card" }, form));
  main.setAttribute("aria-busy", "false");
  form.elements.token.focus();
}

async function enter(token, said) {
  const answer = await fetch("/login", { method: "POST", credentials: "same-origin", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ token }) }).catch(() => null);
  if (answer?.ok) return start();
  const text = answer?.status === 401 ? "This token is not known." : "The dashboard did not let you in; look at its log.";
  if (said) said.textContent = text; else logIn(text);
}

async function start() {
  // A link that `reeve dashboard` printed brings the token where no server and no history sees it.
  const token = location.hash.match(/^#token=([\w-]+)$/)?.[1];
  if (token) {
    history.replaceState(null, "", location.pathname);
    return enter(token);
  }
  const answer = await fetch("/api/me", { credentials: "same-origin" }).catch(() => null);
  if (!answer?.ok) return logIn(answer ? undefined : "The dashboard does not answer.");
  state.me = await answer.json();
  document.getElementById("who").textContent = `${state.me.name} · ${state.me.role}`;
  document.getElementById("top").hidden = false;
  state.names = await ask("/api/names").catch(() => state.names);
  startLive();
  open();
}

// MARK: Live

let events = null;

function startLive() {
  stopLive();
  const light = document.getElementById("live");
  const say = (name, text) => {
    if (light.className === `live ${name}`) return;
    light.className = `live ${name}`;
    light.textContent = text;
  };
  events = new EventSource("/api/live");
  const take = (name) => events.addEventListener(name, (event) => {
    state[name] = JSON.parse(event.data);
    say("on", "live");
    showCounts();
    current?.live?.(name);
  });
  take("overview");
  take("running");
  events.addEventListener("trouble", () => say("off", "the database does not answer"));
  events.onerror = () => say("off", "reconnecting");
}

function stopLive() {
  events?.close();
  events = null;
}

function showCounts() {
  const dead = state.overview?.parts?.slow?.dead_letters ?? 0;
  const badge = document.querySelector("nav [data-page=dead] .count");
  if (!badge) return;
  badge.hidden = !dead;
  badge.textContent = dead >= 10000 ? "10k+" : dead;
}

// MARK: Pages

let current = null;
let turn = 0;

export const here = () => {
  const [path, fields] = (location.hash.slice(2) || "overview").split("?");
  const [name, ...rest] = path.split("/");
  return { name, subject: rest.length ? decodeURIComponent(rest.join("/")) : null, fields: Object.fromEntries(new URLSearchParams(fields ?? "")) };
};

export const link = (name, subject, fields) => `#/${name}${subject ? `/${encodeURIComponent(subject)}` : ""}${query(fields ?? {})}`;

/// Opens the page with these filters; what is empty is left out.
export function go(name, fields) {
  const target = link(name, null, fields);
  if (location.hash === target) open(); else location.hash = target;
}

export async function open() {
  if (!state.me) return;
  const { name, subject, fields } = here();
  const page = pages[subject ? `${name}/` : name] ?? pages.overview;
  for (const item of document.querySelectorAll("nav a")) {
    if (item.dataset.page === name) item.setAttribute("aria-current", "page"); else item.removeAttribute("aria-current");
  }
  document.querySelector("nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
  turn += 1;
  const mine = turn;
  main.setAttribute("aria-busy", "true");
  try {
    const shown = await page.show({ subject, fields });
    if (mine !== turn) return;
    const kept = keepFocus();
    main.replaceChildren(...[shown.content].flat(9).filter(Boolean));
    current = { name, live: shown.live };
    document.title = `${shown.title} · Reeve`;
    kept();
  } catch (error) {
    if (mine !== turn || error.status === 401) return;
    main.replaceChildren(h("div", { class: "notice bad", role: "alert" }, h("b", {}, error.message), error.hint ? h("div", {}, error.hint) : null), h("button", { onclick: open }, "Try again"));
    current = null;
  } finally {
    if (mine === turn) main.setAttribute("aria-busy", "false");
  }
}

/// Typing goes on where it was when a page is drawn anew.
function keepFocus() {
  const name = document.activeElement?.name;
  const range = name && [document.activeElement.selectionStart, document.activeElement.selectionEnd];
  return () => {
    const element = name && main.querySelector(`[name="${name}"]`);
    if (!element) return;
    element.focus();
    if (range?.[0] !== null && element.setSelectionRange && element.type !== "checkbox") element.setSelectionRange(...range);
  };
}

// MARK: Keys

const shortcuts = { o: "overview", j: "jobs", r: "running", t: "tenants", q: "queues", d: "dead", s: "schedules", b: "backups", a: "audit", w: "workers" };
let awaits = false;

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, textarea, select") || document.getElementById("dialog").open) return;
  if (awaits) {
    awaits = false;
    if (shortcuts[event.key]) location.hash = `#/${shortcuts[event.key]}`;
    return;
  }
  if (event.key === "g") {
    awaits = true;
    setTimeout(() => { awaits = false; }, 1500);
  } else if (event.key === "/") {
    const search = main.querySelector("input[type=search]");
    if (search) {
      event.preventDefault();
      search.focus();
      search.select();
    }
  } else if (event.key === "j" || event.key === "k") {
    const rows = [...main.querySelectorAll("tbody tr a:first-of-type")];
    const at = rows.indexOf(document.activeElement);
    rows[Math.min(rows.length - 1, Math.max(0, at + (event.key === "j" ? 1 : -1)))]?.focus();
  } else if (event.key === "?") showKeys();
});

function showKeys() {
  const dialog = document.getElementById("dialog");
  const row = (keys, text) => h("tr", {}, h("td", { class: "tight" }, keys.map((key) => [h("kbd", {}, key), " "])), h("td", {}, text));
  dialog.replaceChildren(h("h2", { id: "dialog-title" }, "Keyboard"), h("table", {}, h("tbody", {},
    Object.entries(shortcuts).map(([key, name]) => row(["g", key], pages[name].title)), row(["/"], "Search"), row(["j", "k"], "Next and previous row"), row(["?"], "This"))),
  h("div", { class: "row" }, h("button", { onclick: () => dialog.close() }, "Back")));
  dialog.showModal();
}

// MARK: Begin

const nav = document.getElementById("nav");
for (const [name, page] of Object.entries(pages)) {
  if (page.section) nav.append(h("span", { class: "section", "aria-hidden": "true" }, page.section));
  if (page.title) nav.append(h("a", { href: `#/${name}`, "data-page": name }, page.title, name === "dead" ? h("span", { class: "count", hidden: true }) : null));
}
document.getElementById("keys").addEventListener("click", showKeys);
document.getElementById("logout").addEventListener("click", async () => {
  await post("/logout", {}).catch(() => {});
  logIn();
});
const theme = document.getElementById("theme");
const setTheme = (name) => { if (name) document.documentElement.dataset.theme = name; };
setTheme(localStorage.getItem("reeve-theme"));
theme.addEventListener("click", () => {
  const isDark = document.documentElement.dataset.theme ? document.documentElement.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  setTheme(isDark ? "light" : "dark");
  localStorage.setItem("reeve-theme", isDark ? "light" : "dark");
});
addEventListener("hashchange", () => {
  open();
  main.focus({ preventScroll: true });
  scrollTo(0, 0);
});
start();
