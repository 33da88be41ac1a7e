// Administration of a tenant as its owner does it.
import { after, before, test } from "node:test";
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { launch, openPage } from "./chromium.mjs";
import { password, startService } from "./service.mjs";
import { appearances, checkPage, openSignedIn, registerTenant } from "./tenant.mjs";

let service, browser;

before(async () => {
  service = await startService();
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await service?.stop();
});

for (const [index, [name, options]] of appearances.entries()) {
  test(`users, keys and settings are managed ${name}`, async () => {
    const tenant = await registerTenant(service);
    const page = await openSignedIn(browser, service, tenant, options);
    await page.getByRole("link", { name: "Administration" }).click();
    await page.getByRole("heading", { name: "Administration" }).waitFor();
    await checkPage(page, options);
    await page.getByRole("button", { name: "Create invitation" }).click();
    await page.getByRole("heading", { name: "Invitation created" }).waitFor();
    await checkPage(page, options);
    const link = await page.locator("#secret").textContent();
    const guest = await openPage(browser, service.base, options);
    await guest.goto(link);
    const email = `guest${index}@lighthouse.example`;
    await guest.getByLabel("Your email address").fill(email);
    await guest.getByLabel("Password").fill(password);
    await guest.getByRole("button", { name: "Join" }).click();
    await guest.getByRole("heading", { name: "Overview" }).waitFor();
    guest.check();
    await guest.context().close();

    await page.getByRole("link", { name: "Continue" }).click();
    await page.getByRole("link", { name: email }).click();
    await page.getByRole("combobox", { name: "Role" }).selectOption("Admin");
    await page.getByRole("button", { name: "Save" }).click();
    await page.getByText("The role is in force at once.").waitFor();
    await checkPage(page, options);
    await page.locator("summary", { hasText: "Deactivate" }).click();
    await checkPage(page, options);
    await page.getByRole("button", { name: "Deactivate" }).click();
    await page.getByText("All sessions of the user have ended.").first().waitFor();

    await page.goto("/api-keys");
    await page.getByLabel("Name").fill("Warehouse");
    await page.getByRole("button", { name: "Create API key" }).click();
    await page.getByRole("heading", { name: "API key created" }).waitFor();
    await page.getByRole("link", { name: "Continue" }).click();
    await checkPage(page, options);
    await page.getByRole("row", { name: /Warehouse/ }).locator("summary").click();
    await page.getByRole("button", { name: "Revoke it" }).click();
    await page.getByText("Revoked. The API key is refused.").waitFor();

    await page.getByRole("link", { name: "Signing" }).click();
    await page.getByRole("button", { name: "Show the secret" }).click();
    const secret = await page.locator("#secret").textContent();
    await page.getByRole("link", { name: "Continue" }).click();
    await checkPage(page, options);
    const signature = createHmac("sha256", secret).update('{"a":1}').digest("hex");
    await page.getByRole("textbox", { name: "Headers" }).fill(`X-HookSentry-Signature: sha256=${signature}`);
    await page.getByRole("textbox", { name: "Body" }).fill('{"a":1}');
    await page.getByRole("button", { name: "Test it" }).click();
    await page.getByText("X-HookSentry-Signature is right.").waitFor();
    await checkPage(page, options);

    await page.getByRole("link", { name: "Tenant" }).click();
    await checkPage(page, options);
    await page.getByLabel("Attempts at most").fill("4");
    await page.getByRole("button", { name: "Save", exact: true }).click();
    await page.getByText("Saved.").waitFor();
    page.expectStatus(400);
    await page.getByLabel("Name").fill(" ");
    await page.getByRole("button", { name: "Save", exact: true }).click();
    await page.getByRole("alert").getByText("Name", { exact: true }).waitFor();
    await checkPage(page, options);

    await page.goto("/account");
    await checkPage(page, options);
    await page.locator("#second-factor").getByLabel("Current password").fill(password);
    await page.getByRole("button", { name: "Set up" }).click();
    await page.getByRole("heading", { name: "Set up a second factor" }).waitFor();
    await checkPage(page, options);
    assert.match(await page.getByRole("link", { name: "Open in the app" }).getAttribute("href"), /^otpauth:/);
    page.check();
    await page.context().close();
  });
}
