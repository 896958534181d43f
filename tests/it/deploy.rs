//! What runs the server elsewhere.

mod health;
