// The list of events: filters, search, and the event next to the list.
import { after, before, test } from "node:test";
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { createHmac } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { checkAccessibility, checkWidth, launch, openPage } from "./chromium.mjs";
import { Api, password, startReceiver, startService, until } from "./service.mjs";

let service, receiver, browser, api;
const email = "noor@lighthouse.example";
const events = {};

before(async () => {
  service = await startService();
  receiver = await startReceiver();
  browser = await launch();
  const tenant = { name: "Lighthouse", ownerEmail: email, ownerPassword: password, maxTrys: 1 };
  await new Api(service.base).post("/tenants", tenant);
  api = await Api.signIn(service.base, email);
  const { tenant_id: id } = JSON.parse(Buffer.from(api.token.split(".")[1], "base64url"));
  const { key } = await api.post("/apikeys", { name: "billing" });
  const destination = await api.post("/destinations", { url: receiver.url });
  const send = async (payload) =>
    (await api.post(`/ingest/${id}/${destination.ingestToken}`, payload, { "x-api-key": key })).eventId;
  receiver.answer = () => [503, "closed"];
  events.lost = await send({ type: "parcel.lost", parcel: { number: 2209 } });
  await until("a failure", async () => (await api.get(`/events/${events.lost}`)).status === "CriticalFailure");
  receiver.answer = () => [200, "ok"];
  events.paid = await send({ type: "invoice.paid", note: "<img src=x onerror=alert(1)>" });
  await until("a delivery", async () => (await api.get(`/events/${events.paid}`)).status === "Succeeded");
});

after(async () => {
  await browser?.close();
  receiver?.stop();
  await service?.stop();
});

async function signIn(options) {
  const page = await openPage(browser, service.base, options);
  await page.goto("/sign-in");
  await page.getByLabel("Email address").fill(email);
  await page.getByLabel("Password").fill(password);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("heading", { name: "Overview" }).waitFor();
  return page;
}

for (const [name, options] of [
  ["wide and light", { viewport: { width: 1280, height: 800 } }],
  ["narrow and dark", { viewport: { width: 360, height: 740 }, colorScheme: "dark" }],
]) {
  test(`the list is narrowed and searched, ${name}`, async () => {
    const page = await signIn(options);
    await page.goto("/events");
    await page.getByRole("link", { name: /^Delivered/ }).click();
    await page.waitForURL(/status=Succeeded/);
    await page.getByRole("link", { name: "Clear" }).click();
    await page.getByRole("searchbox").fill("parcel.lost");
    await page.keyboard.press("Enter");
    await page.getByText("1 event found on this page").waitFor();
    assert.equal(await page.locator("table.events tbody tr").count(), 1);
    await checkAccessibility(page);
    await checkWidth(page);
    await page.goto("/events?path=parcel:number&value=2209");
    await page.getByText("1 event found on this page").waitFor();
    await page.getByLabel("Value there").fill("7");
    await page.keyboard.press("Enter");
    await page.getByRole("heading", { name: "No event matches" }).waitFor();
    page.expectStatus(400);
    await page.goto("/events?path=a[x]");
    await page.getByText("an index is a whole number").waitFor();
    await checkAccessibility(page);
    await page.getByRole("searchbox").fill(events.paid);
    await page.keyboard.press("Enter");
    await page.waitForURL(new RegExp(`/events/${events.paid}$`));
    page.check();
    await page.context().close();
  });
}

test("the commands of an event send it as HookSentry does", async () => {
  const page = await signIn({ viewport: { width: 1280, height: 800 } });
  await page.goto(`/events/${events.paid}`);
  const commands = await page.locator("#reproduce").textContent();
  const folder = await mkdtemp(join(tmpdir(), "hooksentry-"));
  let request;
  receiver.answer = ({ headers }, body) => { request = { headers, body }; return [200, "ok"]; };
  await promisify(execFile)("sh", ["-c", commands], { cwd: folder, env: { ...process.env, WEBHOOK_SECRET: "whsec_test" } });
  await rm(folder, { recursive: true });
  assert.equal(request.body, JSON.stringify({ type: "invoice.paid", note: "<img src=x onerror=alert(1)>" }));
  const signature = createHmac("sha256", "whsec_test").update(request.body).digest("hex");
  assert.equal(request.headers["x-hooksentry-signature"], `sha256=${signature}`);
  assert.equal(request.headers["x-hooksentry-event-id"], events.paid);
  await checkAccessibility(page);
  page.check();
  await page.context().close();
});

test("one click from the list shows the reason, and one more replays", async () => {
  const page = await signIn({ viewport: { width: 1280, height: 800 } });
  await page.goto("/events");
  await page.getByRole("link", { name: /invoice.paid/ }).click();
  const preview = page.getByRole("complementary", { name: "Selected event" });
  await preview.getByRole("heading", { name: /Delivered with attempt 1/ }).waitFor();
  await page.getByRole("link", { name: /parcel.lost/ }).click();
  await preview.getByRole("heading", { name: /answered with status 503/ }).waitFor();
  assert.match(page.url(), new RegExp(`event=${events.lost}`));
  await checkAccessibility(page);
  await checkWidth(page);
  await page.reload();
  await preview.getByRole("heading", { name: /answered with status 503/ }).waitFor();
  await preview.getByRole("link", { name: "Close the preview" }).click();
  await preview.waitFor({ state: "detached" });
  await page.getByRole("link", { name: /parcel.lost/ }).click();
  await preview.getByRole("button", { name: "Replay" }).click();
  await page.getByText("Replayed.").waitFor();
  await until("the delivery", async () => (await api.get(`/events/${events.lost}`)).status === "Succeeded");
  page.check();
  await page.context().close();
});
