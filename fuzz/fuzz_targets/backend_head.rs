//! A backend's answer to one request. Input: its head and what follows.
#![no_main]

#[path = "../../tests/properties/backend_head.rs"]
mod backend_head;
#[allow(dead_code, reason = "this target does not read or write frames")]
#[path = "../../tests/properties/foreign.rs"]
mod foreign;
#[path = "../../tests/properties/http.rs"]
mod http;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| backend_head::check(bytes));
