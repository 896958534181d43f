//! Malicious clients next to an honest caller. Every honest call succeeds, and the attackers cannot
//! take over the server's memory, connections or calls.

mod floods;
mod honest;
mod lifetime;
mod lists;
mod readers;
mod silence;
mod strangers;
mod uploads;
