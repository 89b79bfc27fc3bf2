//! A client's request head. Input: its bytes.
#![no_main]

#[path = "../../tests/properties/http.rs"]
mod http;
#[path = "../../tests/properties/request_head.rs"]
mod request_head;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    request_head::check(bytes, None, "");
    request_head::check(bytes, Some([198, 51, 100, 7].into()), "/base");
});
