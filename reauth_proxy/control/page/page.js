"use strict";
// Draws what /events says, twice per second. Text goes in as text, never as markup.

const HOUR = 3600, SECONDS = 300, LISTED = 50;
const STATES = { fresh: "Fresh", stale: "Stale", refreshing: "Refreshing", signed_out: "Signed out" };
const REASONS = {
  no_session: "Nobody has logged in yet.",
  refresh_denied: "The token endpoint refused the refresh token. Log in again.",
  refresh_unavailable: "The token endpoint is unavailable; the session is kept.",
  signed_out: "Somebody signed out. Log in again.",
};
const CAUSES = {
  rejected: "the upstream rejected the token", expired: "it had expired", renewal: "ahead of time",
  interrupted: "an answer was lost", asked: "somebody asked for it",
};

const $ = (id) => document.getElementById(id);
const seen = { attempts: [], traffic: [], notable: [] };
let latest = null;

function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function shape(parent, name, attributes, title) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (title) {
    const said = document.createElementNS("http://www.w3.org/2000/svg", "title");
    said.textContent = title;
    made.append(said);
  }
  parent.append(made);
}

// Nothing is touched that says the same already: screen readers would say it again.
function say(where, text) {
  if (where.textContent !== text) where.textContent = text;
}

const clock = (at) => new Date(at * 1000).toLocaleTimeString([], { hour12: false });
const took = (seconds) => (seconds < 1 ? `${Math.max(1, Math.round(seconds * 1000))} ms` : `${seconds.toFixed(1)} s`);
const count = (number, one, many) => `${number} ${number === 1 ? one : many}`;

function lasting(seconds) {
  if (seconds < 90) return `${Math.ceil(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return seconds < 172800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86400)} days`;
}

function told(status) {
  const offset = Date.now() / 1000 - status.now;
  latest = { ...status, offset };
  seen.attempts = [...seen.attempts, ...status.attempts].filter((attempt) => attempt.at > status.now - HOUR).slice(-1000);
  seen.traffic = [...seen.traffic, ...status.traffic].slice(-SECONDS);
  seen.notable = [...seen.notable, ...status.notable].slice(-LISTED);
  drawHead(status);
  drawSessions(status);
  drawTraffic();
  drawRefreshes(status.now, status.attempts.length > 0);
  if (status.notable.length) drawNotable();
  drawRoutes(status);
}

function drawHead(status) {
  const ready = $("ready");
  ready.className = `pill ${status.ready ? "good" : "bad"}`;
  say(ready, status.ready ? "ready" : "not ready");
  const why = Object.values(status.problems).join("; ");
  ready.title = why;
  say($("about"), `${status.listen} · version ${status.version} · up ${lasting(status.now - status.started)}`);
  document.title = status.ready ? "reauth-proxy" : "reauth-proxy: not ready";
}

function drawSessions(status) {
  const there = $("sessions");
  const names = status.credentials.map((credential) => credential.name);
  for (const card of [...there.children]) if (!names.includes(card.dataset.name)) card.remove();
  for (const credential of status.credentials) {
    let card = [...there.children].find((child) => child.dataset.name === credential.name);
    if (!card) card = there.appendChild(newCard(credential.name));
    drawCard(card, credential, status.now);
  }
}

function newCard(name) {
  const card = $("session").content.firstElementChild.cloneNode(true);
  card.dataset.name = name;
  const title = card.querySelector("h2");
  title.id = `session-${name}`;
  card.setAttribute("aria-labelledby", title.id);
  title.firstElementChild.textContent = `Session: ${name}`;
  card.querySelector(".refresh").addEventListener("click", () =>
    ask(`Refresh ${name}?`, "The token endpoint is asked for a new access token now.", "Refresh now", "POST", "/refresh", name));
  card.querySelector(".leave").addEventListener("click", () =>
    ask(`Sign out of ${name}?`, "The tokens are wiped and revoked. Requests that need them get the logout answer until somebody logs in again.", "Sign out", "DELETE", "/session", name));
  return card;
}

