// Prints how many tokens a second Agora's own library makes: node rate.js MILLISECONDS
"use strict";

const { RtcRole, RtcTokenBuilder } = require("agora-token");

const APP_ID = "022f71ff2bfd535fa74d8035bd7f2a82";
const CERTIFICATE = "5cfd2fd1755d40ecb72977518be15d3b";

const life = Number(process.argv[2]);
const start = process.hrtime.bigint();
let made = 0;
let seconds = 0;
while (seconds * 1e3 < life) {
  for (let round = 0; round < 100; round += 1) {
    RtcTokenBuilder.buildTokenWithUid(APP_ID, CERTIFICATE, "lobby", 42, RtcRole.SUBSCRIBER, 3600, 3600);
  }
  made += 100;
  seconds = Number(process.hrtime.bigint() - start) / 1e9;
}
console.log(made / seconds);
