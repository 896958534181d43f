// Runs the check that Mux's player runs on a token when the server responds with 403.
//
//     node mux_player.js < INPUT
//
// The input is a list of {"at", "id", "token", "drm"}; each line of the output is the player's
// result for one: NETWORK_UNKNOWN_ERROR if it finds nothing wrong.
"use strict";

const { readFileSync } = require("node:fs");

const cases = JSON.parse(readFileSync(0, "utf8"));

const define = (name, value) =>
  Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
define("window", undefined);
define("navigator", { onLine: true });
define("fetch", () => {
  throw new Error("nothing is fetched here");
});

const player = require("@mux/playback-core");

// The parts of a media element that the player uses before it plays.
class Media extends EventTarget {
  textTracks = new EventTarget();
  seekable = { length: 0 };
  buffered = { length: 0 };
  preload = "metadata";
  canPlayType() {
    return "";
  }
  setAttribute() {}
  removeAttribute() {}
}

function verdict({ at, id, token, drm }) {
  Date.now = () => at * 1000;
  const media = new Media();
  const listeners = [];
  const hls = new Proxy(
    {
      config: {},
      on: (event, listener) => event === player.Hls.Events.ERROR && listeners.push(listener),
    },
    { get: (own, name) => own[name] ?? (() => {}) },
  );
  const tokens = drm ? { drm: token } : { playback: token };
  const src = `https://stream.mux.com/${id}.m3u8`;
  player.muxMediaState.set(media, {});
  player.loadMedia({ playbackId: id, tokens, src, type: "hls", preferPlayback: "mse" }, media, hls);
  const { ErrorTypes, ErrorDetails } = player.Hls;
  const failed = drm
    ? [ErrorTypes.KEY_SYSTEM_ERROR, ErrorDetails.KEY_SYSTEM_LICENSE_REQUEST_FAILED]
    : [ErrorTypes.NETWORK_ERROR, ErrorDetails.MANIFEST_LOAD_ERROR];
  const [type, details] = failed;
  const response = { code: 403, url: src };
  for (const listener of listeners) listener("hlsError", { type, details, fatal: true, response });
  const { muxCode } = player.getError(media);
  const names = Object.entries(player.MuxErrorCode);
  return names.find(([, code]) => code === muxCode)[0];
}

// The player logs each to the console.
console.error = () => {};
for (const each of cases) console.log(JSON.stringify(verdict(each)));
