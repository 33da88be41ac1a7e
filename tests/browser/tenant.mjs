// A tenant of a test, registered through the API, and pages in which its owner is signed in.
import { checkAccessibility, checkWidth, openPage } from "./chromium.mjs";
import { Api, password } from "./service.mjs";

let numbers = 0;

export async function registerTenant(service) {
  numbers += 1;
  const email = `noor${numbers}@lighthouse.example`;
  await new Api(service.base).post("/tenants", { name: `Lighthouse ${numbers}`, ownerEmail: email, ownerPassword: password });
  const api = await Api.signIn(service.base, email);
  const { tenant_id: id } = JSON.parse(Buffer.from(api.token.split(".")[1], "base64url"));
  const { key } = await api.post("/apikeys", { name: "billing" });
  const send = async (token, payload) =>
    (await api.post(`/ingest/${id}/${token}`, payload, { "x-api-key": key })).eventId;
  return { id, email, api, key, send };
}

// Opens a page in which the owner of a tenant is signed in.
export async function openSignedIn(browser, service, tenant, options = {}) {
  const page = await openPage(browser, service.base, options);
  await page.goto("/sign-in");
  await page.getByLabel("Email address").fill(tenant.email);
  await page.getByLabel("Password").fill(password);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("heading", { name: "Overview" }).waitFor();
  return page;
}

// How the pages are looked at: the checker of accessibility is a script, so it does not run where the page has none.
export const appearances = [
  ["on a wide screen", { viewport: { width: 1280, height: 800 } }],
  ["on a narrow dark screen", { viewport: { width: 360, height: 740 }, colorScheme: "dark" }],
  ["without scripts of the page", { viewport: { width: 1280, height: 800 }, javaScriptEnabled: false }],
];

export async function checkPage(page, options) {
  if (options.javaScriptEnabled === false) return;
  await checkAccessibility(page);
  await checkWidth(page);
}
