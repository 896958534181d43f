//! Clients that mean harm, beside one that does not: it gets every answer, and they get no hold
//! of the server's memory, its connections or its calls.

mod floods;
mod honest;
mod lifetime;
mod lists;
mod readers;
mod silence;
mod strangers;
mod uploads;
