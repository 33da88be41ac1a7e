// The audit trail, the evidence, the state of the installation, and the keys.
import { after, before, test } from "node:test";
import assert from "node:assert/strict";
import { launch } from "./chromium.mjs";
import { startReceiver, startService, until } from "./service.mjs";
import { appearances, checkPage, openSignedIn, registerTenant } from "./tenant.mjs";

let service, receiver, browser;

before(async () => {
  service = await startService({ HOOKSENTRY_SEAL_INTERVAL: "1s" });
  receiver = await startReceiver();
  browser = await launch();
});

after(async () => {
  await browser?.close();
  receiver?.stop();
  await service?.stop();
});

for (const [name, options] of appearances) {
  test(`a change is found in the trail and proved ${name}`, async () => {
    const tenant = await registerTenant(service);
    const destination = await tenant.api.post("/destinations", { url: receiver.url });
    const event = await tenant.send(destination.ingestToken, { parcel: "HB-2209" });
    const page = await openSignedIn(browser, service, tenant, options);
    await until("the trail", async () => (await tenant.api.get("/audit?Type=DestinationRegistered")).items.length > 0);
    await page.getByRole("link", { name: "Audit" }).click();
    await page.getByRole("heading", { name: "Audit" }).waitFor();
    await checkPage(page, options);
    await page.getByRole("combobox", { name: "What" }).selectOption("Destination registered");
    await page.getByRole("button", { name: "Search" }).click();
    await page.locator(".trail summary").first().click();
    await page.getByText("DestinationRegistered").waitFor();
    assert.equal(await page.locator(".trail > li").count(), 1);
    await checkPage(page, options);
    const download = page.waitForEvent("download");
    await page.getByRole("link", { name: "Export as CSV" }).click();
    assert.equal((await download).suggestedFilename(), "audit-trail.csv");

    await until("a checkpoint", async () => {
      const { items } = await tenant.api.get(`/events/${event}/proof`);
      return items.every((fact) => fact.proof);
    });
    await page.goto(`/events/${event}`);
    await page.getByText("A signed checkpoint covers its whole history.").waitFor();
    await checkPage(page, options);
    const proof = page.waitForEvent("download");
    await page.getByRole("link", { name: "Download the proofs" }).click();
    assert.equal((await proof).suggestedFilename(), `proof-${event}.json`);
    await page.getByRole("link", { name: "How to verify" }).click();
    await page.getByRole("heading", { name: "Verify it" }).waitFor();
    await checkPage(page, options);

    await page.getByRole("link", { name: "System" }).click();
    await page.getByRole("heading", { name: "Read models" }).waitFor();
    await checkPage(page, options);
    page.check();
    await page.context().close();
  });
}

test("keys go to pages and do nothing while one types", async () => {
  const tenant = await registerTenant(service);
  const page = await openSignedIn(browser, service, tenant, { viewport: { width: 1280, height: 800 } });
  await page.keyboard.press("g");
  await page.keyboard.press("e");
  await page.getByRole("heading", { name: "Events", exact: true }).waitFor();
  await page.keyboard.press("/");
  const focused = () => page.evaluate(() => document.activeElement.closest("[role=search]") !== null);
  assert(await focused(), "the search has no focus");
  await page.keyboard.press("Escape");
  await page.evaluate(() => document.activeElement.blur());
  await page.keyboard.press("?");
  await page.getByRole("dialog", { name: "Keys" }).waitFor();
  await checkPage(page, {});
  await page.getByLabel("Use these keys").uncheck();
  await page.getByRole("button", { name: "Close" }).click();
  await page.keyboard.press("g");
  await page.keyboard.press("d");
  await page.keyboard.press("?");
  await page.getByLabel("Use these keys").check();
  await page.getByRole("button", { name: "Close" }).click();
  assert.match(page.url(), /\/events$/, "keys that are switched off do nothing");
  await page.keyboard.press("g");
  await page.keyboard.press("d");
  await page.getByRole("heading", { name: "Destinations", exact: true }).waitFor();
  await page.getByLabel("URL").focus();
  await page.keyboard.type("ge/?");
  assert.equal(await page.getByLabel("URL").inputValue(), "ge/?");
  assert.match(page.url(), /\/destinations$/);
  page.check();
  await page.context().close();
});
