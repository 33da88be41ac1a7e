// Takes screenshots of every page of the dashboard with made-up data: `node tests/browser/screenshots.mjs FOLDER`.
// Those of the README are overview-wide-light, preview-wide-light and event-wide-dark, with 64 colours
// (`pngquant 64 --output docs/images/OUT IN`).
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { launch, openPage } from "./chromium.mjs";
import { Api, password, startReceiver, startService, until } from "./service.mjs";

const folder = process.argv[2] ?? "screenshots";
const email = "mira@lighthouse.example";

const service = await startService({ HOOKSENTRY_BREAKER_PAUSE_MIN: "60s" });
const working = await startReceiver();
const failing = await startReceiver();
failing.answer = () => [503, '{"error":"database is read-only","retry_after":120}'];
const browser = await launch();
try {
  await new Api(service.base).post("/tenants", { name: "Lighthouse", ownerEmail: email, ownerPassword: password, maxTrys: 3 });
  const api = await Api.signIn(service.base, email);
  const { tenant_id: tenantId } = JSON.parse(Buffer.from(api.token.split(".")[1], "base64url"));
  const { key } = await api.post("/apikeys", { name: "billing" });
  const send = async (to, payload) =>
    (await api.post(`/ingest/${tenantId}/${to.ingestToken}`, payload, { "x-api-key": key })).eventId;
  const good = await api.post("/destinations", { url: working.url.replace("127.0.0.1", "localhost").replace("/webhooks", "/crm/invoices") });
  const bad = await api.post("/destinations", { url: failing.url.replace("/webhooks", "/warehouse/orders") });
  for (let number = 1; number <= 24; number += 1) {
    await send(good, { type: "invoice.paid", id: `in_4Tz9kWc${number}`, customer: "cus_Harbour12", amount: 4990 + number * 100 });
  }
  const lost = await send(bad, { type: "parcel.lost", parcel: "HB-2209", last_seen: "2026-03-14T06:30:00+01:00" });
  await send(bad, { type: "order.created", id: 820114, total: "74.80", currency: "EUR" });
  await until("the failures", async () => (await api.get(`/events/${lost}/attempts`)).total >= 1);
  await mkdir(folder, { recursive: true });
  // With two attempts the time axis shows the pause between them.
  await until("a repeat", async () => (await api.get(`/events/${lost}/attempts`)).total >= 2);
  const senders = `/destinations/${good.id}/senders`;
  const sender = await api.post(senders, { label: "Billing" });
  const filter = { destinationUrlId: good.id, status: "WaitingRetry" };
  const { id: job } = await api.post("/bulk-actions", { action: "cancel", filter });
  const due = { scope: "Events", destinationUrlId: good.id, to: "2020-01-01", reason: "Request 2026-114" };
  const { id: erasure } = await api.post("/erasures", due);
  await api.post(`/destinations/${bad.id}/legal-hold`, { reason: "Case 2026-12, lost parcels" });
  const customer = { destinationId: bad.id, access: "Operate", label: "Harbour Freight" };
  const { path: portal } = await api.post("/portal-links", customer);
  const shots = [
    ["sign-in", "/sign-in"],
    ["overview", "/"],
    ["events", "/events"],
    ["preview", `/events?event=${lost}`],
    ["search", "/events?text=HB-2209&http=503"],
    ["event", `/events/${lost}`],
    ["facts", `/events/${lost}?view=facts`],
    ["past", `/events/${lost}?view=past&step=3`],
    ["erase", `/events/${lost}/erase`],
    ["new-erasure", `/erasures/new?destination=${good.id}`],
    ["erasure", `/erasures/${erasure}`],
    ["bulk-actions", "/bulk-actions"],
    ["bulk-action", `/bulk-actions/${job}`],
    ["new-bulk-action", "/bulk-actions/new?action=Cancel&status=WaitingRetry"],
    ["destinations", "/destinations"],
    ["destination", `/destinations/${good.id}`],
    ["held-destination", `/destinations/${bad.id}`],
    ["sender", `/senders/${sender.id}`],
    ["test-event", "/test-event"],
    ["audit", "/audit"],
    ["log", "/audit/log"],
    ["system", "/system"],
    ["users", "/users"],
    ["api-keys", "/api-keys"],
    ["portal-links", "/portal-links"],
    ["signing", "/signing"],
    ["tenant", "/tenant"],
    ["account", "/account"],
  ];
  for (const colorScheme of ["light", "dark"]) {
    for (const [size, viewport] of [["wide", { width: 1280, height: 800 }], ["narrow", { width: 360, height: 740 }]]) {
      const page = await openPage(browser, service.base, { colorScheme, viewport });
      for (const [name, path] of shots) {
        if (name === "overview") {
          await page.goto("/sign-in");
          await page.getByLabel("Email address").fill(email);
          await page.getByLabel("Password").fill(password);
          await page.getByRole("button", { name: "Sign in" }).click();
          await page.waitForURL((url) => url.pathname !== "/sign-in");
        }
        await page.goto(path);
        await page.screenshot({ path: join(folder, `${name}-${size}-${colorScheme}.png`) });
      }
      await page.context().close();
      const guest = await openPage(browser, service.base, { colorScheme, viewport });
      await guest.goto(portal);
      await guest.screenshot({ path: join(folder, `portal-${size}-${colorScheme}.png`) });
      await guest.getByRole("button", { name: "Open the deliveries" }).click();
      await guest.getByText("/warehouse/orders").first().waitFor();
      await guest.screenshot({ path: join(folder, `portal-events-${size}-${colorScheme}.png`) });
      await guest.goto(`/portal/events/${lost}`);
      await guest.screenshot({ path: join(folder, `portal-event-${size}-${colorScheme}.png`) });
      await guest.context().close();
    }
  }
} finally {
  await browser.close();
  await service.stop();
  working.stop();
  failing.stop();
}
