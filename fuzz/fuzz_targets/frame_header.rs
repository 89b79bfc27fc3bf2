//! One frame header. Input: its bytes.
#![no_main]

#[path = "../../tests/properties/frame_header.rs"]
mod frame_header;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| frame_header::check(bytes));
