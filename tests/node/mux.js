// Makes tokens with Mux's library at a fixed time.
//
//     node mux.js < INPUT
//
// The input is {"now", "key_id", "key", "cases": [{"id", "ttl", "type", "claims"}]}; each line of
// the output is the header and the claims of a token.
"use strict";

const { readFileSync } = require("node:fs");

const { now, key_id: keyId, key, cases } = JSON.parse(readFileSync(0, "utf8"));

const RealDate = Date;
globalThis.Date = class extends RealDate {
  constructor(...given) {
    super(...(given.length > 0 ? given : [now * 1000]));
  }

  static now() {
    return now * 1000;
  }
};

const { Mux } = require("@mux/mux-node");

const client = new Mux({
  tokenId: "none",
  tokenSecret: "none",
  jwtSigningKey: keyId,
  jwtPrivateKey: key,
  fetch: () => {
    throw new Error("nothing is fetched here");
  },
});

// Types that the library names differently or makes with a separate method.
const COUNTS = { asset_stats: "asset", live_stream_stats: "live_stream", video_stats: "video" };

function sign({ id, ttl, type, claims }) {
  const options = { expiration: `${ttl}s`, params: claims };
  if (type in COUNTS) return client.jwt.signViewerCounts(id, { ...options, type: COUNTS[type] });
  const named = type === "drm" ? "drm_license" : type;
  return client.jwt.signPlaybackId(id, { ...options, type: named });
}

async function main() {
  for (const made of cases) {
    const parts = (await sign(made)).split(".").slice(0, 2);
    const [header, payload] = parts.map((part) => JSON.parse(Buffer.from(part, "base64url")));
    console.log(JSON.stringify({ header, claims: payload }));
  }
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
