import { createHmac, timingSafeEqual } from "node:crypto";
import { readFileSync } from "node:fs";

function isAuthentic(secret, body, signature) {
  const expected = Buffer.from("sha256=" + createHmac("sha256", secret).update(body).digest("hex"));
  const given = Buffer.from(signature);
  return given.length === expected.length && timingSafeEqual(given, expected);
}

const [secret, signature] = process.argv.slice(2);
console.log(isAuthentic(secret, readFileSync(0), signature));
