"use strict";
// All that comes from the router is shown as text: names of databases and members may be anything.

const MOST_EVENTS = 100, EVERY_MS = 2000;
const MOST_LAG = 16 * 1024 * 1024; // a full bar: a WAL segment
let cluster = null, rates = new Map(), busy = new Map(), before = null;

const at = (id) => document.getElementById(id);

function make(name, text, kind) {
  const node = document.createElement(name);
  if (text !== undefined && text !== null) node.textContent = text;
  if (kind) node.className = kind;
  return node;
}

function bytes(n) {
  for (const unit of ["B", "kB", "MB", "GB"]) {
    if (n < 1024) return `${unit === "B" ? n : n.toFixed(1)} ${unit}`;
    n /= 1024;
  }
  return `${n.toFixed(1)} TB`;
}

function row(cells) {
  const line = make("tr");
  for (const [content, kind] of cells) {
    const cell = make("td", content instanceof Node ? undefined : content, kind);
    if (content instanceof Node) cell.append(content);
    line.append(cell);
  }
  return line;
}

function rate(kind, name) {
  const found = rates.get(`${kind} ${name}`);
  return found === undefined ? "" : found < 10 ? found.toFixed(1) : Math.round(found).toString();
}

function lag(member) {
  const shown = make("span");
  if (typeof member.lag !== "number") { shown.textContent = member.lag === undefined ? "" : member.lag; return shown; }
  const meter = make("meter");
  meter.max = MOST_LAG; meter.high = MOST_LAG / 2; meter.optimum = 0; meter.value = Math.min(member.lag, MOST_LAG);
  shown.append(meter, bytes(member.lag));
  return shown;
}

function name(member) {
  const shown = make("span", member.name);
  shown.append(make("small", `${member.host}:${member.port}`));
  return shown;
}

function showCluster() {
  if (!cluster) return;
  at("version").textContent = cluster.router.version;
  const state = at("state");
  if (cluster.router.draining) { state.textContent = "shutting down"; state.className = "warn"; }
  else if (cluster.primary) { state.textContent = `writes go to ${cluster.primary}`; state.className = "good"; }
  else { state.textContent = `writes are held: ${cluster.no_primary}`; state.className = "bad"; }
  if (!cluster.dcs_reachable) state.textContent += `; ${cluster.source} does not answer`;
  if (cluster.pause) state.textContent += "; Patroni is paused";
  at("members").tBodies[0].replaceChildren(...cluster.members.map((member) => row([
    [name(member)],
    [member.role],
    [member.writable ? "writes" : member.readable ? "reads" : "nothing", member.writable || member.readable ? "good" : "bad"],
    [lag(member)],
    [rate("tps", member.name), "number"],
    [rate("qps", member.name), "number"],
    [busy.get(member.name) ?? "", "number"],
    [member.reason, "why dim"],
  ])));
}

function showPools(found) {
  rates = new Map();
  const seconds = before ? found.time - before.time : 0;
  const was = new Map(before ? before.counts : []), counts = new Map();
  const count = (kind, key, total) => {
    counts.set(`${kind} ${key}`, total);
    const old = was.get(`${kind} ${key}`);
    if (old !== undefined && seconds > 0) rates.set(`${kind} ${key}`, Math.max(0, total - old) / seconds);
  };
  for (const member of found.members) {
    count("tps", member.name, member.transactions);
    count("qps", member.name, member.queries);
    busy.set(member.name, member.active);
  }
  const key = (pool) => JSON.stringify([pool.database, pool.user]);
  for (const pool of found.pools) count("pool", key(pool), pool.transactions);
  before = { time: found.time, counts };
  const shown = Object.entries(found.clients).concat(Object.entries(found.pins).map(([why, n]) => [`kept: ${why}`, n]));
  at("clients").replaceChildren(...shown.map(([what, n]) => {
    const item = make("li", `${what} `);
    item.append(make("b", n));
    return item;
  }));
  at("shown").textContent = found.pools.length < found.pools_in_all ? `the busiest of ${found.pools_in_all}` : "";
  at("pools").tBodies[0].replaceChildren(...found.pools.map((pool) => row([
    [pool.database], [pool.user], [pool.clients, "number"], [pool.waiting, pool.waiting ? "number warn" : "number"],
    [pool.waiting ? `${pool.max_wait_seconds.toFixed(1)} s` : "", "number"], [pool.active, "number"], [pool.idle, "number"],
    [rate("pool", key(pool)), "number"],
  ])));
  showCluster();
}

function words(kind, told) {
  if (kind === "leader") return `leader ${told.from ?? "nobody"} → ${told.to ?? "nobody"}`;
  if (kind === "primary") {
    if (told.to === null) return `${told.from} is no longer primary: ${told.reason}; writes are held`;
    return told.from === null
      ? `${told.to} is primary; writes were held for ${told.after_seconds.toFixed(1)} s` : `primary ${told.from} → ${told.to}`;
  }
  return `${told.name}: ${told.reports}${told.readable ? ", gets reads" : ""}${told.writable ? ", gets writes" : ""}`
    + (told.reason ? ` (${told.reason})` : "");
}

function showEvent(kind, told) {
  const list = at("events"), item = make("li"), time = make("time", new Date(told.time).toLocaleTimeString());
  time.dateTime = told.time;
  time.title = told.time;
  item.append(time, make("span", words(kind, told), kind === "primary" ? (told.to ? "good" : "bad") : ""));
  list.querySelector(".none")?.remove();
  list.prepend(item);
  while (list.children.length > MOST_EVENTS) list.lastChild.remove();
}

// -- the connection: fetch, as EventSource cannot show a token

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

function ask(path) {
  const token = sessionStorage.getItem("token");
  return fetch(path, { headers: token ? { Authorization: `Bearer ${token}` } : {}, cache: "no-store" });
}

function login() {
  at("login").hidden = false;
  at("state").textContent = "a token is needed";
  at("state").className = "warn";
  return new Promise((done) => at("login").addEventListener("submit", (event) => {
    event.preventDefault();
    sessionStorage.setItem("token", at("token").value);
    at("login").hidden = true;
    done();
  }, { once: true }));
}

function take(block) {
  let kind = "", data = "";
  for (const line of block.split("\n")) {
    if (line.startsWith("event: ")) kind = line.slice(7);
    else if (line.startsWith("data: ")) data = line.slice(6);
  }
  if (!data) return;
  const told = JSON.parse(data);
  if (kind === "cluster") { cluster = told; showCluster(); } else showEvent(kind, told);
}

async function follow() {
  for (;;) {
    try {
      const answer = await ask("events");
      if (answer.status === 401) { await login(); continue; }
      if (!answer.ok) throw new Error(answer.statusText);
      at("events").replaceChildren(make("li", "none since the router started", "none"));
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let text = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        const blocks = (text + value).split("\n\n");
        text = blocks.pop();
        blocks.forEach(take);
      }
    } catch (error) { console.warn(error); }
    at("state").textContent = "the router does not answer";
    at("state").className = "bad";
    await pause(EVERY_MS);
  }
}

async function poll() {
  for (;;) {
    try {
      if (!document.hidden) {
        const answer = await ask("pools");
        if (answer.ok) showPools(await answer.json());
      }
    } catch (error) { console.warn(error); }
    await pause(EVERY_MS);
  }
}

follow();
poll();
