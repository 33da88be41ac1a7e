// A portal link: made by the owner of a tenant, opened by a customer in a browser of their own.
import { after, before, test } from "node:test";
import assert from "node:assert/strict";
import { launch, openPage } from "./chromium.mjs";
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
  test(`a customer sees one destination ${name}`, async () => {
    const tenant = await registerTenant(service);
    await tenant.api.patch(`/tenants/${tenant.id}`, { maxTrys: 1 });
    const destination = await tenant.api.post("/destinations", { url: `${receiver.url}/shop` });
    const other = await tenant.api.post("/destinations", { url: `${receiver.url}/other` });
    receiver.answer = () => [503, "closed"];
    const event = await tenant.send(destination.ingestToken, { order: "of the shop" });
    await tenant.send(other.ingestToken, { order: "of another customer" });
    await until("a failure", async () => (await tenant.api.get(`/events/${event}`)).status === "CriticalFailure");
    receiver.answer = () => [200, "ok"];

    const owner = await openSignedIn(browser, service, tenant, options);
    await owner.goto(`/destinations/${destination.id}`);
    await owner.getByRole("link", { name: "Portal links" }).click();
    await checkPage(owner, options);
    await owner.getByLabel("Customer", { exact: false }).first().fill("Shop Ltd");
    await owner.getByLabel("The customer may").selectOption("Operate");
    await owner.getByRole("button", { name: "Create portal link" }).click();
    await owner.getByRole("heading", { name: "Portal link created" }).waitFor();
    const link = await owner.locator("#secret").textContent();
    await owner.getByRole("link", { name: "Continue" }).click();
    await checkPage(owner, options);

    const customer = await openPage(browser, service.base, options);
    const requested = [];
    customer.on("request", (request) => requested.push(request.url()));
    await customer.goto(link);
    await checkPage(customer, options);
    const code = customer.getByLabel("Code of the link");
    if (options.javaScriptEnabled === false) await code.fill(link.split("#")[1]);
    assert.equal(await code.inputValue(), link.split("#")[1]);
    await customer.getByRole("button", { name: "Open the deliveries" }).click();
    await customer.getByText("of the shop").waitFor();
    assert.equal(await customer.getByText("of another customer").count(), 0);
    await checkPage(customer, options);
    await customer.goto(`/portal/events/${event}`);
    await checkPage(customer, options);
    await customer.locator("summary", { hasText: "Replay" }).click();
    await customer.getByRole("button", { name: "Replay it" }).click();
    await customer.getByText("Replayed.").waitFor();
    await until("a delivery", async () => (await tenant.api.get(`/events/${event}`)).status === "Succeeded");
    await customer.reload();
    await customer.getByText("Delivered").first().waitFor();

    await owner.getByRole("row", { name: /Shop Ltd/ }).locator("summary").click();
    await owner.getByRole("button", { name: "Revoke it" }).click();
    await owner.getByText("Revoked. The link shows nothing any more.").waitFor();
    await customer.goto("/portal/events");
    await customer.getByText("The link has ended").waitFor();
    await checkPage(customer, options);
    assert.deepEqual(requested.filter((url) => url.split("#")[0].includes("ptl_")), [], "the token is in no URL that is sent");
    owner.check();
    customer.check();
    await owner.context().close();
    await customer.context().close();
  });
}
