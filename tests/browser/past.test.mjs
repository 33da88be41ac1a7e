// An event as it was after each step of its history.
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
  test(`an event is shown as it was ${name}`, async () => {
    const tenant = await registerTenant(service);
    await tenant.api.patch(`/tenants/${tenant.id}`, { maxTrys: 1 });
    const destination = await tenant.api.post("/destinations", { url: receiver.url });
    receiver.answer = () => [503, "closed"];
    const event = await tenant.send(destination.ingestToken, { parcel: "HB-2209" });
    await until("a failure", async () => (await tenant.api.get(`/events/${event}`)).status === "CriticalFailure");
    const page = await openSignedIn(browser, service, tenant, options);
    await page.goto(`/events/${event}`);
    await page.getByRole("link", { name: "As of" }).click();
    await page.getByText("After step 3 of 3").waitFor();
    await page.locator("dd", { hasText: "Given up" }).getByText("before: Sending").waitFor();
    await checkPage(page, options);
    await page.getByRole("link", { name: "Earlier" }).click();
    await page.getByText("After step 2 of 3").waitFor();
    assert.match(page.url(), /view=past&step=2$/);
    await page.getByText("A worker began an attempt.").waitFor();
    await checkPage(page, options);
    const slider = page.getByRole("slider");
    if (options.javaScriptEnabled !== false) {
      await slider.focus();
      await page.keyboard.press("ArrowLeft");
      await page.waitForURL(/step=1$/);
      await page.locator("input[type=range]:focus").waitFor();
      await page.keyboard.press("End");
      await page.waitForURL(/step=3$/);
      await page.locator("input[type=range]:focus").waitFor();
      await page.keyboard.press("Home");
      await page.waitForURL(/step=1$/);
    } else {
      await slider.fill("1");
      await page.getByRole("button", { name: "Show", exact: true }).click();
    }
    await page.getByText("After step 1 of 3").waitFor();
    await page.getByText("It was accepted and stored.").waitFor();
    assert.match(page.url(), /step=1$/);
    await checkPage(page, options);
    page.check();
    await page.context().close();
  });
}
