// Callers share one channel; one of them repeatedly cancels as many calls as may be open at once.
// Prints the results of the others.
//
//     node cancels.js PROTO_DIR 127.0.0.1:50051
"use strict";

const { setTimeout: sleep } = require("node:timers/promises");
const grpc = require("@grpc/grpc-js");
const protoLoader = require("@grpc/proto-loader");

const [protos, server] = process.argv.slice(2);
const files = ["grantmint/v1/token_service.proto", "grantmint/v1/grant_service.proto"];
const definition = protoLoader.loadSync(files, { includeDirs: [protos] });
const { TokenService, GrantService } = grpc.loadPackageDefinition(definition).grantmint.v1;

const tokens = new TokenService(server, grpc.credentials.createInsecure());
const grants = new GrantService(server, grpc.credentials.createInsecure(), {
  channelOverride: tokens.getChannel(),
});

const failures = [];
let minted = 0;

/** A call that must succeed. */
function mint() {
  return new Promise((resolve) => {
    tokens.MintToken({ identity: "alice" }, { deadline: Date.now() + 30_000 }, (error) => {
      error ? failures.push(error.message) : (minted += 1);
      resolve();
    });
  });
}

async function main() {
  const watch = grants.WatchGrants({});
  watch.on("error", (error) => failures.push(`watch: ${error.message}`));
  watch.on("end", () => failures.push("watch: it ended"));
  await new Promise((resolve) => watch.once("data", resolve));

  const others = [];
  const timer = setInterval(() => others.push(mint()), 5);
  for (let burst = 0; burst < 20; burst += 1) {
    const calls = [];
    for (let call = 0; call < 128; call += 1) {
      calls.push(tokens.MintToken({ identity: "bob" }, () => {}));
    }
    // Once they have been sent.
    await sleep(burst % 2 ? 0 : 20);
    calls.forEach((call) => call.cancel());
    await sleep(80);
  }
  clearInterval(timer);
  await Promise.all(others);
  // A call that ends with OK does not count as cancelled.
  for (let round = 0; round < 20; round += 1) {
    await Promise.all(Array.from({ length: 100 }, mint));
  }
  watch.removeAllListeners("error").removeAllListeners("end");
  watch.on("error", () => {}).cancel();
  console.log(`failed ${failures.length}, enough ${minted > 2_000}`);
  failures.slice(0, 3).forEach((failure) => console.log(failure));
  tokens.close();
}

main();
