// Reads cases from standard input and drives the status page in Chromium; prints a line of JSON.

const fs = require("node:fs");
const { chromium } = require("playwright-core");

const input = JSON.parse(fs.readFileSync(0, "utf8"));
const PATIENCE = 60_000;
const DESKTOP = { width: 1280, height: 900 };
const PHONE = { width: 360, height: 740 };

// The console's errors and the requests to other hosts of a page.
function watch(page, url) {
  const seen = { errors: [], foreign: [] };
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) seen.errors.push(message.text());
  });
  page.on("pageerror", (error) => seen.errors.push(String(error)));
  page.on("request", (request) => {
    const own = request.url().startsWith(url) || request.url().startsWith("data:");
    if (!own) seen.foreign.push(request.url());
  });
  return seen;
}

async function fault(sandbox, text) {
  const method = text ? "PUT" : "DELETE";
  const response = await fetch(`${sandbox}sandbox/fault`, { method, body: text });
  if (!response.ok) throw new Error(`the sandbox responded ${response.status}`);
}

// axe's serious and critical findings with this scheme and viewport, and whether the page scrolls
// sideways.
async function audit(page, scheme, viewport) {
  await page.emulateMedia({ colorScheme: scheme, reducedMotion: "reduce" });
  await page.setViewportSize(viewport);
  // The policy of the page does not allow a script from here; the evaluation does.
  await page.evaluate(fs.readFileSync(require.resolve("axe-core"), "utf8"));
  const { violations } = await page.evaluate(() => axe.run());
  const grave = violations.filter(({ impact }) => ["serious", "critical"].includes(impact));
  const found = grave.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(" ")}`);
  const sideways = await page.evaluate(() => {
    const { scrollWidth, clientWidth } = document.documentElement;
    return scrollWidth > clientWidth;
  });
  if (sideways) found.push("it scrolls sideways");
  return found.map((text) => `${scheme} ${viewport.width}: ${text}`);
}

async function audits(page) {
  const found = [];
  for (const scheme of ["light", "dark"]) {
    for (const viewport of [DESKTOP, PHONE]) found.push(...(await audit(page, scheme, viewport)));
  }
  await page.setViewportSize(DESKTOP);
  return found;
}

const healthIs = (page, health) =>
  page.waitForSelector(`#rows > li[data-health="${health}"]`, { timeout: PATIENCE });

// A day in the life of one grant: drawn, refreshed, faulty, recovered, the server lost and back.
async function life(page, { url, sandbox, pid }) {
  const seen = watch(page, url);
  await page.goto(url);
  await healthIs(page, "ok");
  const steps = ["drawn"];

  await page.keyboard.press("/");
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("Enter");
  const generation = page.locator(".details div", { hasText: "Generation" }).locator("dd");
  const first = await generation.textContent({ timeout: PATIENCE });
  await page.waitForFunction(
    (before) => {
      const terms = [...document.querySelectorAll(".details dt")];
      const term = terms.find((it) => it.textContent === "Generation");
      return term && term.nextElementSibling.textContent !== before;
    },
    first,
    { timeout: PATIENCE },
  );
  steps.push("refreshed");

  const grave = await audits(page);
  await fault(sandbox, "status=503");
  await healthIs(page, "retrying");
  await page.waitForSelector("#problems li", { timeout: PATIENCE });
  steps.push("faulty");
  grave.push(...(await audits(page)));
  await fault(sandbox);
  await healthIs(page, "ok");
  steps.push("recovered");

  await page.fill("#search", "no such grant");
  await page.waitForFunction(() => document.querySelectorAll("#rows > li").length === 0);
  await page.keyboard.press("Escape");
  await page.waitForSelector("#rows > li", { timeout: PATIENCE });
  steps.push("searched");

  const before = { ...seen, errors: [...seen.errors] };
  process.kill(pid, "SIGSTOP");
  try {
    await page.waitForSelector("#banner:not([hidden])", { timeout: PATIENCE });
    grave.push(...(await audit(page, "light", PHONE)));
  } finally {
    process.kill(pid, "SIGCONT");
  }
  steps.push("lost");
  await page.waitForSelector("#banner[hidden]", { state: "attached", timeout: PATIENCE });
  steps.push("back");
  return { steps, grave, errors: before.errors, foreign: seen.foreign };
}

// The shortest time of several until the worst grants are drawn, in milliseconds.
async function draw(page, { url }) {
  const seen = watch(page, url);
  const times = [];
  for (let round = 0; round < 5; round += 1) {
    await page.goto("about:blank");
    const start = performance.now();
    await page.goto(url, { waitUntil: "commit" });
    await page.waitForSelector("#rows > li:nth-child(50)", { timeout: PATIENCE });
    times.push(performance.now() - start);
  }
  const total = await page.textContent("#grants-total");
  await page.click("#more");
  await page.waitForSelector("#rows > li:nth-child(200)", { timeout: PATIENCE });
  await page.fill("#search", input.find ?? "");
  await page.waitForFunction(() => document.querySelectorAll("#rows > li").length === 1);
  return { milliseconds: Math.min(...times), total, grave: await audits(page), ...seen };
}

// The text of the page after a while.
async function text(page, { url }) {
  await page.goto(url);
  await healthIs(page, "ok");
  await page.waitForSelector("#problems li", { timeout: PATIENCE });
  await page.click(".row-button");
  await page.waitForSelector(".details");
  return { text: await page.evaluate(() => document.documentElement.outerHTML) };
}

(async () => {
  const browser = await chromium.launch({
    executablePath: input.chromium,
    args: ["--no-sandbox", "--disable-dev-shm-usage", "--no-proxy-server"],
  });
  try {
    const page = await browser.newPage({ viewport: DESKTOP });
    const result = await { life, draw, text }[input.case](page, input);
    console.log(JSON.stringify(result));
  } finally {
    await browser.close();
  }
})();
