"use strict";
(() => {
  const PERIODS = 60;
  const RATE_SECONDS = 10;
  const KEPT_SECONDS = 60;
  const STALE_AFTER = 3.5;
  const HEALTHS = ["expired", "failing", "rejected", "throttled", "retrying", "pending", "ok"];
  const MAX_ROWS = 200;

  const byId = (id) => document.getElementById(id);
  const icons = byId("icons").content;

  // The samples of the last minute, for rates.
  let samples = [];
  let snapshot = null;
  let received = 0;
  let lost = false;
  let wide = false;
  let words = "";
  const open = new Set();

  // --- Formats -----------------------------------------------------------------------------------

  const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
  const compact = new Intl.NumberFormat("en-US", { notation: "compact", maximumFractionDigits: 1 });
  const number = (value) => (value < 1e6 ? whole.format(value) : compact.format(value));
  const rate = (value) => (value > 0 && value < 10 ? value.toFixed(1) : number(value));
  const plural = (count, noun) => `${whole.format(count)} ${noun}${count === 1 ? "" : "s"}`;

  function duration(seconds) {
    const s = Math.max(0, seconds);
    if (s < 120) return `${Math.round(s)} s`;
    if (s < 7200) return `${Math.floor(s / 60)} min`;
    if (s < 172800) return `${Math.floor(s / 3600)} h`;
    return `${Math.floor(s / 86400)} d`;
  }

  // With tenths where a grant is about to expire.
  const remaining = (seconds) => (seconds > 0 && seconds < 10 ? `${seconds.toFixed(1)} s` : duration(seconds));

  // --- Elements, patched by key ------------------------------------------------------------------

  function element(tag, className, ...children) {
    const made = document.createElement(tag);
    if (className) made.className = className;
    made.append(...children);
    return made;
  }

  function setText(node, text) {
    if (node.textContent !== text) node.textContent = text;
  }

  function setAttribute(node, name, value) {
    if (node.getAttribute(name) !== value) node.setAttribute(name, value);
  }

  function setVariable(node, name, value) {
    const text = String(Math.round(value * 10000) / 10000);
    if (node.style.getPropertyValue(name) !== text) node.style.setProperty(name, text);
  }

  function setIcon(holder, health) {
    if (holder.dataset.icon === health) return;
    holder.dataset.icon = health;
    holder.querySelector(".icon")?.remove();
    holder.prepend(icons.querySelector(`[data-icon="${health}"]`).cloneNode(true));
  }

  // Makes the children of `list` those of `items`, in their order, and keeps the elements of keys
  // that remain.
  function patch(list, items, key, create, update) {
    const known = (list.known ??= new Map());
    const wanted = new Map(items.map((item) => [key(item), item]));
    for (const [name, node] of known) {
      if (!wanted.has(name)) {
        node.remove();
        known.delete(name);
      }
    }
    let next = list.firstElementChild;
    for (const [name, item] of wanted) {
      let node = known.get(name);
      if (!node) {
        node = create(item);
        known.set(name, node);
      }
      if (node === next) next = next.nextElementSibling;
      else list.insertBefore(node, next);
      update(node, item);
    }
  }

  // --- Rates -------------------------------------------------------------------------------------

  function keepSample(it) {
    const profiles = new Map(it.profiles.map((row) => [row.profile, row.tokens]));
    const callers = new Map(it.numbers.callers.map((row) => [row.caller, row.tokens]));
    const last = samples.at(-1);
    // A restarted server counts from zero.
    if (last && (it.numbers.tokens < last.tokens || it.time < last.time)) samples = [];
    const validity = it.numbers.validity.map(([, count]) => count);
    samples.push({ time: it.time, tokens: it.numbers.tokens, profiles, callers, validity });
    samples = samples.filter((sample) => sample.time > it.time - KEPT_SECONDS - 1);
  }

  // The mean increase of a count per second over the last seconds; null with too few samples.
  function rateOf(read) {
    const last = samples.at(-1);
    const first = samples.find((sample) => sample.time >= last.time - RATE_SECONDS);
    const seconds = last.time - first.time;
    return seconds < 0.5 ? null : Math.max(0, read(last) - read(first)) / seconds;
  }

  const shownRate = (read) => {
    const value = rateOf(read);
    return value === null ? "–" : rate(value);
  };

  function spark() {
    const last = samples.at(-1).time;
    const rates = samples.slice(1).map((sample, index) => {
      const before = samples[index];
      const value = (sample.tokens - before.tokens) / Math.max(0.1, sample.time - before.time);
      return [60 - (last - sample.time), value];
    });
    const top = Math.max(1, ...rates.map(([, value]) => value));
    const points = rates.map(([x, value]) => `${x.toFixed(1)},${(23 - (22 * value) / top).toFixed(1)}`);
    byId("spark").setAttribute("points", points.join(" "));
  }

  // --- Tiles -------------------------------------------------------------------------------------

  function setMeter(id, value, limit) {
    const share = limit > 0 ? Math.min(1, value / limit) : 0;
    byId(id).style.transform = `scaleX(${share})`;
    byId(id).parentElement.classList.toggle("high", share >= 0.8);
  }

  // The bucket of the shortest validity among these counts.
  function shortest(bounds, counts) {
    const index = counts.findIndex((count) => count > 0);
    if (index < 0) return null;
    const from = index > 0 ? bounds[index - 1][0] : 0;
    const to = bounds[index][0];
    return to === null ? `over ${duration(from)}` : `${from}–${to} s`;
  }

  function tiles(it) {
    const { numbers, limits } = it;
    setText(byId("rate"), shownRate((sample) => sample.tokens));
    setText(
      byId("rate-note"),
      `${number(numbers.tokens)} total, ${number(numbers.unserved)} unserved, ${number(numbers.refused)} refused`,
    );
    spark();
    const requests = numbers.upstream_requests;
    setText(byId("saved"), number(Math.max(0, numbers.tokens - requests)));
    const each = requests > 0 ? rate(numbers.tokens / requests) : "–";
    setText(byId("saved-note"), `${each} tokens per request, ${plural(requests, "request")} sent`);
    const last = samples.at(-1);
    const recent = last.validity.map((count, index) => count - samples[0].validity[index]);
    const ever = shortest(numbers.validity, last.validity);
    setText(byId("validity"), shortest(numbers.validity, recent) ?? "–");
    setText(byId("validity-note"), ever ? `last minute; since the start ${ever}` : "no token issued yet");
    setText(byId("waiting"), number(numbers.waiting_calls));
    setText(byId("waiting-note"), `limit ${number(limits.waiting_calls)}`);
    setMeter("waiting-meter", numbers.waiting_calls, limits.waiting_calls);
    setText(byId("connections"), number(numbers.connections));
    setText(byId("connections-note"), `limit ${number(limits.connections)}`);
    setMeter("connections-meter", numbers.connections, limits.connections);
  }

  // --- Grants ------------------------------------------------------------------------------------

  const isFault = (result) => result !== "ok" && result !== "held";
  const rowKey = (row) => `${row.profile}\n${row.resource}`;

  function healths(grants) {
    const some = HEALTHS.filter((health) => grants.health[health]);
    patch(
      byId("health-bar"),
      some,
      (health) => health,
      (health) => withHealth(element("i"), health),
      (node, health) => setVariable(node, "--share", grants.health[health]),
    );
    patch(
      byId("chips"),
      some,
      (health) => health,
      (health) => {
        const button = element("button", "", element("b"), element("span", "", health));
        button.type = "button";
        button.addEventListener("click", () => search(words === health ? "" : health));
        withHealth(button, health);
        setIcon(button, health);
        return element("li", "", button);
      },
      (node, health) => {
        setText(node.querySelector("b"), whole.format(grants.health[health]));
        setAttribute(node.firstChild, "aria-pressed", String(words === health));
      },
    );
    setText(byId("grants-total"), whole.format(grants.total));
  }

  function withHealth(node, health) {
    node.dataset.health = health;
    return node;
  }

  function history(grants) {
    const chart = byId("history");
    if (!chart.firstChild) {
      for (let index = 0; index < PERIODS; index += 1) {
        chart.append(element("span", "", element("i", "ok"), element("i", "held"), element("i", "fault")));
      }
    }
    const sums = { ok: Array(PERIODS).fill(0), held: Array(PERIODS).fill(0), fault: Array(PERIODS).fill(0) };
    for (const [result, counts] of Object.entries(grants.attempts)) {
      const sum = sums[isFault(result) ? "fault" : result];
      counts.forEach((count, age) => (sum[age] += count));
    }
    const top = Math.max(1, ...sums.ok.map((ok, age) => ok + sums.held[age] + sums.fault[age]));
    for (let age = 0; age < PERIODS; age += 1) {
      const [ok, held, fault] = chart.children[PERIODS - 1 - age].children;
      for (const [node, count] of [[ok, sums.ok[age]], [held, sums.held[age]], [fault, sums.fault[age]]]) {
        const height = count > 0 ? `${Math.max(4, (100 * count) / top).toFixed(1)}%` : "0";
        if (node.style.getPropertyValue("--height") !== height) node.style.setProperty("--height", height);
      }
    }
    const total = (counts) => counts.reduce((sum, count) => sum + count, 0);
    const label =
      `Attempts of the last ten minutes, counted once per grant and 10 s: ` +
      `${total(sums.ok)} ok, ${total(sums.held)} held, ${total(sums.fault)} with a fault`;
    setAttribute(chart, "aria-label", label);
  }

  // Attempts as bars: short for ok, half for held, full height for faults.
  function ticks(node, attempts) {
    const text = JSON.stringify(attempts);
    if (node.shown === text) return;
    node.shown = text;
    const layers = [];
    const add = (ages, color, height) => {
      if (!ages.length) return;
      const stops = [...new Set(ages)].sort((one, other) => other - one).map((age) => {
        const from = ((PERIODS - 1 - age) / PERIODS) * 100;
        const to = from + 100 / PERIODS - 0.35;
        return `transparent ${from}%, ${color} ${from}%, ${color} ${to}%, transparent ${to}%`;
      });
      layers.push([`linear-gradient(to right, ${stops.join(", ")})`, `100% ${height}%`]);
    };
    const faults = Object.keys(attempts).filter(isFault);
    add(faults.flatMap((result) => attempts[result]), "var(--bad)", 100);
    add(attempts.held ?? [], "var(--wait)", 65);
    add(attempts.ok ?? [], "var(--accent)", 40);
    node.style.backgroundImage = layers.map(([image]) => image).join(", ");
    node.style.backgroundSize = layers.map(([, size]) => size).join(", ");
    node.style.backgroundPosition = "bottom";
    setAttribute(node, "aria-label", `Last ten minutes, in periods of 10 s: ${described(attempts)}`);
  }

  function described(attempts) {
    const all = Object.entries(attempts).map(([result, ages]) => `${ages.length} ${result}`);
    return all.join(", ") || "no attempts";
  }

  function createRow(row) {
    const health = element("span", "health", element("span"));
    const name = element("span", "name", element("span"), document.createTextNode(""));
    const bar = element("span", "bar", element("span", "fill"), element("span", "margin"), element("span", "point"));
    bar.setAttribute("aria-hidden", "true");
    const attempts = element("span", "ticks");
    attempts.setAttribute("role", "img");
    const button = element("button", "row-button", health, name, bar, element("span", "left"), attempts);
    button.type = "button";
    const item = element("li", "", button);
    button.addEventListener("click", () => {
      const key = rowKey(item.row);
      if (!open.delete(key)) open.add(key);
      updateRow(item, item.row);
    });
    return item;
  }

  function updateRow(item, row) {
    item.row = row;
    item.dataset.health = row.health;
    const button = item.firstChild;
    const [health, name, bar, left, attempts] = button.children;
    setIcon(health, row.health);
    setText(health.lastChild, row.health);
    setText(name.firstChild, `${row.profile} / `);
    if (name.lastChild.data !== row.resource) name.lastChild.data = row.resource;
    setAttribute(name, "title", `${row.profile} / ${row.resource}`);
    const { life } = row;
    const share = life ? Math.max(0, Math.min(1, life.left_seconds / life.ttl_seconds)) : 0;
    bar.classList.toggle("refilled", share > (bar.share ?? 0));
    bar.share = share;
    setVariable(bar, "--left", share);
    setVariable(bar, "--margin", life ? Math.min(1, life.margin_seconds / life.ttl_seconds) : 0);
    const at = life && row.next_attempt_seconds !== null ? life.left_seconds - row.next_attempt_seconds : -1;
    bar.lastChild.hidden = at < 0;
    if (at >= 0) setVariable(bar, "--point", Math.min(1, at / life.ttl_seconds));
    setText(left, life ? remaining(life.left_seconds) : "–");
    ticks(attempts, row.attempts);
    const isOpen = open.has(rowKey(row));
    setAttribute(button, "aria-expanded", String(isOpen));
    if (isOpen && !item.lastChild.matches(".details")) item.append(element("dl", "details"));
    if (!isOpen && item.lastChild.matches(".details")) item.lastChild.remove();
    if (isOpen) details(item.lastChild, row);
  }

  function details(list, row) {
    const { life, fault } = row;
    const ago = (ages) => ages.map((age) => (age === 0 ? "now" : `${age * 10} s`)).join(", ");
    const others = Object.entries(row.attempts).filter(([result]) => result !== "ok");
    const entries = [
      ["Resource", row.resource],
      ["State", `${row.state}, refresh ${row.refresh}`],
      ["Last fault", fault ? `${fault.reason} (${fault.class})` : "none"],
      ["Failures in a row", whole.format(row.failures)],
      ["Next attempt", row.attempting ? "running" : row.next_attempt_seconds === null ? "–" : `in ${remaining(row.next_attempt_seconds)}`],
      ["Fetched", life ? `${duration(life.ttl_seconds - life.left_seconds)} ago, for ${duration(life.ttl_seconds)}` : "not yet"],
      ["Expires", life ? (life.left_seconds > 0 ? `in ${remaining(life.left_seconds)}, margin ${duration(life.margin_seconds)}` : "expired") : "–"],
      ["Usual duration of an attempt", `${Math.round(row.latency_seconds * 1000)} ms`],
      ["Generation", life ? String(life.generation) : "–"],
      ["Refreshes in ten minutes", whole.format(row.attempts.ok?.length ?? 0)],
      ...others.map(([result, ages]) => [`Ended ${result}, ago`, ago(ages)]),
    ];
    patch(
      list,
      entries,
      ([title]) => title,
      ([title]) => element("div", "", element("dt", "", title), element("dd")),
      (node, [, value]) => setText(node.lastChild, value),
    );
  }

  function rows(grants) {
    patch(byId("rows"), grants.rows, rowKey, createRow, updateRow);
    const shown = grants.rows.length;
    let note = "";
    if (grants.total === 0) note = "No profile fetches grants: tokens are signed with keys alone.";
    else if (shown === 0) note = `No grant matches “${words}”.`;
    else if (shown < grants.matching) note = `The ${whole.format(shown)} worst of ${plural(grants.matching, words ? "match" : "grant").replace("matchs", "matches")}. Search to find others.`;
    else if (words) note = plural(shown, "match").replace("matchs", "matches");
    setText(byId("rows-note"), note);
    byId("more").hidden = wide || words !== "" || shown >= grants.matching || shown >= MAX_ROWS;
  }

  // --- Other panels ------------------------------------------------------------------------------

  const cell = (className, ...children) => element("td", className, ...children);

  function panels(it) {
    const { numbers, limits } = it;
    patch(
      byId("profiles"),
      it.profiles,
      (row) => row.profile,
      (row) => element("tr", "", cell("", row.profile), cell("muted", row.kind), cell("right"), cell("right")),
      (node, row) => {
        setText(node.children[2], shownRate((sample) => sample.profiles.get(row.profile) ?? 0));
        setText(node.children[3], number(row.tokens));
      },
    );
    patch(
      byId("callers"),
      numbers.callers,
      (row) => row.caller,
      (row) => element("tr", "", cell("", element("span", "", row.caller), element("small")), cell("right"), cell("right"), cell("right")),
      (node, row) => {
        setText(node.children[1], shownRate((sample) => sample.callers.get(row.caller) ?? 0));
        setText(node.children[2], number(row.tokens));
        const sum = row.refusals.reduce((total, [, , count]) => total + count, 0);
        const [reason, mode] = row.refusals.toSorted((one, other) => other[2] - one[2])[0] ?? ["", ""];
        setText(node.children[3], number(sum));
        const most = sum > 0 ? `most refused: ${reason}${mode === "observe" ? ", observed" : ""}` : "";
        setText(node.firstChild.lastChild, most);
      },
    );
    const failures = numbers.authentication_failures;
    byId("failures").hidden = failures.length === 0;
    patch(
      byId("failures"),
      failures,
      ([cause]) => cause,
      ([cause]) => element("li", "line", element("span", "", `Not authenticated: ${cause}`), element("span", "num")),
      (node, [, count]) => setText(node.lastChild, number(count)),
    );
    byId("accounts-panel").hidden = it.accounts.length === 0;
    patch(byId("accounts"), it.accounts, (row) => row.profiles.join(), createAccount, updateAccount);
    byId("signing-panel").hidden = limits.signing_threads === null;
    if (limits.signing_threads !== null) {
      setText(byId("signing-busy"), `${numbers.signing_busy} of ${limits.signing_threads}`);
      setMeter("signing-busy-meter", numbers.signing_busy, limits.signing_threads);
      setText(byId("signing-queue"), `${number(numbers.signing_queue)} of ${number(limits.signing_queue)}`);
      setMeter("signing-queue-meter", numbers.signing_queue, limits.signing_queue);
    }
    byId("certificates-panel").hidden = numbers.certificates.length === 0;
    patch(
      byId("certificates"),
      numbers.certificates,
      ([what]) => what,
      ([what]) => element("li", "", element("span", "", what), element("span", "end", element("span"))),
      (node, certificate) => updateCertificate(node.lastChild, certificate, it.time),
    );
    byId("notes-panel").hidden = it.notes.length === 0;
    const notes = it.notes.map((text, index) => ({ text, index }));
    patch(byId("notes"), notes, (note) => note.index, () => element("li"), (node, note) => setText(node, note.text));
    problems(it);
  }

  function createAccount(row) {
    const title = element("p", "title", element("span", "", row.profiles.join(", ")), element("span", "num"));
    const meter = element("div", "meter", element("i"));
    meter.setAttribute("aria-hidden", "true");
    return element("li", "", title, meter, element("p", "note"), element("p", "hold", element("span")));
  }

  function updateAccount(node, row) {
    const [title, meter, note, hold] = node.children;
    setText(title.lastChild, `${row.available} of ${row.burst} left`);
    meter.firstChild.style.transform = `scaleX(${row.burst > 0 ? row.available / row.burst : 0})`;
    setText(note, `${row.rate} requests/s, ${row.in_flight} of ${row.concurrent} in flight`);
    hold.hidden = row.hold === null;
    if (row.hold !== null) {
      const health = row.hold === "throttled" ? "throttled" : "rejected";
      setIcon(withHealth(hold, health), health);
      setText(hold.lastChild, `Held (${row.hold}) for ${duration(row.hold_seconds)}`);
    }
  }

  // The levels are those of the log: a third and a tenth of the lifetime left.
  function updateCertificate(node, [, start, end], now) {
    const left = end === null ? Infinity : end - now;
    const life = end === null ? 1 : end - start;
    const health = left <= 0 ? "expired" : left < life / 10 ? "failing" : left < life / 3 ? "retrying" : "ok";
    setIcon(withHealth(node, health), health === "retrying" ? "pending" : health);
    setText(node.lastChild, left === Infinity ? "no expiry" : left <= 0 ? "expired" : `${duration(left)} left`);
  }

  function problems(it) {
    const errors = it.problems.filter((row) => row.level === "error").length;
    setText(byId("problems-total"), it.problems.length ? `${plural(errors, "error")}, ${plural(it.problems.length - errors, "warning")}` : "");
    byId("problems-none").hidden = it.problems.length > 0;
    patch(
      byId("problems"),
      it.problems.slice(0, 12),
      (row) => `${row.level} ${row.message}`,
      (row) => {
        const health = row.level === "error" ? "failing" : "retrying";
        const message = element("span", "", element("span", "visually-hidden", `${row.level}: `), row.message);
        const item = element("li", "", message, element("span", "when"), element("span", "fields"));
        setIcon(withHealth(item, health), row.level === "error" ? "rejected" : "failing");
        return item;
      },
      (node, row) => {
        const [, , when, fields] = node.children;
        const ago = `${duration(Math.max(0, Math.floor(it.time - row.last)))} ago`;
        setText(when, row.count > 1 ? `×${number(row.count)}, ${ago}` : ago);
        setText(fields, row.fields ?? "");
        fields.hidden = !row.fields;
      },
    );
  }

  // --- Snapshots ---------------------------------------------------------------------------------

  function show(it, isSelection) {
    snapshot = it;
    received = performance.now();
    keepSample(it);
    const word = it.phase !== "serving" ? it.phase : it.ready ? "Ready" : "Not ready";
    setText(byId("readiness-text"), word);
    byId("readiness").dataset.state = it.ready ? "ready" : "not-ready";
    setText(byId("version"), `version ${it.version}`);
    setText(byId("privacy"), it.details ? "" : "Resources and callers are shown as hashes.");
    tiles(it);
    healths(it.grants);
    history(it.grants);
    if (isSelection || (words === "" && !wide)) rows(it.grants);
    panels(it);
    const unhealthy = HEALTHS.slice(0, 5).reduce((sum, health) => sum + (it.grants.health[health] ?? 0), 0);
    document.title = unhealthy > 0 ? `(${unhealthy}) grantmint` : "grantmint";
    if (lost) {
      lost = false;
      setText(byId("announcement"), "Connected again.");
    }
    age();
  }

  // Shows how old the values are.
  function age() {
    const seconds = (performance.now() - received) / 1000;
    if (received > 0 && !lost && seconds > (mode === "polling" ? 3 : 1) * STALE_AFTER) {
      lost = true;
      setText(byId("announcement"), "Connection lost. Values are not updated.");
    }
    document.body.classList.toggle("stale", lost);
    byId("banner").hidden = !lost;
    byId("live").dataset.state = lost ? "lost" : received > 0 ? mode : "unknown";
    if (lost) {
      setText(byId("banner-text"), `Values are ${Math.round(seconds)} s old. Reconnecting.`);
      setText(byId("live-text"), "Disconnected");
    } else if (received > 0) {
      setText(byId("live-text"), mode === "live" ? "Live" : "Every 5 s: all live places are taken");
    }
  }

  // --- Connection --------------------------------------------------------------------------------

  let mode = "live";
  // Event streams that failed while the server responded.
  let refusals = 0;

  function connect() {
    const source = new EventSource("events");
    source.onmessage = (event) => {
      mode = "live";
      refusals = 0;
      show(JSON.parse(event.data), false);
      refreshSelection();
    };
    source.onerror = () => {
      source.close();
      retry();
    };
  }

  // The reason of an error is not known here: all places are taken, or the server is gone.
  async function retry() {
    let wait = 1000;
    try {
      const it = await fetchStatus(selection());
      refusals += 1;
      if (refusals > 1) mode = "polling";
      show(it, true);
      wait = mode === "polling" ? 4000 : 200;
    } catch {
      // The banner shows it.
    }
    age();
    setTimeout(connect, wait);
  }

  const selection = () => `search=${encodeURIComponent(words)}&limit=${words || wide ? MAX_ROWS : 50}`;

  async function fetchStatus(query, signal) {
    const response = await fetch(`status.json?${query}`, { cache: "no-store", signal });
    if (!response.ok) throw new Error(`status ${response.status}`);
    return response.json();
  }

  // Rows that events do not carry are fetched after each event.
  let running = null;
  async function refreshSelection() {
    if ((words === "" && !wide) || running) return;
    running = new AbortController();
    try {
      show(await fetchStatus(selection(), running.signal), true);
    } catch {
      // The next event retries.
    }
    running = null;
  }

  let typing = 0;
  function search(text) {
    words = text.trim();
    if (byId("search").value.trim() !== words) byId("search").value = words;
    clearTimeout(typing);
    typing = setTimeout(() => {
      running?.abort();
      running = null;
      if (words === "" && !wide) {
        if (snapshot) fetchStatus(selection()).then((it) => show(it, true), () => {});
      } else refreshSelection();
    }, 120);
  }

  byId("search").addEventListener("input", (event) => search(event.target.value));
  byId("more").addEventListener("click", () => {
    wide = true;
    refreshSelection();
  });

  // --- Keyboard ----------------------------------------------------------------------------------

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const field = byId("search");
    const inField = document.activeElement === field;
    if (event.key === "/" && !inField) {
      event.preventDefault();
      field.focus();
      field.select();
    } else if (event.key === "Escape" && (inField || words)) {
      search("");
      field.blur();
    } else if (["ArrowDown", "ArrowUp", "Home", "End"].includes(event.key)) {
      move(event, inField);
    }
  });

  function move(event, inField) {
    const buttons = [...byId("rows").querySelectorAll(".row-button")];
    const at = buttons.indexOf(document.activeElement);
    if (buttons.length === 0 || (at < 0 && !(inField && event.key === "ArrowDown"))) return;
    const targets = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: buttons.length - 1 };
    event.preventDefault();
    const target = targets[event.key];
    if (target < 0) byId("search").focus();
    else buttons[Math.min(target, buttons.length - 1)].focus();
  }

  setInterval(age, 500);
  connect();
})();
