//! What comes first on a connection that must begin with a PROXY protocol header. Input: its bytes.
#![no_main]

#[path = "../../tests/properties/proxy_header.rs"]
mod proxy_header;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| proxy_header::check(bytes));
