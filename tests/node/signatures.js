// Verifies RS256 and ES384 signatures with OpenSSL.
//
//     node signatures.js < INPUT
//
// The input is {"key": PEM, "tokens": [...]}; the output is the number of verified tokens.
"use strict";

const { createPublicKey, verify } = require("node:crypto");
const { readFileSync } = require("node:fs");

const { key, tokens } = JSON.parse(readFileSync(0, "utf8"));
const publicKey = createPublicKey(key);

const HASHES = { RS256: "sha256", ES384: "sha384" };

function isSigned(algorithm, signed, signature) {
  // A JWT has r and s side by side, not in DER.
  const by = { key: publicKey, dsaEncoding: "ieee-p1363" };
  return verify(HASHES[algorithm], Buffer.from(signed), by, signature);
}

for (const token of tokens) {
  const [header, claims, last] = token.split(".");
  const { alg } = JSON.parse(Buffer.from(header, "base64url"));
  if (!(alg in HASHES)) throw new Error(`${alg} is not expected`);
  const signature = Buffer.from(last, "base64url");
  if (signature.toString("base64url") !== last) throw new Error("no base64url");
  if (!isSigned(alg, `${header}.${claims}`, signature)) throw new Error(`wrong: ${token}`);
  const other = Buffer.from(signature);
  other[other.length >> 1] ^= 1;
  if (isSigned(alg, `${header}.${claims}`, other)) throw new Error("another signature is taken");
  if (isSigned(alg, `${header}.${claims}A`, signature)) throw new Error("other claims are taken");
}
console.log(tokens.length);
