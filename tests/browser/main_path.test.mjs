// From the sign-up to the replay of an event that was not delivered, as a person does it.
import { after, before, test } from "node:test";
import assert from "node:assert/strict";
import { checkAccessibility, checkWidth, launch, openPage } from "./chromium.mjs";
import { Api, password, startReceiver, startService, until } from "./service.mjs";

let service, receiver, browser;

before(async () => {
  service = await startService();
  receiver = await startReceiver();
  browser = await launch();
});

after(async () => {
  await browser?.close();
  receiver?.stop();
  await service?.stop();
});

let numbers = 0;

// Registers a tenant on the page and sends it an event that its receiver refuses once.
async function signUpAndFail(page) {
  numbers += 1;
  const email = `mira${numbers}@lighthouse.example`;
  await page.goto("/sign-up");
  await checkAccessibility(page);
  await page.getByLabel("Name of the tenant").fill(`Lighthouse ${numbers}`);
  await page.getByLabel("Your email address").fill(email);
  await page.getByLabel("Password").fill(password);
  await page.getByRole("button", { name: "Create account" }).click();
  await page.getByRole("heading", { name: "Overview" }).waitFor();
  await checkAccessibility(page);
  await page.goto("/events");
  await page.getByRole("heading", { name: "No events yet" }).waitFor();
  await checkAccessibility(page);

  const api = await Api.signIn(service.base, email);
  const { tenant_id: tenant } = JSON.parse(Buffer.from(api.token.split(".")[1], "base64url"));
  await fetch(`${service.base}/api/v1/tenants/${tenant}`, {
    method: "PATCH",
    headers: { "content-type": "application/json", authorization: `Bearer ${api.token}` },
    body: JSON.stringify({ maxTrys: 1 }),
  });
  const { key } = await api.post("/apikeys", { name: "billing" });
  const destination = await api.post("/destinations", { url: receiver.url });
  receiver.answer = () => [503, "<b>the warehouse is closed</b>"];
  const send = async (payload) =>
    (await api.post(`/ingest/${tenant}/${destination.ingestToken}`, payload, { "x-api-key": key })).eventId;
  return { api, send };
}

async function mainPath(options, { isLive }) {
  const page = await openPage(browser, service.base, options);
  const { api, send } = await signUpAndFail(page);
  const event = await send({ type: "parcel.lost", parcel: "HB-2209" });
  await until("the event to be given up", async () => (await api.get(`/events/${event}`)).status === "CriticalFailure");

  // Two clicks from the first page to the reason.
  if (!isLive) await page.goto("/events");
  await page.locator("#events .badge", { hasText: "Given up" }).waitFor();
  await checkAccessibility(page);
  await checkWidth(page);
  await page.getByRole("link", { name: /parcel.lost/ }).click();
  await page.getByRole("heading", { name: /answered with status 503/ }).waitFor();
  await page.getByText("<b>the warehouse is closed</b>").waitFor();
  await checkAccessibility(page);
  await checkWidth(page);
  // A wide list shows the event next to it.
  if (options.viewport.width > 1200) await page.getByRole("link", { name: "Open", exact: true }).click();
  await page.locator("nav.tabs").waitFor();
  for (const view of ["Facts", "JSON"]) {
    await page.getByRole("link", { name: view, exact: true }).click();
    await page.locator(`nav.tabs [aria-current]:text-is("${view}")`).waitFor();
    await checkAccessibility(page);
    await checkWidth(page);
  }

  receiver.answer = () => [200, "thank you"];
  await page.locator("summary", { hasText: "Replay" }).click();
  await page.getByRole("button", { name: "Replay it" }).click();
  await page.getByText("Replayed.").waitFor();
  await until("the event to be delivered", async () => (await api.get(`/events/${event}`)).status === "Succeeded");
  if (!isLive) await page.reload();
  await page.getByRole("heading", { name: /Delivered with attempt 2/ }).waitFor();
  await checkAccessibility(page);

  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByRole("heading", { name: "Sign in" }).waitFor();
  await checkAccessibility(page);
  await checkWidth(page);
  page.check();
  await page.context().close();
}

test("a person finds out why an event was not delivered and replays it", () =>
  mainPath({ viewport: { width: 1280, height: 800 } }, { isLive: true }));

test("the same on a narrow dark screen", () =>
  mainPath({ viewport: { width: 360, height: 740 }, colorScheme: "dark" }, { isLive: true }));

test("the same without scripts of the page", async () => {
  // The checker of accessibility is a script as well, so it does not run here.
  const page = await openPage(browser, service.base, { javaScriptEnabled: false });
  await page.goto("/events");
  await page.getByRole("heading", { name: "Sign in" }).waitFor();
  numbers += 1;
  await page.goto("/sign-up");
  await page.getByLabel("Name of the tenant").fill(`Lighthouse ${numbers}`);
  await page.getByLabel("Your email address").fill(`mira${numbers}@lighthouse.example`);
  await page.getByLabel("Password").fill(password);
  await page.getByRole("button", { name: "Create account" }).click();
  await page.getByRole("heading", { name: "Overview" }).waitFor();
  await page.getByRole("link", { name: "Events" }).click();
  await page.getByRole("combobox", { name: "Status" }).selectOption("Given up");
  await page.getByRole("button", { name: "Filter" }).click();
  await page.getByRole("heading", { name: "No event matches" }).waitFor();
  assert.match(page.url(), /status=CriticalFailure/);
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByRole("heading", { name: "Sign in" }).waitFor();
  page.check();
  await page.context().close();
});

test("a list that updates itself keeps focus and scroll", async () => {
  const page = await openPage(browser, service.base, { viewport: { width: 1000, height: 500 } });
  const { send } = await signUpAndFail(page);
  receiver.answer = () => [200, "ok"];
  for (let number = 1; number <= 20; number += 1) await send({ number });
  await page.getByText("Live", { exact: true }).waitFor();
  const link = page.getByRole("link", { name: '"number":3}' });
  await link.waitFor();
  await link.focus();
  const before = await link.evaluate((element) => element.getBoundingClientRect().top);
  await send({ latest: true });
  await page.getByRole("link", { name: '"latest":true' }).waitFor();
  assert(await link.evaluate((element) => element === document.activeElement), "the focus was lost");
  const moved = Math.abs((await link.evaluate((element) => element.getBoundingClientRect().top)) - before);
  assert(moved < 60, `the focused row moved by ${moved} px`);
  page.check();
  await page.context().close();
});

test("a change before the stream of changes begins is shown", async () => {
  const page = await openPage(browser, service.base, { viewport: { width: 1000, height: 500 } });
  const { api, send } = await signUpAndFail(page);
  let letThrough;
  const isAllowed = new Promise((resolve) => { letThrough = resolve; });
  let isAsked;
  const asked = new Promise((resolve) => { isAsked = resolve; });
  await page.route("**/live", async (route) => {
    isAsked();
    await isAllowed;
    await route.continue();
  });
  await page.goto("/events");
  await page.getByRole("heading", { name: "No events yet" }).waitFor();
  await asked;
  const event = await send({ early: true });
  await until("the event to be given up", async () => (await api.get(`/events/${event}`)).status === "CriticalFailure");
  letThrough();
  await page.getByRole("link", { name: '"early":true' }).waitFor();
  page.check();
  await page.context().close();
});
