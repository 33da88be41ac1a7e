// A Chromium of the system, and pages that notice what must not happen in them.
import { existsSync } from "node:fs";
import assert from "node:assert/strict";
import axe from "axe-core";
import { chromium } from "playwright-core";

const executables = [
  process.env.CHROMIUM,
  "/usr/bin/chromium",
  "/usr/bin/chromium-browser",
  "/opt/homebrew/bin/chromium",
  "/Applications/Chromium.app/Contents/MacOS/Chromium",
];

export async function launch() {
  const executablePath = executables.find((path) => path && existsSync(path));
  assert(executablePath, "Chromium is missing: `make setup` installs it, or set CHROMIUM to its path");
  // The tests open only pages of ours on this machine, and a container has no sandbox for them.
  return chromium.launch({ executablePath, args: ["--no-sandbox"] });
}

// Opens a page that collects errors and requests to other origins; `check` fails if there were any.
export async function openPage(browser, base, options = {}) {
  const context = await browser.newContext({ baseURL: base, ...options });
  const page = await context.newPage();
  const wrong = [];
  const expected = new Set();
  page.on("pageerror", (error) => wrong.push(`error: ${error}`));
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) wrong.push(`console: ${message.text()}`);
  });
  page.on("request", (request) => {
    const { origin, protocol } = new URL(request.url());
    if (origin !== new URL(base).origin && protocol !== "data:") wrong.push(`request to ${request.url()}`);
  });
  // Chromium reports an answer that is a refusal as an error of the console.
  page.expectStatus = (status) => expected.add(`status of ${status}`);
  page.check = () => {
    const unexpected = wrong.filter((line) => ![...expected].some((part) => line.includes(part)));
    assert.deepEqual(unexpected, []);
  };
  return page;
}

// Checks the page against WCAG 2.2 AA, as far as a program can.
export async function checkAccessibility(page) {
  await page.evaluate(axe.source);
  const tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
  const { violations } = await page.evaluate(
    (values) => globalThis.axe.run(document, { runOnly: { type: "tag", values } }),
    tags,
  );
  const found = violations.flatMap(({ id, impact, nodes }) =>
    nodes.map((node) => `${id} (${impact}): ${node.target} ${node.failureSummary}`));
  assert.deepEqual(found, [], page.url());
}

// Checks that a page is not wider than its window.
export async function checkWidth(page) {
  const [content, window] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  assert(content <= window, `${page.url()} is ${content} px wide in a window of ${window} px`);
}
