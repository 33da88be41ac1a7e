// From a new destination to a sender whose mapping was tried on what it sent.
import { after, before, test } from "node:test";
import assert from "node:assert/strict";
import { launch } from "./chromium.mjs";
import { startReceiver, startService, until } from "./service.mjs";
import { appearances, checkPage, openSignedIn, registerTenant } from "./tenant.mjs";

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

for (const [name, options] of appearances) {
  test(`a sender is created, tried and mapped ${name}`, async () => {
    const tenant = await registerTenant(service);
    const page = await openSignedIn(browser, service, tenant, options);
    await page.goto("/destinations");
    await page.getByLabel("URL").fill(receiver.url);
    await page.getByRole("button", { name: "Create destination" }).click();
    await page.getByRole("heading", { name: "Destination created" }).waitFor();
    await checkPage(page, options);
    await page.getByRole("link", { name: "Continue" }).click();
    await page.getByRole("heading", { name: "Senders" }).waitFor();
    await page.getByLabel("Label").fill("Parcel desk");
    await page.getByRole("button", { name: "Add sender" }).click();
    await page.getByRole("heading", { name: "Sender created" }).waitFor();
    await checkPage(page, options);
    const token = (await page.locator("#ingest-url").textContent()).split("/").pop();

    await page.getByLabel("API key").fill(tenant.key);
    await page.getByRole("button", { name: "Send a test event" }).click();
    await page.getByText("The test event was accepted.").waitFor();
    await until("the test event to be delivered", () => receiver.received.some((body) => body.includes('"test": true')));

    await tenant.send(token, { parcel: { id: "HB-2209" }, weight: 12.5 });
    await page.goto("/destinations");
    await page.getByRole("link", { name: receiver.url }).click();
    await page.getByRole("link", { name: "Parcel desk" }).click();
    await page.getByRole("heading", { name: "Parcel desk" }).waitFor();
    await checkPage(page, options);
    assert.match(await page.getByRole("textbox", { name: "Payload, as it is received" }).inputValue(), /HB-2209/);

    const hasScripts = options.javaScriptEnabled !== false;
    await page.getByRole("textbox", { name: "Mapping", exact: true }).fill('{ "number": "parcel:id", "none": "x" }');
    if (!hasScripts) await page.getByRole("button", { name: "Preview" }).click();
    await page.locator("#preview pre", { hasText: '"number": "HB-2209"' }).waitFor();
    await page.locator("#preview", { hasText: "Left out" }).waitFor();
    await checkPage(page, options);
    page.expectStatus(400);
    await page.getByRole("textbox", { name: "Mapping", exact: true }).fill('{ "number": "parcel[" }');
    if (!hasScripts) await page.getByRole("button", { name: "Preview" }).click();
    await page.getByRole("alert").getByText("the value of key").waitFor();
    await checkPage(page, options);
    await page.getByRole("textbox", { name: "Mapping", exact: true }).fill('{ "number": "parcel:id" }');
    await page.getByRole("button", { name: "Save mapping" }).click();
    await page.getByText("Saved.").waitFor();
    await checkPage(page, options);
    await tenant.send(token, { parcel: { id: "HB-2210" } });
    await until("the mapped event", () => receiver.received.includes('{"number":"HB-2210"}'));
    page.check();
    await page.context().close();
  });
}