function drawCard(card, credential, now) {
  card.dataset.state = credential.state;
  say(card.querySelector(".state"), STATES[credential.state]);
  const reasons = [];
  if (credential.reason) reasons.push(REASONS[credential.reason]);
  if (credential.problem) reasons.push(credential.problem);
  if (credential.store_failed) reasons.push("The store fails: what is refreshed would not survive a restart.");
  if (!reasons.length && credential.state === "stale" && !credential.generation) reasons.push("No request has needed a token yet.");
  say(card.querySelector(".reason"), reasons.join(" "));
  const life = card.querySelector(".life");
  const known = credential.expires_at !== null && credential.state !== "signed_out";
  const whole = known ? credential.expires_at - credential.issued_at : 0;
  const left = known ? Math.max(0, credential.expires_at - now) : 0;
  const part = whole > 0 ? Math.min(1, left / whole) : 0;
  life.querySelector(".left").style.transform = `scaleX(${part.toFixed(4)})`;
  life.dataset.level = part < 0.2 ? "low" : "high";
  life.setAttribute("aria-valuenow", Math.round(part * 100));
  const expires = known ? (left > 0 ? `expires in ${lasting(left)} of ${lasting(whole)}` : "expired") : "no lifetime known";
  life.setAttribute("aria-valuetext", expires);
  say(card.querySelector(".expires"), expires);
  say(card.querySelector(".generation"), `generation ${credential.generation}`);
  say(card.querySelector(".parked"), String(credential.parked));
  for (const outcome of ["issued", "denied", "unavailable"]) say(card.querySelector(`.${outcome}`), String(credential.refreshes[outcome]));
  const gone = credential.state === "signed_out";
  for (const button of card.querySelectorAll("button")) button.disabled = gone;
}

function drawTraffic() {
  const chart = $("traffic");
  const top = Math.max(4, ...seen.traffic.map((second) => second[1]));
  const wide = 600 / SECONDS, start = SECONDS - seen.traffic.length;
  const height = (value) => (value / top) * 114;
  chart.replaceChildren();
  if (seen.traffic.length) {
    const points = seen.traffic.map((second, index) => `${((start + index + 0.5) * wide).toFixed(1)},${(120 - height(second[1])).toFixed(1)}`);
    const first = ((start + 0.5) * wide).toFixed(1);
    shape(chart, "polygon", { class: "area", points: `${first},120 ${points.join(" ")} ${((SECONDS - 0.5) * wide).toFixed(1)},120` });
    shape(chart, "polyline", { class: "line", points: points.join(" ") });
  }
  seen.traffic.forEach(([at, , parked, replayed], index) => {
    const x = (start + index) * wide;
    if (parked) shape(chart, "rect", { class: "parked", x: x - 1, y: 120 - height(parked), width: wide + 2, height: height(parked) }, `${clock(at)}: ${parked} parked`);
    if (replayed) shape(chart, "rect", { class: "replayed", x, y: 120 - height(replayed), width: wide, height: height(replayed) }, `${clock(at)}: ${replayed} replayed`);
  });
  const last = seen.traffic.at(-1) ?? [0, 0, 0, 0];
  const sum = (column) => seen.traffic.reduce((total, second) => total + second[column], 0);
  say($("traffic-now"), `${last[1]}/s`);
  say($("traffic-top"), `up to ${top}/s`);
  const words = `Requests per second in the last five minutes: ${last[1]} now, ${sum(1)} in all, ${sum(2)} parked, ${sum(3)} replayed`;
  if (chart.getAttribute("aria-label") !== words) chart.setAttribute("aria-label", words);
}

