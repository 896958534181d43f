// Joins stages with our tokens in the real web client. jsdom is its browser; network requests are
// only recorded.
//
//     node ivs.js < INPUT
//
// The input is {"now", "stages": [TOKEN], "connections": [TOKEN]}; each line of the output is the
// client's result for one token.
"use strict";

const { readFileSync } = require("node:fs");
const { JSDOM } = require("jsdom");

const { now, stages = [], connections = [] } = JSON.parse(readFileSync(0, "utf8"));

const { window } = new JSDOM("<!doctype html>", { url: "https://app.example/" });
const browser = ["document", "localStorage", "sessionStorage", "Event", "CustomEvent"];
const globals = Object.fromEntries(browser.map((name) => [name, window[name]]));
Object.assign(globals, { window, self: window, navigator: window.navigator });

const opened = [];
const silent = (name) =>
  class {
    constructor(url) {
      this.readyState = 0;
      if (name === "WebSocket") opened.push(String(url));
    }
    addEventListener() {}
    removeEventListener() {}
    open() {}
    setRequestHeader() {}
    send() {}
    close() {}
  };
for (const name of ["WebSocket", "XMLHttpRequest", "EventSource", "RTCPeerConnection"]) {
  globals[name] = window[name] = silent(name);
}
globals.fetch = window.fetch = () => new Promise(() => {});
for (const [name, value] of Object.entries(globals)) {
  Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
}

let clock = now;
Date.now = () => clock * 1000;

const { Stage, RealTimeConnection } = require("amazon-ivs-web-broadcast");

const STRATEGY = {
  stageStreamsToPublish: () => [],
  shouldPublishParticipant: () => false,
  shouldSubscribeToParticipant: () => "none",
};

// Why the client does not join with it at a time, or none if it opens its socket.
async function refusal(stage, at) {
  clock = at;
  opened.length = 0;
  let why = null;
  stage.join().catch((error) => (why = error.message));
  for (let turn = 0; turn < 4 && opened.length === 0 && why === null; turn++) {
    await new Promise((done) => setImmediate(done));
  }
  if (why === null && opened.length === 0) throw new Error("the client does nothing");
  return why;
}

async function read(text) {
  clock = now;
  const { token } = new Stage(text, STRATEGY);
  const { exp } = token.claims;
  const refused = await refusal(new Stage(text, STRATEGY), now);
  const [socket] = opened;
  const late = await refusal(new Stage(text, STRATEGY), exp);
  return {
    refused,
    late,
    socket,
    publishes: token.getPublishEndpoint(),
    participantId: token.participantID,
    userId: token.userID,
    topic: token.topic,
    attributes: token.claims.attributes ?? {},
    capabilities: token.claims.capabilities,
  };
}

function connect(text, at) {
  clock = at;
  try {
    return new RealTimeConnection(text) && null;
  } catch (error) {
    return error.message;
  }
}

async function main() {
  for (const text of stages) console.log(JSON.stringify(await read(text)));
  for (const text of connections) {
    const { exp } = JSON.parse(Buffer.from(text.split(".")[1], "base64url"));
    // The client allows a minute of clock skew.
    console.log(JSON.stringify({ refused: connect(text, now), late: connect(text, exp + 60) }));
  }
  process.exit();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
