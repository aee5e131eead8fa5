// Charts as SVG, drawn from what the server sums. Each says in words what it shows.
const NS = "http://www.w3.org/2000/svg";

function svg(name, attributes, ...children) {
  const element = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes ?? {})) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

function niceCeiling(value) {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 2.5, 5, 10].map((step) => step * power).find((step) => step >= value);
}

export function short(value) {
  if (value >= 1e6) return `${+(value / 1e6).toFixed(1)}M`;
  if (value >= 1e4) return `${+(value / 1e3).toFixed(0)}k`;
  if (value >= 1e3) return `${+(value / 1e3).toFixed(1)}k`;
  return `${+value.toFixed(value < 10 ? 1 : 0)}`;
}

export function seconds(value) {
  if (value === null || value === undefined) return "–";
  if (value < 1) return `${Math.round(value * 1000)} ms`;
  if (value < 120) return `${+value.toFixed(value < 10 ? 1 : 0)} s`;
  if (value < 7200) return `${Math.round(value / 60)} min`;
  if (value < 172800) return `${+(value / 3600).toFixed(1)} h`;
  return `${Math.round(value / 86400)} d`;
}

/// The value below which a share of the jobs are, from how many are in each range; between two bounds it is taken to be even.
export function quantile(share, counts, bounds) {
  const total = (counts ?? []).reduce((sum, count) => sum + count, 0);
  if (!total) return null;
  let rank = share * total;
  for (let index = 0; index < counts.length; index += 1) {
    if (rank <= counts[index]) {
      const low = index ? bounds[index - 1] : 0;
      const high = bounds[index] ?? bounds[bounds.length - 1];
      return low + (high - low) * (counts[index] ? rank / counts[index] : 0);
    }
    rank -= counts[index];
  }
  return bounds[bounds.length - 1];
}

// As wide as it will be shown, so that its words are as large as the page's.
const size = { width: 640, height: 190, left: 44, right: 8, top: 10, bottom: 22 };
let room = 0;

function measure() {
  size.width = innerWidth < 760 ? Math.max(280, innerWidth - 58) : 640;
  room = size.width - size.left - size.right;
}

function frame(label, top, times, format) {
  measure();
  const chart = svg("svg", { class: "chart", viewBox: `0 0 ${size.width} ${size.height}`, role: "img", "aria-label": label });
  const inner = size.height - size.top - size.bottom;
  for (const part of [0, 0.5, 1]) {
    const y = size.top + inner * (1 - part);
    chart.append(svg("line", { class: "axis", x1: size.left, x2: size.width - size.right, y1: y, y2: y }));
    chart.append(svg("text", { x: size.left - 6, y: y + 4, "text-anchor": "end" }, format(top * part)));
  }
  const every = Math.max(1, Math.ceil(times.length / (size.width < 500 ? 4 : 6)));
  times.forEach((time, index) => {
    if (index % every) return;
    chart.append(svg("text", { x: place(index, times.length) + barWidth(times.length) / 2, y: size.height - 6, "text-anchor": index ? "middle" : "start" }, time));
  });
  return chart;
}

const place = (index, count) => size.left + (room * index) / count;
const barWidth = (count) => Math.max(1, room / count - 1.5);
const height = (value, top) => ((size.height - size.top - size.bottom) * value) / top;

/// Stacked bars: one for each slot, of the series in their order.
export function bars(slots, series, times, label) {
  const top = niceCeiling(Math.max(1, ...slots.map((slot) => series.reduce((sum, name) => sum + (slot[name.key] ?? 0), 0))));
  const chart = frame(label, top, times, short);
  slots.forEach((slot, index) => {
    let y = size.height - size.bottom;
    const said = series.map((name) => `${name.label} ${slot[name.key] ?? 0}`).join(", ");
    const group = svg("g", {}, svg("title", {}, `${times[index]}: ${said}`));
    group.append(svg("rect", { x: place(index, slots.length), y: size.top, width: barWidth(slots.length), height: size.height - size.top - size.bottom, opacity: 0 }));
    for (const name of series) {
      const tall = height(slot[name.key] ?? 0, top);
      if (!tall) continue;
      y -= tall;
      group.append(svg("rect", { class: name.color, x: place(index, slots.length), y, width: barWidth(slots.length), height: Math.max(tall, 1) }));
    }
    chart.append(group);
  });
  return chart;
}

/// Lines, broken where nothing is known.
export function lines(slots, series, times, label) {
  const values = slots.flatMap((slot) => series.map((name) => slot[name.key])).filter((value) => value !== null && value !== undefined);
  const top = niceCeiling(Math.max(0.05, ...values));
  const chart = frame(label, top, times, (value) => seconds(value));
  for (const name of series) {
    let path = "";
    let isOpen = false;
    slots.forEach((slot, index) => {
      const value = slot[name.key];
      if (value === null || value === undefined) {
        isOpen = false;
        return;
      }
      const x = place(index, slots.length) + barWidth(slots.length) / 2;
      const y = size.height - size.bottom - height(value, top);
      path += `${isOpen ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`;
      if (!isOpen && (slots[index + 1]?.[name.key] ?? null) === null) path += "h1.5";
      isOpen = true;
    });
    chart.append(svg("path", { class: `line ${name.color}`, d: path || "M0 0" }));
  }
  slots.forEach((slot, index) => {
    const said = series.map((name) => `${name.label} ${seconds(slot[name.key])}`).join(", ");
    chart.append(svg("rect", { x: place(index, slots.length), y: size.top, width: barWidth(slots.length) + 1.5, height: size.height - size.top - size.bottom, opacity: 0 }, svg("title", {}, `${times[index]}: ${said}`)));
  });
  return chart;
}
