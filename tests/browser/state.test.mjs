// The state that pages show: how far lists are behind, and how deliveries go.
import { after, before, test } from "node:test";
import { spawn } from "node:child_process";
import { once } from "node:events";
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

// Keeps the writer of the lists waiting until it is released.
async function holdLists() {
  const url = `host=${service.folder}/postgres/socket user=hooksentry dbname=hooksentry`;
  const client = spawn("psql", ["-qX", "-v", "ON_ERROR_STOP=1", url], { stdio: ["pipe", "pipe", "inherit"] });
  const locked = once(client.stdout, "data");
  client.stdin.write("BEGIN; LOCK TABLE webhook_events IN SHARE MODE;\n\\echo locked\n");
  await locked;
  const exited = once(client, "exit");
  return async () => {
    if (!client.stdin.writableEnded) client.stdin.end("ROLLBACK;\n");
    await exited;
  };
}

test("pages say that lists are behind, and that they no longer are", async (context) => {
  const tenant = await registerTenant(service);
  const destination = await tenant.api.post("/destinations", { url: receiver.url });
  const [[, wide], [, narrow]] = appearances;
  const page = await openSignedIn(browser, service, tenant, wide);
  const small = await openSignedIn(browser, service, tenant, narrow);
  const release = await holdLists();
  context.after(release);
  await tenant.send(destination.ingestToken, { late: true });
  const lag = page.getByText(/Lists show the state of .* ago/);
  await until("the lag", async () => {
    await page.reload();
    return lag.isVisible();
  });
  await checkPage(page, wide);
  await small.goto("/events");
  await small.getByText(/Lists show the state of .* ago/).waitFor();
  await checkPage(small, narrow);
  await small.context().close();
  await page.goto("/events");
  await lag.waitFor();
  await page.getByText("Live", { exact: true }).waitFor();
  await release();
  // The page that follows the changes says so by itself.
  await page.getByRole("link", { name: '"late":true' }).waitFor();
  await lag.waitFor({ state: "detached" });
  page.check();
  await page.context().close();
});

for (const [name, options] of appearances) {
  test(`destinations show the deliveries of the last hours ${name}`, async () => {
    const tenant = await registerTenant(service);
    const destination = await tenant.api.post("/destinations", { url: receiver.url });
    const page = await openSignedIn(browser, service, tenant, options);
    await page.goto("/destinations");
    await page.getByText("no deliveries").waitFor();
    await checkPage(page, options);
    await tenant.send(destination.ingestToken, { parcel: "HB-2209" });
    await until("the statistics", async () => {
      await page.reload();
      return page.getByText("1 delivered").isVisible();
    });
    await page.locator(".sparkline .bar.success").waitFor();
    await checkPage(page, options);
    await page.goto("/system");
    await page.getByText("Waiting for an attempt").waitFor();
    await page.getByText("Head of the log").waitFor();
    await checkPage(page, options);
    page.check();
    await page.context().close();
  });
}