function drawRefreshes(now, more) {
  const chart = $("refreshes");
  const longest = Math.max(0.05, ...seen.attempts.map((attempt) => attempt.seconds));
  chart.replaceChildren();
  // What went wrong is drawn last, at full height: it is what people look for.
  const ordered = [...seen.attempts].sort((one, other) => (one.outcome !== "issued") - (other.outcome !== "issued"));
  for (const attempt of ordered) {
    const x = 596 * (1 - (now - attempt.at) / HOUR);
    const high = attempt.outcome === "issued" ? 14 + 86 * Math.sqrt(attempt.seconds / longest) : 114;
    const title = `${clock(attempt.at)}: ${attempt.outcome} in ${took(attempt.seconds)}`;
    shape(chart, "rect", { class: attempt.outcome, x: Math.max(0, x), y: 120 - high, width: attempt.outcome === "issued" ? 3 : 4, height: high, rx: 1 }, title);
  }
  const sums = ["issued", "denied", "unavailable"].map((outcome) => `${seen.attempts.filter((attempt) => attempt.outcome === outcome).length} ${outcome}`);
  const last = seen.attempts.at(-1);
  say($("refreshes-now"), last ? `${last.outcome} at ${clock(last.at)}, in ${took(last.seconds)}` : "none yet");
  chart.setAttribute("aria-label", `Refreshes in the last hour: ${sums.join(", ")}`);
  if (!more) return;
  $("attempts").replaceChildren(...seen.attempts.slice(-LISTED).reverse().map((attempt) => {
    const row = element("tr");
    row.append(element("td", clock(attempt.at), "number"), element("td", attempt.credential));
    const outcome = element("td");
    outcome.append(element("span", attempt.outcome, `tag ${attempt.outcome}`));
    const why = attempt.problem ? `${attempt.problem} (${CAUSES[attempt.cause] ?? attempt.cause})` : CAUSES[attempt.cause] ?? attempt.cause;
    row.append(outcome, element("td", took(attempt.seconds), "number"), element("td", why, "text last"));
    return row;
  }));
}

function drawNotable() {
  $("notable-none").hidden = true;
  $("notable-some").hidden = false;
  $("notable").replaceChildren(...seen.notable.slice().reverse().map((request) => {
    const row = element("tr");
    const what = element("td", undefined, "text");
    what.append(element("code", `${request.method} ${request.path}`));
    const answer = element("td");
    answer.append(element("span", request.status ? String(request.status) : "none", `tag s${String(request.status)[0]}`));
    row.append(element("td", clock(request.at), "number"), what, answer,
      element("td", request.parked ? took(request.parked) : "", "number"), element("td", request.why, "text last"));
    return row;
  }));
}

function drawRoutes(status) {
  const rows = status.routes.map((route) => [route.path, route.upstream, route.credential ?? "none"]);
  const text = JSON.stringify(rows);
  if ($("routes").dataset.text !== text) {
    $("routes").dataset.text = text;
    $("routes").replaceChildren(...rows.map(([path, upstream, credential]) => {
      const row = element("tr");
      const [first, second] = [element("td"), element("td", undefined, "text")];
      first.append(element("code", path));
      second.append(element("code", upstream));
      row.append(first, second, element("td", credential));
      return row;
    }));
  }
  const upstreams = status.upstreams.map((upstream) =>
    `${upstream.name}: ${upstream.busy} busy, ${upstream.idle} idle${upstream.waiting ? `, ${count(upstream.waiting, "request waits", "requests wait")}` : ""}`);
  say($("connections"), `${count(status.clients, "client connection", "client connections")} · ${upstreams.join(" · ")}`);
}

function ask(title, text, yes, method, path, credential) {
  const dialog = $("ask");
  $("ask-title").textContent = title;
  $("ask-text").textContent = text;
  const button = $("ask-yes");
  button.textContent = yes;
  button.className = method === "DELETE" ? "danger" : "";
  button.onclick = async () => {
    dialog.close();
    $("said").textContent = "";
    try {
      const answer = await fetch(`${path}?credential=${encodeURIComponent(credential)}`, { method });
      if (!answer.ok) $("said").textContent = (await answer.json()).detail;
    } catch {
      $("said").textContent = "The proxy did not answer.";
    }
  };
  dialog.showModal();
}

$("ask-no").addEventListener("click", () => $("ask").close());
const events = new EventSource("/events");
events.addEventListener("status", (event) => told(JSON.parse(event.data)));
events.addEventListener("open", () => { seen.attempts = []; seen.traffic = []; seen.notable = []; });
events.addEventListener("error", () => {
  $("ready").className = "pill bad";
  say($("ready"), "no connection");
});
// The bar drains between two messages, too.
setInterval(() => {
  if (latest) for (const credential of latest.credentials) {
    const card = [...$("sessions").children].find((child) => child.dataset.name === credential.name);
    if (card) drawCard(card, credential, Date.now() / 1000 - latest.offset);
  }
}, 500);
