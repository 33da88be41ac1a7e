// What is erased, and what must not be: one payload, those of all events that match, and a legal hold.
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
  test(`payloads are held and erased ${name}`, async () => {
    const tenant = await registerTenant(service);
    const destination = await tenant.api.post("/destinations", { url: receiver.url });
    const send = (payload) => tenant.send(destination.ingestToken, payload);
    const [first, second, third] = [await send({ parcel: 1 }), await send({ parcel: 2 }), await send({ parcel: 3 })];
    for (const event of [first, second, third]) {
      await until("a delivery", async () => (await tenant.api.get(`/events/${event}`)).status === "Succeeded");
    }
    const page = await openSignedIn(browser, service, tenant, options);

    await page.goto(`/destinations/${destination.id}`);
    await page.getByRole("heading", { name: "Legal hold" }).waitFor();
    await checkPage(page, options);
    await page.getByLabel("Reason").fill("Case <b>12</b>");
    await page.getByRole("button", { name: "Place a hold" }).click();
    await page.getByText("The legal hold is in force").waitFor();
    await page.getByText("Case <b>12</b>").waitFor();
    await checkPage(page, options);

    await page.goto(`/events/${first}`);
    await page.getByRole("link", { name: "Erase…" }).click();
    await page.getByRole("heading", { name: "Erase the payload of this event?" }).waitFor();
    await page.getByText("Its payload, 12 bytes.").waitFor();
    await page.getByText("A legal hold keeps it").waitFor();
    assert.equal(await page.getByLabel("Reason").count(), 0);
    await checkPage(page, options);

    await page.goto(`/destinations/${destination.id}`);
    await page.getByLabel("Reason").fill("Settled");
    await page.getByRole("button", { name: "Lift the hold" }).click();
    await page.getByText("The legal hold is lifted.").waitFor();
    await page.goto(`/events/${first}/erase`);
    await page.getByLabel("Reason").fill("Request 7");
    await page.getByLabel("I know that this cannot be undone").check();
    await page.getByRole("button", { name: "Erase the payload" }).click();
    await page.getByText("The payload is gone, and the history stays.").waitFor();
    await page.getByText(/Erased on request .*Request 7/).waitFor();
    await checkPage(page, options);

    await page.goto("/events?status=Succeeded");
    await page.getByRole("button", { name: "Erase payloads…" }).click();
    await page.getByRole("heading", { name: "Erase the payloads of all that match?" }).waitFor();
    await page.getByRole("heading", { name: "3 events" }).waitFor();
    await checkPage(page, options);
    await page.getByLabel("Reason").fill("Request 8");
    await page.getByLabel("I know that this cannot be stopped or undone").check();
    await page.getByRole("button", { name: "Erase the payloads of 3 events" }).click();
    await page.getByText("Requested.").waitFor();
    await checkPage(page, options);
    const path = new URL(page.url()).pathname;
    await until("the erasure", async () => (await tenant.api.get(path)).completedAt);
    if (options.javaScriptEnabled === false) await page.reload();
    await page.getByText("All events that it was for were reached.").waitFor();
    await checkPage(page, options);
    const { erased, kept } = await tenant.api.get(path);
    assert.deepEqual([erased, kept], [2, 0]);
    await page.goto(`/events/${third}`);
    await page.getByText(/Erased on request .*Request 8/).waitFor();

    await page.goto("/erasures/new?text=parcel");
    await page.getByRole("heading", { name: "This filter cannot select them" }).waitFor();
    await checkPage(page, options);
    page.check();
    await page.context().close();
  });
}
