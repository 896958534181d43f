// The peer in Node: signs a token for each call with Twilio's library and a given grant.
//
// Its input is JSON on standard input; it prints its address as a line of JSON.
"use strict";

const { readFileSync } = require("node:fs");
const { join } = require("node:path");
const grpc = require("@grpc/grpc-js");
const protoLoader = require("@grpc/proto-loader");
const {
  jwt: { AccessToken },
} = require("twilio");

const PROTOS = protoLoader.loadSync("grantmint/v1/token_service.proto", {
  includeDirs: [join(__dirname, "../../../proto")],
  keepCase: true,
  longs: Number,
});
const { TokenService } = grpc.loadPackageDefinition(PROTOS).grantmint.v1;

const TTL = 60; // seconds

/** What the library wrote: id and times are by its own reading of the clock. */
function claims(token) {
  return JSON.parse(Buffer.from(token.split(".")[1], "base64url").toString());
}

/** Answers MintToken for this account, around this grant. */
function minting({ account_sid, api_key_sid, api_key_secret, grant }) {
  const playback = new AccessToken.PlaybackGrant({ grant });
  return (call, answer) => {
    const { identity } = call.request;
    const access = new AccessToken(account_sid, api_key_sid, api_key_secret, { identity, ttl: TTL });
    access.addGrant(playback);
    const token = access.toJwt();
    const { jti, iat, exp } = claims(token);
    const validity = { issue_time: { seconds: iat }, expire_time: { seconds: exp } };
    answer(null, { token, token_id: jti, validity });
  };
}

const server = new grpc.Server();
server.addService(TokenService.service, { MintToken: minting(JSON.parse(readFileSync(0, "utf8"))) });
server.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (error, port) => {
  if (error) throw error;
  console.log(JSON.stringify({ server: `http://127.0.0.1:${port}` }));
});
